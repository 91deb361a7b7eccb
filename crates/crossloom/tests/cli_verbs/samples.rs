//! Files of samples: what is in them, and whether a recipe's data can be trained on.

use std::fs;

use serde_json::json;

use crate::prompts::{data, onevision, read};
use crate::support::{Said, crossloom_in, folder_with, workspace};

/// Samples of several questions, of none about a picture, and of a picture that is not there.
fn samples() -> String {
    let talk = |image: Option<&str>, said: &[&str]| {
        let turns = said
            .iter()
            .enumerate()
            .map(|(at, value)| json!({ "from": if at % 2 == 0 { "human" } else { "gpt" }, "value": value }));
        let mut row = json!({ "conversations": turns.collect::<Vec<_>>() });
        if let Some(image) = image {
            row["image"] = image.into();
        }
        row
    };
    let rows = [
        talk(Some("coffee.png"), &["<image>\nWhat is in the cup?", "Coffee.", "And beside it?", "A spoon."]),
        talk(None, &["What is two and two?", "Four."]),
        talk(Some("lost.png"), &["<image>\nWho is it?", "An astronaut."]),
    ];
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn inspected(arguments: &[&str]) -> Said {
    let (model, folder) = (onevision(), folder_with(&[("train.json", &samples())]));
    fs::create_dir(folder.path().join("images")).unwrap();
    fs::copy(data("processors/coffee.png"), folder.path().join("images/coffee.png")).unwrap();
    let templates = read(&data("chat/cases.json"))["templates"]["marks"].clone();
    fs::write(model.path().join("chat_template.jinja"), templates.as_str().unwrap()).unwrap();
    let model = model.path().display().to_string();
    let first = ["data", "inspect", "train.json", "--pictures", "images", "--model", &model];
    crossloom_in(folder.path(), &[&first[..], arguments].concat())
}

/// The book shows what the program says, to the letter.
#[test]
fn an_inspection_says_what_the_book_shows() {
    let said = inspected(&[]).exits(1);
    let book = fs::read_to_string(workspace().join("docs/src/data.md")).unwrap();
    assert!(book.contains(&format!("```text\n{}```\n", said.out)), "{}", said.out);
    let document = inspected(&["--json", "--problems", "0", "--first", "3"]).exits(1).json();
    let found = &document["inspection"];
    assert_eq!((&found["samples"], &found["sound"], &found["answers"]), (&json!(3), &json!(2), &json!(3)));
    assert_eq!((&found["with_problems"], &found["problems"]), (&json!(1), &json!([])));
    let first = document["first"].as_array().unwrap();
    assert_eq!(first.iter().map(|shown| &shown["sample"]).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn the_form_of_lines_is_asked_for() {
    let folder = folder_with(&[("rows.jsonl", "{}")]);
    let said = crossloom_in(folder.path(), &["data", "inspect", "rows.jsonl"]);
    said.exits(2).complains(&["lines may have several forms", "--format llava, messages or questions"]);
    crossloom_in(&workspace(), &["data", "inspect", "recipes/quickstart.toml"]).exits(2).complains(&[
        "is a recipe, and no file of samples",
        "crossloom check recipes/quickstart.toml --data",
    ]);
}

#[test]
fn data_is_read_before_it_is_trained_on() {
    let recipe = workspace().join("recipes/synthetic.toml").display().to_string();
    let check = |sets: &[&str]| {
        let small =
            "data.source={ kind = 'synthetic', train_images = 4, test_images = 2, questions_per_image = 3 }";
        let sets = [small].into_iter().chain(sets.iter().copied()).flat_map(|set| ["--set", set]);
        let arguments: Vec<&str> = ["check", &recipe, "--data"].into_iter().chain(sets).collect();
        crossloom_in(&workspace(), &arguments)
    };
    let said = check(&[]).exits(0);
    let line = said.out.lines().last().unwrap();
    assert!(line.starts_with("   synthetic: ") && line.contains(" about 4 pictures to train on"), "{line}");
    assert!(line.ends_with(" about 2 pictures to test"), "{line}");
    let refused = check(&["data.validation=0.1", "data.train_limit=1"]).exits(2);
    refused.complains(&[
        "error: the data of `",
        "cannot be trained on: ",
        "fewer than two training pictures",
    ]);
}

/// Conversations of a recipe: every one is read, and the first rows are shown as the model reads them.
#[test]
fn conversations_are_read_and_shown_before_they_are_trained_on() {
    let folder = folder_with(&[("train.json", &samples())]);
    fs::create_dir(folder.path().join("images")).unwrap();
    fs::copy(data("processors/coffee.png"), folder.path().join("images/coffee.png")).unwrap();
    let model = workspace().join("crates/crossloom-run/tests/fixtures/llava/llava");
    let recipe = format!(
        "name = 'talks'\n[model]\nweights = '{}'\n[topology]\ninput = 'block.3'\n\
         [data]\ntokenizer = 'model'\ntext_positions = 512\n\
         source = {{ kind = 'conversations', of = [{{ format = 'llava', files = ['train.json'], pictures = 'images' }}] }}\n\
         [train]\nsteps = 2\nbatch_size = 2\nlr = 1e-3\n",
        model.display()
    );
    fs::write(folder.path().join("talks.toml"), recipe).unwrap();
    let strict = crossloom_in(folder.path(), &["check", "talks.toml", "--data"]).exits(2);
    strict.complains(&[
        "of 3 samples 1 cannot be learned from and 0 lose turns",
        "train.json`, line 4: the picture `lost.png`",
    ]);
    let lenient = ["--set", "data.source.skip=1"];
    let said = crossloom_in(folder.path(), &[&["check", "talks.toml", "--data"][..], &lenient].concat())
        .exits(0)
        .out;
    let expected = "3 conversations (1 with 0 pictures, 1 with 1 picture), 1 left out, 0 losing turns; ";
    assert!(
        said.contains("conversations: 3 samples to train on, 0 samples to test") && said.contains(expected),
        "{said}"
    );
    let shown = crossloom_in(folder.path(), &[&["train", "talks.toml", "--dry-run"][..], &lenient].concat())
        .exits(0)
        .out;
    assert!(shown.contains("train.json, line 2, ") && shown.contains("train.json, line 3, "), "{shown}");
    assert!(shown.contains("⟨pictures of 36 tokens⟩") && shown.matches('⟦').count() == 3, "{shown}");
    assert!(!folder.path().join("runs").exists());
}

/// A row that is drawn is a question of the data, and what is learned of it is its answer and the end.
#[test]
fn a_dry_run_shows_what_is_learned_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = workspace().join("recipes/synthetic.toml").display().to_string();
    let source =
        "data.source={ kind = 'synthetic', train_images = 4, test_images = 2, questions_per_image = 3 }";
    let said = [
        "train",
        &recipe,
        "--variant",
        "cli",
        "--dry-run",
        "--set",
        source,
        "--set",
        "data.questions_per_sequence=2",
    ];
    let document = crossloom_in(folder.path(), &[&said[..], &["--json"]].concat()).exits(0).json();
    let samples = document["trainings"][0]["samples"].as_array().unwrap();
    assert_eq!((samples.len(), document["trainings"].as_array().unwrap().len()), (4, 1));
    let text = crossloom_in(folder.path(), &said).exits(0).out;
    assert!(text.starts_with("cli:\n  picture "), "{text}");
    for sample in samples {
        let shown = sample["text"].as_str().unwrap();
        assert!(text.contains(shown) && shown.starts_with("⟨picture of 16 tokens⟩"), "{shown}");
        let learned: Vec<&str> =
            shown.split('⟦').skip(1).map(|rest| rest.split('⟧').next().unwrap()).collect();
        assert!(learned.len() == 2 && learned.iter().all(|answer| answer.ends_with(" <eos>")), "{shown}");
        let tokens: usize = learned.iter().map(|answer| answer.split(' ').count()).sum();
        assert_eq!(sample["learned"], tokens);
        let before: Vec<&str> = shown.split('⟦').map(|part| part.split('⟧').next_back().unwrap()).collect();
        assert!(before[..2].iter().all(|asked| asked.ends_with("<answer>")), "{shown}");
    }
    assert!(!folder.path().join("runs").exists());
}
