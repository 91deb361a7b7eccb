//! What a person can get wrong ends in an error that says so.

use std::path::{Path, PathBuf};

use crossloom_data::image::Image;
use crossloom_run::backends::Resources;
use crossloom_run::engine::Served;
use crossloom_run::{Answered, Asked, Data, generate};
use crossloom_train::run_dir::VariantDir;
use tempfile::TempDir;

use crate::support::{Entry, finish, recipe, try_recipe, try_run};

#[test]
fn an_empty_data_set_is_refused_with_its_place() {
    for (set, key) in [
        ("data.train_limit=0", "train_limit"),
        ("data.test_limit=0", "test_limit"),
        ("data.source={ kind = 'synthetic', train_images = 0 }", "train_images"),
        ("data.source={ kind = 'synthetic', test_images = 0 }", "test_images"),
        ("data.source={ kind = 'synthetic', questions_per_image = 0 }", "questions_per_image"),
    ] {
        let error = try_recipe(&[set]).expect_err(set);
        assert!(error.contains(key) && error.contains("--set"), "{set}: {error}");
    }
}

#[test]
fn sequences_that_are_too_long_are_told_with_both_numbers_and_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    // `projector` could be trained, but nothing is before all that are asked for can be.
    let recipe = recipe(&["variants.cli.model.language.max_positions=20"]);
    let chosen = ["projector", "cli"];
    let Err(error) = try_run(&recipe, &chosen, folder.path(), Entry::New) else { panic!("it runs") };
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
    let error = error.to_string();
    for part in ["the language model allows 20", "model.language.max_positions", "questions_per_sequence"] {
        assert!(error.contains(part), "{error}");
    }
}

/// A trained variant with a picture and a question from its data.
struct Trained {
    folder: TempDir,
    dir: VariantDir,
    recipe: crossloom_recipe::LoadedRecipe,
    picture: Image,
    question: String,
}

impl Trained {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(&["train.steps=2", "train.warmup=1"]);
        let finished = finish(&recipe, &["cli"], folder.path(), Entry::New);
        let data = Data::load(&recipe.variants[0].recipe, Path::new("."), &mut |_| ()).unwrap();
        let split = data.images(crossloom_recipe::Split::Test).0;
        let picture = split.images().image(0).unwrap();
        let question = split.examples()[0].question.clone();
        let dir = finished.variants[0].dir.clone();
        Self { folder, dir, recipe, picture, question }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn ask(&self, image: &Path, questions: &[&str]) -> Result<Vec<Answered>, String> {
        let questions: Vec<String> = questions.iter().map(|q| (*q).to_owned()).collect();
        let recipe = &self.recipe.variant("cli").unwrap().recipe;
        ask(&self.dir, recipe, image, &questions)
    }

    fn refuses(&self, image: &Path, questions: &[&str], parts: &[&str]) {
        let error = self.ask(image, questions).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

/// Loads a variant and asks it.
fn ask(
    dir: &VariantDir,
    recipe: &crossloom_recipe::Recipe,
    image: &Path,
    questions: &[String],
) -> Result<Vec<Answered>, String> {
    Served::trained(dir, recipe)
        .and_then(|served| generate(served, &Asked::about(image, questions), Resources::default()))
        .map_err(|error| error.to_string())
}

/// A PNG that claims to be so wide and high.
fn huge_png(side: u32) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        !crc
    };
    let mut header = b"IHDR".to_vec();
    header.extend(side.to_be_bytes());
    header.extend(side.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend(13_u32.to_be_bytes());
    png.extend(&header);
    png.extend(crc(&header).to_be_bytes());
    let end = b"IDAT";
    png.extend(0_u32.to_be_bytes());
    png.extend(end);
    png.extend(crc(end).to_be_bytes());
    png
}

#[test]
fn questions_about_a_picture_are_answered_or_refused_for_a_reason() {
    let trained = Trained::new();
    let png = trained.picture.to_png().unwrap();
    let good = trained.file("good.png", &png);
    let question = trained.question.as_str();
    let answers = trained.ask(&good, &[question, question]).unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], answers[1], "questions do not see each other");

    trained.refuses(&good, &["is there a zebra?"], &["zebra"]);
    assert_eq!(trained.ask(&good, &[question; 20]).unwrap(), vec![answers[0].clone(); 20]);
    let long = vec![question; 100].join(" ");
    trained.refuses(&good, &[&long], &["there is room for", "shorter"]);
    for blank in ["", "  ", "\t\n"] {
        trained.refuses(&good, &[question, blank], &["blank"]);
    }
    for kept in [0, 7, 30, png.len() / 2, png.len() - 20] {
        let path = trained.file("cut.png", &png[..kept]);
        trained.refuses(&path, &[question], &["cut.png"]);
    }
    let huge = trained.file("huge.png", &huge_png(20_000));
    trained.refuses(&huge, &[question], &["huge.png", "20000"]);
    trained.refuses(&trained.file("not.png", b"a text"), &[question], &["not.png"]);
    trained.refuses(&trained.folder.path().join("none.png"), &[question], &["none.png"]);
}

#[test]
fn a_picture_is_not_shown_to_a_variant_that_cannot_see_it() {
    let trained = Trained::new();
    let image = trained.file("good.png", &trained.picture.to_png().unwrap());
    let blind = trained.recipe.variant("question_only").unwrap();
    let questions = std::slice::from_ref(&trained.question);
    let error = ask(&trained.dir, &blind.recipe, &image, questions).unwrap_err();
    assert!(error.contains("picture withheld") && error.contains("ask a variant"), "{error}");
}

#[test]
fn a_variant_without_a_checkpoint_cannot_answer() {
    let trained = Trained::new();
    let good = trained.file("good.png", &trained.picture.to_png().unwrap());
    std::fs::remove_dir_all(trained.dir.stage(None).checkpoints_path()).unwrap();
    trained.refuses(&good, &[&trained.question], &["holds no checkpoint", "crossloom run"]);
}

#[test]
fn a_folder_without_an_interface_or_with_a_damaged_one_says_so() {
    let trained = Trained::new();
    let good = trained.file("good.png", &trained.picture.to_png().unwrap());
    let path = trained.dir.path().join("interface.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let question = trained.question.as_str();
    for (from, to, part) in [
        ("\"version\": 1", "\"version\": 2", "has version 2; this crossloom reads 1"),
        ("\"vocab_size\": ", "\"vocab_size\": 9", "vocabulary"),
        ("\"sequence_len\": ", "\"sequence_len\": 999999999999", "is damaged"),
        ("\"image_size\": ", "\"image_size\": 1", "image size"),
        ("\"std\": [", "\"std\": [0.0,", "is damaged"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        trained.refuses(&good, &[question], &["interface.json", part]);
    }
    std::fs::remove_file(&path).unwrap();
    trained.refuses(&good, &[question], &["holds no interface.json", "run its recipe again"]);
}
