//! Recipes with stages, through the program.

use std::fs;

use crate::support::{Said, crossloom, crossloom_in, workspace};

/// The shipped recipe, in small.
const SMALL: [&str; 16] = [
    "--set",
    "data.source={ kind = 'synthetic', train_images = 12, test_images = 6, questions_per_image = 4 }",
    "--set",
    "data.questions_per_sequence=4",
    "--set",
    "stage.align.data={ source = { kind = 'synthetic', train_images = 8 }, questions_per_sequence = 2 }",
    "--set",
    "stage.align.train.steps=3",
    "--set",
    "stage.tune.train.steps=2",
    "--set",
    "train.warmup=1",
    "--set",
    "train.batch_size=4",
    "--set",
    "eval.permutations=100",
];

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_recipe_with_stages_is_checked_explained_and_resolved_stage_by_stage() {
    let recipe = "recipes/two-stages.toml";
    let said = crossloom(&["check", recipe]).exits(0);
    has(&said.out, &["in_two (1 edge, stages align, tune)", "at_once (1 edge)"]);
    let json = crossloom(&["check", recipe, "--json"]).exits(0).json();
    let variant = &json["recipes"][0]["variants"][0];
    assert_eq!(variant["stages"], serde_json::json!(["align", "tune"]));

    let json = crossloom(&["explain", recipe, "--variant", "in_two", "--json"]).exits(0).json();
    let [align, tune] = &json["variants"].as_array().unwrap()[..] else { panic!("two stages: {json}") };
    assert_eq!((align["stage"].as_str(), tune["stage"].as_str()), (Some("align"), Some("tune")));
    assert_eq!(align["parameters"]["language"]["trained"], 0);
    assert_eq!(tune["parameters"]["language"]["trained"], tune["parameters"]["language"]["total"]);
    assert_eq!(align["shapes"]["vocab"], tune["shapes"]["vocab"], "one vocabulary");
    let total = |of: &serde_json::Value| -> u64 {
        of["run"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum()
    };
    // What a run is checked for is its largest stage.
    assert_eq!(total(&serde_json::json!({ "run": variant["memory"] })), total(align).max(total(tune)));
    let said = crossloom(&["explain", recipe, "--variant", "in_two"]).exits(0);
    has(
        &said.out,
        &[
            "variant in_two, stage align: batches of",
            "variant in_two, stage tune:",
            "a run in stages holds at most",
        ],
    );

    // What is frozen in a stage has no optimizer there.
    let plan = |training: &str| {
        let of = ["graph", recipe, "--variant", "in_two", "--stage", "fused", "--mode", "train"];
        crossloom(&[&of[..], &["--training", training]].concat())
    };
    let trained = |training: &str| plan(training).exits(0).out.matches(" = adamw ").count();
    assert!(trained("align") > 0 && trained("align") < trained("tune"));
    plan("third").exits(2).complains(&["`in_two` has no stage `third`", "align, tune"]);

    let said =
        crossloom(&["resolve", recipe, "--variant", "in_two", "--set", "stage.tune.train.lr=1e-4"]).exits(0);
    has(&said.out, &["[[stage]]\nname = \"align\"", "[stage.train.parts.language]", "lr = 0.0001"]);
    assert!(!said.out.contains("\n[train]"), "each stage says it all");
}

#[test]
fn a_run_in_stages_names_them_and_says_which_one_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = workspace().join("recipes/two-stages.toml");
    let recipe = recipe.to_str().unwrap();
    let run = |more: &[&str]| -> Said {
        let words = [&["run", recipe, "--variant", "in_two"], &SMALL[..], more].concat();
        crossloom_in(folder.path(), &words)
    };
    let said = run(&[]).exits(0);
    has(
        &said.err,
        &["in_two, stage align: training", "in_two, stage align: train 3/3", "in_two, stage tune: train 2/2"],
    );
    let id = fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let id = id.to_str().unwrap();
    let shown = crossloom_in(folder.path(), &["runs", "show", id]).exits(0);
    has(&shown.out, &["align: 3 steps, ", "tune: 2 steps, ", "steps        5"]);
    let page = fs::read_to_string(format!("{id}/report.html")).unwrap();
    has(&page, &["Stages</h3>", "<td>1 to 3</td>", "<td>4 to 5</td>"]);

    // Another second stage takes the first one over.
    let said = run(&["--set", "stage.tune.train.lr=0.02"]).exits(0);
    has(&said.err, &["`in_two`: the stage `align` is that of in_two of "]);
    assert!(!said.err.contains("stage align: training"), "{}", said.err);

    // With the second stage gone, the first one answers, and says so.
    fs::remove_dir_all(format!("{id}/in_two/stages/tune")).unwrap();
    let picture = crossloom_data::image::Image::new(32, 32, vec![9; 3 * 32 * 32]).unwrap();
    fs::write(folder.path().join("a.png"), picture.to_png().unwrap()).unwrap();
    let asked = crossloom_in(
        folder.path(),
        &["generate", id, "--variant", "in_two", "--image", "a.png", "--question", "what shape is present?"],
    );
    asked.exits(0).complains(&["`in_two` is trained for 3 of 5 steps: the stage `align` is what is asked"]);
    let given =
        crossloom_in(folder.path(), &["model", "export", id, "--variant", "in_two", "--out", "given"])
            .exits(0);
    has(&given.out, &["after 3 steps"]);
    has(&given.err, &["stage `align`"]);
    let said = run(&["--resume"]).exits(0);
    assert!(!said.err.contains("stage align"), "{}", said.err);
    has(&said.err, &["in_two, stage tune: train 2/2"]);
}
