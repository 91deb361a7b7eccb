//! Packing, checked against its rules by code that does not know how rows are written.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod evaluation;
mod generation;
mod golden;
mod hold_out;
mod rules;
mod training;

use super::*;
use crate::datasets::{Example, ImageStore, QuestionType, VqaSplit};
use crate::image::{Image, Normalization};
use crate::tokenizer::{Tokenizer, TokenizerOptions};

/// One example: its picture, question and answer.
type Asked<'a> = (usize, &'a str, &'a str);

/// A small split with everything that packing reads. Pictures are 2x2, picture `i` has the samples `i + 1`.
struct Fixture {
    split: VqaSplit,
    tokenizer: Tokenizer,
    encoded: EncodedSplit,
}

impl Fixture {
    fn new(images: usize, asked: &[Asked<'_>]) -> Self {
        let mut store = ImageStore::with_capacity(2, 2, images).unwrap();
        for image in 0..images {
            store.push(&Image::new(2, 2, vec![image as u8 + 1; 12]).unwrap()).unwrap();
        }
        let examples = asked
            .iter()
            .map(|&(image, question, answer)| Example {
                image,
                image_id: image as u64,
                question: question.to_owned(),
                answer: answer.to_owned(),
                question_type: QuestionType::of_shape_answer(answer),
            })
            .collect();
        let split = VqaSplit::new("fixture", "train", store, examples).unwrap();
        let tokenizer = Tokenizer::train(split.texts(), &TokenizerOptions::default()).unwrap();
        let encoded = EncodedSplit::new(&split, &tokenizer.clone().into()).unwrap();
        Self { split, tokenizer, encoded }
    }

    /// Pictures with so many questions each, lengths 1 to 5, answers of 1 to 3 words, about a third of them open.
    fn generated(questions: &[usize]) -> Self {
        let mut texts = Vec::new();
        for (image, &count) in questions.iter().enumerate() {
            for index in 0..count {
                let words = ["is", "there", "a", "red", "shape"];
                let question = words[..=(image + index * 2) % 5].join(" ");
                let answer = ["yes", "no", "deep teal", "a very dark red"][(image * 3 + index) % 4];
                texts.push((image, question, answer));
            }
        }
        let asked: Vec<Asked<'_>> =
            texts.iter().map(|(image, question, answer)| (*image, question.as_str(), *answer)).collect();
        Self::new(questions.len(), &asked)
    }

    fn options(&self) -> PackingOptions {
        PackingOptions {
            batch_size: 2,
            visual_tokens: 3,
            questions_per_sequence: 3,
            ..PackingOptions::for_images(self.split.images())
        }
    }

    fn plan(&self, options: &PackingOptions) -> PackingPlan {
        PackingPlan::new(&[&self.encoded], options).unwrap()
    }

    fn training(&self, plan: &PackingPlan, options: TrainingOptions) -> TrainingPacker<'_> {
        TrainingPacker::new(plan, &self.encoded, self.split.images(), options).unwrap()
    }

    fn evaluation(&self, plan: &PackingPlan) -> EvaluationPacker<'_> {
        let (images, shown) = (self.split.images(), ImageMode::Shown);
        EvaluationPacker::new(plan, &self.encoded, images, &Normalization::HALF, shown).unwrap()
    }
}

/// Fails unless the batch obeys every rule of the layout.
fn check(batch: &PackedBatch) {
    let plan = batch.plan();
    let (length, visual) = (plan.sequence_len, plan.visual_tokens);
    assert!(length.is_multiple_of(8));
    for row in 0..plan.batch_size {
        let of_row = row * length..(row + 1) * length;
        let tokens = &batch.tokens_bt[of_row.clone()];
        let positions = &batch.positions_bt[of_row.clone()];
        let segments = &batch.segments_bt[of_row.clone()];
        let mask = &batch.prompt_mask_bt[of_row];
        let indices = &batch.image_index_bn[row * visual..(row + 1) * visual];
        assert_eq!(indices, (0..visual as i32).collect::<Vec<_>>(), "the picture stands first, in every row");

        let mut next = vec![plan.first_text_position() as i32; plan.questions_per_sequence + 1];
        for position in 0..length {
            let segment = segments[position];
            if position < visual {
                assert_eq!((segment, tokens[position]), (IMAGE_SEGMENT, plan.special.image));
                let own = if plan.picture_positions.is_none() { position as i32 } else { 0 };
                assert_eq!(positions[position], own);
            } else if segment == PADDING_SEGMENT {
                assert_eq!((tokens[position], mask[position]), (plan.special.pad, 0.0));
            } else {
                let expected = &mut next[segment as usize];
                assert_eq!(positions[position], *expected, "positions restart in every question");
                *expected += 1;
            }
        }
        check_visibility(segments, visual);
        for question in batch.questions().iter().filter(|question| question.row == row) {
            check_question(batch, question, tokens, segments, mask);
        }
        let known: Vec<i32> = batch.questions().iter().filter(|q| q.row == row).map(|q| q.segment).collect();
        assert_eq!(known, (1..=known.len() as i32).collect::<Vec<_>>());
        assert!(segments.iter().all(|&segment| segment <= known.len() as i32));
    }
}

/// No position of one question sees another question; each sees the whole picture and its own past.
fn check_visibility(segments: &[i32], visual: usize) {
    for query in 0..segments.len() {
        assert!(may_attend(segments, query, query, true), "every position sees at least itself");
        for key in 0..segments.len() {
            let seen = may_attend(segments, query, key, true);
            let (from, to) = (segments[query], segments[key]);
            if seen {
                assert!(key <= query);
                assert!(to < 1 || to == from, "question {from} sees question {to}");
                assert!(to != PADDING_SEGMENT || key == query, "padding is seen");
            } else if from >= 1 {
                assert!(key > query || key >= visual && to != from, "question {from} misses position {key}");
            }
        }
    }
}

/// The slots of a question predict the token that follows each of their positions.
fn check_question(
    batch: &PackedBatch,
    question: &PackedQuestion,
    tokens: &[i32],
    segments: &[i32],
    mask: &[f32],
) {
    let plan = batch.plan();
    let marker = question.start + question.prompt_len - 1;
    assert_eq!(tokens[marker], plan.special.answer);
    assert!(mask[question.start..=marker].iter().all(|&value| value == 1.0), "the prompt is in the mask");
    let answer_end = marker + 1 + question.answer_len;
    let fed = answer_end.min(segments.len());
    assert!(mask[marker + 1..fed].iter().all(|&value| value == 0.0), "the answer leaks into the mask");
    for slot in 0..question.slots {
        let at = question.row * plan.targets + question.first_slot + slot;
        let index = batch.target_index_bm[at] as usize;
        assert_eq!(segments[index], question.segment);
        let target = batch.targets_bm[at];
        if target == IGNORED_TARGET {
            continue;
        }
        let follows = segments.get(index + 1) == Some(&question.segment);
        assert_eq!(
            target,
            if follows { tokens[index + 1] } else { plan.special.eos },
            "targets shift by one"
        );
        assert!(index >= marker, "a question is trained");
    }
}
