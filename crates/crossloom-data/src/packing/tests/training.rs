//! What training draws.

use std::collections::BTreeSet;

use super::*;

fn batches(packer: &mut TrainingPacker<'_>, plan: &PackingPlan, count: usize) -> Vec<PackedBatch> {
    (0..count)
        .map(|_| {
            let mut batch = PackedBatch::new(plan);
            packer.fill(&mut batch).unwrap();
            batch
        })
        .collect()
}

#[test]
fn resuming_at_any_batch_is_bitwise() {
    let fixture = Fixture::generated(&[5, 2, 7, 1, 4]);
    let plan = fixture.plan(&fixture.options());
    let options = TrainingOptions { seed: 11, open_share: Some(0.4), ..TrainingOptions::default() };
    let whole = batches(&mut fixture.training(&plan, options), &plan, 12);
    for cut in 0..12 {
        let mut before = fixture.training(&plan, options);
        batches(&mut before, &plan, cut);
        let mut after = fixture.training(&plan, options);
        after.resume(before.state()).unwrap();
        assert_eq!(batches(&mut after, &plan, 12 - cut), whole[cut..], "resumed after {cut}");
    }
}

#[test]
fn an_epoch_visits_every_asked_picture_once_and_time_uses_every_question() {
    let fixture = Fixture::generated(&[5, 0, 7, 1, 4]);
    let plan = fixture.plan(&fixture.options());
    let mut packer = fixture.training(&plan, TrainingOptions::default());
    assert_eq!(packer.rows_per_epoch(), 4);
    let drawn = batches(&mut packer, &plan, 40);
    for epoch in drawn.chunks(2) {
        let visited: BTreeSet<usize> =
            epoch.iter().flat_map(|batch| (0..2).filter_map(|row| batch.image_of_row(row))).collect();
        assert_eq!(visited, BTreeSet::from([0, 2, 3, 4]));
    }
    let used: BTreeSet<_> =
        drawn.iter().flat_map(|batch| batch.questions().iter().map(|q| q.example)).collect();
    assert_eq!(used.len(), fixture.encoded.len());
    let rows = |batch: &PackedBatch| batch.questions().iter().filter(|q| q.row == 0).count();
    assert!(drawn.iter().all(|batch| rows(batch) <= 3));
}

#[test]
fn seeds_differ_and_withholding_the_pictures_changes_nothing_else() {
    let fixture = Fixture::generated(&[5, 2, 7, 1, 4]);
    let plan = fixture.plan(&fixture.options());
    let with = |seed, image_mode| {
        let options = TrainingOptions { seed, image_mode, ..TrainingOptions::default() };
        batches(&mut fixture.training(&plan, options), &plan, 4)
    };
    let shown = with(1, ImageMode::Shown);
    assert_ne!(shown, with(2, ImageMode::Shown));
    let withheld = with(1, ImageMode::Withheld);
    for (mut shown, withheld) in shown.into_iter().zip(withheld) {
        assert!(shown.pixels_bchw.iter().all(|&value| value != 0.0));
        assert!(withheld.pixels_bchw.iter().all(|&value| value == 0.0));
        shown.pixels_bchw.fill(0.0);
        assert_eq!(shown, withheld);
    }
}

#[test]
fn the_open_share_bounds_yes_and_no() {
    let fixture = Fixture::generated(&[16; 12]);
    let options = PackingOptions { questions_per_sequence: 6, ..fixture.options() };
    let plan = fixture.plan(&options);
    let share = |open_share| {
        let options = TrainingOptions { open_share, ..TrainingOptions::default() };
        let drawn = batches(&mut fixture.training(&plan, options), &plan, 60);
        let examples: Vec<usize> =
            drawn.iter().flat_map(|batch| batch.questions().iter().filter_map(|q| q.example)).collect();
        let open = examples.iter().filter(|&&example| fixture.encoded.is_open(example)).count();
        (open as f64 / examples.len() as f64, examples.len())
    };
    // Half of the fixture's questions are open.
    let (uniform, count) = share(None);
    assert!((0.45..0.55).contains(&uniform), "{uniform}");
    for wanted in [0.0, 0.25, 0.5, 0.9, 1.0] {
        let (found, rows) = share(Some(wanted));
        assert!((found - wanted).abs() < 0.03, "{wanted}: {found}");
        assert_eq!(rows, count, "there are enough of both kinds, so every place is used");
    }
}

#[test]
fn where_open_questions_are_few_places_stay_empty_and_no_row_does() {
    let asked: Vec<Asked<'_>> = vec![
        (0, "a", "yes"),
        (0, "b", "no"),
        (0, "c", "yes"),
        (0, "d", "no"),
        (0, "e", "circle"),
        (1, "a", "yes"),
        (1, "b", "no"),
    ];
    let fixture = Fixture::new(2, &asked);
    let options = PackingOptions { questions_per_sequence: 4, ..fixture.options() };
    let plan = fixture.plan(&options);
    let options = TrainingOptions { open_share: Some(0.5), ..TrainingOptions::default() };
    for batch in batches(&mut fixture.training(&plan, options), &plan, 10) {
        for row in 0..2 {
            let open = batch
                .questions()
                .iter()
                .filter(|q| q.row == row && fixture.encoded.is_open(q.example.unwrap()));
            let all = batch.questions().iter().filter(|q| q.row == row).count();
            match batch.image_of_row(row) {
                Some(0) => assert_eq!((open.count(), all), (1, 3)),
                _ => assert_eq!((open.count(), all), (0, 2)),
            }
        }
    }
    let only_open = TrainingOptions { open_share: Some(1.0), ..TrainingOptions::default() };
    for batch in batches(&mut fixture.training(&plan, only_open), &plan, 10) {
        assert_eq!(batch.questions().len(), 2, "one question per row: the open one, or one at least");
    }
}
