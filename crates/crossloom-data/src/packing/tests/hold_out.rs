//! Held-out pictures.

use std::collections::BTreeSet;

use super::*;

fn pictures(encoded: &EncodedSplit) -> BTreeSet<usize> {
    encoded.examples().iter().map(|&example| encoded.image_of(example).unwrap()).collect()
}

#[test]
fn the_parts_are_disjoint_by_picture_and_together_the_whole() {
    let fixture = Fixture::generated(&[2, 3, 0, 1, 4, 2, 2, 1, 3, 2, 1]);
    let (left, held) = fixture.encoded.hold_out(0.3, 7).unwrap();
    assert_eq!((pictures(&left).len(), pictures(&held).len()), (7, 3));
    assert!(pictures(&left).is_disjoint(&pictures(&held)));
    let mut all = [left.examples(), held.examples()].concat();
    all.sort_unstable();
    assert_eq!(all, fixture.encoded.examples());
    for example in held.examples() {
        assert_eq!(held.question(example), fixture.encoded.question(example), "numbers stay");
    }
    assert_eq!(held.examples(), fixture.encoded.hold_out(0.3, 7).unwrap().1.examples());
    let others: BTreeSet<Vec<usize>> =
        (0..8).map(|seed| fixture.encoded.hold_out(0.3, seed).unwrap().1.examples()).collect();
    assert!(others.len() > 1, "the seed chooses");
}

#[test]
fn a_held_out_picture_is_never_trained_and_always_evaluated() {
    let fixture = Fixture::generated(&[2, 3, 1, 4, 2, 2]);
    let plan = fixture.plan(&fixture.options());
    let (left, held) = fixture.encoded.hold_out(0.34, 1).unwrap();
    let images = fixture.split.images();
    let mut training = TrainingPacker::new(&plan, &left, images, TrainingOptions::default()).unwrap();
    assert_eq!(training.rows_per_epoch(), 4);
    let mut batch = PackedBatch::new(&plan);
    let mut trained = BTreeSet::new();
    for _ in 0..10 {
        training.fill(&mut batch).unwrap();
        trained.extend((0..plan.batch_size).filter_map(|row| batch.image_of_row(row)));
    }
    assert_eq!(trained, pictures(&left));
    let shown = ImageMode::Shown;
    let evaluation = EvaluationPacker::new(&plan, &held, images, &Normalization::HALF, shown).unwrap();
    let mut asked = Vec::new();
    for index in 0..evaluation.batches() {
        evaluation.fill(index, AnswerMode::Given, &mut batch).unwrap();
        asked.extend(batch.questions().iter().filter_map(|question| question.example));
    }
    asked.sort_unstable();
    assert_eq!(asked, held.examples());
}

#[test]
fn any_share_leaves_something_on_both_sides_or_is_refused() {
    let fixture = Fixture::generated(&[1, 1, 1]);
    let counts = |share| {
        let (left, held) = fixture.encoded.hold_out(share, 0).unwrap();
        (pictures(&left).len(), pictures(&held).len())
    };
    assert_eq!([0.0, 0.01, 0.5, 0.99].map(counts), [(3, 0), (2, 1), (1, 2), (1, 2)]);
    for share in [-0.1, 1.0, f64::NAN] {
        assert!(matches!(fixture.encoded.hold_out(share, 0), Err(PackingError::Option { .. })));
    }
    let one = Fixture::generated(&[3]);
    assert!(matches!(one.encoded.hold_out(0.5, 0), Err(PackingError::Option { .. })));
}
