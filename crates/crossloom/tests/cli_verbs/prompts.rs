//! What pretrained models read of pictures and conversations.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Said, crossloom_in, workspace};

pub(crate) fn data(name: &str) -> PathBuf {
    workspace().join("crates/crossloom-data/tests").join(name)
}

pub(crate) fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}

/// A folder of one of the reference models with a processor: 6 by 6 patches of 4 pixels, 359 ids, the fourth a picture's.
fn model(reference: &str, processor: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = workspace().join("crates/crossloom-model/tests/reference/fixtures");
    let mut config = read(&fixtures.join(reference).join("config.json"));
    config["image_token_index"] = json!(3);
    config["text_config"]["vocab_size"] = json!(384);
    config["vision_config"]["image_size"] = json!(24);
    write(folder.path(), "config.json", &config);
    write(folder.path(), "preprocessor_config.json", processor);
    write(
        folder.path(),
        "tokenizer_config.json",
        &json!({ "bos_token": "<|im_start|>", "eos_token": { "content": "<|im_end|>" } }),
    );
    fs::copy(data("chat/smollm.json"), folder.path().join("tokenizer.json")).unwrap();
    let templates = &read(&data("chat/cases.json"))["templates"];
    fs::write(folder.path().join("chat_template.jinja"), templates["parts"].as_str().unwrap()).unwrap();
    fs::copy(data("processors/coffee.png"), folder.path().join("wide.png")).unwrap();
    fs::copy(data("processors/astronaut.png"), folder.path().join("tall.png")).unwrap();
    folder
}

pub(crate) fn onevision() -> TempDir {
    model("siglip_qwen2", &read(&data("processors/cases.json"))["small"]["onevision"]["config"])
}

fn prompt(folder: &TempDir, arguments: &[&str]) -> Said {
    crossloom_in(folder.path(), &[&["model", "prompt", "."], arguments].concat())
}

/// How often a picture's token stands in a prompt.
fn visual(document: &Value) -> u64 {
    document["prompt"]["ids"].as_array().unwrap().iter().filter(|id| **id == json!(3)).count() as u64
}

#[test]
fn a_picture_in_tiles_takes_as_many_tokens_as_its_layout_has() {
    let folder = onevision();
    let asked = ["--image", "wide.png", "--question", "What is this?"];
    let said = prompt(&folder, &asked).exits(0);
    // 160 by 110 pixels in 3 by 3 tiles of 6 by 6 patches: 12 of 18 rows remain.
    for part in [
        "wide.png: 160x110 becomes a base and 3 by 3 tiles of 24x24, 264 tokens",
        "12 rows of 18",
        "USER: <image>\nWhat is this? ASSISTANT:",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in\n{}", said.out);
    }
    let document = prompt(&folder, &[&asked[..], &["--json", "--views", "seen"]].concat()).exits(0).json();
    let tokens = document["pictures"][0]["tokens"].as_u64().unwrap();
    assert_eq!((tokens, visual(&document)), (36 + 12 * 19, tokens));
    let place = &document["prompt"]["pictures_at"][0];
    assert_eq!(place[1].as_u64().unwrap() - place[0].as_u64().unwrap(), tokens);
    assert_eq!(fs::read_dir(folder.path().join("seen")).unwrap().count(), 10);
    prompt(&folder, &[&asked[..], &["--views", "seen"]].concat()).exits(1).complains(&["seen"]);
}

#[test]
fn several_pictures_and_none_share_a_model() {
    let folder = onevision();
    let two =
        prompt(&folder, &["--image", "wide.png", "--image", "tall.png", "--question", "Which?", "--json"])
            .exits(0)
            .json();
    // A base and one row end each.
    assert_eq!((visual(&two), two["prompt"]["pictures_at"].as_array().unwrap().len()), (2 * 37, 2));
    let none = prompt(&folder, &["--question", "Why?", "--json"]).exits(0).json();
    assert_eq!((visual(&none), none["pictures"].as_array().unwrap().len()), (0, 0));
    let turns = json!([
        { "role": "user", "content": [{ "type": "image" }, { "type": "text", "text": "first?" }] },
        { "role": "assistant", "content": "red" },
        { "role": "user", "content": "and then?" },
    ]);
    write(folder.path(), "chat.json", &turns);
    let turns =
        prompt(&folder, &["--image", "tall.png", "--messages", "chat.json", "--json"]).exits(0).json();
    assert_eq!(turns["prompt"]["text"], "USER: <image>\nfirst? ASSISTANT: red USER: and then? ASSISTANT:");
    assert_eq!(visual(&turns), turns["pictures"][0]["tokens"].as_u64().unwrap());
}

