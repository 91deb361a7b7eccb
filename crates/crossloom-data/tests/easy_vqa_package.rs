//! The real easy-VQA package, fetched from the package index. Runs only with `CROSSLOOM_NETWORK_TESTS=1`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_data::assets::{AssetCache, AssetEvent};
use crossloom_data::datasets::{EasyVqa, EasyVqaOptions, VqaDataset};
use crossloom_data::image::Normalization;
use crossloom_data::packing::{
    AnswerMode, EncodedSplit, EvaluationPacker, ImageMode, PackedBatch, PackingOptions, PackingPlan,
};
use crossloom_data::tokenizer::{Tokenizer, TokenizerOptions};

#[test]
fn the_real_set_is_fetched_read_and_packed() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch the real data");
        return;
    }
    let cache = AssetCache::of_user().unwrap();
    let folder = cache.ensure("easy-vqa", &mut |event| {
        if !matches!(event, AssetEvent::Unpacking { .. } | AssetEvent::Downloading { .. }) {
            println!("{event}");
        }
    });
    let data = EasyVqa::load(&folder.unwrap(), &EasyVqaOptions::default()).unwrap();
    let manifest = data.manifest();
    assert_eq!((manifest.train.images, manifest.train.examples), (4000, 38_575));
    assert_eq!((manifest.test.images, manifest.test.examples), (1000, 9673));
    assert_eq!((manifest.train.image_width, manifest.train.image_height), (64, 64));
    assert_eq!(manifest.train.question_types["yes_no"], 28_407);
    assert_eq!(manifest.test.question_types["yes_no"], 7136);
    assert_eq!(data.answers().len(), 13);

    let (train, test) = (data.train(), data.test());
    let tokenizer = Tokenizer::train(train.texts(), &TokenizerOptions::default()).unwrap();
    let (train_ids, test_ids) = (
        EncodedSplit::new(train, &tokenizer.clone().into()).unwrap(),
        EncodedSplit::new(test, &tokenizer.clone().into()).unwrap(),
    );
    assert_eq!(test_ids.unknown_words(), 0, "training shows every word of the test questions");
    let plan =
        PackingPlan::new(&[&train_ids, &test_ids], &PackingOptions::for_images(train.images())).unwrap();
    let (shown, half) = (ImageMode::Shown, Normalization::HALF);
    let evaluation = EvaluationPacker::new(&plan, &test_ids, test.images(), &half, shown).unwrap();
    let mut batch = PackedBatch::new(&plan);
    let mut questions = 0;
    for index in 0..evaluation.batches() {
        evaluation.fill(index, AnswerMode::Awaited, &mut batch).unwrap();
        questions += batch.questions().len();
    }
    assert_eq!(questions, 9673);
    println!("{} tokens, sequences of {}, {} rows", plan.vocab_size, plan.sequence_len, evaluation.rows());
}
