//! What depends on a question's text is given that of the question it is about.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossloom_data::image::Normalization;
use crossloom_data::packing::{
    AnswerMode, EvaluationPacker, ImageMode, PackingPlan, TrainingOptions, TrainingPacker,
};
use crossloom_recipe::{Recipe, Split};
use crossloom_train::step::BatchSource;

use super::compared::{busy, compare, recipe};
use super::*;
use crate::stream::TrainingStream;
use crate::{Data, SentenceEncoder};

fn encoder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentences")
}

/// Settings of a model that weighs vision states by a vector of that kind.
fn weighed(conditioning: &str) -> [String; 3] {
    [
        format!("topology.conditioning={conditioning}"),
        "topology.input={ kind = 'weighted', of = ['block.1', 'block.2', 'block.3'], weights = { kind = 'question', hidden = 8 } }"
            .to_owned(),
        "data.questions_per_sequence=1".to_owned(),
    ]
}

fn by_sentence() -> [String; 3] {
    weighed(&format!("{{ kind = 'sentence', weights = '{}', width = 24 }}", encoder().display()))
}

fn loaded(sets: &[String]) -> (Recipe, Data, crossloom_data::packing::PackingPlan) {
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let recipe = recipe("projector", &sets);
    let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(&recipe).unwrap();
    (recipe, data, plan)
}

/// The vector of every row that has a question, beside what the encoder makes of that question's text.
fn beside(
    encoder: &mut SentenceEncoder,
    data: &Data,
    split: Split,
    batch: &PackedBatch,
) -> Vec<(Vec<f32>, Vec<f32>)> {
    let examples = data.images(split).0.examples();
    let rows: Vec<&[f32]> = batch.vectors_be.chunks(encoder.width()).collect();
    let of = |question: &crossloom_data::packing::PackedQuestion| {
        let text = examples[question.example.unwrap()].question.as_str();
        (rows[question.row].to_vec(), encoder.encode(&[text]).unwrap().values)
    };
    batch.questions().iter().map(of).collect()
}

/// The first questions of the test split, whose answers are awaited.
fn first_of_test(data: &Data, plan: &PackingPlan) -> PackedBatch {
    let (split, encoded) = data.images(Split::Test);
    let packer =
        EvaluationPacker::new(plan, encoded, split.images(), &Normalization::HALF, ImageMode::Shown).unwrap();
    let mut batch = PackedBatch::new(plan);
    packer.fill(0, AnswerMode::Awaited, &mut batch).unwrap();
    batch
}

#[test]
fn every_row_is_given_the_encoders_vector_of_its_own_question() {
    let (recipe, data, plan) = loaded(&by_sentence());
    let mut encoder = SentenceEncoder::open(&encoder()).unwrap();
    let vectors = data.question_vectors(&recipe).unwrap().unwrap();
    let again = data.question_vectors(&recipe).unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&vectors, &again), "they are made once");

    let (split, encoded) = data.images(Split::Train);
    let packer = TrainingPacker::new(&plan, encoded, split.images(), TrainingOptions::default()).unwrap();
    let mut stream = TrainingStream::new(packer, PackedBatch::new(&plan), Some(vectors.clone()));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let batch = stream.next_batch().unwrap();
        for (given, wanted) in beside(&mut encoder, &data, Split::Train, &batch.batch) {
            assert_eq!(given, wanted);
            seen.insert(format!("{given:?}"));
        }
    }
    assert!(seen.len() > 3, "questions differ");

    let mut batch = first_of_test(&data, &plan);
    assert!(batch.vectors_be.is_empty(), "a batch that was filled anew has none of an earlier one");
    vectors.lay(Split::Test, &mut batch).unwrap();
    for (given, wanted) in beside(&mut encoder, &data, Split::Test, &batch) {
        assert_eq!(given, wanted);
    }
}

#[test]
fn two_questions_about_one_picture_are_given_different_mixtures_of_it() {
    let (recipe, data, plan) = loaded(&by_sentence());
    let mut model = busy(&recipe, &plan);
    let vectors = data.question_vectors(&recipe).unwrap().unwrap();
    let mut batch = first_of_test(&data, &plan);
    let of_picture: Vec<_> = (0..plan.batch_size).map(|row| batch.image_of_row(row)).collect();
    assert_eq!(of_picture[0], of_picture[1], "rows of one picture");
    let encoding = model.phases.encoding().unwrap();
    let mut rows = |batch: &PackedBatch| -> Vec<Vec<f32>> {
        let visual = model.phases.see(batch, encoding).unwrap().visual;
        visual.chunks(visual.len() / plan.batch_size).map(<[f32]>::to_vec).collect()
    };
    vectors.lay(Split::Test, &mut batch).unwrap();
    let apart = rows(&batch);
    assert_ne!(apart[0], apart[1]);
    // What tells them apart is the vector alone.
    let first = batch.vectors_be[..24].to_vec();
    batch.lay_vectors(|_| Some(&first)).unwrap();
    let alike = rows(&batch);
    assert_eq!(alike[0], apart[0]);
    assert_eq!(alike[1], apart[0]);
}

#[test]
fn answers_by_the_phases_are_those_of_the_whole_model_with_vectors_of_questions() {
    let sets = by_sentence();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    assert!(compare("projector", &sets).0 > 1);
}

#[test]
fn vectors_of_a_file_are_found_by_the_text_of_a_question() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.safetensors");
    let sets = weighed(&format!("{{ kind = 'precomputed', vectors = '{}', width = 2 }}", path.display()));
    let (recipe, data, _) = loaded(&sets);
    let questions = [Split::Train, Split::Test].map(|split| data.images(split).0.examples());
    let texts: Vec<&str> =
        questions.iter().flat_map(|all| all.iter().map(|one| one.question.as_str())).collect();
    let vector = |text: &str| [text.len() as f32, f32::from(text.as_bytes()[0])];
    let write = |left_out: &str| {
        let bytes: BTreeMap<&str, Vec<u8>> = (texts.iter().filter(|text| **text != left_out))
            .map(|text| (*text, vector(text).into_iter().flat_map(f32::to_le_bytes).collect()))
            .collect();
        let views = bytes.iter().map(|(text, bytes)| {
            (*text, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], bytes).unwrap())
        });
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    };
    write(texts[0]);
    let error = data.question_vectors(&recipe).unwrap_err().to_string();
    assert!(error.contains(texts[0]) && error.contains("sentence"), "{error}");
    write("");
    assert_eq!(crate::start::architecture(&path).unwrap().vectors, Some(2));
    let vectors = data.question_vectors(&recipe).unwrap().unwrap();
    for (split, examples) in [Split::Train, Split::Test].into_iter().zip(questions) {
        for (number, example) in examples.iter().enumerate() {
            assert_eq!(vectors.of(split, number).unwrap(), vector(&example.question));
        }
    }
    let sets = weighed(&format!("{{ kind = 'precomputed', vectors = '{}', width = 3 }}", path.display()));
    let (wider, data, _) = loaded(&sets);
    assert!(data.question_vectors(&wider).unwrap_err().to_string().contains("are 2 wide"));
}
