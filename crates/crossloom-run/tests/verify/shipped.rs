//! Every shipped recipe passes.

use std::time::Instant;

use crossloom_recipe::{LoadOptions, load};
use crossloom_run::verify::{Built, verify};

use crate::support::{recipes, said};

#[test]
fn every_variant_of_every_shipped_recipe_is_wired_as_it_says() {
    let mut wrong = String::new();
    for file in std::fs::read_dir(recipes()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        for variant in &loaded.variants {
            for recipe in variant.recipe.by_stage() {
                let start = Instant::now();
                let verified =
                    verify(&recipe, &Built).unwrap_or_else(|e| panic!("{path:?} {}: {e}", variant.name));
                println!("{path:?} {} {:?} edges {}", variant.name, start.elapsed(), verified.edges.len());
                if !verified.holds() {
                    wrong += &format!("{} {}:\n{}", path.display(), variant.name, said(&verified));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Encoder and decoder of published models, at their depth.
const MODELS: [(&str, &str); 2] =
    [("siglip-so400m-patch14-384-26", "qwen2-7b"), ("clip-vit-large-patch14-336", "vicuna-7b-v1.5")];

#[test]
fn every_shipped_method_is_wired_as_it_says_between_models_of_seven_billion_weights() {
    let mut wrong = String::new();
    let mut methods: Vec<_> =
        std::fs::read_dir(recipes().join("methods")).unwrap().map(|file| file.unwrap().path()).collect();
    methods.sort();
    for (vision, language) in MODELS {
        for method in &methods {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("recipe.toml");
            let text = format!(
                "name = \"method\"\nextends = [{method:?}]\n[model]\nvision.preset = \"{vision}\"\n\
                 language.preset = \"{language}\"\n[data]\nsource = {{ kind = \"synthetic\", train_images = 8, \
                 test_images = 8 }}\nquestions_per_sequence = 1\n[train]\nsteps = 1\nbatch_size = 1\nlr = 1e-3\n"
            );
            std::fs::write(&path, text).unwrap();
            let loaded =
                load(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{method:?}: {error}"));
            let start = Instant::now();
            let verified = verify(&loaded.base, &Built).unwrap_or_else(|e| panic!("{method:?}: {e}"));
            println!("{vision} {method:?} {:?} edges {}", start.elapsed(), verified.edges.len());
            if !verified.holds() {
                wrong += &format!("{vision} {}:\n{}", method.display(), said(&verified));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
