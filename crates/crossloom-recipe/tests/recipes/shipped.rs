//! The recipes that crossloom ships, and their JSON Schema.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{options, recipes, shipped};
use crossloom_recipe::{Gate, LoadOptions, Topology, Wiring, json_schema, load, load_text};

fn as_json(text: &str) -> serde_json::Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

/// What is wrong with a recipe according to the schema.
fn violations(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    validator.iter_errors(&as_json(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_in_the_recipes_folder_is_current() {
    let path = shipped().join("schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    if std::env::var_os("CROSSLOOM_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == current, "recipes/schema.json is stale: run this test with CROSSLOOM_BLESS=1");
}

#[test]
fn every_shipped_recipe_names_the_schema_and_obeys_it() {
    let all = recipes(&shipped());
    assert!(all.len() >= 13, "{all:?}");
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let schema = first.strip_prefix("#:schema ").unwrap_or_else(|| panic!("{}", path.display()));
        assert!(path.parent().unwrap().join(schema).exists(), "{}", path.display());
        assert_eq!(violations(&text), [""; 0], "{}", path.display());
    }
}

#[test]
fn every_shipped_recipe_loads_without_a_warning_and_survives_being_written_out() {
    let studies = recipes(&shipped().join("studies"));
    assert!(studies.len() >= 4, "{studies:?}");
    let studies =
        studies.iter().map(|path| path.strip_prefix(shipped()).unwrap().to_str().unwrap().to_owned());
    let shipped_recipes = [
        "quickstart.toml",
        "synthetic.toml",
        "two-stages.toml",
        "ablations.toml",
        "smol/smol.toml",
        "llava-1.5-7b/llava-1.5-7b.toml",
        "llava-onevision/llava-onevision-0.5b.toml",
        "llava-onevision/llava-onevision-7b.toml",
    ];
    for name in shipped_recipes.map(str::to_owned).into_iter().chain(studies) {
        let loaded =
            load(&shipped().join(&name), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        let baselines: BTreeSet<&str> = (loaded.variants.iter().filter(|variant| variant.baseline))
            .filter_map(|variant| variant.name.split(',').next())
            .collect();
        assert_eq!(baselines.len(), 1, "{name}");
        for variant in &loaded.variants {
            assert!(!variant.description.is_empty(), "{name} {}", variant.name);
            Topology::new(&variant.recipe).unwrap();
            let text = variant.resolved_toml_with_provenance();
            let again = load_text(Path::new("again.toml"), &text, &LoadOptions::default()).unwrap();
            assert_eq!(again.base, variant.recipe, "{name} {}", variant.name);
            assert_eq!(violations(&text), [""; 0], "{name} {}", variant.name);
            let json = serde_json::to_string(&variant.recipe).unwrap();
            assert_eq!(serde_json::from_str::<crossloom_recipe::Recipe>(&json).unwrap(), variant.recipe);
        }
    }
}

#[test]
fn the_quickstart_compares_three_models_on_equal_terms() {
    for name in ["quickstart.toml", "synthetic.toml"] {
        let loaded = load(&shipped().join(name), &LoadOptions::default()).unwrap();
        let variant = |name: &str| loaded.variant(name).unwrap();
        let (projector, cli, prior) = (variant("projector"), variant("cli"), variant("question_only"));
        assert!(projector.baseline && !projector.recipe.topology.injects());
        assert!(matches!(cli.recipe.topology.main.gate, Gate::Agf(_)));
        assert_eq!(cli.recipe.topology.main.wiring, Wiring::Dense);
        assert_eq!(prior.recipe.topology, projector.recipe.topology);
        let terms = |recipe: &crossloom_recipe::Recipe| {
            (recipe.model.clone(), recipe.data.clone(), recipe.train.clone())
        };
        assert_eq!(terms(&projector.recipe), terms(&cli.recipe), "{name}");
    }
}

/// Why a method that is written for models of some depth or some grid of patches does not fit others.
fn too_small(method: &str, vision: &str, language: &str) -> Option<&'static str> {
    match (method, vision, language) {
        // Four stacks before four layers.
        ("deepstack", _, "llama-tiny") => Some("`before layer.4` is beyond the language model"),
        ("llama-3-2-vision", _, "llama-tiny") => Some("`before layer.3` is beyond the language model"),
        ("qwen3-vl", "siglip-so400m-patch14-384-26", _) => {
            Some("blocks of 2 by 2 patches do not cover 27 by 27 patches")
        }
        ("granite-vision", "siglip-so400m-patch14-384-26", _) => {
            Some("windows of 8 by 8 patches do not cover 27 by 27 patches")
        }
        ("granite-vision", "vit-tiny-patch8-64", _) => Some("`block.9` is beyond the vision encoder"),
        ("granite-vision", "dinov2-small-patch14", _) => Some("`block.15` is beyond the vision encoder"),
        _ => None,
    }
}

#[test]
fn methods_fit_models_of_every_size() {
    let methods = recipes(&shipped().join("methods"));
    let models = [
        ("vit-tiny-patch8-64", "llama-tiny"),
        ("clip-vit-large-patch14-336", "vicuna-7b-v1.5"),
        ("siglip-so400m-patch14-384-26", "qwen2-0.5b"),
        ("siglip-so400m-patch14-384-26", "qwen2-7b"),
        ("dinov2-small-patch14", "qwen3-0.6b"),
    ];
    for method in methods {
        for (vision, language) in models {
            let text = format!(
                "name = 'm'\n[model]\nvision.preset = '{vision}'\nlanguage.preset = '{language}'\n[data]\n\
                 source = 'easy-vqa'\n[train]\nsteps = 1\nbatch_size = 1\nlr = 1\n[variants.v]\nextends = [{:?}]\n",
                method.canonicalize().unwrap().display().to_string()
            );
            let name = method.file_stem().unwrap().to_str().unwrap();
            if let Some(problem) = too_small(name, vision, language) {
                let error = load_text(Path::new("m.toml"), &text, &options(&["train.warmup=0"])).unwrap_err();
                assert!(error.to_string().contains(problem), "{name} on {vision}: {error}");
                continue;
            }
            let loaded = load_text(Path::new("m.toml"), &text, &options(&["train.warmup=0"]))
                .unwrap_or_else(|error| panic!("{} on {vision}: {error}", method.display()));
            let topology = Topology::new(&loaded.variants[0].recipe).unwrap();
            let injects = loaded.variants[0].recipe.topology.injects();
            assert_eq!(topology.injections().count() > 0, injects);
            assert!(topology.edges().iter().all(|edge| topology.edge(&edge.name()) == Some(edge)));
        }
    }
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let wrong = [
        "name = 'x'\nlearning_rate = 1",
        "name = 'x y'",
        "description = 'no name'",
        "name = 'x'\n[train]\nsteps = 0",
        "name = 'x'\n[train]\nsteps = 1.5",
        "name = 'x'\n[train]\nwarmup = 1.5",
        "name = 'x'\n[topology]\ntaps = ['layer.1']",
        "name = 'x'\n[topology]\npoints = ['input']",
        "name = 'x'\n[topology]\ntaps = { every = 0 }",
        "name = 'x'\n[topology]\ntaps = { from = 'embed', until = 'block.1' }",
        "name = 'x'\n[topology]\ngate = 'agff'",
        "name = 'x'\n[topology.gate]\nkind = 'agf'\nhead = 3",
        "name = 'x'\n[topology]\nwiring = [['block.1']]",
        "name = 'x'\n[data]\nsource = { kind = 'easy-vqa', images = 3 }",
        "name = 'x'\n[variants.a]\nname = 'a'",
        "name = 'x'\n[sweep]\naxes = {}",
        "name = 'x'\n[model.vision]\npreset = 'clip-vit-large-patch14-335'",
        "name = 'x'\n[model]\nlanguage.preset = 'gpt'",
        "name = 'x'\n[topology]\nadapter = { kind = 'shared', rank = 8 }",
        "name = 'x'\n[topology]\ngate = { kind = 'constant', value = 0.5, heads = 4 }",
        "name = 'x'\n[variants.a.data]\nsource = { kind = 'easy-vqa', image_size = 64 }",
        "name = 'x'\n[variants.'a b']",
        "name = 'x'\n[variants.'a,rank=4']",
        "name = 'x'\n[sweep]\nmatrix.'topology.adapter.rnk' = [1]",
        "name = 'x'\n[sweep]\nmatrix.'train.seed' = 3",
        "name = 'x'\n[sweep]\nmatrix.'train.seed' = []",
        "name = 'x'\n[sweep]\nmatrix.'train.seed' = [1, 1]",
        "name = 'x'\n[sweep]\nmatrix.'topology.adapter.rank' = [4, 0]",
        "name = 'x'\n[sweep]\nmatrix.'topology.gate' = ['agf', 'nun']",
        "name = 'x'\n[sweep]\nmatrix.name = ['a', 'b']",
        "name = 'x'\n[sweep]\nvariants = ['a b']",
        "name = 'x'\n[sweep]\nmatrix.'stage.tune.model.vision.heads' = [1, 2]",
        "name = 'x'\n[[stage]]\ntrain.steps = 3",
        "name = 'x'\n[[stage]]\nname = 'a'\neval.limit = 3",
        "name = 'x'\n[variants.a.stage.b]\nname = 'c'",
    ];
    for text in wrong {
        assert!(!violations(text).is_empty(), "{text}");
        assert!(load_text(Path::new("x.toml"), text, &LoadOptions::default()).is_err(), "{text}");
    }
}

#[test]
fn sweeps_that_can_be_run_obey_the_schema() {
    let head = "name = 'x'\n[sweep]\n";
    for matrix in [
        "matrix.'topology.adapter.rank' = [4, 8]",
        "matrix.topology.adapter.rank = [4, 8]",
        "matrix.topology.'adapter.rank' = [4, 8]",
        "matrix.'topology.gate' = ['agf', { kind = 'constant', value = 0.5 }]",
        "matrix.'topology.taps' = [['block.1'], { count = 2 }]",
        "matrix.'train.parts.vision' = [{ trainable = false }, { lr_scale = 0.1 }]",
        "matrix.'model.vision.preset' = ['vit-tiny-patch8-64']",
        "matrix.'stage.tune.train.lr' = [0.1, 0.2]",
        "matrix.stage.tune.train.lr = [0.1, 0.2]",
    ] {
        assert_eq!(violations(&format!("{head}{matrix}")), [""; 0], "{matrix}");
    }
}

/// What of `tests/bad` a schema of one file cannot see, and why.
const BEYOND: [(&str, &str); 26] = [
    ("capital-letters", "whether two keys are alike but for capital letters"),
    ("capital-letters-swept", "the names that a sweep makes"),
    ("circle-b", "other files"),
    ("cross-attention", "one key against another"),
    ("dimensions", "sums over several keys"),
    ("extends-itself", "other files"),
    ("gate-and-fusion", "one key against another"),
    ("gate-without-target", "one key against another"),
    ("injections", "one key against another"),
    ("kept-in-no-file", "one key against another"),
    ("large-pictures", "one key against another"),
    ("missing-some", "what is missing may be in a file that is extended"),
    ("pictures", "one key against another"),
    ("prompt-pooling", "one key against another"),
    ("sampled-untested", "one key against another"),
    ("set-forms", "the command line"),
    ("set-unknown", "the command line"),
    ("set-values", "the command line"),
    ("sources", "names of the recipe's own"),
    ("stacks", "one key against another"),
    ("stage-files", "one stage against another"),
    ("stage-order", "one stage against another"),
    ("sweep-long-names", "the names that a sweep makes"),
    ("sweep-too-large", "how many variants a sweep makes"),
    ("trained-types", "one key against another"),
    ("training", "one key against another"),
];

#[test]
fn what_a_schema_can_see_of_a_bad_recipe_it_refuses() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in recipes(&crate::support::folder("bad")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        // What is no TOML is the editor's business; two files are parts of others.
        if ["base", "inject"].contains(&&*name) || toml::from_str::<toml::Table>(&text).is_err() {
            continue;
        }
        let beyond = BEYOND.iter().find(|(beyond, _)| *beyond == name);
        let found = violations(&text);
        if found.is_empty() != beyond.is_some() {
            wrong.push(format!("{name}: {found:?}, {beyond:?}"));
        }
        seen += 1;
    }
    assert_eq!(wrong, [""; 0]);
    assert!(seen > BEYOND.len() + 15, "{seen}");
}

#[test]
fn a_whole_number_with_a_point_is_beyond_a_schema() {
    // JSON has one kind of number: 20.0 is an integer there. The loader tells them apart, and says what to write.
    let text = "name = 'x'\n[train]\nsteps = 20.0";
    assert_eq!(violations(text), [""; 0]);
    let error = load_text(Path::new("x.toml"), text, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("write `20`"), "{error}");
}
