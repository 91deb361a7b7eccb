#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use super::*;
use crate::image::{Fit, Normalization, ResizeFilter};

/// Pictures `0.png` to `3.png`, 8 pixels wide, each in one shade, and files of rows.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..4_u8 {
            let picture = Image::new(8, 4, vec![50 * number; 96]).unwrap();
            fs::write(folder.path().join(format!("{number}.png")), picture.to_png().unwrap()).unwrap();
        }
        Self(folder)
    }

    fn file(&self, name: &str, rows: &[&str]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, rows.join("\n")).unwrap();
        path
    }

    fn options(&self, format: &str, train: &[&str], test: &[&str]) -> FilesOptions {
        FilesOptions {
            format: format.to_owned(),
            train: vec![self.file("train", train)],
            test: vec![self.file("test", test)],
            pictures: self.0.path().to_owned(),
            processor: ImageProcessor::squares(Fit::Stretch, 2, ResizeFilter::Bilinear, Normalization::HALF)
                .unwrap(),
            train_images: None,
            test_images: None,
            skip: 0,
        }
    }
}

fn row(picture: &str, question: &str, answer: &str) -> String {
    serde_json::json!({ "image": picture, "question": question, "answer": answer }).to_string()
}

const TEST: &str = r#"{"image": "3.png", "question": "Which?", "answer": "Grey."}"#;

#[test]
fn samples_that_name_one_picture_share_it() {
    let folder = Folder::new();
    let rows =
        [row("2.png", "Light?", "Yes."), row("1.png", "Which?", "dark grey"), row("2.png", " Dark? ", "no")];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let data = Files::load(&folder.options("questions", &rows, &[TEST])).unwrap();
    let train = data.train();
    assert_eq!((train.images().len(), train.images().width()), (2, 2));
    let shades: Vec<u8> = (0..2).map(|image| train.images().get(image).unwrap()[0]).collect();
    assert_eq!(shades, [100, 50]);
    let found: Vec<_> = train
        .examples()
        .iter()
        .map(|of| {
            (of.image, of.image_id, of.question.as_str(), of.answer.as_str(), of.question_type.as_str())
        })
        .collect();
    assert_eq!(
        found,
        [
            (0, 0, "Light?", "Yes.", "yes_no"),
            (1, 1, "Which?", "dark grey", "open"),
            (0, 2, "Dark?", "no", "yes_no")
        ]
    );
    assert!(data.notes().is_empty());
    assert_eq!((data.place(1).as_deref(), data.place(3)), (Some("train, line 2"), None));
    let one = FilesOptions { train_images: Some(1), ..folder.options("questions", &rows, &[TEST]) };
    let train = Files::load(&one).unwrap().train;
    assert_eq!((train.images().len(), train.examples().len()), (1, 2));
}

#[test]
fn a_picture_stands_in_front_wherever_a_llava_row_shows_it() {
    let folder = Folder::new();
    let talk = |asked: &str| {
        let turns = [("human", asked), ("gpt", "Grey.")]
            .map(|(from, value)| serde_json::json!({ "from": from, "value": value }));
        serde_json::json!({ "image": "1.png", "conversations": turns }).to_string()
    };
    let rows = [talk("<image>\nWhich colour?"), talk("Which colour?\n<image>")];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let data = Files::load(&folder.options("llava", &rows, &rows[..1])).unwrap();
    let examples = data.train().examples();
    assert!(examples.len() == 2 && examples.iter().all(|of| of.question == "Which colour?" && of.image == 0));
}