#[test]
fn a_llava_cuts_a_square_and_has_a_token_per_patch() {
    let square = json!({
        "image_processor_type": "CLIPImageProcessor", "size": { "shortest_edge": 24 }, "crop_size": { "height": 24, "width": 24 },
    });
    let said =
        prompt(&model("clip_llama", &square), &["--image", "tall.png", "--question", "What?"]).exits(0);
    assert!(said.out.contains("tall.png: 70x120 becomes 24x24, 36 tokens"), "{}", said.out);
}

#[test]
fn a_gguf_file_prepares_what_a_folder_of_the_same_model_prepares() {
    let folder = onevision();
    let templates = &read(&data("chat/cases.json"))["templates"];
    fs::write(folder.path().join("chat_template.jinja"), templates["marks"].as_str().unwrap()).unwrap();
    let of_folder = prompt(&folder, &["--question", "Is 12 red?", "--json"]).exits(0).json();
    let gguf = data("chat/smollm.gguf").display().to_string();
    let of_file =
        crossloom_in(folder.path(), &["model", "prompt", &gguf, "--question", "Is 12 red?", "--json"])
            .exits(0)
            .json();
    assert_eq!(of_file["prompt"], of_folder["prompt"]);
    assert!(of_file["prompt"]["text"].as_str().unwrap().ends_with("<|im_start|>assistant\n"));
    crossloom_in(folder.path(), &["model", "prompt", &gguf, "--question", "What?", "--image", "tall.png"])
        .exits(1)
        .complains(&["the chat template has no place for pictures, and the conversation shows 1"]);
}

#[test]
fn what_does_not_fit_is_told_where_it_lies() {
    let refused = |change: &dyn Fn(&Path), arguments: &[&str], parts: &[&str]| {
        let folder = onevision();
        change(folder.path());
        let said = prompt(&folder, arguments);
        assert!(matches!(said.code, Some(1 | 2)), "{said:?}");
        said.complains(parts);
        assert!(!folder.path().join("seen").exists());
    };
    let changed = |name: &'static str, key: &'static str, value: Value| {
        move |folder: &Path| {
            let mut values = read(&folder.join(name));
            values[key] = value.clone();
            write(folder, name, &values);
        }
    };
    let asked = ["--image", "wide.png", "--question", "What?", "--views", "seen"];
    let same = |_: &Path| {};
    refused(
        &same,
        &["--question", "an <image>?"],
        &["sample --question: the prompt has 1 place for pictures, and 0 pictures are given"],
    );
    refused(&same, &[], &["give --image, --question or --messages"]);
    refused(&same, &["--image", "none.png"], &["none.png"]);
    refused(
        &changed("preprocessor_config.json", "do_centre_crop", json!(true)),
        &asked,
        &["preprocessor_config.json", "did you mean `do_center_crop`?"],
    );
    refused(
        &changed("preprocessor_config.json", "size", json!({ "height": 20, "width": 20 })),
        &asked,
        &["preprocessor_config.json", "tiles"],
    );
    refused(
        &changed("config.json", "vision_aspect_ratio", json!("anyres")),
        &asked,
        &["`vision_aspect_ratio` is \"anyres\""],
    );
    let small = |folder: &Path| {
        let mut config = read(&folder.join("config.json"));
        config["text_config"]["vocab_size"] = json!(100);
        write(folder, "config.json", &config);
    };
    refused(&small, &asked, &["359 ids", "the embedding 100 rows"]);
    let endless = |folder: &Path| {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        fs::write(folder.join("chat_template.jinja"), loops).unwrap();
    };
    refused(&endless, &asked, &["the chat template was stopped"]);
    refused(
        &|folder| fs::remove_file(folder.join("chat_template.jinja")).unwrap(),
        &asked,
        &["has no chat template"],
    );
    let cut = |folder: &Path| {
        let png = fs::read(folder.join("wide.png")).unwrap();
        fs::write(folder.join("wide.png"), &png[..png.len() / 2]).unwrap();
    };
    refused(&cut, &asked, &["wide.png", "truncated"]);
    let deep = |folder: &Path| fs::write(folder.join("chat.json"), "[".repeat(10_000)).unwrap();
    refused(&deep, &["--messages", "chat.json"], &["chat.json", "is no list of messages"]);
}
