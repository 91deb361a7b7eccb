//! No text, however broken, makes the loader panic or loop.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use crossloom_recipe::{LoadOptions, Topology, load_text};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn any_text(text: &str, sets: Vec<String>) {
    let path = crate::support::folder("good").join("memory.toml");
    match load_text(&path, text, &LoadOptions { sets }) {
        Ok(loaded) => {
            for variant in &loaded.variants {
                let topology = Topology::new(&variant.recipe).unwrap();
                assert!(topology.picture(None).to_svg().ends_with("</svg>\n"));
                let again = variant.resolved_toml_with_provenance();
                let again = load_text(Path::new("again.toml"), &again, &LoadOptions::default()).unwrap();
                assert_eq!(again.base, variant.recipe);
            }
        }
        Err(diagnostics) => {
            assert!(diagnostics.errors() > 0);
            assert!(!diagnostics.to_string().is_empty());
        }
    }
}

/// A recipe that uses most of the schema.
fn rich() -> String {
    let folder = crate::support::folder("good");
    let base = std::fs::read_to_string(folder.join("base.toml")).unwrap();
    let inject = std::fs::read_to_string(folder.join("inject.toml")).unwrap();
    let inject = inject.split_once("[topology]").unwrap().1;
    format!(
        "{base}\n[topology]\n{inject}\n[variants.a]\ntopology.taps = {{ count = 2 }}\nbaseline = true\n\
         [variants.b]\nextends = ['inject.toml']\ntopology.gate = 'none'\n\
         [sweep.matrix]\n\"train.seed\" = [0, 1]\n"
    )
}

#[test]
fn the_rich_recipe_is_a_recipe() {
    let path = crate::support::folder("good").join("memory.toml");
    let loaded = load_text(&path, &rich(), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.variants.len(), 4);
}

#[test]
fn deep_nesting_and_long_lines_are_errors() {
    any_text(&format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)), Vec::new());
    any_text(&format!("{}x = 1", "a.".repeat(50_000)), Vec::new());
    any_text(&format!("name = \"{}\nlr = ?", "x".repeat(500_000)), Vec::new());
    any_text(
        "",
        vec![format!("{}x=1", "a.".repeat(10_000)), "=".to_owned(), String::new(), "a=\u{0}".to_owned()],
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        any_text(&String::from_utf8_lossy(&bytes), Vec::new());
    }

    #[test]
    fn arbitrary_overrides(sets in proptest::collection::vec("[a-z.\\[\\]{}='\" 0-9\\-\n]{0,40}", 0..4)) {
        any_text(&rich(), sets);
    }

    #[test]
    fn overrides_of_known_paths(
        path in prop::sample::select(vec![
            "train.steps", "topology.taps", "topology.points", "topology.wiring", "topology.gate", "topology.adapter",
            "model.vision.layers", "model.vision.heads", "model.vision.patch_size", "model.language.heads",
            "model.vision.preset", "data.source", "sweep.matrix", "variants.a", "variants.b.topology.taps", "name",
        ]),
        value in prop::sample::select(vec![
            "0", "1", "-1", "9223372036854775807", "99999999999999999999", "1.5", "nan", "inf", "true", "x", "''", "[]",
            "[[]]", "[1, 'a']", "{}", "{ every = 1 }", "{ count = 1024 }", "{ range = ['block.1', 'block.1'] }",
            "{ kind = 'agf' }", "{ kind = 3 }", "[['block.1', 'before layer.0']]", "['block.last']", "1979-05-27",
            "'siglip-so400m-patch14-384'",
        ]),
    ) {
        any_text(&rich(), vec![format!("{path}={value}")]);
    }

    #[test]
    fn a_damaged_recipe(cuts in proptest::collection::vec((0.0..1.0f64, 0usize..12, "[a-z0-9.\\[\\]{}=\"',\n]{0,6}"), 1..4)) {
        let mut text: Vec<char> = rich().chars().collect();
        for (place, length, new) in cuts {
            let start = (place * text.len() as f64) as usize;
            let end = (start + length).min(text.len());
            text.splice(start..end, new.chars());
        }
        any_text(&text.into_iter().collect::<String>(), Vec::new());
    }
}
