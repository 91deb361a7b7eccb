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
