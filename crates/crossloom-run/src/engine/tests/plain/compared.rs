#![allow(clippy::unwrap_used)]

use std::path::Path;

use crossloom_data::chat::ChatFormat;
use crossloom_data::image::Normalization;
use crossloom_data::packing::{AnswerMode, EvaluationPacker, ImageMode, PackingPlan, VISUAL_PARTS};
use crossloom_data::tokenizer::{ChatTokenizer, PublishedTokenizer, Spelled};
use crossloom_ir::Role;
use crossloom_model::Init;
use crossloom_model::{BatchShape, initial_value};
use crossloom_recipe::{LoadOptions, Recipe, Split, load};

use super::*;
use crate::Data;
use crate::backends::Backend;
use crate::batch::{Pools, load_batch};
use crate::programs::Programs;

/// A variant of the synthetic recipe on very little data, with answers of up to five tokens.
pub(crate) fn recipe(variant: &str, sets: &[&str]) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    let small = [
        "data.source={ kind = 'synthetic', train_images = 12, test_images = 5, questions_per_image = 6 }",
        "data.questions_per_sequence=4",
        "train.batch_size=3",
        "eval.max_new_tokens=5",
    ];
    let sets = small.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    load(&path, &LoadOptions { sets }).unwrap().variant(variant).unwrap().recipe.clone()
}

pub(crate) fn shape(plan: &PackingPlan) -> BatchShape {
    crate::batch::batch_shape(plan)
}

/// A model whose weights are far from their start, so that answers differ by question and picture, and end or do not.
pub(crate) fn busy(recipe: &Recipe, plan: &PackingPlan) -> Model {
    busy_in_chunks(recipe, plan, None)
}

/// The same, which reads prompts so many positions at a time.
fn busy_in_chunks(recipe: &Recipe, plan: &PackingPlan, chunk: Option<usize>) -> Model {
    let device = Backend::default().running().unwrap();
    let programs =
        Programs::to_predict(recipe, shape(plan), plan.vocab_size, chunk, device.target()).unwrap();
    let mut model = Model::blank(programs, crate::Start::default(), &device).unwrap();
    model.start(recipe.train.seed).unwrap();
    for tensor in model.store.tensors().into_iter().filter(|tensor| tensor.role == Role::Weight) {
        let mut values = model.store.read::<f32>(&tensor.name).unwrap();
        let noise = initial_value(Init::Uniform { std: 0.25 }, values.len(), 3, &tensor.name);
        values.iter_mut().zip(noise).for_each(|(value, noise)| *value += noise);
        model.store.write(&tensor.name, &values).unwrap();
    }
    model
}

/// Greedy answers by running the whole sequence again for every token.
fn by_recomputation(
    model: &mut Model,
    recipe: &Recipe,
    batch: &mut PackedBatch,
    gates: &mut GateMoments,
    rows: &[usize],
) {
    let plan = batch.plan().clone();
    let mut whole = model.whole(recipe, shape(&plan), plan.vocab_size).unwrap();
    for pass in 0.. {
        load_batch(&mut whole, batch, &Pools::of(recipe)).unwrap();
        whole.run().unwrap();
        if pass == 0 {
            gates.add(&whole, &model.gates, rows).unwrap();
        }
        let predicted = whole.read::<i32>("predictions").unwrap();
        let of = |q: &crossloom_data::packing::PackedQuestion| predicted[q.row * plan.targets + q.first_slot];
        let next: Vec<i32> = batch.questions().iter().map(of).collect();
        if batch.append_generated(&next).unwrap() == 0 {
            break;
        }
    }
}

/// Answers and gates of all batches of the test split, both ways.
pub(super) fn compare(variant: &str, sets: &[&str]) -> (usize, usize) {
    let recipe = recipe(variant, sets);
    let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
    compare_on(&data, variant, &recipe)
}

/// The same, of data that is read already.
fn compare_on(data: &Data, variant: &str, recipe: &Recipe) -> (usize, usize) {
    compare_laid(data, variant, recipe, &data.plan(recipe).unwrap(), &|_| ())
}

