//! A run's folder that was copied to where nothing else of the run is.

use std::fs;
use std::path::{Path, PathBuf};

use crossloom_data::assets::Registry;
use crossloom_data::image::Image;
use serde_json::json;
use tempfile::TempDir;

use crate::experiment::{MODEL, json as read_json};
use crate::support::{Said, crossloom_in, folder_with, program};

/// Trains on a package that lies in a folder beside the recipe.
const DATA: &str = r#"
[data]
source = { kind = "easy-vqa" }
cache = "data"
questions_per_sequence = 2
train_limit = 6
test_limit = 4

[train]
steps = 2
batch_size = 2
lr = 3e-3
warmup = 1

[eval]
bootstrap_samples = 100
"#;

/// A package of a few pictures, in the place and the form of the real one.
fn package(cache: &Path) {
    let registry = Registry::built_in().unwrap();
    let asset = registry.find("easy-vqa").unwrap();
    let folder = cache.join("assets").join(asset.id());
    let data = folder.join("files/easy_vqa/data");
    for split in ["train", "test"] {
        fs::create_dir_all(data.join(split).join("images")).unwrap();
        let mut questions = Vec::new();
        for number in 0..8_u8 {
            let image = Image::new(16, 16, vec![30 * number; 16 * 16 * 3]).unwrap();
            fs::write(data.join(format!("{split}/images/{number}.png")), image.to_png().unwrap()).unwrap();
            questions.push(json!([
                "what shape is it?",
                if number % 2 == 0 { "circle" } else { "square" },
                number
            ]));
            questions.push(json!(["is it red?", if number > 3 { "yes" } else { "no" }, number]));
        }
        fs::write(data.join(split).join("questions.json"), json!(questions).to_string()).unwrap();
    }
    let manifest = json!({
        "schema": 1, "name": asset.name, "version": asset.version, "archive_sha256": asset.sha256, "files": [],
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A folder with a recipe, its data and its run.
fn trained() -> (TempDir, PathBuf) {
    let home = folder_with(&[("tiny.toml", &format!("{MODEL}{DATA}"))]);
    package(&home.path().join("data"));
    crossloom_in(home.path(), &["run", "tiny.toml"]).exits(0);
    let run = fs::read_dir(home.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    (home, run)
}

fn picture(folder: &Path) -> String {
    let path = folder.join("picture.png");
    fs::write(&path, Image::new(16, 16, vec![90; 16 * 16 * 3]).unwrap().to_png().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs the program where there is no other program, so that nothing can be fetched.
fn alone(folder: &Path, arguments: &[&str]) -> Said {
    let output = program(folder).args(arguments).env("PATH", folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_runs_folder_alone_answers_and_says_what_evaluation_lacks() {
    let (home, run) = trained();
    let elsewhere = tempfile::tempdir().unwrap();
    let image = picture(elsewhere.path());
    let ask = |run: &str| {
        let asked = ["generate", run, "--image", &image, "--question", "is it red?", "--json"];
        alone(elsewhere.path(), &asked).exits(0).json()["answers"].clone()
    };
    let before = ask(run.to_str().unwrap());
    // The data is found from any folder, because the run knows where it lies.
    let evaluated = alone(elsewhere.path(), &["eval", run.to_str().unwrap(), "--json"]).exits(0).json();
    assert!(evaluated["comparison"]["columns"].as_array().is_some(), "{evaluated}");

    copy(&run, &elsewhere.path().join("copy"));
    home.close().unwrap();
    assert_eq!(ask("copy"), before);
    let record = fs::read(elsewhere.path().join("copy/run.json")).unwrap();
    alone(elsewhere.path(), &["eval", "copy"]).exits(1).complains(&[
        "copy is evaluated on its data set, which is not here",
        "easy-vqa 1.0",
        "crossloom generate RUN_FOLDER",
        "data.cache",
    ]);
    assert_eq!(fs::read(elsewhere.path().join("copy/run.json")).unwrap(), record, "nothing was written");

    // Where it lies elsewhere, that can be said.
    package(&elsewhere.path().join("moved"));
    let cache = format!("data.cache='{}'", elsewhere.path().join("moved").display());
    let again = alone(elsewhere.path(), &["eval", "copy", "--set", &cache, "--json"]).exits(0).json();
    assert_eq!(again["comparison"], evaluated["comparison"]);
}

#[test]
fn a_folder_of_another_version_is_told_and_not_guessed_at() {
    let (_home, run) = trained();
    let folder = tempfile::tempdir().unwrap();
    let image = picture(folder.path());
    let spoiled = |spoil: &dyn Fn(&Path)| {
        let copied = folder.path().join("copy");
        if copied.exists() {
            fs::remove_dir_all(&copied).unwrap();
        }
        copy(&run, &copied);
        spoil(&copied);
        let asked = ["generate", "copy", "--image", &image, "--question", "is it red?"];
        [alone(folder.path(), &asked), alone(folder.path(), &["eval", "copy"])]
    };
    let another = "the run of another crossloom (version ";
    for said in spoiled(&|run| fs::remove_file(run.join("recipe.resolved.toml")).unwrap()) {
        said.exits(2).complains(&[another, "holds no recipe.resolved.toml", "with this version"]);
    }
    for said in
        spoiled(&|run| fs::write(run.join("recipe.resolved.toml"), "# variant tiny\nold = 1\n").unwrap())
    {
        said.exits(2).complains(&[another, "variant `tiny` cannot be read", "with this version"]);
    }
    for said in spoiled(&|run| {
        let mut record = read_json(&run.join("run.json"));
        record["recipe_hash"] = "0".repeat(64).into();
        fs::write(run.join("run.json"), record.to_string()).unwrap();
    }) {
        said.exits(2).complains(&[another, "is not the recipe that run.json names"]);
    }
    let [asked, _] = spoiled(&|run| fs::remove_file(run.join("tiny/interface.json")).unwrap());
    asked.exits(2).complains(&["holds no interface.json", "an earlier crossloom", "with this version"]);
}
