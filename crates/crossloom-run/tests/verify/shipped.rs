//! Every shipped recipe passes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crossloom_recipe::{LoadOptions, Recipe, Train, load, load_with};
use crossloom_run::start::architecture;
use crossloom_run::verify::{Built, verify};
use rayon::prelude::*;

use crate::support::{of_method, recipes, said};

/// The recipes of a folder, in order.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    files
}

/// What a proof is about: a seed, a number of steps and data change nothing of it.
fn wiring(recipe: &Recipe) -> String {
    let Recipe { model, topology, data, train, .. } = recipe;
    let train = Train { seed: 0, steps: 0, ..train.clone() };
    format!("{model:?} {topology:?} {train:?} {}", data.questions_per_sequence)
}

/// All that is wrong with some recipes, each of which has a name.
fn wrong(recipes: &[(String, Recipe)]) -> String {
    let of = |(name, recipe): &(String, Recipe)| {
        let verified = verify(recipe, &Built).unwrap_or_else(|error| panic!("{name}: {error}"));
        verified.problems().map(|(of, problem)| format!("{name}, {of}: {problem}\n")).collect::<String>()
    };
    recipes.par_iter().map(of).collect::<Vec<_>>().concat()
}

#[test]
fn every_variant_of_every_shipped_recipe_and_study_is_wired_as_it_says() {
    let (mut recipes_of, mut proved) = (Vec::new(), BTreeSet::new());
    let studies = files(recipes().join("studies"));
    assert!(studies.len() >= 4, "{studies:?}");
    for path in files(recipes()).into_iter().chain(studies) {
        let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        for variant in loaded.variants {
            let of = |recipe| (format!("{} {}", path.display(), variant.name), recipe);
            let stages = variant.recipe.by_stage().into_iter().filter(|recipe| proved.insert(wiring(recipe)));
            recipes_of.extend(stages.map(of));
        }
    }
    assert_eq!(wrong(&recipes_of), "");
}

#[test]
fn every_shipped_method_is_wired_as_it_says_between_models_of_seven_billion_weights() {
    let methods = files(recipes().join("methods"));
    assert!(methods.len() > 10, "{methods:?}");
    let of = |method: PathBuf| {
        let name = method.file_name().unwrap().to_str().unwrap().to_owned();
        let recipe = of_method(&name, ["clip-vit-large-patch14-336", "qwen2-7b"]);
        (name, recipe)
    };
    assert_eq!(wrong(&methods.into_iter().map(of).collect::<Vec<_>>()), "");
}

#[test]
fn wirings_of_published_models_are_what_they_say() {
    let reference = recipes().join("../crates/crossloom-model/tests/reference");
    for name in ["clip_llama_layers", "qwen3_vl", "granite_vision", "siglip_granite"] {
        let path = reference.join(format!("{name}.toml"));
        let loaded = load_with(&path, &LoadOptions::default(), &architecture);
        let loaded = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
        let verified = verify(&loaded.base, &Built).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(verified.holds(), "{name}: {}", said(&verified));
    }
}