/// A row for each way in which a sample cannot be learned from, and a part of what is said of it.
const BAD: [(&str, &str); 6] = [
    (r#"{"image": "1.png""#, "line 2: no such row"),
    (r#"{"image": "absent.png", "question": "a", "answer": "b"}"#, "line 2: the picture `absent.png`"),
    (r#"{"image": "broken.png", "question": "a", "answer": "b"}"#, "line 2: "),
    (r#"{"question": "a", "answer": "b"}"#, "line 2: it shows no picture"),
    (r#"{"image": ["1.png", "2.png"], "question": "a", "answer": "b"}"#, "line 2: it shows 2 pictures"),
    (r#"{"image": "../train", "question": "a", "answer": "b"}"#, "leads out of the folder"),
];

#[test]
fn a_sample_that_cannot_be_learned_from_stops_or_is_left_out_and_counted() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("broken.png"), b"no picture").unwrap();
    let (first, last) = (row("0.png", "First?", "a"), row("2.png", "Last?", "b"));
    for (bad, part) in BAD {
        let rows = [first.as_str(), bad, last.as_str()];
        let options = folder.options("questions", &rows, &[TEST]);
        let message = Files::load(&options).unwrap_err().to_string();
        assert!(message.contains("1 of 3 train samples") && message.contains(part), "{message}");
        let data = Files::load(&FilesOptions { skip: 1, ..options }).unwrap();
        let questions: Vec<_> =
            data.train().examples().iter().map(|of| (of.image, of.question.as_str())).collect();
        assert_eq!(questions, [(0, "First?"), (1, "Last?")]);
        assert_eq!(data.train().images().get(1).unwrap()[0], 100);
        let [note] = data.notes() else { panic!("{:?}", data.notes()) };
        assert!(note.starts_with("1 of 3 train samples") && note.contains(part), "{note}");
    }
    let all: Vec<&str> = BAD.iter().map(|(row, _)| *row).chain([first.as_str()]).collect();
    let options = FilesOptions { skip: 5, ..folder.options("questions", &all, &[TEST]) };
    let message = Files::load(&options).unwrap_err().to_string();
    assert!(
        message.contains("6 of 7 train samples cannot be learned from, and 5 may be left out"),
        "{message}"
    );
    assert!(message.ends_with("; and more"), "{message}");
}

/// Every sample of a picture that cannot be read counts.
#[test]
fn all_samples_of_a_bad_picture_are_left_out() {
    let folder = Folder::new();
    let (bad, good) = (row("absent.png", "a", "b"), row("1.png", "c", "d"));
    let rows = [bad.as_str(), &bad, &good];
    let options = folder.options("questions", &rows, &[TEST]);
    let load = |skip| Files::load(&FilesOptions { skip, ..options.clone() });
    assert!(load(1).unwrap_err().to_string().contains("2 of 3 train samples"));
    assert_eq!(load(2).unwrap().train().examples().len(), 1);
    let none = FilesOptions { skip: 9, ..folder.options("questions", &[&bad], &[TEST]) };
    assert!(matches!(Files::load(&none), Err(DatasetError::Empty { split: "train", .. })));
}

#[test]
fn conversations_of_several_questions_are_not_cut_into_questions_without_what_was_said() {
    let folder = Folder::new();
    let turns =
        ["human", "gpt", "human", "gpt"].map(|from| serde_json::json!({ "from": from, "value": "a" }));
    let mut row = serde_json::json!({ "image": "1.png", "conversations": turns });
    row["conversations"][0]["value"] = "<image>a".into();
    let row = row.to_string();
    let message = Files::load(&folder.options("llava", &[&row], &[&row])).unwrap_err().to_string();
    assert!(message.contains("line 1: its conversation has 4 messages"), "{message}");
}

#[test]
fn the_hash_of_files_is_that_of_what_they_hold() {
    let folder = Folder::new();
    let (one, other) = (folder.file("one", &["a"]), folder.file("other", &["b"]));
    let hash = |train: &[&PathBuf], test: &[&PathBuf]| Files::content_hash(train, test).unwrap();
    let copied = folder.file("copied", &["a"]);
    assert_eq!(hash(&[&one], &[&other]), hash(&[&copied], &[&other]));
    let different = [hash(&[&one], &[&other]), hash(&[&other], &[&one]), hash(&[&one, &other], &[])];
    assert!(different[0] != different[1] && different[1] != different[2] && different[0] != different[2]);
    let absent = folder.0.path().join("absent");
    assert!(Files::content_hash(&[&absent], &[&absent]).unwrap_err().to_string().contains("absent"));
}