/// The same with another plan, whose batches are laid out by `lay` once they are filled.
fn compare_laid(
    data: &Data,
    variant: &str,
    recipe: &Recipe,
    plan: &PackingPlan,
    lay: &dyn Fn(&mut PackedBatch),
) -> (usize, usize) {
    let mut model = busy(recipe, plan);
    let (split, encoded) = data.images(Split::Test);
    let packer =
        EvaluationPacker::new(plan, encoded, split.images(), &Normalization::HALF, ImageMode::Shown).unwrap();
    let encoding = model.phases.encoding().unwrap();
    let (mut answers, mut lengths) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for index in 0..packer.batches() {
        let mut batches = [PackedBatch::new(plan), PackedBatch::new(plan)];
        for batch in &mut batches {
            packer.fill(index, AnswerMode::Awaited, batch).unwrap();
            lay(batch);
            if let Some(vectors) = data.question_vectors(recipe).unwrap() {
                vectors.lay(Split::Test, batch).unwrap();
            }
        }
        let [mut cached, mut again] = batches;
        let rows: Vec<usize> = (0..cached.real_rows()).collect();
        let (mut of_prefill, mut of_whole) = (GateMoments::default(), GateMoments::default());
        answer(&mut model, &mut cached, &Pools::of(recipe), encoding, &mut of_prefill, &rows).unwrap();
        by_recomputation(&mut model, recipe, &mut again, &mut of_whole, &rows);
        assert_eq!(cached.questions(), again.questions(), "{variant}: answers end elsewhere");
        for question in 0..cached.questions().len() {
            assert_eq!(
                cached.generated(question),
                again.generated(question),
                "{variant}: question {question}"
            );
            answers.insert(cached.generated(question).to_vec());
            lengths.insert(cached.generated(question).len());
        }
        let (of_prefill, of_whole) = (of_prefill.records(), of_whole.records());
        assert_eq!(of_prefill.keys().collect::<Vec<_>>(), of_whole.keys().collect::<Vec<_>>());
        for (edge, gate) in &of_prefill {
            let same = (gate.mean - of_whole[edge].mean).abs() < 1e-5;
            assert!(same && (gate.deviation - of_whole[edge].deviation).abs() < 1e-4, "{variant}, {edge}");
        }
    }
    (answers.len(), lengths.len())
}

/// Rows whose tokens are made of two of a view each, of a list of views in another order and with one that nothing shows; the last token of
/// a row is not there.
#[test]
fn answers_by_the_phases_are_those_of_the_whole_model_where_views_are_counted() {
    for variant in ["projector", "cli"] {
        let recipe = recipe(variant, &[]);
        let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
        let mut plan = data.plan(&recipe).unwrap();
        let (rows, tokens) = (plan.batch_size, plan.visual_tokens);
        plan.views = Some(rows + 1);
        let lay = |batch: &mut PackedBatch| {
            let size = batch.pixels_bchw.len() / (rows + 1);
            let given = batch.pixels_bchw[..rows * size].to_vec();
            batch.pixels_bchw.fill(0.0);
            for row in 0..rows {
                let view = rows - row;
                batch.pixels_bchw[view * size..][..size].copy_from_slice(&given[row * size..][..size]);
                for token in 0..tokens - 1 {
                    let at = (row * tokens + token) * VISUAL_PARTS;
                    for part in 0..2 {
                        batch.visual_rows_bn4[at + part] = (view * tokens + token + part) as i32;
                        batch.visual_weights_bn4[at + part] = [0.25, 0.75][part];
                    }
                }
                batch.image_index_bn[(row + 1) * tokens - 1] = -1;
            }
        };
        let counted = compare_laid(&data, variant, &recipe, &plan, &lay);
        assert!(counted.0 > 3, "{variant}: {counted:?}");
    }
}

