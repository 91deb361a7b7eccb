//! One batch, written out.

use super::*;

#[test]
fn one_packed_sequence() {
    let fixture = Fixture::new(1, &[(0, "what shape", "circle"), (0, "is it red", "dark teal")]);
    let plan =
        fixture.plan(&PackingOptions { batch_size: 1, questions_per_sequence: 2, ..fixture.options() });
    // <pad> 0, <image> 1, <unk> 2, <eos> 3, <answer> 4, then: circle dark is it red shape teal what.
    assert_eq!(plan.vocab_size, 13);
    assert_eq!((plan.sequence_len, plan.targets, plan.max_new_tokens), (16, 6, 3));
    let mut batch = PackedBatch::new(&plan);
    fixture.evaluation(&plan).fill(0, AnswerMode::Given, &mut batch).unwrap();
    assert_eq!(batch.tokens_bt, [1, 1, 1, 12, 10, 4, 5, 7, 8, 9, 4, 6, 11, 0, 0, 0]);
    assert_eq!(batch.positions_bt, [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 7, 8, 0, 0, 0]);
    assert_eq!(batch.segments_bt, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, -1, -1, -1]);
    let mask = [1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0];
    assert_eq!(batch.prompt_mask_bt, mask.map(|value| value as f32));
    assert_eq!(batch.image_index_bn, [0, 1, 2]);
    assert_eq!(batch.target_index_bm, [5, 6, 10, 11, 12, 0]);
    assert_eq!(batch.targets_bm, [5, 3, 6, 11, 3, -1]);
    assert_eq!(batch.pixels_bchw, [(1.0 / 255.0 - 0.5) / 0.5; 12]);
    check(&batch);
}

#[test]
fn the_same_as_a_prompt() {
    let fixture = Fixture::new(1, &[(0, "what shape", "circle"), (0, "is it red", "dark teal")]);
    let plan =
        fixture.plan(&PackingOptions { batch_size: 1, questions_per_sequence: 2, ..fixture.options() });
    let mut batch = PackedBatch::new(&plan);
    fixture.evaluation(&plan).fill(0, AnswerMode::Awaited, &mut batch).unwrap();
    // Two positions stay free behind each prompt: three generated tokens, of which the last is never read.
    assert_eq!(batch.tokens_bt, [1, 1, 1, 12, 10, 4, 0, 0, 7, 8, 9, 4, 0, 0, 0, 0]);
    assert_eq!(batch.segments_bt, [0, 0, 0, 1, 1, 1, -1, -1, 2, 2, 2, 2, -1, -1, -1, -1]);
    assert_eq!(batch.target_index_bm, [5, 11, 0, 0, 0, 0]);
    assert_eq!(batch.targets_bm, [-1; 6]);
    check(&batch);
}
