//! What the edges of a trained model do in its weights.

use std::path::Path;

use crossloom_run::backends::Resources;
use crossloom_run::verify::{Contributions, contributions};
use crossloom_run::{Data, Entry};

use crate::support::{finish, recipe};

/// The edges of `cli` after a few steps, on all test pictures.
fn trained(sets: &[&str]) -> Contributions {
    let loaded = recipe(sets);
    let out = tempfile::tempdir().unwrap();
    let finished = finish(&loaded, &["cli"], out.path(), Entry::New);
    let recipe = &loaded.variant("cli").unwrap().recipe;
    let data = Data::load(recipe, Path::new("."), &mut |_| {}).unwrap();
    let dir = finished.dir.variant_path("cli").unwrap();
    contributions(&dir, recipe, &data, Resources::default(), 100).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn edges_whose_gates_are_shut_are_dead_in_the_weights_and_could_be_cut() {
    let shut = trained(&[
        "variants.cli.topology.gate={ kind = 'static', init = 0.0 }",
        "train.parts.gate.trainable=false",
    ]);
    assert_eq!((shut.pictures, shut.edges.len()), (6, 13));
    assert!(shut.tokens > 0 && shut.loss.is_finite());
    let (input, injected) = shut.edges.split_first().unwrap();
    assert!(input.edge.ends_with("->input") && input.alive && input.loss != shut.loss, "{input:?}");
    for edge in injected {
        assert!(!edge.alive && edge.spare, "{edge:?}");
        assert_eq!((edge.logits, edge.answers, edge.loss), (0.0, 0.0, shut.loss), "{edge:?}");
    }
}

#[test]
fn edges_that_act_are_alive_and_each_is_cut_by_itself() {
    let open = trained(&["variants.cli.topology.gate={ kind = 'static', init = 0.5 }"]);
    for edge in &open.edges {
        assert!(edge.alive && edge.logits > 1e-4 && edge.with.is_empty(), "{edge:?}");
    }
    let mut changes: Vec<f64> = open.edges.iter().map(|edge| edge.logits).collect();
    changes.sort_by(f64::total_cmp);
    changes.dedup();
    assert_eq!(changes.len(), open.edges.len(), "no two edges do the same");
}

#[test]
fn taps_that_are_mixed_at_the_input_are_told_to_be_cut_together() {
    let mixed = trained(&[
        "variants.cli.topology.input=['block.2', 'post_norm']",
        "variants.cli.topology.adapter='per_tap'",
    ]);
    let names: Vec<&str> = mixed.edges[..2].iter().map(|edge| edge.edge.as_str()).collect();
    assert_eq!(names, ["block.2->input", "post_norm->input"]);
    assert_eq!(mixed.edges[0].with, ["post_norm->input"]);
    assert_eq!(mixed.edges[0].loss, mixed.edges[1].loss);
    assert!(mixed.edges[2..].iter().all(|edge| edge.with.is_empty()));
}