/// The recipe's data in the tokens of a model whose chat template writes a text in front of the picture.
pub(crate) fn in_a_models_tokens(recipe: &Recipe) -> Data {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-data/tests/chat");
    let format = ChatFormat {
        template: "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}\
                   {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
            .to_owned(),
        tokens: std::collections::BTreeMap::default(),
        image_token: Some("<image>".to_owned()),
    };
    let published = PublishedTokenizer::load(&fixtures.join("smollm.json"), Spelled::Tokens).unwrap();
    let tokenizer = ChatTokenizer::new(published, format).unwrap();
    assert_eq!(tokenizer.lead().len(), 3, "chunks were chosen for it");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let set = crate::data::open(recipe, Path::new("."), &stop, &mut |_| ()).unwrap();
    Data::divided(set, tokenizer.into(), recipe).unwrap()
}

/// Room for answers that are cut into many tokens.
const LONG: [&str; 2] = ["eval.max_new_tokens=14", "model.language.max_positions=1024"];

#[test]
fn answers_behind_a_text_in_front_of_the_picture_are_those_of_recomputation() {
    let stream = "variants.projector.topology.stream={ from = 'before layer.1', to = 'after layer.1' }";
    let turned = ["model.language.rope_sections=[2, 1, 1]"];
    for (variant, sets) in [
        ("projector", &[][..]),
        ("projector", &[stream][..]),
        ("cli", &["variants.cli.topology.gate.pool=image"][..]),
        ("cli", &turned[..]),
    ] {
        let recipe = recipe(variant, &[&LONG[..], sets].concat());
        let (answers, _) = compare_on(&in_a_models_tokens(&recipe), variant, &recipe);
        assert!(answers > 1, "{variant}: all questions have one answer");
    }
}

#[test]
fn answers_by_cache_are_those_of_recomputation() {
    for variant in ["projector", "cli", "question_only"] {
        let (answers, _) = compare(variant, &[]);
        assert!(answers > 1, "{variant}: all questions have one answer");
    }
}

#[test]
fn answers_about_pictures_that_come_and_go_are_those_of_recomputation() {
    let stream = "variants.projector.topology.stream={ from = 'before layer.1', to = 'after layer.1' }";
    assert!(compare("projector", &[stream]).0 > 1);
}

#[test]
fn answers_behind_several_injections_are_those_of_recomputation() {
    let sets = [
        "variants.cli.topology.points=['before layer.0']",
        "variants.cli.topology.injections.deep={ taps = ['block.2'], points = ['inside layer.1'], adapter = 'linear', \
         gate = { kind = 'agf', pool = 'image' } }",
        "variants.cli.topology.injections.read={ taps = ['block.1', 'block.2'], points = ['before layer.2'], \
         adapter = 'per_tap', fusion = { kind = 'cross_attention', gate_init = 0.5 }, mask = 'text' }",
    ];
    assert!(compare("cli", &sets).0 > 1);
}

/// Four tokens of four patches each, whose rows and columns are counted from the picture's position; text follows behind two.
#[test]
fn answers_about_merged_patches_in_rows_and_columns_are_those_of_recomputation() {
    let sets = [
        "model.vision.rope_theta=100",
        "model.projector.merge=2",
        "model.projector.norm=layer",
        "model.language.rope_sections=[2, 1, 1]",
        "variants.cli.topology.adapter.tap_norm=merged",
    ];
    for variant in ["projector", "cli"] {
        let (answers, _) = compare(variant, &sets);
        assert!(answers > 1, "{variant}: all questions have one answer");
    }
}

#[test]
fn a_gate_that_pools_the_prompt_pools_it_whole() {
    let (answers, _) =
        compare("cli", &["data.questions_per_sequence=1", "variants.cli.topology.gate.pool=prompt"]);
    assert!(answers > 1);
}

