//! The rules over many random shapes.

use proptest::prelude::*;

use super::*;

/// A split and a plan, with or without a tight budget of positions.
fn arrangement() -> impl Strategy<Value = (Vec<usize>, PackingOptions)> {
    let questions = proptest::collection::vec(0_usize..8, 1..7)
        .prop_filter("some question", |q| q.iter().sum::<usize>() > 0);
    let shape = (
        1_usize..5,
        1_usize..6,
        1_usize..5,
        proptest::option::of(12_usize..30),
        proptest::option::of(1_usize..6),
        proptest::option::of(1_usize..3),
    );
    (questions, shape).prop_map(|(questions, (batch, visual, per_sequence, text, new_tokens, span))| {
        let options = PackingOptions {
            vector_width: 0,
            batch_size: batch,
            visual_tokens: visual,
            picture_positions: span,
            questions_per_sequence: per_sequence,
            image_width: 2,
            image_height: 2,
            text_positions: text,
            max_new_tokens: new_tokens,
            answer_targets: None,
        };
        (questions, options)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn evaluation_covers_every_question_exactly_once((questions, options) in arrangement()) {
        let fixture = Fixture::generated(&questions);
        let plan = fixture.plan(&options);
        let packer = fixture.evaluation(&plan);
        let mut batch = PackedBatch::new(&plan);
        for mode in [AnswerMode::Given, AnswerMode::Awaited] {
            let mut seen = vec![0; fixture.encoded.len()];
            let mut rows = 0;
            for index in 0..packer.batches() {
                packer.fill(index, mode, &mut batch).unwrap();
                check(&batch);
                rows += batch.real_rows();
                for placed in batch.questions() {
                    let example = placed.example.unwrap();
                    seen[example] += 1;
                    prop_assert!(placed.row < batch.real_rows());
                    prop_assert_eq!(batch.image_of_row(placed.row), fixture.encoded.image_of(example));
                    let prompt = &batch.tokens_bt[placed.row * plan.sequence_len + placed.start..][..placed.prompt_len - 1];
                    prop_assert_eq!(prompt, fixture.encoded.question(example));
                }
                for row in batch.real_rows()..plan.batch_size {
                    prop_assert_eq!(batch.image_of_row(row), None);
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1), "{:?}", seen);
            prop_assert_eq!(rows, packer.rows());
        }
    }

    #[test]
    fn training_obeys_the_rules_and_repeats_itself((questions, options) in arrangement(), seed in any::<u64>()) {
        let fixture = Fixture::generated(&questions);
        let plan = fixture.plan(&options);
        let settings = TrainingOptions { seed, ..TrainingOptions::default() };
        let (mut first, mut second) = (fixture.training(&plan, settings), fixture.training(&plan, settings));
        let (mut batch, mut again) = (PackedBatch::new(&plan), PackedBatch::new(&plan));
        for _ in 0..6 {
            first.fill(&mut batch).unwrap();
            check(&batch);
            prop_assert_eq!(batch.real_rows(), plan.batch_size);
            for row in 0..plan.batch_size {
                let mut examples: Vec<_> = batch.questions().iter().filter(|q| q.row == row).map(|q| q.example).collect();
                prop_assert!(!examples.is_empty(), "a row trains nothing");
                examples.sort_unstable();
                examples.dedup();
                prop_assert_eq!(examples.len(), batch.questions().iter().filter(|q| q.row == row).count());
            }
            let own = |q: &PackedQuestion| fixture.encoded.image_of(q.example.unwrap()) == batch.image_of_row(q.row);
            prop_assert!(batch.questions().iter().all(own));
            second.fill(&mut again).unwrap();
            prop_assert_eq!(&batch, &again);
        }
    }
}
