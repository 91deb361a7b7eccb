//! Decoding by recomputation.

use super::*;

#[test]
fn generating_the_true_answers_rebuilds_the_given_sequence() {
    let fixture = Fixture::generated(&[3, 3]);
    let plan = fixture.plan(&fixture.options());
    let packer = fixture.evaluation(&plan);
    let (mut given, mut prompts) = (PackedBatch::new(&plan), PackedBatch::new(&plan));
    packer.fill(0, AnswerMode::Given, &mut given).unwrap();
    packer.fill(0, AnswerMode::Awaited, &mut prompts).unwrap();
    assert_eq!(prompts.unfinished(), 6);
    let eos = plan.special.eos;
    for step in 0.. {
        let next: Vec<i32> = prompts
            .questions()
            .iter()
            .map(|q| fixture.encoded.answer(q.example.unwrap()).get(step).copied().unwrap_or(eos))
            .collect();
        let left = prompts.append_generated(&next).unwrap();
        check(&prompts);
        assert_eq!(left, prompts.unfinished());
        if left == 0 {
            break;
        }
    }
    for (index, (prompt, full)) in prompts.questions().iter().zip(given.questions()).enumerate() {
        let answer = fixture.encoded.answer(prompt.example.unwrap());
        assert_eq!(prompts.generated(index), answer);
        assert!(given.generated(index).is_empty());
        let of = |batch: &PackedBatch, question: &PackedQuestion| {
            let from = question.row * plan.sequence_len + question.start;
            let span = from..from + question.prompt_len + answer.len();
            let (tokens, positions) = (&batch.tokens_bt[span.clone()], &batch.positions_bt[span.clone()]);
            let (segments, mask) = (&batch.segments_bt[span.clone()], &batch.prompt_mask_bt[span]);
            (tokens.to_vec(), positions.to_vec(), segments.to_vec(), mask.to_vec())
        };
        assert_eq!(of(&prompts, prompt), of(&given, full));
        // The slot that is read stands on the last token.
        let slot = prompts.target_index_bm[prompt.row * plan.targets + prompt.first_slot] as usize;
        assert_eq!(slot, prompt.start + prompt.prompt_len + answer.len() - 1);
    }
}

#[test]
fn length_ends_an_answer_without_eos_and_finished_questions_are_left_alone() {
    let fixture = Fixture::generated(&[2]);
    let options = PackingOptions { batch_size: 1, max_new_tokens: Some(2), ..fixture.options() };
    let plan = fixture.plan(&options);
    let mut batch = PackedBatch::new(&plan);
    fixture.evaluation(&plan).fill(0, AnswerMode::Awaited, &mut batch).unwrap();
    assert_eq!(batch.append_generated(&[plan.special.eos, 6]).unwrap(), 1);
    let before = batch.tokens_bt.clone();
    assert_eq!(batch.append_generated(&[-5, 7]).unwrap(), 0, "a finished question's token is not looked at");
    assert_eq!(batch.tokens_bt, before, "the last token needs no position");
    assert_eq!((batch.generated(0), batch.generated(1)), (&[][..], &[6, 7][..]));
    let ended: Vec<bool> = batch.questions().iter().map(|question| question.ended_by_eos).collect();
    assert_eq!(ended, [true, false], "an answer cut at its longest length has not ended");
    assert_eq!(batch.append_generated(&[1, 1]).unwrap(), 0);
    assert_eq!(batch.generated(1), [6, 7]);
    check(&batch);
}

#[test]
fn an_end_at_the_last_token_is_an_end() {
    let fixture = Fixture::generated(&[1]);
    let options = PackingOptions { batch_size: 1, max_new_tokens: Some(2), ..fixture.options() };
    let plan = fixture.plan(&options);
    let mut batch = PackedBatch::new(&plan);
    fixture.evaluation(&plan).fill(0, AnswerMode::Awaited, &mut batch).unwrap();
    assert_eq!(batch.append_generated(&[6]).unwrap(), 1);
    assert_eq!(batch.append_generated(&[plan.special.eos]).unwrap(), 0);
    assert!(batch.questions()[0].ended_by_eos);
    assert_eq!(batch.generated(0), [6]);
}

#[test]
fn a_persons_prompts_are_packed_like_a_data_sets() {
    let fixture = Fixture::generated(&[3]);
    let plan = fixture.plan(&fixture.options());
    let mut expected = PackedBatch::new(&plan);
    fixture.evaluation(&plan).fill(0, AnswerMode::Awaited, &mut expected).unwrap();
    let image = fixture.split.images().image(0).unwrap();
    let questions: Vec<Vec<i32>> =
        fixture.split.examples().iter().map(|e| fixture.tokenizer.encode(&e.question).unwrap()).collect();
    let mut batch = PackedBatch::new(&plan);
    batch.fill_prompts(&[(&image, questions)], &Normalization::HALF).unwrap();
    check(&batch);
    assert_eq!(batch.tokens_bt, expected.tokens_bt);
    assert_eq!(batch.segments_bt, expected.segments_bt);
    assert_eq!(batch.target_index_bm, expected.target_index_bm);
    assert_eq!(batch.pixels_bchw, expected.pixels_bchw);
    assert_eq!((batch.real_rows(), batch.unfinished()), (1, 3));
    assert!(batch.questions().iter().all(|question| question.example.is_none()));
}
