//! `verify`: a row per edge, and an exit code.

use crate::support::crossloom;

#[test]
fn every_edge_of_a_recipe_has_a_row_with_what_was_measured() {
    let said = crossloom(&["verify", "recipes/synthetic.toml", "--variant", "cli"]).exits(0);
    let rows: Vec<&str> = said.out.lines().filter(|line| line.contains("->")).collect();
    assert!(said.out.starts_with("cli: 13 edges, all proved"), "{}", said.out);
    for edge in ["post_norm->input", "block.1->layer.0", "block.4->layer.2"] {
        let row = rows.iter().find(|row| row.trim_start().starts_with(edge));
        assert!(row.is_some_and(|row| row.contains("8 positions") && row.contains(" %")), "{}", said.out);
    }
    for shared in ["answers", "questions", "decode", "chunks", "compiled", "frozen"] {
        assert!(said.out.lines().any(|line| line.trim_start().starts_with(shared) && line.contains("holds")));
    }
}

#[test]
fn what_was_measured_is_told_to_programs_too() {
    let said =
        crossloom(&["verify", "recipes/two-stages.toml", "--variant", "in_two", "--json"]).exits(0).json();
    assert_eq!(said["holds"], true);
    let stages: Vec<&str> =
        said["variants"].as_array().unwrap().iter().map(|v| v["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["align", "tune"]);
    // In the first stage the language model and the encoder are frozen, and stay so.
    let frozen =
        |stage: usize| said["variants"][stage]["shared"]["frozen"]["measured"]["weights"].as_f64().unwrap();
    assert!(frozen(0) > 20.0 && frozen(1) == 0.0, "{} {}", frozen(0), frozen(1));
    let edge = &said["variants"][0]["edges"][0];
    assert_eq!(edge["edge"], "post_norm->input");
    for aspect in ["structure", "liveness", "gradient", "alignment", "phase"] {
        assert_eq!(edge["proofs"][aspect]["problems"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn what_edges_of_a_trained_run_change_is_told_in_percent_and_nothing_is_no_percent() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().to_str().unwrap();
    let of = ["--variant", "cli"];
    let sets = ["--set", "train.steps=1", "--out", runs];
    crossloom(&[&["run", "recipes/synthetic.toml"], &of[..], &sets[..]].concat()).exits(0);
    let run = std::fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let said = crossloom(&[&["verify", run.unwrap().to_str().unwrap()], &of[..]].concat()).exits(0);
    assert!(said.out.contains("answers changed"), "{}", said.out);
    assert!(said.out.contains(" 0 %") && !said.out.contains("0e0"), "{}", said.out);
}

/// A weight of zero that nothing trains: what is behind it can never learn.
#[test]
fn edges_that_fail_are_named_and_the_exit_code_says_so() {
    let zero = [
        "--set",
        "variants.cli.topology.gate={ kind = 'static', init = 0.0 }",
        "--set",
        "train.parts.gate.trainable=false",
    ];
    let of = [&["verify", "recipes/synthetic.toml", "--variant", "cli", "--json"], &zero[..]].concat();
    let said = crossloom(&of).exits(1).json();
    assert_eq!(said["holds"], false);
    let edges = said["variants"][0]["edges"].as_array().unwrap();
    let failed = |edge: &&serde_json::Value| edge["proofs"]["gradient"]["problems"][0].is_string();
    let named: Vec<&str> = edges.iter().filter(failed).map(|edge| edge["edge"].as_str().unwrap()).collect();
    assert_eq!(named.len(), 12, "all but the input's: {named:?}");
}
