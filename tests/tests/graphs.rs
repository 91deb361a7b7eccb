//! Golden graphs: what every shipped experiment becomes, stage by stage, as snapshots in `graphs/`.
//!
//! A change of a snapshot is a change of what is computed, how it is fused or where it lies: read the difference before
//! accepting it (`INSTA_UPDATE=always cargo test -p crossloom-tests --test graphs`, then `git diff graphs`). Files that no
//! recipe stands behind fail the last test.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crossloom::stages::{Format, Mode, Shapes, Stage, Subject, render};
use crossloom_recipe::{LoadOptions, LoadedRecipe, load};

/// Recipes whose variants are kept as snapshots.
const RECIPES: [&str; 3] = ["quickstart", "synthetic", "ablations"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn recipe(name: &str) -> LoadedRecipe {
    load(&root().join("recipes").join(format!("{name}.toml")), &LoadOptions::default()).unwrap()
}

/// The stages that are kept: all of the two main variants, the wiring and the summary of the plan of the others.
fn stages(variant: &str) -> Vec<(Stage, Mode, &'static str)> {
    let mut stages = vec![(Stage::Topology, Mode::Forward, "topology"), (Stage::Plan, Mode::Train, "plan")];
    if ["projector", "cli"].contains(&variant) {
        stages.extend([
            (Stage::Luminal, Mode::Forward, "luminal"),
            (Stage::Fused, Mode::Forward, "fused"),
            (Stage::Fused, Mode::Train, "fused.train"),
        ]);
    }
    stages
}

/// The plan in a few lines: the calls themselves follow from the fused code and would churn with every offset.
fn shown(stage: Stage, text: String) -> String {
    if stage == Stage::Plan {
        text.lines().take_while(|line| !line.is_empty()).fold(String::new(), |all, line| all + line + "\n")
    } else {
        text
    }
}

#[test]
fn every_recipe_becomes_the_graphs_that_are_kept() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root().join("graphs").canonicalize().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for name in RECIPES {
            for variant in &recipe(name).variants {
                let shapes = Shapes::of(&variant.recipe).unwrap();
                for (stage, mode, label) in stages(&variant.name) {
                    let subject = Subject { name: &variant.name, recipe: &variant.recipe, shapes, mode };
                    let text = render(&subject, stage, Format::Text).unwrap();
                    insta::assert_snapshot!(file_stem(name, &variant.name, label), shown(stage, text));
                }
            }
        }
    });
}

fn file_stem(recipe: &str, variant: &str, label: &str) -> String {
    format!("{recipe}.{variant}.{label}")
}

#[test]
fn no_graph_is_kept_that_no_recipe_stands_behind() {
    let mut expected = BTreeSet::new();
    for name in RECIPES {
        for variant in &recipe(name).variants {
            for (_, _, label) in stages(&variant.name) {
                expected.insert(format!("{}.snap", file_stem(name, &variant.name, label)));
            }
        }
    }
    let kept: BTreeSet<String> = std::fs::read_dir(root().join("graphs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md" && !name.ends_with(".snap.new"))
        .collect();
    let stale: Vec<_> = kept.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&kept).collect();
    assert!(stale.is_empty() && missing.is_empty(), "stale {stale:?}, missing {missing:?}");
}

#[test]
fn compiling_twice_gives_the_same_bytes() {
    let loaded = recipe("synthetic");
    let variant = loaded.variant("cli").unwrap();
    let shapes = Shapes::of(&variant.recipe).unwrap();
    let plan = || {
        let subject = Subject { name: &variant.name, recipe: &variant.recipe, shapes, mode: Mode::Train };
        render(&subject, Stage::Plan, Format::Text).unwrap()
    };
    assert_eq!(plan(), plan());
}