/// Answers, how they end, and gates of an evaluation, which an engine gives, are those of one batch after the other.
#[test]
fn an_evaluation_answers_as_the_plain_loop_does() {
    for variant in ["cli", "projector", "question_only"] {
        let recipe = recipe(variant, &[]);
        let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
        let plan = data.plan(&recipe).unwrap();
        assert!(plan.questions_per_sequence > 1 && plan.batch_size > 1);
        let mut model = busy(&recipe, &plan);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let told =
            crate::evaluate(&recipe, &data, &plan, &mut model, &stop, &mut |_, _| ()).unwrap().unwrap();
        let (split, encoded) = data.images(Split::Test);
        let mode = crate::data::image_mode(&recipe);
        let packer =
            EvaluationPacker::new(&plan, encoded, split.images(), &Normalization::HALF, mode).unwrap();
        let encoding = model.phases.encoding().unwrap();
        let (mut batch, mut gates) = (PackedBatch::new(&plan), GateMoments::default());
        let mut answers = std::collections::BTreeMap::new();
        for index in 0..packer.batches() {
            packer.fill(index, AnswerMode::Awaited, &mut batch).unwrap();
            let rows: Vec<usize> = (0..batch.real_rows()).collect();
            answer(&mut model, &mut batch, &Pools::of(&recipe), encoding, &mut gates, &rows).unwrap();
            for (place, question) in batch.questions().iter().enumerate() {
                let text = data.tokenizer.decode(batch.generated(place)).unwrap();
                answers.insert(question.example.unwrap(), (text, question.ended_by_eos));
            }
        }
        let different: std::collections::BTreeSet<_> = answers.values().collect();
        assert!(different.len() > 3 || variant == "question_only", "{variant}: {different:?}");
        assert_eq!(told.records.len(), answers.len());
        for (record, (number, (text, ended))) in told.records.iter().zip(&answers) {
            assert_eq!(record.id, number.to_string());
            assert_eq!(
                (record.answer.as_ref(), record.finished),
                (Some(text), *ended),
                "{variant}: {number}"
            );
        }
        let wanted = gates.records();
        assert_eq!(told.gates.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        for (edge, gate) in &told.gates {
            let apart =
                (gate.mean - wanted[edge].mean).abs() + (gate.deviation - wanted[edge].deviation).abs();
            assert!(apart < 1e-6, "{variant}, {edge}: {gate:?}, {:?}", wanted[edge]);
        }
    }
}

#[test]
fn a_picture_is_encoded_once_until_a_weight_changes() {
    let recipe = recipe("cli", &["data.questions_per_sequence=2"]);
    let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(&recipe).unwrap();
    let mut model = busy(&recipe, &plan);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let answers = |model: &mut Model| {
        let evaluation =
            crate::evaluate(&recipe, &data, &plan, model, &stop, &mut |_, _| ()).unwrap().unwrap();
        (
            evaluation.records.into_iter().map(|record| record.answer).collect::<Vec<_>>(),
            model.phases.encoded(),
        )
    };
    let (first, encoded) = answers(&mut model);
    assert_eq!(encoded, 5, "three rows of one picture read it once");
    assert_eq!(answers(&mut model), (first, 5), "a second pass encodes nothing");
    let name = "vision_tower";
    let tensors = model.store.tensors();
    let tensor = tensors.iter().find(|tensor| tensor.name.starts_with(name)).unwrap();
    let mut values = model.store.read::<f32>(&tensor.name).unwrap();
    for value in &mut values {
        *value += 0.5;
    }
    model.store.write(&tensor.name, &values).unwrap();
    assert_eq!(answers(&mut model).1, 10, "other weights give other features");
}

#[test]
fn caches_of_keys_and_values_are_in_no_checkpoint() {
    let recipe = recipe("cli", &[]);
    let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(&recipe).unwrap();
    let model = Model::new(&recipe, shape(&plan), plan.vocab_size).unwrap();
    assert!(model.store.tensors().iter().any(|tensor| tensor.name.starts_with("cache.")));
    let mut names = Vec::new();
    crossloom_train::step::ModelState::visit_state(&model, &mut |tensor| {
        names.push(tensor.name.to_owned());
        Ok(())
    })
    .unwrap();
    assert!(!names.is_empty() && names.iter().all(|name| !name.starts_with("cache.")), "{names:?}");
}

/// Answers to all questions of the test split and the gates over them, by a model that reads so many positions at once.
fn answers_in_chunks(
    data: &Data,
    recipe: &Recipe,
    chunk: Option<usize>,
) -> (Vec<Vec<i32>>, Vec<(String, f64)>) {
    let plan = data.plan(recipe).unwrap();
    let mut model = busy_in_chunks(recipe, &plan, chunk);
    let (split, encoded) = data.images(Split::Test);
    let packer =
        EvaluationPacker::new(&plan, encoded, split.images(), &Normalization::HALF, ImageMode::Shown)
            .unwrap();
    let encoding = model.phases.encoding().unwrap();
    let (mut batch, mut gates, mut answers) = (PackedBatch::new(&plan), GateMoments::default(), Vec::new());
    for index in 0..packer.batches() {
        packer.fill(index, AnswerMode::Awaited, &mut batch).unwrap();
        let rows: Vec<usize> = (0..batch.real_rows()).collect();
        answer(&mut model, &mut batch, &Pools::of(recipe), encoding, &mut gates, &rows).unwrap();
        answers.extend((0..batch.questions().len()).map(|question| batch.generated(question).to_vec()));
    }
    (answers, gates.records().into_iter().map(|(edge, gate)| (edge, gate.mean)).collect())
}

#[test]
fn answers_are_the_same_in_however_many_chunks_a_prompt_is_read() {
    for (variant, sets, chunks) in [
        ("projector", &[][..], &[3, 16, 29][..]),
        ("projector", &["model.language.rope_sections=[2, 1, 1]"], &[3, 17]),
        ("cli", &[], &[16, 21, 40]),
        ("cli", &["variants.cli.topology.gate.attention=none", "data.questions_per_sequence=1"], &[17]),
    ] {
        let recipe = recipe(variant, sets);
        assert_eq!(recipe.model.vision.tokens(), 16, "the chunks were chosen for it");
        let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
        same_in_chunks(&data, variant, &recipe, chunks);
    }
}

fn same_in_chunks(data: &Data, variant: &str, recipe: &Recipe, chunks: &[usize]) {
    let (whole, gates) = answers_in_chunks(data, recipe, None);
    assert!(whole.iter().any(|answer| *answer != whole[0]), "{variant}: all questions have one answer");
    for &chunk in chunks {
        let (cut, gates_of_cut) = answers_in_chunks(data, recipe, Some(chunk));
        assert_eq!(cut, whole, "{variant} in chunks of {chunk}");
        assert_eq!(gates_of_cut.len(), gates.len());
        for ((edge, one), (other, two)) in gates.iter().zip(&gates_of_cut) {
            assert!(edge == other && (one - two).abs() < 1e-5, "{variant}, {edge}: {one} {two}");
        }
    }
}

/// A chunk may end in front of the picture, within it where no gate pools it, and behind it.
#[test]
fn a_text_in_front_of_the_picture_may_be_a_chunk_of_its_own() {
    for (variant, chunks) in [("projector", [3, 16, 40]), ("cli", [16, 21, 40])] {
        let recipe = recipe(variant, &LONG);
        same_in_chunks(&in_a_models_tokens(&recipe), variant, &recipe, &chunks);
    }
}

#[test]
fn a_prompt_that_may_not_be_cut_is_refused_with_the_reason() {
    let refused = |sets: &[&str], chunk: usize| {
        let recipe = recipe("cli", sets);
        let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
        let plan = data.plan(&recipe).unwrap();
        let target = Backend::default().target();
        Programs::to_predict(&recipe, shape(&plan), plan.vocab_size, Some(chunk), target)
            .err()
            .map(|e| e.to_string())
    };
    let pooled = ["data.questions_per_sequence=1", "variants.cli.topology.gate.pool=prompt"];
    let error = refused(&pooled, 8).unwrap();
    assert!(error.contains("over the whole prompt") && error.contains("topology.gate.pool"), "{error}");
    assert_eq!(refused(&pooled, 4096), None, "what fits at once need not be cut");
    let error = refused(&[], 15).unwrap();
    assert!(error.contains("16 positions need one chunk"), "{error}");
    assert_eq!(refused(&[], 16), None);
}
