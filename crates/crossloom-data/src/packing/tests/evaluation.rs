//! What evaluation lays out.

use super::*;

#[test]
fn a_filling_row_is_a_blank_picture_that_asks_nothing() {
    let fixture = Fixture::generated(&[4]);
    let plan = fixture.plan(&PackingOptions { batch_size: 4, ..fixture.options() });
    let packer = fixture.evaluation(&plan);
    assert_eq!((packer.rows(), packer.batches()), (2, 1));
    let mut batch = PackedBatch::new(&plan);
    batch.pixels_bchw.fill(9.0);
    packer.fill(0, AnswerMode::Given, &mut batch).unwrap();
    check(&batch);
    assert_eq!(batch.real_rows(), 2);
    assert!(batch.pixels_bchw[2 * 12..].iter().all(|&value| value == 0.0));
    assert!(batch.targets_bm[2 * plan.targets..].iter().all(|&target| target == IGNORED_TARGET));
    assert_eq!(batch.trained_targets(), batch.questions().iter().map(|q| q.slots).sum::<usize>());
    // Softmax over a filling row's visible positions and means over its prompt stay defined.
    let segments = &batch.segments_bt[3 * plan.sequence_len..];
    assert_eq!(segments.iter().filter(|&&segment| segment == IMAGE_SEGMENT).count(), plan.visual_tokens);
    assert_eq!(batch.prompt_mask_bt[3 * plan.sequence_len..].iter().sum::<f32>(), 3.0);
}

#[test]
fn refilling_leaves_nothing_behind() {
    let fixture = Fixture::generated(&[6, 1, 3]);
    let plan = fixture.plan(&fixture.options());
    let packer = fixture.evaluation(&plan);
    let mut fresh = PackedBatch::new(&plan);
    packer.fill(1, AnswerMode::Given, &mut fresh).unwrap();
    let mut used = PackedBatch::new(&plan);
    packer.fill(0, AnswerMode::Awaited, &mut used).unwrap();
    let count = used.questions().len();
    used.append_generated(&vec![5; count]).unwrap();
    packer.fill(1, AnswerMode::Given, &mut used).unwrap();
    assert_eq!(used, fresh);
}
