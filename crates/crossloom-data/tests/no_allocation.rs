//! Filling a batch takes no memory: the arrays are made once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crossloom_data::datasets::{Synthetic, SyntheticOptions, VqaDataset};
use crossloom_data::image::Normalization;
use crossloom_data::packing::{
    AnswerMode, EncodedSplit, EvaluationPacker, ImageMode, PackedBatch, PackingOptions, PackingPlan,
    TrainingOptions, TrainingPacker,
};
use crossloom_data::tokenizer::{Tokenizer, TokenizerOptions};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator; the counter is a thread-local number without a
// destructor, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above with this layout, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn filling_a_batch_does_not_allocate() {
    let options = SyntheticOptions { train_images: 20, image_size: 16, ..SyntheticOptions::default() };
    let data = Synthetic::generate(&options).unwrap();
    let split = data.train();
    let tokenizer = Tokenizer::train(split.texts(), &TokenizerOptions::default()).unwrap();
    let encoded = EncodedSplit::new(split, &tokenizer.into()).unwrap();
    let plan = PackingPlan::new(&[&encoded], &PackingOptions::for_images(split.images())).unwrap();
    let mut batch = PackedBatch::new(&plan);
    assert_eq!(counted(|| drop(vec![1_u8; 100])), 1, "the counter counts");

    let settings = TrainingOptions { open_share: Some(0.5), ..TrainingOptions::default() };
    let mut training = TrainingPacker::new(&plan, &encoded, split.images(), settings).unwrap();
    let taken = counted(|| {
        for _ in 0..10 {
            training.fill(&mut batch).unwrap();
        }
    });
    assert_eq!(taken, 0, "training batches, across epochs");

    let (shown, half) = (ImageMode::Shown, Normalization::HALF);
    let evaluation = EvaluationPacker::new(&plan, &encoded, split.images(), &half, shown).unwrap();
    let mut next = vec![0; plan.batch_size * plan.questions_per_sequence];
    let taken = counted(|| {
        for index in 0..evaluation.batches() {
            evaluation.fill(index, AnswerMode::Awaited, &mut batch).unwrap();
            next.fill(plan.special.answer);
            let count = batch.questions().len();
            while batch.append_generated(&next[..count]).unwrap() > 0 {}
        }
    });
    assert_eq!(taken, 0, "evaluation and generation");
}
