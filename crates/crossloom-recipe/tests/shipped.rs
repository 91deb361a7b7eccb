//! The recipes that crossloom ships, and their JSON Schema.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use crossloom_recipe::{Gate, LoadOptions, Topology, Wiring, json_schema, load, load_text};
use support::{options, recipes, shipped};

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
    for name in ["quickstart.toml", "synthetic.toml", "ablations.toml"] {
        let loaded =
            load(&shipped().join(name), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        assert_eq!(loaded.variants.iter().filter(|variant| variant.baseline).count(), 1, "{name}");
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
        assert!(matches!(cli.recipe.topology.gate, Gate::Agf(_)));
        assert_eq!(cli.recipe.topology.wiring, Wiring::Dense);
        assert_eq!(prior.recipe.topology, projector.recipe.topology);
        let terms = |recipe: &crossloom_recipe::Recipe| {
            (recipe.model.clone(), recipe.data.clone(), recipe.train.clone())
        };
        assert_eq!(terms(&projector.recipe), terms(&cli.recipe), "{name}");
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
    ];
    for method in methods {
        for (vision, language) in models {
            let text = format!(
                "name = 'm'\n[model]\nvision.preset = '{vision}'\nlanguage.preset = '{language}'\n[data]\n\
                 source = 'easy-vqa'\n[train]\nsteps = 1\nbatch_size = 1\nlr = 1\n[variants.v]\nextends = [{:?}]\n",
                method.canonicalize().unwrap().display().to_string()
            );
            let loaded = load_text(Path::new("m.toml"), &text, &options(&["train.warmup=0"]))
                .unwrap_or_else(|error| panic!("{} on {vision}: {error}", method.display()));
            let topology = Topology::new(&loaded.variants[0].recipe).unwrap();
            assert_eq!(topology.injections().count() == 0, method.ends_with("projector.toml"));
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
    ];
    for text in wrong {
        assert!(!violations(text).is_empty(), "{text}");
        assert!(load_text(Path::new("x.toml"), text, &LoadOptions::default()).is_err(), "{text}");
    }
}
