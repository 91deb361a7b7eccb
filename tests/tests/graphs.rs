//! Golden graphs: what every shipped experiment becomes, stage by stage, as snapshots in `graphs/`.
//!
//! Of every variant of every recipe in `recipes/`, and of every new one in `recipes/studies/`, there are four: the topology, the luminal graph, the fused IR of the
//! forward pass, and the summary of the training step's plan. The graph and the IR of the two main variants are kept in
//! full, with the fused training step and what reads one token when questions are answered; those of the others as the
//! number of ops of each kind by scope, because most of their text is that of the main ones.
//!
//! A change of a snapshot is a change of what is computed, how it is fused or where it lies: read the difference before
//! accepting it (`INSTA_UPDATE=always cargo test -p crossloom-tests --test graphs`, then `git diff graphs`). Files that no
//! recipe stands behind fail a test.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod shipped;

use std::collections::{BTreeMap, BTreeSet};

use crossloom_recipe::{Recipe, Variant};
use crossloom_run::backends::Backend;
use crossloom_run::cells::standing_for_seeds;
use crossloom_run::stages::{Depth, Format, Mode, Shapes, Stage, Subject, render};
use serde_json::Value;
use shipped::{recipe, recipes, root, studies};

/// Variants whose graphs are kept in full.
const MAIN: [&str; 2] = ["projector", "cli"];

/// How a snapshot shows a stage.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    /// The text.
    Full,
    /// The text up to the first empty line: of a plan its summary. The calls follow from the fused code and would churn
    /// with every offset.
    Head,
    /// The number of ops of each kind by scope.
    Counts,
}

/// What is kept of a variant: stage, mode, end of the file's name, how it is shown.
fn stages(variant: &str) -> Vec<(Stage, Mode, &'static str, Shown)> {
    let main = MAIN.contains(&variant);
    let shown = if main { Shown::Full } else { Shown::Counts };
    let mut stages = vec![
        (Stage::Topology, Mode::Forward, "topology", Shown::Full),
        (Stage::Luminal, Mode::Forward, "luminal", shown),
        (Stage::Fused, Mode::Forward, "fused", shown),
        (Stage::Plan, Mode::Train, "plan", Shown::Head),
    ];
    if main {
        stages.push((Stage::Fused, Mode::Train, "fused.train", Shown::Full));
        stages.push((Stage::Fused, Mode::Decode, "fused.decode", Shown::Full));
    }
    stages
}

fn text(subject: &Subject<'_>, stage: Stage, shown: Shown) -> String {
    let format = if shown == Shown::Counts { Format::Json } else { Format::Text };
    let text = render(subject, stage, format, Depth::Nodes).unwrap();
    match shown {
        Shown::Full => text,
        Shown::Head => text
            .lines()
            .take_while(|line| !line.is_empty())
            .fold(String::new(), |all, line| all + line + "\n"),
        Shown::Counts => counts(&serde_json::from_str(&text).unwrap()),
    }
}

/// One line per scope, in alphabetical order: what it has of each op.
fn counts(graph: &Value) -> String {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_functions = list(&graph["functions"]).into_iter().flat_map(|function| list(&function["insts"]));
    let ops = list(&graph["nodes"]).into_iter().filter(|node| node["kind"] == "op").chain(of_functions);
    let mut scopes: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for op in ops {
        let name = op["op"].as_str().unwrap().split([' ', '{']).next().unwrap().to_owned();
        let scope = op["scope"].as_str().unwrap_or_default().to_owned();
        *scopes.entry(scope).or_default().entry(name).or_default() += 1;
    }
    let line = |ops: BTreeMap<String, usize>| {
        ops.into_iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    scopes.into_iter().fold(String::new(), |all, (scope, ops)| all + &scope + ": " + &line(ops) + "\n")
}

#[test]
fn every_recipe_becomes_the_graphs_that_are_kept() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root().join("graphs").canonicalize().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, name_of, recipe) in &kept() {
            let shapes = Shapes::of(recipe).unwrap();
            for (stage, mode, label, shown) in stages(name_of) {
                let backend = Backend::default();
                let subject = Subject { name: name_of, recipe, shapes, mode, backend, verify: false };
                insta::assert_snapshot!(file_stem(name, name_of, label), text(&subject, stage, shown));
            }
        }
    });
}

/// Every variant that is kept: of which recipe, its name, and its recipe. Of studies, those whose graphs no variant before them has: seeds
/// and the amount of data are in no graph.
fn kept() -> Vec<(String, String, Recipe)> {
    let mut kept = Vec::new();
    let mut seen = BTreeSet::new();
    for name in recipes().into_iter().chain(studies()) {
        let loaded = recipe(&name);
        let variants: Vec<&Variant> = loaded.variants.iter().collect();
        for (variant, of) in standing_for_seeds(&variants) {
            let mut graph = of.recipe.clone();
            graph.data.train_limit = None;
            let is_new = seen.insert(graph.repeated_hash());
            match name.strip_prefix("studies/") {
                None => kept.push((name.clone(), variant, of.recipe.clone())),
                Some(study) if is_new => kept.push((study.to_owned(), variant, of.recipe.clone())),
                Some(_) => {}
            }
        }
    }
    kept
}

fn file_stem(recipe: &str, variant: &str, label: &str) -> String {
    format!("{recipe}.{variant}.{label}")
}

#[test]
fn no_graph_is_kept_that_no_recipe_stands_behind() {
    let mut expected = BTreeSet::new();
    for (name, variant, _) in kept() {
        for (_, _, label, _) in stages(&variant) {
            expected.insert(format!("{}.snap", file_stem(&name, &variant, label)));
        }
    }
    let kept: BTreeSet<String> = std::fs::read_dir(root().join("graphs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // A comparison that fails at the same time leaves its new text beside the old one.
        .filter(|name| !name.ends_with(".snap.new"))
        .collect();
    let stale: Vec<_> = kept.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&kept).collect();
    assert!(stale.is_empty() && missing.is_empty(), "stale {stale:?}, missing {missing:?}");
}

/// Nothing of an injection is left once the prompt is read: a token costs what it costs without one.
#[test]
fn what_reads_one_token_is_the_same_with_an_injection_and_without() {
    let mut compared = 0;
    for name in recipes() {
        let loaded = recipe(&name);
        let [Some(plain), Some(injected)] = MAIN.map(|main| loaded.variant(main)) else { continue };
        compared += 1;
        let shown = |variant: &crossloom_recipe::Variant, mode| {
            let (name, recipe) = ("one", &variant.recipe);
            let shapes = Shapes::of(recipe).unwrap();
            let subject = Subject { name, recipe, shapes, mode, backend: Backend::default(), verify: false };
            render(&subject, Stage::Plan, Format::Text, Depth::Nodes).unwrap()
        };
        assert_eq!(shown(plain, Mode::Decode), shown(injected, Mode::Decode), "{name}");
        assert_ne!(shown(plain, Mode::Prefill), shown(injected, Mode::Prefill), "{name}");
    }
    assert!(compared > 2, "{compared}");
}

#[test]
fn compiling_twice_gives_the_same_bytes() {
    let loaded = recipe("synthetic");
    let variant = loaded.variant("cli").unwrap();
    let shapes = Shapes::of(&variant.recipe).unwrap();
    let plan = || {
        let (name, recipe) = (&variant.name, &variant.recipe);
        let subject =
            Subject { name, recipe, shapes, mode: Mode::Train, backend: Backend::default(), verify: false };
        render(&subject, Stage::Plan, Format::Text, Depth::Nodes).unwrap()
    };
    assert_eq!(plan(), plan());
}
