//! A run that ends as it should.

use std::collections::BTreeSet;
use std::path::Path;

use crossloom_recipe::Split;
use crossloom_run::backends::Resources;
use crossloom_run::{Asked, Data};
use crossloom_train::checkpoint::Checkpoints;
use crossloom_train::metrics::read_metrics;
use crossloom_train::run_dir::{RunDir, RunStatus};

use crate::support::{Entry, finish, recipe, try_run};

#[test]
fn all_files_are_there_and_say_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let finished = finish(&recipe, &[], folder.path(), Entry::New);
    let names: Vec<&str> = finished.variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["projector", "cli", "question_only"]);

    let dir = RunDir::open(finished.dir.path()).unwrap();
    let record = dir.read_record().unwrap();
    assert_eq!(record.status, RunStatus::Finished);
    assert_eq!(record.variants["cli"].steps, 6);
    assert_eq!(record.variants["question_only"].steps, 4);
    assert!(record.variants["cli"].parameters > record.variants["projector"].parameters);
    let data = Data::load(&recipe.base, Path::new("."), &mut |_| ()).unwrap();
    let questions = |split| data.images(split).0.examples().len();
    assert_eq!(record.data[0].splits["train"], questions(Split::Train) as u64);
    for variant in &finished.variants {
        let own = dir.variant(&variant.name).unwrap();
        for file in ["metrics.jsonl", "samples.jsonl", "results.json", "tokenizer.json"] {
            assert!(own.path().join(file).metadata().unwrap().len() > 0, "{} lacks {file}", variant.name);
        }
        let steps = record.variants[&variant.name].steps;
        assert_eq!(
            Checkpoints::new(own.stage(None).checkpoints_path(), 0).newest().unwrap().unwrap().state().step,
            steps
        );
        let logged: Vec<u64> =
            read_metrics(&own.stage(None).metrics_path()).unwrap().iter().map(|m| m.step).collect();
        assert_eq!(logged, (1..=steps).collect::<Vec<_>>());
        assert_eq!(
            variant.records.len(),
            questions(Split::Test),
            "every question of the test split is answered"
        );
    }
    // Everything of one run, and nothing else.
    let left: BTreeSet<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let expected = [
        "cli",
        "comparison.json",
        "comparison.txt",
        "projector",
        "question_only",
        "recipe.resolved.toml",
        "report.html",
        "run.json",
    ];
    assert_eq!(
        left.iter().map(String::as_str).filter(|n| !n.ends_with("lock")).collect::<Vec<_>>(),
        expected
    );

    let table = std::fs::read_to_string(dir.path().join("comparison.txt")).unwrap();
    for word in ["projector", "cli", "question_only", "most frequent answer", "overall", "95"] {
        assert!(table.contains(word), "`{word}` is not in\n{table}");
    }
    let page = std::fs::read_to_string(&finished.report).unwrap();
    assert!(page.starts_with("<!") && page.trim_end().ends_with("</html>"));
    for part in ["<svg", "block.1", "layer.0", "question_only", "data:image/png;base64,", "Agresti"] {
        assert!(page.contains(part), "`{part}` is not in the report");
    }
    for section in ["Accuracy", "Topology", "Gates", "Training", "Samples", "Reproduce"] {
        assert!(page.contains(&format!(">{section}<")), "the report has no section on `{section}`");
    }
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org").count()
    );
    assert!(!page.contains("src=\"http"), "the report is one offline file");

    // The gates are those of the variant's edges.
    let cli = finished.variants.iter().find(|v| v.name == "cli").unwrap();
    assert_eq!(cli.gates.len(), 4 * 3);
    assert!(
        cli.gates.iter().all(|(name, w)| name.contains("->") && (0.0..=1.0).contains(&w.mean)),
        "{:?}",
        cli.gates
    );
}

#[test]
fn gates_are_those_of_the_sequences_that_were_asked() {
    let folder = tempfile::tempdir().unwrap();
    let short = ["train.steps=2", "train.warmup=1"];
    let deviations = |sets: &[&str], entry| -> Vec<f64> {
        let finished = finish(&recipe(&[&short, sets].concat()), &["cli"], folder.path(), entry);
        finished.variants[0].gates.values().map(|gate| gate.deviation).collect()
    };
    let all = deviations(&[], Entry::New);
    let one = deviations(&["eval.limit=1"], Entry::Resume);
    assert!(all.iter().all(|&deviation| deviation > 1e-6), "{all:?}");
    assert!(one.iter().all(|&deviation| deviation < 1e-7), "one sequence does not vary: {one:?}");
}

#[test]
fn a_run_is_not_overwritten_but_replaced_or_continued_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&["train.steps=2", "train.warmup=1"]);
    let first = finish(&recipe, &["projector"], folder.path(), Entry::New);
    let model = first.dir.path().join("projector/checkpoints/step-2/model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    let Err(error) = try_run(&recipe, &["projector"], folder.path(), Entry::New) else {
        panic!("it was overwritten")
    };
    let error = error.to_string();
    assert!(error.contains("holds a run of this very recipe") && error.contains("--resume"), "{error}");
    let again = finish(&recipe, &["projector"], folder.path(), Entry::Resume);
    assert_eq!(std::fs::read(&model).unwrap(), bytes, "a finished variant is not trained on");
    assert_eq!(again.variants[0].records, first.variants[0].records);
    finish(&recipe, &["projector"], folder.path(), Entry::Replace);
    assert_eq!(std::fs::read(&model).unwrap(), bytes, "the same recipe gives the same weights");
}

#[test]
fn a_variant_that_the_recipe_lacks_is_named_with_those_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = try_run(&recipe(&[]), &["clip"], folder.path(), Entry::New) else {
        panic!("there is no clip")
    };
    assert!(error.to_string().contains("no variant `clip`") && error.to_string().contains("cli"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_copied_folder_alone_is_asked_and_answers_as_it_did() {
    answers_as_it_did(&[]);
}

#[test]
fn a_copied_folder_of_a_model_in_16_bits_answers_as_it_did() {
    answers_as_it_did(&["train.precision=bf16", "train.parts.vision={ trainable = false, dtype = 'bf16' }"]);
}

fn answers_as_it_did(sets: &[&str]) {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recipe = recipe(sets);
    let finished = finish(&recipe, &["cli"], folder.path(), Entry::New);
    let data = Data::load(&recipe.variants[0].recipe, Path::new("."), &mut |_| ()).unwrap();
    let copy = elsewhere.path().join("copy");
    copy_folder(finished.dir.path(), &copy);
    drop(folder);
    let run = RunDir::open(&copy).unwrap();
    let kept = crossloom_run::resolved::load(&run, &[]).unwrap();
    let cli = &kept.variant("cli").unwrap().recipe;
    let trained =
        crossloom_run::Trained::load(&run.variant_path("cli").unwrap(), cli, Resources::default()).unwrap();
    let split = data.images(crossloom_recipe::Split::Test).0;
    let records = &finished.variants[0].records;
    assert!(records.len() > 10);
    for (example, record) in split.examples().iter().zip(records) {
        let image = elsewhere.path().join("picture.png");
        std::fs::write(&image, split.images().image(example.image).unwrap().to_png().unwrap()).unwrap();
        let answers = trained.ask(&Asked::about(&image, std::slice::from_ref(&example.question))).unwrap();
        assert_eq!(Some(&answers[0].answer), record.answer.as_ref(), "{}", example.question);
    }
    let Err(error) = crossloom_run::resolved::load(&run, &["train.lr=0.5".to_owned()]) else {
        panic!("it loads")
    };
    assert!(error.to_string().contains("another run"), "{error}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
