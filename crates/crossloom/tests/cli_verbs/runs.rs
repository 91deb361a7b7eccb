use std::fs;

use tempfile::TempDir;

use crate::helpers::write_run;
use crate::support::crossloom_in;

fn two_runs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs");
    write_run(&root, "old", 86_400.0, &[("projector", 10), ("cli", 36)], 0);
    write_run(&root, "new", 2.0 * 86_400.0, &[("cli", 30)], 0);
    folder
}

#[test]
fn runs_are_listed_newest_first_and_a_damaged_one_is_told() {
    let folder = two_runs();
    let said = crossloom_in(folder.path(), &["runs", "ls"]).exits(0);
    insta::assert_snapshot!(said.out);
    let broken = folder.path().join("runs/broken-1");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("run.json"), "{").unwrap();
    let said =
        crossloom_in(folder.path(), &["runs", "ls", "--json"]).exits(0).complains(&["warning: ", "broken-1"]);
    let document = said.json();
    let ids: Vec<&str> =
        document["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(ids, ["new-01234567", "old-01234567"]);
    assert_eq!(document["runs"][1]["score"]["cli"], 0.9);
    assert_eq!(document["runs"][1]["metric"]["cli"], "exact_match");
    assert_eq!(document["damaged"].as_array().unwrap().len(), 1);
}

#[test]
fn no_runs_are_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let said = crossloom_in(folder.path(), &["runs", "ls"]).exits(0).complains(&["no runs in `runs`"]);
    assert_eq!(said.out, "");
    let document = crossloom_in(folder.path(), &["runs", "ls", "--json"]).exits(0).json();
    assert_eq!(document["runs"].as_array().unwrap().len(), 0);
}

#[test]
fn a_run_is_shown_by_the_beginning_of_its_name() {
    let folder = two_runs();
    let said = crossloom_in(folder.path(), &["runs", "show", "old"]).exits(0);
    insta::assert_snapshot!(said.out);
    let document =
        crossloom_in(folder.path(), &["runs", "show", "runs/old-01234567", "--json"]).exits(0).json();
    assert_eq!(document["record"]["variants"]["cli"]["steps"], 1200);
    assert_eq!(document["results"]["cli"]["overall"]["mean"], 0.9);
}

#[test]
fn a_run_that_is_not_there_or_not_told_apart_is_an_error_that_lists_them() {
    let folder = two_runs();
    write_run(&folder.path().join("runs"), "older", 0.0, &[("cli", 3)], 0);
    crossloom_in(folder.path(), &["runs", "show", "old"])
        .exits(2)
        .complains(&["several runs begin with `old`", "old-01234567, older-01234567"]);
    crossloom_in(folder.path(), &["runs", "show", "x"]).exits(2).complains(&["no run `x`", "new-01234567"]);
    crossloom_in(folder.path(), &["runs", "show", "old-01234567"]).exits(0);
}

#[test]
fn variants_of_one_run_are_compared_on_the_same_questions() {
    let folder = two_runs();
    let compare = ["runs", "compare", "old", "--baseline", "projector"];
    let said = crossloom_in(folder.path(), &compare).exits(0);
    let table = &said.out;
    assert!(table.contains("projector") && table.contains("cli - projector (points)"), "{table}");
    assert!(table.contains("0.250 [") && table.contains("0.900 ["), "{table}");
    let document = crossloom_in(folder.path(), &[&compare[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(document["baseline"], "projector");
    let difference = &document["differences"][0];
    assert!((difference["overall"]["difference"].as_f64().unwrap() - 0.65).abs() < 1e-9, "{difference}");
    assert_eq!(difference["only_first"], 26);
}

#[test]
fn variants_of_several_runs_have_the_runs_name_in_front() {
    let folder = two_runs();
    let compare = ["runs", "compare", "old/cli", "new/cli", "--json"];
    let document = crossloom_in(folder.path(), &compare).exits(0).json();
    let columns: Vec<&str> = document["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["old-01234567/cli", "new-01234567/cli"]);
    let reference = ["runs", "compare", "old", "new", "--reference", "old-01234567/projector", "--json"];
    let document = crossloom_in(folder.path(), &reference).exits(0).json();
    assert_eq!(document["columns"][0]["role"], "reference");
    assert_eq!(document["baseline"], "old-01234567/cli");
}

#[test]
fn other_questions_unknown_variants_and_unknown_columns_cannot_be_compared() {
    let folder = two_runs();
    write_run(&folder.path().join("runs"), "else", 5.0, &[("cli", 3)], 7);
    crossloom_in(folder.path(), &["runs", "compare", "old/cli", "else/cli"])
        .exits(1)
        .complains(&["different samples", "old-01234567/cli"]);
    crossloom_in(folder.path(), &["runs", "compare", "old/clip"])
        .exits(2)
        .complains(&["no variant `clip`", "projector, cli"]);
    crossloom_in(folder.path(), &["runs", "compare", "old", "--baseline", "clip"])
        .exits(2)
        .complains(&["no column `clip`", "projector, cli"]);
    fs::write(folder.path().join("runs/old-01234567/cli/samples.jsonl"), "{\"id\": 3}\n").unwrap();
    crossloom_in(folder.path(), &["runs", "compare", "old"]).exits(1).complains(&["samples.jsonl"]);
}
