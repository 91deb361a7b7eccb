//! Every way in which a recipe can be wrong, and what is said about it.
//!
//! Each file of `tests/bad` is one case; lines that start with `#! --set` are overrides. A new case needs no Rust: add a
//! file, run with `INSTA_UPDATE=always`, and read the new snapshot.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use crossloom_recipe::{LoadOptions, load};

#[test]
fn bad_recipes_are_explained() {
    let folder = support::folder("bad");
    let prefix = format!("{}/", folder.display());
    for path in support::recipes(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Parts of other cases.
        if ["base", "inject"].contains(&&*name) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let sets =
            text.lines().filter_map(|line| line.strip_prefix("#! --set ")).map(str::to_owned).collect();
        let Err(diagnostics) = load(&path, &LoadOptions { sets }) else { panic!("{name} has no error") };
        assert!(diagnostics.errors() > 0, "{name}");
        for diagnostic in &diagnostics.list {
            let location = diagnostic.location.as_ref().expect("every finding has a place");
            assert!(location.end >= location.start && location.line > 0 && location.column > 0);
            let help = diagnostic.help.as_deref().unwrap_or_default();
            assert!(help.len() > 5, "{name}: no hint for {}", diagnostic.message);
        }
        insta::assert_snapshot!(name, diagnostics.to_string().replace(&prefix, ""));
    }
}

#[test]
fn diagnostics_are_data_too() {
    let path = support::folder("bad").join("prompt-pooling.toml");
    let diagnostics = load(&path, &LoadOptions::default()).unwrap_err();
    let json = serde_json::to_value(&diagnostics).unwrap();
    let first = &json[0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["location"]["line"], 8);
    assert_eq!(first["location"]["excerpt"], "gate = { kind = \"agf\", bias_init = -2 }");
    assert!(first["help"].as_str().unwrap().contains("pool = \"image\""));
}
