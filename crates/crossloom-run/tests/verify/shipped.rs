//! Every shipped recipe passes.

use std::path::PathBuf;

use crossloom_recipe::{LoadOptions, load, load_text, load_with};
use crossloom_run::start::architecture;
use crossloom_run::verify::{Built, verify};

use crate::support::{recipes, said};

/// The recipes of a folder, in order.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_variant_of_every_shipped_recipe_is_wired_as_it_says() {
    let mut wrong = String::new();
    for path in files(recipes()) {
        let loaded = load(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        for variant in &loaded.variants {
            for recipe in variant.recipe.by_stage() {
                let verified =
                    verify(&recipe, &Built).unwrap_or_else(|e| panic!("{path:?} {}: {e}", variant.name));
                wrong += &said(&verified);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_shipped_method_is_wired_as_it_says_between_models_of_seven_billion_weights() {
    let mut wrong = String::new();
    let methods = files(recipes().join("methods"));
    assert!(methods.len() > 10, "{methods:?}");
    for method in methods {
        let name = method.file_name().unwrap().to_str().unwrap();
        let text = format!(
            "name = \"method\"\nextends = [\"{name}\"]\n[model]\nvision.preset = \"clip-vit-large-patch14-336\"\n\
             language.preset = \"qwen2-7b\"\n[data]\nsource = {{ kind = \"synthetic\", train_images = 8, \
             test_images = 8 }}\nquestions_per_sequence = 1\n[train]\nsteps = 1\nbatch_size = 1\nlr = 1e-3\n"
        );
        let path = recipes().join("methods/of-seven-billion.toml");
        let loaded =
            load_text(&path, &text, &LoadOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let verified = verify(&loaded.base, &Built).unwrap_or_else(|error| panic!("{name}: {error}"));
        wrong += &said(&verified);
    }
    assert!(wrong.is_empty(), "{wrong}");
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
