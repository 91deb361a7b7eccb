//! Whose result is it? Answers, pictures and gates belong to the question, the row and the edge that they are told of.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossloom_data::packing::{TrainingOptions, TrainingPacker};
use crossloom_recipe::{Gate, Recipe, Split, Topology};
use crossloom_train::step::BatchSource as _;

use super::compared::{busy, recipe, shape};
use super::*;
use crate::batch::{Pools, load_batch};
use crate::data::image_mode;
use crate::processor::Processor;
use crate::stream::TrainingStream;
use crate::{Data, evaluate};

/// A model that is asked one question about one picture at a time, in the first row of an else empty batch.
struct Alone<'d> {
    model: Model,
    batch: PackedBatch,
    recipe: &'d Recipe,
    data: &'d Data,
    split: Split,
}

impl Alone<'_> {
    /// The picture of an example, straight from the data set.
    fn pixels(&self, example: usize) -> Vec<f32> {
        let split = self.data.images(self.split).0;
        let image = split.images().image(split.examples()[example].image).unwrap();
        let mut pixels = vec![0.0; image.rgb().len()];
        let normalization = Processor::of(self.recipe).normalization();
        normalization.write_chw(image.rgb(), &mut pixels).unwrap();
        pixels
    }

    /// The answer to the question of one example about the picture of another.
    fn tokens(&mut self, question: usize, picture: usize) -> Vec<i32> {
        let split = self.data.images(self.split).0;
        let (question, picture) = (&split.examples()[question], &split.examples()[picture]);
        let image = split.images().image(picture.image).unwrap();
        let tokens = vec![self.data.tokenizer.question(&question.question).unwrap()];
        let normalization = Processor::of(self.recipe).normalization();
        self.batch.fill_prompts(&[(&image, tokens)], &normalization).unwrap();
        let encoding = self.model.phases.encoding().unwrap();
        let mut gates = GateMoments::default();
        answer(&mut self.model, &mut self.batch, &Pools::of(self.recipe), encoding, &mut gates, &[0])
            .unwrap();
        self.batch.generated(0).to_vec()
    }

    fn answer(&mut self, question: usize, picture: usize) -> String {
        let tokens = self.tokens(question, picture);
        self.data.tokenizer.decode(&tokens).unwrap()
    }
}

#[test]
fn answers_of_a_batch_are_those_of_their_question_and_picture_asked_alone() {
    for variant in ["projector", "cli"] {
        let recipe = recipe(variant, &[]);
        let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
        let plan = data.plan(&recipe).unwrap();
        assert!(plan.batch_size > 1 && plan.questions_per_sequence > 1);
        let mut model = busy(&recipe, &plan);
        let stop = AtomicBool::new(false);
        let answered = evaluate(&recipe, &data, &plan, &mut model, &stop, &mut |_, _| ()).unwrap().unwrap();
        let batch = PackedBatch::new(&plan);
        let (recipe, data) = (&recipe, &data);
        let mut alone = Alone { model: busy(recipe, &plan), batch, recipe, data, split: Split::Test };
        let examples = data.images(Split::Test).0.examples();
        assert_eq!(answered.records.len(), examples.len());
        let mut moved = 0;
        for (number, record) in answered.records.iter().enumerate() {
            let example = &examples[number];
            assert_eq!((&record.id, &record.image), (&number.to_string(), &example.image_id.to_string()));
            assert_eq!((&record.question, &record.truth[0]), (&example.question, &example.answer));
            let own = alone.answer(number, number);
            assert_eq!(
                record.answer.as_ref(),
                Some(&own),
                "{variant}: {} about {}",
                record.question,
                record.image
            );
            let other = (number..number + examples.len())
                .map(|other| other % examples.len())
                .find(|&other| examples[other].image != example.image);
            moved += usize::from(alone.answer(number, other.unwrap()) != own);
        }
        assert!(
            4 * moved > examples.len(),
            "{variant}: with another picture only {moved} answers are others"
        );
    }
}

#[test]
fn a_training_row_shows_the_picture_of_its_questions_and_predicts_their_answers() {
    for variant in ["projector", "cli"] {
        let recipe = recipe(variant, &[]);
        let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
        let plan = data.plan(&recipe).unwrap();
        let model = busy(&recipe, &plan);
        let mut whole = model.whole(&recipe, shape(&plan), plan.vocab_size).unwrap();
        let (split, encoded) = data.images(Split::Train);
        let options = TrainingOptions {
            normalization: Processor::of(&recipe).normalization(),
            image_mode: image_mode(&recipe),
            ..TrainingOptions::default()
        };
        let packer = TrainingPacker::new(&plan, encoded, split.images(), options).unwrap();
        let mut stream = TrainingStream::new(packer, PackedBatch::new(&plan), None);
        let batch = PackedBatch::new(&plan);
        let (recipe, data) = (&recipe, &data);
        let mut alone = Alone { model: busy(recipe, &plan), batch, recipe, data, split: Split::Train };
        let mut predictions = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let drawn = stream.next_batch().unwrap().batch;
            load_batch(&mut whole, &drawn, &Pools::of(recipe)).unwrap();
            whole.run().unwrap();
            let predicted = whole.read::<i32>("predictions").unwrap();
            let size = drawn.pixels_bchw.len() / plan.batch_size;
            for question in drawn.questions() {
                let example = question.example.unwrap();
                let shown = &drawn.pixels_bchw[question.row * size..][..size];
                assert!(
                    shown == alone.pixels(example),
                    "{variant}: row {} shows another picture",
                    question.row
                );
                let first = predicted[question.row * plan.targets + question.first_slot];
                let own = alone.tokens(example, example).first().copied().unwrap_or(plan.special.eos);
                assert_eq!(own, first, "{variant}: question {example} in row {}", question.row);
                predictions.insert(first);
                let target = drawn.targets_bm[question.row * plan.targets + question.first_slot];
                assert_eq!(target, encoded.answer(example)[0], "{variant}: the target is another question's");
            }
        }
        assert!(predictions.len() > 1, "{variant}: everything has one answer");
    }
}

#[test]
fn a_gate_is_told_by_the_edge_that_it_weighs() {
    let mut recipe = recipe("cli", &[]);
    recipe.topology.main.gate = Gate::Static { init: 0.0 };
    let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(&recipe).unwrap();
    let mut model = busy(&recipe, &plan);
    let topology = Topology::new(&recipe).unwrap();
    let edges: Vec<_> = topology.injections().collect();
    assert!(edges.len() > 6);
    let value = |number: usize| 0.03 * number as f32 + 0.01;
    for (number, edge) in edges.iter().enumerate() {
        let name = format!("injection.gate.{}.{}.weight", edge.point.name(), edge.tap);
        model.store.write(&name, &[value(number)]).unwrap();
    }
    let stop = AtomicBool::new(false);
    let told = evaluate(&recipe, &data, &plan, &mut model, &stop, &mut |_, _| ()).unwrap().unwrap().gates;
    assert_eq!(told.len(), edges.len());
    for (number, edge) in edges.iter().enumerate() {
        let gate = told[&edge.name()];
        assert!((gate.mean - f64::from(value(number))).abs() < 1e-6, "{}: {gate:?}", edge.name());
        assert!(gate.deviation < 1e-6, "{}: {gate:?}", edge.name());
    }
}
