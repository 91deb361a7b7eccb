//! Every refusal, and that a refusal changes nothing.

use super::*;
use crate::sampler::SamplerError;

#[test]
fn options_out_of_range_are_named() {
    let fixture = Fixture::generated(&[2]);
    let plain = fixture.options();
    for (key, options) in [
        ("batch_size", PackingOptions { batch_size: 0, ..plain }),
        ("visual_tokens", PackingOptions { visual_tokens: usize::MAX, ..plain }),
        ("questions_per_sequence", PackingOptions { questions_per_sequence: 0, ..plain }),
        ("image_width", PackingOptions { image_width: 0, ..plain }),
        ("max_new_tokens", PackingOptions { max_new_tokens: Some(0), ..plain }),
        ("text_positions", PackingOptions { text_positions: Some(usize::MAX), ..plain }),
    ] {
        let error = PackingPlan::new(&[&fixture.encoded], &options).unwrap_err();
        assert!(matches!(&error, PackingError::Option { key: found, .. } if *found == key), "{error}");
    }
    let huge = PackingOptions { batch_size: 1 << 20, visual_tokens: 1 << 20, ..plain };
    let error = PackingPlan::new(&[&fixture.encoded], &huge).unwrap_err();
    assert!(matches!(error, PackingError::TooLarge { array: "tokens_bt", .. }), "{error}");
    assert!(matches!(PackingPlan::new(&[], &plain), Err(PackingError::NoData)));
    for open_share in [-0.1, 1.1, f64::NAN] {
        let options = TrainingOptions { open_share: Some(open_share), ..TrainingOptions::default() };
        let plan = fixture.plan(&plain);
        let error =
            TrainingPacker::new(&plan, &fixture.encoded, fixture.split.images(), options).unwrap_err();
        assert!(matches!(error, PackingError::Option { key: "open_share", .. }));
    }
}

