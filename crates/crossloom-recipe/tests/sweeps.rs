//! `[sweep]`: which variants a matrix expands into, and what they are called.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use crossloom_recipe::LoadedRecipe;
use support::Files;

fn swept(sweep: &str, sets: &[&str]) -> LoadedRecipe {
    let inject = std::fs::read_to_string(support::folder("good").join("inject.toml")).unwrap();
    let main = format!("name = 'main'\nextends = ['inject.toml']\n{sweep}");
    let files = Files::new(&[("inject.toml", &inject), ("main.toml", &main)]);
    files.load("main.toml", sets).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn names(loaded: &LoadedRecipe) -> Vec<&str> {
    loaded.variants.iter().map(|variant| variant.name.as_str()).collect()
}

#[test]
fn the_last_axis_varies_fastest() {
    let loaded = swept("[sweep.matrix]\n'topology.adapter.rank' = [4, 8]\n'train.lr' = [1e-3, 2]\n", &[]);
    assert_eq!(
        names(&loaded),
        ["main,rank=4,lr=0.001", "main,rank=4,lr=2", "main,rank=8,lr=0.001", "main,rank=8,lr=2"]
    );
    let last = &loaded.variants[3];
    assert_eq!(last.recipe.train.lr, 2.0);
    assert_eq!(last.axes["topology.adapter.rank"], "8");
    assert_eq!(last.provenance.get("train.lr").unwrap().to_string(), "main.toml:5, over base.toml:26");
}

#[test]
fn axes_of_the_same_name_are_told_apart_and_nested_keys_are_the_same_axis() {
    let loaded = swept("[sweep.matrix]\ntrain.seed = [1]\ndata.seed = [2]\n'eval.split' = ['test']\n", &[]);
    assert_eq!(names(&loaded), ["main,train.seed=1,data.seed=2,split=test"]);
}

#[test]
fn values_of_every_type_have_safe_names() {
    let loaded = swept(
        "[sweep.matrix]\n\
         'topology.taps' = [{ every = 2 }, ['block.1', 'post_norm'], ['block.1']]\n\
         'model.vision.post_norm' = [true]\n\
         'data.cache' = ['a/b c', 'a-b-c', 'a very long name of a folder that nobody wants to read in full']\n",
        &[],
    );
    insta::assert_snapshot!(names(&loaded).join("\n"));
    for name in names(&loaded) {
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-=,~".contains(c)), "{name}");
    }
}

#[test]
fn a_name_that_would_be_no_folder_is_refused_before_anything_runs() {
    let inject = std::fs::read_to_string(support::folder("good").join("inject.toml")).unwrap();
    // `NAME,rank=4` and `NAME,rank=16`: the first has 64 letters.
    let variant = "v".repeat(57);
    let load = |name: &str| {
        let sweep = "[sweep.matrix]\n'topology.adapter.rank' = [4, 16]\n";
        let main = format!("name = 'main'\nextends = ['inject.toml']\n[variants.{name}]\n{sweep}");
        Files::new(&[("inject.toml", &inject), ("main.toml", &main)]).load("main.toml", &[])
    };
    let loaded = load(&variant[2..]).unwrap();
    assert!(names(&loaded).iter().all(|name| name.len() <= 64));
    let error = load(&variant).unwrap_err();
    assert_eq!(error.matches("error:").count(), 1, "{error}");
    assert!(
        error.contains(",rank=16`, whose name has 65 letters") && error.contains("shorter values"),
        "{error}"
    );
}

#[test]
fn only_the_chosen_variants_are_swept() {
    let text = "[variants.plain]\nbaseline = true\n[variants.cli]\n\
                [sweep]\nvariants = ['cli']\nmatrix.'topology.gate' = ['agf', 'static']\n";
    let loaded = swept(text, &[]);
    assert_eq!(names(&loaded), ["plain", "cli,gate=agf", "cli,gate=static"]);
    assert!(loaded.variants[0].axes.is_empty());
    // From the command line, with the same names.
    let loaded = swept(text, &["sweep.matrix.\"topology.gate\"=['static']", "sweep.variants=['plain']"]);
    assert_eq!(names(&loaded), ["plain,gate=static", "cli"]);
}

#[test]
fn an_override_is_stronger_than_a_sweep() {
    let loaded = swept("[sweep.matrix]\n'train.seed' = [1, 2]\n", &["train.seed=3"]);
    assert!(loaded.variants.iter().all(|variant| variant.recipe.train.seed == 3));
}

/// A sweep over two methods, of which one is changed, and two seeds.
fn over_methods(sweep: &str) -> Result<LoadedRecipe, String> {
    let inject = std::fs::read_to_string(support::folder("good").join("inject.toml")).unwrap();
    let main = format!("name = 'main'\nextends = ['inject.toml']\n{sweep}");
    let method =
        |gate: &str| format!("name = 'a method'\ndescription = '{gate}'\n[topology]\ngate = '{gate}'\n");
    let (one, two) = (method("agf"), method("static"));
    let files =
        [("inject.toml", inject.as_str()), ("m/one.toml", &one), ("m/two.toml", &two), ("main.toml", &main)];
    Files::new(&files).load("main.toml", &[])
}

#[test]
fn methods_times_seeds_are_a_few_lines() {
    let sweep = "[sweep]\nmethods = ['m/two.toml', 'm/one.toml']\nmatrix.'train.seed' = [0, 1]\n";
    let loaded = over_methods(sweep).unwrap();
    assert_eq!(names(&loaded), ["two,seed=0", "two,seed=1", "one,seed=0", "one,seed=1"]);
    assert_eq!(loaded.variants[0].description, "static");
    assert_ne!(loaded.variants[0].recipe.topology, loaded.variants[2].recipe.topology);
    // What is said of a variant is laid over its method; one of no method stays, behind them.
    let more = "[variants.plain]\n[variants.one]\nbaseline = true\ntrain.lr = 0.5\n";
    let loaded = over_methods(&format!("{sweep}variants = ['one']\n{more}")).unwrap();
    assert_eq!(names(&loaded), ["two", "one,seed=0", "one,seed=1", "plain"]);
    assert!(loaded.variants[1].baseline && loaded.variants[1].recipe.train.lr == 0.5);
    assert_eq!(loaded.variants[1].description, "agf");
    // Methods alone are no matrix.
    assert_eq!(names(&over_methods("[sweep]\nmethods = ['m/one.toml']\n").unwrap()), ["one"]);
}

#[test]
fn methods_that_are_no_files_or_share_a_name_are_told() {
    let told = |methods: &str| over_methods(&format!("[sweep]\nmethods = {methods}\n")).unwrap_err();
    for (methods, expected) in [
        ("'m/one.toml'", "must be a list of files"),
        ("[3]", "lists files, found"),
        ("['m/none.toml']", "there is no such file"),
        ("['m/one.toml', 'm/one.toml']", "two methods are called `one`"),
        ("['m/bad name.toml']", "names no variant"),
    ] {
        let error = told(methods);
        assert!(error.contains(expected), "{methods}: {error}");
    }
}
