//! Sweeps over methods and seeds: run, stopped, continued, compared.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::experiment::MODEL;
use crate::support::{crossloom_in, folder_with};

const SWEEP: &str = r#"
[data]
source = { kind = "synthetic", train_images = 24, test_images = 24, questions_per_image = 3 }
questions_per_sequence = 3

[train]
steps = 4
batch_size = 4
lr = 3e-3
warmup = 1
schedule = "constant"
log_every = 2

[eval]
permutations = 200

[sweep]
methods = ["plain.toml", "gated.toml"]
matrix."train.seed" = [0, 1, 2]
"#;

const GATED: &str = "name = 'gated'\ndescription = 'a gated edge'\n[topology]\ntaps = ['block.1']\n\
    points = ['before layer.0']\ngate = { kind = 'agf', pool = 'image' }\nfusion = 'gated_add'\nadapter = 'shared'\n";

fn folder() -> tempfile::TempDir {
    let recipe = format!("{MODEL}{SWEEP}");
    let plain = "name = 'plain'\ndescription = 'nothing injected'\n";
    folder_with(&[("sweep.toml", &recipe), ("plain.toml", plain), ("gated.toml", GATED)])
}

fn run_folder(folder: &Path) -> PathBuf {
    fs::read_dir(folder.join("runs")).unwrap().next().unwrap().unwrap().path()
}

fn record(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(run_folder(folder).join("run.json")).unwrap()).unwrap()
}

#[test]
fn a_sweep_goes_on_where_it_was_and_seeds_are_one_column() {
    let folder = folder();
    let path = folder.path();
    crossloom_in(path, &["run", "sweep.toml", "--variant", "gated,seed=1"]).exits(0);
    let before = record(path)["variants"]["gated,seed=1"].clone();
    // What is done stays as it is: neither trained nor evaluated again.
    let said = crossloom_in(path, &["run", "sweep.toml", "--resume"]).exits(0);
    assert!(said.err.contains("`gated,seed=1` is done and stays as it is"), "{}", said.err);
    let after = record(path);
    assert_eq!(after["variants"]["gated,seed=1"]["seconds"], before["seconds"]);
    assert_eq!(after["variants"].as_object().unwrap().len(), 6);
    assert_eq!(after["status"]["state"], "finished");
    let again = crossloom_in(path, &["run", "sweep.toml", "--resume", "--json"]).exits(0).json();
    let names: Vec<&str> = (again["comparison"]["columns"].as_array().unwrap().iter())
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["plain", "gated"]);
    assert_eq!(again["comparison"]["columns"][0]["results"]["overall"]["seeds"], 3);
    assert_eq!(again["comparison"]["differences"][0]["overall"]["seeds"], 3);
    let report = fs::read_to_string(run_folder(path).join("report.html")).unwrap();
    for part in ["Score and cost", "Gates are means over 3 seeds", "over seeds and pictures"] {
        assert!(report.contains(part), "{part}");
    }

    // Seeds differ in start values and in order: no two losses are alike.
    let losses: Vec<String> = ["plain,seed=0", "plain,seed=1", "plain,seed=2"]
        .map(|name| after["variants"][name]["final_loss"].to_string())
        .to_vec();
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "{losses:?}");

    compared(path);
}

/// `runs compare` in every form.
fn compared(path: &Path) {
    let form =
        |format: &str| crossloom_in(path, &["runs", "compare", "tiny", "--format", format]).exits(0).out;
    let json: Value = serde_json::from_str(&form("json")).unwrap();
    let columns = json["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 2);
    for column in columns {
        for cost in ["parameters", "trained", "step_flops", "step_ms"] {
            assert!(column["costs"][cost].as_f64().unwrap() > 0.0, "{cost}: {column}");
        }
    }
    assert!(columns[1]["costs"]["step_flops"].as_u64() > columns[0]["costs"]["step_flops"].as_u64());
    assert!(form("text").contains("Seeds, with the standard deviation between them"), "{}", form("text"));
    assert!(form("markdown").starts_with("| model | seeds |") && form("markdown").contains("| gated | 3 | "));
    assert!(form("latex").contains("\\begin{tabular}") && form("latex").contains("gated & 3 & "));
    assert_eq!(form("csv").lines().count(), 3);
    let pictures = ["--report", "page.html", "--pareto", "costs.svg"];
    crossloom_in(path, &[&["runs", "compare", "tiny", "--baseline", "gated"], &pictures[..]].concat())
        .exits(0);
    let page = fs::read_to_string(path.join("page.html")).unwrap();
    assert!(page.contains("Score and cost") && page.contains("block.1"), "the page shows costs and edges");
    assert!(page.contains(": mean gate 0."), "and gates");
    let picture = fs::read_to_string(path.join("costs.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains(">plain</text>"), "{picture}");
    crossloom_in(path, &["runs", "compare", "tiny", "--baseline", "gated,seed=1"])
        .exits(2)
        .complains(&["no column `gated,seed=1`", "plain, gated"]);
}

#[test]
fn seeds_of_two_runs_are_one_column_too() {
    let folder = folder();
    for seed in ["0", "1"] {
        let matrix = format!("sweep.matrix={{ 'train.seed' = [{seed}] }}");
        crossloom_in(folder.path(), &["run", "sweep.toml", "--set", &matrix]).exits(0);
    }
    let runs: Vec<String> = (fs::read_dir(folder.path().join("runs")).unwrap())
        .map(|run| run.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: Vec<&str> = runs.iter().map(String::as_str).collect();
    let compare = [&["runs", "compare"][..], &names, &["--json"]].concat();
    let document = crossloom_in(folder.path(), &compare).exits(0).json();
    let columns: Vec<(&str, u64)> = (document["columns"].as_array().unwrap().iter())
        .map(|column| {
            (column["name"].as_str().unwrap(), column["results"]["overall"]["seeds"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(columns, [("plain", 2), ("gated", 2)]);
}
