//! `extends`, presets, variants, `--set` and what the result remembers of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::{Files, good, options};
use crossloom_recipe::{
    Adapter, AmpAttach, Fusion, FusionOrder, Gate, GatePool, ImageUse, LoadedRecipe, PointAddress, Recipe,
    Source, TapNorm, TapSource, VisionAddress, Warmup, load, load_text,
};

/// The only recipe of a file, with overrides.
fn one(name: &str, sets: &[&str]) -> Recipe {
    let loaded = good(name, sets).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!(loaded.variants.len(), 1);
    loaded.variants[0].recipe.clone()
}

/// Loads `main.toml`, which extends `base.toml`, among other files.
fn main_of(files: &[(&str, &str)]) -> LoadedRecipe {
    Files::new(files).load("main.toml", &[]).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

#[test]
fn a_recipe_without_variants_has_one_with_its_own_name() {
    let loaded = good("base.toml", &[]).unwrap();
    assert_eq!(loaded.variants.len(), 1);
    assert_eq!(loaded.variants[0].name, "base");
    assert_eq!(loaded.variants[0].recipe, loaded.base);
    assert!(!loaded.base.topology.injects());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn later_files_win_and_the_file_itself_wins_over_all() {
    let loaded = main_of(&[
        ("a.toml", "name = 'a'\ntrain.lr = 0.1\ntrain.seed = 1\ntrain.eps = 1e-5\n"),
        ("b.toml", "name = 'b'\ntrain.lr = 0.2\ntrain.seed = 2\n"),
        ("main.toml", "name = 'main'\nextends = ['base.toml', 'a.toml', 'b.toml']\ntrain.lr = 0.3\n"),
    ]);
    let (recipe, provenance) = (&loaded.base, &loaded.provenance);
    assert_eq!((recipe.name.as_str(), recipe.train.lr, recipe.train.seed), ("main", 0.3, 2));
    assert_eq!(recipe.train.eps, 1e-5);
    let origin = |path: &str| provenance.get(path).unwrap().to_string();
    assert_eq!(origin("train.lr"), "main.toml:3, over base.toml:26, a.toml:2, b.toml:2");
    assert_eq!(origin("train.seed"), "b.toml:3, over a.toml:3");
    assert_eq!(origin("train.accumulate"), "default");
    assert_eq!(origin("model.vision.hidden"), "base.toml:8");
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn paths_start_at_the_file_that_names_them() {
    let loaded = main_of(&[
        ("parts/inner/c.toml", "train.seed = 3\n"),
        ("parts/b.toml", "extends = ['inner/c.toml', '../a.toml']\n"),
        ("a.toml", "train.eps = 1e-5\n"),
        ("main.toml", "name = 'main'\nextends = ['base.toml', 'parts/b.toml']\n"),
    ]);
    assert_eq!((loaded.base.train.seed, loaded.base.train.eps), (3, 1e-5));
    assert_eq!(loaded.provenance.get("train.seed").unwrap().to_string(), "parts/inner/c.toml:1");
}

#[test]
fn an_absolute_path_may_leave_the_folder_and_brings_its_own() {
    let elsewhere = Files::new(&[
        ("far.toml", "extends = ['base.toml', 'near.toml']\n"),
        ("near.toml", "train.seed = 5\n"),
    ]);
    let text = format!("name = 'main'\nextends = [{:?}]\n", elsewhere.path("far.toml").display().to_string());
    assert_eq!(main_of(&[("main.toml", &text)]).base.train.seed, 5);
}

#[test]
fn the_same_file_may_be_extended_twice_but_a_tower_of_files_may_not() {
    let loaded = main_of(&[
        ("left.toml", "extends = ['base.toml']\n"),
        ("right.toml", "extends = ['base.toml']\n"),
        ("main.toml", "name = 'main'\nextends = ['left.toml', 'right.toml']\n"),
    ]);
    assert_eq!(loaded.files.len(), 4);

    let tower: Vec<(String, String)> =
        (0..20).map(|i| (format!("f{i}.toml"), format!("extends = ['f{}.toml']\n", i + 1))).collect();
    let mut files: Vec<(&str, &str)> = tower.iter().map(|(name, text)| (&**name, &**text)).collect();
    files.push(("f20.toml", ""));
    let error = Files::new(&files).load("f0.toml", &[]).unwrap_err();
    assert!(error.contains("more than 16 files deep"), "{error}");

    // Each file extends the next one twice: 2^10 readings.
    let fan: Vec<(String, String)> = (0..10)
        .map(|i| (format!("f{i}.toml"), format!("extends = ['f{0}.toml', 'f{0}.toml']\n", i + 1)))
        .collect();
    let mut files: Vec<(&str, &str)> = fan.iter().map(|(name, text)| (&**name, &**text)).collect();
    files.push(("f10.toml", ""));
    let error = Files::new(&files).load("f0.toml", &[]).unwrap_err();
    assert!(error.contains("more than 128 files"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let secret = Files::new(&[("secret.toml", "train.seed = 7\n")]);
    let files = Files::new(&[("main.toml", "name = 'main'\nextends = ['base.toml', 'link.toml']\n")]);
    std::os::unix::fs::symlink(secret.path("secret.toml"), files.path("link.toml")).unwrap();
    let error = files.load("main.toml", &[]).unwrap_err();
    assert!(error.contains("`link.toml` leaves the recipe's folder"), "{error}");
}

#[test]
fn files_that_are_no_recipes_are_refused() {
    let files = Files::new(&[
        ("large.toml", &"#".repeat((1 << 20) + 1)),
        ("main.toml", "name = 'm'\nextends = ['.']\n"),
    ]);
    std::fs::write(files.path("binary.toml"), b"name = 'x'\nseed = \xff\xfe\n").unwrap();
    let error = |name: &str| files.load(name, &[]).unwrap_err();
    assert!(error("large.toml").contains("cannot read the recipe: it is larger than 1 MiB"));
    assert!(error("binary.toml").contains("it is not UTF-8 text (line 2)"));
    assert!(error("absent.toml").contains("there is no such file"));
    assert!(error("main.toml").contains("it is not a regular file"));
    let folder = load(&files.path("."), &options(&[])).unwrap_err().to_string();
    assert!(folder.contains("it is not a regular file"), "{folder}");
}

#[test]
fn a_text_in_memory_extends_files_of_its_folder() {
    let folder = crate::support::folder("good");
    let text = "name = 'memory'\nextends = ['base.toml']\ntrain.steps = 7\n";
    let loaded = load_text(&folder.join("not-there.toml"), text, &options(&[])).unwrap();
    assert_eq!((loaded.base.name.as_str(), loaded.base.train.steps), ("memory", 7));
}

#[test]
fn a_preset_is_expanded_where_it_is_written() {
    // Beside the preset, a key overrides it; inherited keys are overridden by it.
    let loaded = main_of(&[(
        "main.toml",
        "name = 'main'\nextends = ['base.toml']\n\
         [model.vision]\npreset = 'siglip-so400m-patch14-384'\nlayers = 20\n\
         [model.language]\npreset = 'smollm2-135m'\n",
    )]);
    let model = &loaded.base.model;
    assert_eq!((model.vision.hidden, model.vision.layers, model.vision.tokens()), (1152, 20, 729));
    assert_eq!((model.language.hidden, model.language.kv_heads, model.language.head_dim), (576, 3, 64));
    assert_eq!(model.projector.hidden, 576);
    let origin = |path: &str| loaded.provenance.get(path).unwrap().to_string();
    assert_eq!(
        origin("model.vision.layers"),
        "main.toml:5, over base.toml:9, preset siglip-so400m-patch14-384"
    );
    assert_eq!(origin("model.vision.hidden"), "preset siglip-so400m-patch14-384, over base.toml:8");
    // Preset and remainder: 384 = 27 * 14 + 6 is as it should be.
    assert!(loaded.warnings.is_empty());
}

#[test]
fn defaults_follow_from_what_is_written() {
    let recipe = one("inject.toml", &[]);
    assert_eq!(recipe.topology.input.taps(), [VisionAddress::Block(4)]);
    assert_eq!(
        recipe.topology.main.adapter,
        Adapter::Amp { rank: 8, alpha: 8.0, attach: AmpAttach::Parallel, tap_norm: TapNorm::None }
    );
    assert_eq!(recipe.topology.main.fusion, Fusion::GatedAdd { order: FusionOrder::Parallel });
    let Gate::Agf(agf) = recipe.topology.main.gate else { panic!("not an AGF gate") };
    assert_eq!((agf.heads, agf.pool, agf.bias_init), (4, GatePool::Prompt, -2.0));
    assert_eq!(recipe.model.language.head_dim, 24);
    let ungated = one("inject.toml", &["topology.gate=none"]).topology.main.fusion;
    assert_eq!(ungated, Fusion::Add { order: FusionOrder::Parallel });
    let projections = one("inject.toml", &["topology.gate.attention=none"]);
    assert!(matches!(projections.topology.main.gate, Gate::Agf(agf) if agf.heads == 1));
}

#[test]
fn another_kind_leaves_the_old_kinds_keys_behind() {
    // `rank` came with an earlier layer's `amp`; `tap_norm` belongs to every kind and stays.
    let sets = ["topology.adapter.tap_norm=layer", "topology.adapter=per_tap"];
    assert_eq!(one("inject.toml", &sets).topology.main.adapter, Adapter::PerTap { tap_norm: TapNorm::Layer });
    let gate = one("inject.toml", &["topology.gate={ kind = 'constant', value = 0.5 }"]).topology.main.gate;
    assert_eq!(gate, Gate::Constant { value: 0.5 });
    let source = one("base.toml", &["data.source=synthetic", "data.source.train_images=5"]).data.source;
    assert_eq!(
        source,
        Source::Synthetic { train_images: 5, test_images: 64, questions_per_image: 8, image_size: 64 }
    );
}

#[test]
fn a_set_that_names_its_rule_replaces_the_set_before() {
    let blocks =
        |numbers: &[usize]| numbers.iter().map(|block| VisionAddress::Block(*block)).collect::<Vec<_>>();
    let taps = |sets: &[&str]| one("inject.toml", sets).topology.main.taps;
    assert_eq!(taps(&["topology.taps={ every = 1, to = 'block.3' }"]), blocks(&[1, 2, 3]));
    let base = "topology.taps={ every = 1, from = 'block.2' }";
    assert_eq!(taps(&[base, "topology.taps={ count = 2 }"]), blocks(&[1, 4]));
    assert_eq!(taps(&[base, "topology.taps.to='block.3'"]), blocks(&[2, 3]));
    assert_eq!(taps(&[base, "topology.taps.every=2"]), blocks(&[1, 3]));
}

#[test]
fn overrides_are_read_as_toml_and_else_as_strings() {
    let recipe = one(
        "base.toml",
        &[
            "data.image=withheld",
            " train.steps = 1_000 ",
            "train.betas=[0.8, 0.9]",
            "description=a = b",
            "train.warmup=0.5",
            "train.parts.vision.trainable=false",
            "data.cache=",
        ][..6],
    );
    assert_eq!(recipe.data.image, ImageUse::Withheld);
    assert_eq!((recipe.train.steps, recipe.train.betas), (1000, [0.8, 0.9]));
    assert_eq!(recipe.description, "a = b");
    assert_eq!((recipe.train.warmup, recipe.train.warmup_steps()), (Warmup::Fraction(0.5), 500));
    assert!(!recipe.train.parts.vision.trainable);
    assert_eq!(one("base.toml", &["train.warmup=5"]).train.warmup_steps(), 5);
    // The last one wins, and a value cannot smuggle in a second key.
    assert_eq!(one("base.toml", &["train.seed=1", "train.seed=2"]).train.seed, 2);
    assert_eq!(one("base.toml", &["description=1\ntrain.seed=9"]).description, "1\ntrain.seed=9");
}

#[test]
fn an_override_is_part_of_the_provenance() {
    let loaded = good("base.toml", &["train.lr=0.5"]).unwrap();
    assert_eq!(
        loaded.variants[0].provenance.get("train.lr").unwrap().to_string(),
        "--set, over base.toml:26"
    );
    let text = loaded.variants[0].resolved_toml_with_provenance();
    assert!(text.contains("lr = 0.5                                 # --set, over base.toml:26\n"), "{text}");
    assert!(text.contains("seed = 0                                 # default\n"), "{text}");
}

const VARIANTS: &str = "\
name = 'main'
extends = ['base.toml']
[variants.plain]
baseline = true
[variants.short]
description = 'fewer steps'
train.steps = 5
[variants.method]
extends = ['method.toml']
topology.adapter.rank = 2
";

const METHOD: &str = "\
name = 'method'
description = 'a method'
[topology]
taps = { every = 2 }
points = { every = 1, from = 'after layer.1' }
adapter = { kind = 'amp', rank = 4 }
gate = 'static'
";

#[test]
fn variants_are_laid_over_the_recipe_and_over_what_they_extend() {
    let files = Files::new(&[("main.toml", VARIANTS), ("method.toml", METHOD)]);
    let loaded = files.load("main.toml", &[]).unwrap();
    let names: Vec<&str> = loaded.variants.iter().map(|variant| variant.name.as_str()).collect();
    assert_eq!(names, ["plain", "short", "method"]);
    let [plain, short, method] = &loaded.variants[..] else { panic!() };
    assert!(plain.baseline && !short.baseline);
    assert_eq!((plain.recipe.train.steps, short.recipe.train.steps), (100, 5));
    assert_eq!((short.description.as_str(), method.description.as_str()), ("fewer steps", "a method"));
    assert_eq!(method.recipe.name, "main");
    assert_eq!(method.recipe.topology.main.points, [PointAddress::After(1), PointAddress::After(2)]);
    assert!(matches!(method.recipe.topology.main.adapter, Adapter::Amp { rank: 2, .. }));
    let origin = method.provenance.get("topology.adapter.rank").unwrap().to_string();
    assert_eq!(origin, "main.toml:10, over method.toml:6");
    assert!(loaded.variant("short").is_some() && loaded.variant("long").is_none());
}

#[test]
fn an_override_reaches_every_variant_and_one_for_a_variant_wins() {
    let files = Files::new(&[("main.toml", VARIANTS), ("method.toml", METHOD)]);
    let sets = ["variants.method.train.steps=9", "train.steps=7", "variants.plain.description=the plain one"];
    let loaded = files.load("main.toml", &sets).unwrap();
    let steps: Vec<u64> = loaded.variants.iter().map(|variant| variant.recipe.train.steps).collect();
    assert_eq!((steps, loaded.base.train.steps), (vec![7, 7, 9], 7));
    assert_eq!(loaded.variants[0].description, "the plain one");
    assert!(loaded.variants[0].baseline);
}

#[test]
fn a_recipe_may_be_whole_only_in_its_variants() {
    let text = "name = 'main'\nextends = ['base.toml']\n[topology]\ntaps = ['block.1']\n\
                [variants.a.topology]\npoints = ['before layer.0']\n";
    assert!(main_of(&[("main.toml", text)]).variants[0].recipe.topology.injects());
}

#[test]
fn a_variant_of_an_extended_file_is_changed_key_by_key() {
    let loaded = main_of(&[
        (
            "parent.toml",
            "name = 'p'\nextends = ['base.toml']\n[variants.a]\nextends = ['m.toml']\ntrain.seed = 1\n",
        ),
        ("m.toml", "train.eps = 1e-5\ntrain.seed = 9\n"),
        (
            "main.toml",
            "name = 'main'\nextends = ['parent.toml']\n[variants.a]\ntrain.lr = 0.5\n[variants.b]\n",
        ),
    ]);
    let names: Vec<&str> = loaded.variants.iter().map(|variant| variant.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let train = &loaded.variants[0].recipe.train;
    assert_eq!((train.seed, train.eps, train.lr), (1, 1e-5, 0.5));
}

#[test]
fn every_preset_is_complete_and_consistent() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
    let mut seen = 0;
    for path in crate::support::recipes(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_vision = std::fs::read_to_string(&path).unwrap().contains("family = \"vit\"");
        let part = if is_vision { "vision" } else { "language" };
        let set = format!("model.{part}.preset={name}");
        let recipe = good("base.toml", &[&set, "model.language.max_positions=4096"])
            .unwrap_or_else(|diagnostics| panic!("{name}: {diagnostics}"))
            .base;
        let preset = if is_vision { recipe.model.vision.preset } else { recipe.model.language.preset };
        assert_eq!(preset, Some(name));
        seen += 1;
    }
    assert_eq!(seen, 17);
}

#[test]
fn an_override_of_one_kind_reaches_the_variants_that_chose_the_kind() {
    // As the README says; the shipped recipes choose the adapter in their variants.
    for (name, with_rank) in [("quickstart.toml", &["cli"][..]), ("synthetic.toml", &["cli"])] {
        let path = crate::support::shipped().join(name);
        let loaded =
            load(&path, &options(&["topology.adapter.rank=4"])).unwrap_or_else(|error| panic!("{error}"));
        let before = load(&path, &options(&[])).unwrap();
        for (variant, before) in loaded.variants.iter().zip(&before.variants) {
            match &variant.recipe.topology.main.adapter {
                Adapter::Amp { rank, .. } => assert_eq!(*rank, 4, "{name} {}", variant.name),
                _ => assert_eq!(variant.recipe, before.recipe, "{name} {}", variant.name),
            }
            let is_amp = matches!(variant.recipe.topology.main.adapter, Adapter::Amp { .. });
            assert_eq!(is_amp, with_rank.contains(&variant.name.as_str()), "{name} {}", variant.name);
        }
    }
    // With the kind beside it, in whatever order, it is that kind's.
    for sets in [
        ["topology.adapter=amp", "topology.adapter.rank=4"],
        ["topology.adapter.rank=4", "topology.adapter=amp"],
        ["topology.adapter.rank=4", "topology.adapter.kind=amp"],
    ] {
        assert!(
            matches!(one("base.toml", &sets).topology.main.adapter, Adapter::Amp { rank: 4, .. }),
            "{sets:?}"
        );
    }
    // One of a variant may choose the kind, too.
    let path = crate::support::shipped().join("quickstart.toml");
    let sets = [
        "topology.gate.bias_init=-1",
        "topology.gate.value=0.25",
        "variants.projector.topology.gate=constant",
    ];
    let loaded = load(&path, &options(&sets)).unwrap_or_else(|error| panic!("{error}"));
    let gate = |name: &str| loaded.variant(name).unwrap().recipe.topology.main.gate.clone();
    assert_eq!(gate("projector"), Gate::Constant { value: 0.25 });
    assert!(matches!(gate("cli"), Gate::Agf(agf) if agf.bias_init == -1.0));
}

#[test]
fn an_override_that_no_variant_can_take_says_what_to_add() {
    let path = crate::support::shipped().join("quickstart.toml");
    let error = load(&path, &options(&["topology.gate.value=0.5"])).unwrap_err().to_string();
    assert!(error.contains("no variant has chosen the kind `constant`"), "{error}");
    assert!(error.contains("`--set topology.gate.kind=constant`"), "{error}");
    // What it says works.
    load(&path, &options(&["topology.gate.value=0.5", "topology.gate.kind=constant"])).unwrap();
}

#[test]
fn a_swept_variant_is_addressed_by_its_quoted_name() {
    let text = "name = 'main'\nextends = ['base.toml']\n[topology]\ntaps = ['block.1']\npoints = ['before layer.0']\n\
                adapter = 'amp'\n[sweep]\nmatrix.'topology.adapter.rank' = [2, 4]\nmatrix.'train.seed' = [0, 1]\n";
    let variants = "[variants.a]\n[variants.b]\n";
    for (text, own) in [(format!("{text}{variants}"), "a"), (text.to_owned(), "main")] {
        let files = Files::new(&[("main.toml", &text)]);
        let name = format!("{own},rank=4,seed=1");
        for quoted in [format!("\"{name}\""), format!("'{name}'")] {
            let sets = [format!("variants.{quoted}.train.lr=0.5"), "train.lr=0.25".to_owned()];
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            let loaded = files.load("main.toml", &sets).unwrap_or_else(|error| panic!("{error}"));
            for variant in &loaded.variants {
                let expected = if variant.name == name { 0.5 } else { 0.25 };
                assert_eq!(variant.recipe.train.lr, expected, "{}", variant.name);
            }
            assert!(loaded.variant(&name).is_some());
        }
        let error = files.load("main.toml", &[&format!("variants.{name}.train.lr=1")]).unwrap_err();
        assert!(error.contains("in quotes"), "{error}");
        let error = files.load("main.toml", &[&format!("variants.\"{own},rank=4,seed=3\".train.lr=1")]);
        assert!(error.unwrap_err().contains(&format!("{own},rank=4,seed=")), "the nearest");
    }
}

#[test]
fn quoted_keys_are_keys() {
    for set in ["\"train\".seed=7", "train.\"seed\"=7", "'train'.'seed' = 7", " train . seed = 7"] {
        assert_eq!(one("base.toml", &[set]).train.seed, 7, "{set}");
    }
    for set in ["[train]=1", "train.seed=1\ntrain.lr=2\n#=3", "#a=1", "a#b=1"] {
        assert!(good("base.toml", &[set]).is_err(), "{set}");
    }
}

#[cfg(unix)]
#[test]
fn a_linked_recipe_extends_what_lies_beside_the_file_it_leads_to() {
    let real = Files::new(&[
        ("main.toml", "name = 'main'\nextends = ['base.toml', 'parts/a.toml']\n"),
        ("parts/a.toml", "train.seed = 9\n"),
    ]);
    let links = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(real.path("main.toml"), links.path().join("link.toml")).unwrap();
    let loaded =
        load(&links.path().join("link.toml"), &options(&[])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.base.train.seed, 9);
    std::fs::remove_file(real.path("parts/a.toml")).unwrap();
    let error = load(&links.path().join("link.toml"), &options(&[])).unwrap_err().to_string();
    assert!(error.contains("`link.toml` is a link into"), "{error}");
}

#[test]
fn the_input_is_one_vision_state_or_several_and_one_is_written_without_a_list() {
    let input = |set: &str| good("base.toml", &[set]).unwrap().base;
    let several = input("topology.input=['block.2', 'embed']");
    assert_eq!(several.topology.input.taps(), [VisionAddress::Block(2), VisionAddress::Embed]);
    let topology = crossloom_recipe::Topology::new(&several).unwrap();
    assert_eq!(
        topology.inputs().map(crossloom_recipe::Edge::name).collect::<Vec<_>>(),
        ["block.2->input", "embed->input"]
    );
    let written = |recipe| serde_json::to_value(recipe).unwrap()["topology"]["input"].clone();
    assert_eq!(written(&several), serde_json::json!(["block.2", "embed"]));
    assert_eq!(written(&input("topology.input=['block.2']")), serde_json::json!("block.2"));
}

#[test]
fn visual_sources_are_changed_key_by_key_in_variants_and_on_the_command_line() {
    let files = Files::new(&[
        (
            "fused.toml",
            "[topology]\ninput = ['low', 'high']\nsources.low = { kind = 'mean', of = { part = [1, 2] } }\n\
             sources.high = { kind = 'mean', of = { part = [2, 2] } }\n",
        ),
        (
            "main.toml",
            "name = 'main'\nextends = ['base.toml']\n[variants.plain]\n[variants.fused]\nextends = ['fused.toml']\n\
             [variants.other]\nextends = ['fused.toml']\ntopology.sources.low.of = { range = ['block.2', 'block.3'] }\n\
             topology.sources.high = { kind = 'mmfuser', query = 'block.last', of = { count = 2 } }\n",
        ),
    ]);
    let means = |variant: &str, name: &str, sets: &[&str]| {
        let loaded = files.load("main.toml", sets).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let sources = &loaded.variant(variant).unwrap().recipe.topology.sources;
        match sources.get(name) {
            Some(TapSource::Mean { of }) => of.iter().map(ToString::to_string).collect(),
            Some(TapSource::MmFuser(fuser)) => format!("{} heads {:?}", fuser.heads, fuser.of.len()),
            _ => String::new(),
        }
    };
    assert_eq!(means("fused", "low", &[]), "block.1block.2");
    assert_eq!(means("other", "low", &[]), "block.2block.3", "a rule replaces the rule before");
    assert_eq!(means("other", "high", &[]), "4 heads 2", "a kind leaves the other's keys behind");
    let set = ["topology.sources.low.of.every=3"];
    assert_eq!(means("fused", "low", &set), "block.1block.4");
    assert_eq!(means("other", "low", &set), "block.1block.4");
    assert_eq!(means("plain", "low", &set), "", "what has no such source gets none");
    assert_eq!(means("other", "high", &["topology.sources.high.heads=2"]), "2 heads 2");
    assert_eq!(means("fused", "high", &["topology.sources.high.heads=2"]), "block.3block.4");
    let own = ["variants.fused.topology.sources.low.of=['block.4']"];
    assert_eq!([means("fused", "low", &own), means("other", "low", &own)], ["block.4", "block.2block.3"]);
    for (set, told) in [
        ("topology.sources.low.off=2", "no source has a setting `off`"),
        ("topology.sources.lov.of.every=2", "changes nothing"),
        ("topology.sources.low.side=2", "changes nothing"),
    ] {
        let error = files.load("main.toml", &[set]).unwrap_err();
        assert!(error.contains(told), "{set}: {error}");
    }
}

#[test]
fn a_stretch_of_all_layers_is_the_whole_sequence_and_one_of_some_is_written_out() {
    let plain = one("base.toml", &[]);
    let all = one("base.toml", &["topology.stream={ from = 'before layer.0', to = 'after layer.last' }"]);
    assert_eq!(plain.content_hash(), all.content_hash());
    let some = one("base.toml", &["topology.stream.from='before layer.1'"]);
    assert_ne!(plain.content_hash(), some.content_hash());
    let stretch = some.topology.stream.stretch().unwrap();
    assert_eq!(stretch.to.to_string(), format!("after layer.{}", some.model.language.layers - 1));
    assert_eq!(some.visual_positions(), plain.visual_positions());
    let written = serde_json::to_value(&some).unwrap();
    assert_eq!(written["topology"]["stream"]["from"], "before layer.1");
    assert_eq!(serde_json::from_value::<Recipe>(written).unwrap(), some);
}