#[test]
fn questions_that_do_not_fit_are_counted() {
    let fixture =
        Fixture::new(1, &[(0, "a", "b"), (0, "a a a a a a a a a", "b"), (0, "a a a a a a a a", "b")]);
    let options = PackingOptions { visual_tokens: 8, text_positions: Some(5), ..fixture.options() };
    let error = PackingPlan::new(&[&fixture.encoded], &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "packing: question 1 needs 11 positions after the picture; the sequence has 8 (and 1 more do not fit)"
    );
    // The same through a plan that was made for other data of the same vocabulary.
    let short = Fixture::new(1, &[(0, "a", "b")]);
    let plan = short.plan(&PackingOptions { visual_tokens: 8, text_positions: Some(8), ..short.options() });
    let images = fixture.split.images();
    let shown = ImageMode::Shown;
    for error in [
        EvaluationPacker::new(&plan, &fixture.encoded, images, &Normalization::HALF, shown).unwrap_err(),
        TrainingPacker::new(&plan, &fixture.encoded, images, TrainingOptions::default()).unwrap_err(),
    ] {
        assert!(matches!(error, PackingError::QuestionTooLong { others: 1, .. }), "{error}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let fixture = Fixture::generated(&[2, 2]);
    let plan = fixture.plan(&fixture.options());
    let training = |encoded: &EncodedSplit, images: &ImageStore| {
        TrainingPacker::new(&plan, encoded, images, TrainingOptions::default()).err()
    };
    let other = Fixture::new(1, &[(0, "a", "b")]);
    assert!(matches!(training(&other.encoded, other.split.images()), Some(PackingError::Vocabulary { .. })));
    assert!(matches!(
        PackingPlan::new(&[&fixture.encoded, &other.encoded], &fixture.options()),
        Err(PackingError::Vocabulary { .. })
    ));
    assert!(matches!(training(&fixture.encoded, other.split.images()), Some(PackingError::Pictures { .. })));
    let mut wide = ImageStore::with_capacity(3, 2, 2).unwrap();
    (0..2).for_each(|_| wide.push(&Image::new(3, 2, vec![0; 18]).unwrap()).unwrap());
    assert!(matches!(training(&fixture.encoded, &wide), Some(PackingError::ImageSize { width: 3, .. })));

    let foreign = fixture.plan(&PackingOptions { batch_size: 5, ..fixture.options() });
    let mut batch = PackedBatch::new(&foreign);
    let mut packer = fixture.training(&plan, TrainingOptions::default());
    assert!(matches!(packer.fill(&mut batch), Err(PackingError::ForeignBatch)));
    let evaluation = fixture.evaluation(&plan);
    assert!(matches!(evaluation.fill(0, AnswerMode::Given, &mut batch), Err(PackingError::ForeignBatch)));
    let mut batch = PackedBatch::new(&plan);
    let beyond = evaluation.fill(evaluation.batches(), AnswerMode::Given, &mut batch);
    assert!(matches!(beyond, Err(PackingError::NoSuchBatch { .. })));

    let state = fixture.training(&plan, TrainingOptions { seed: 5, ..TrainingOptions::default() }).state();
    assert!(matches!(packer.resume(state), Err(PackingError::Sampler(SamplerError::Mismatch { .. }))));
    let normalization = Normalization { std: [0.0; 3], ..Normalization::HALF };
    let options = TrainingOptions { normalization, ..TrainingOptions::default() };
    let error = TrainingPacker::new(&plan, &fixture.encoded, fixture.split.images(), options).unwrap_err();
    assert!(matches!(error, PackingError::Image(_)));
}

#[test]
fn generated_tokens_are_checked_before_anything_changes() {
    let fixture = Fixture::generated(&[2]);
    let plan = fixture.plan(&fixture.options());
    let packer = fixture.evaluation(&plan);
    let mut batch = PackedBatch::new(&plan);
    packer.fill(0, AnswerMode::Given, &mut batch).unwrap();
    assert!(matches!(batch.append_generated(&[5, 5]), Err(PackingError::NotPrompts)));
    packer.fill(0, AnswerMode::Awaited, &mut batch).unwrap();
    let before = batch.clone();
    assert!(matches!(
        batch.append_generated(&[5]),
        Err(PackingError::GeneratedCount { given: 1, questions: 2 })
    ));
    let error = batch.append_generated(&[5, -1]).unwrap_err();
    assert!(matches!(error, PackingError::TokenRange { question: 1, .. }), "{error}");
    assert_eq!(batch, before);
    // A pretrained model has rows for tokens that the data's tokenizer does not know.
    let beyond = plan.vocab_size as i32;
    batch.append_generated(&[5, beyond]).unwrap();
    assert_eq!(batch.generated(1), [beyond]);
    assert!(batch.generated(99).is_empty());
}

#[test]
fn prompts_are_checked_before_anything_changes() {
    let fixture = Fixture::generated(&[2]);
    let plan = fixture.plan(&fixture.options());
    let mut batch = PackedBatch::new(&plan);
    fixture.evaluation(&plan).fill(0, AnswerMode::Given, &mut batch).unwrap();
    let before = batch.clone();
    let image = fixture.split.images().image(0).unwrap();
    let wide = Image::new(4, 2, vec![0; 24]).unwrap();
    let mut refuse =
        |prompts: &[(&Image, Vec<Vec<i32>>)]| batch.fill_prompts(prompts, &Normalization::HALF).unwrap_err();
    let one = || (&image, vec![vec![5]]);
    assert!(matches!(refuse(&[one(), one(), one()]), PackingError::TooManyRows { given: 3, limit: 2 }));
    assert!(matches!(refuse(&[(&wide, vec![])]), PackingError::ImageSize { .. }));
    assert!(matches!(
        refuse(&[(&image, vec![vec![5]; 4])]),
        PackingError::TooManyQuestions { given: 4, limit: 3 }
    ));
    assert!(matches!(refuse(&[one(), (&image, vec![vec![-1]])]), PackingError::TokenRange { token: -1, .. }));
    assert!(matches!(refuse(&[(&image, vec![vec![5; 1000]])]), PackingError::QuestionTooLong { .. }));
    assert_eq!(batch, before);
}
