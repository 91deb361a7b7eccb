//! Models of one recipe start alike, see the same data, and differ by their injection.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossloom_data::image::Normalization;
use crossloom_data::packing::{ImageMode, PackedBatch, PackingPlan, TrainingOptions, TrainingPacker};
use crossloom_ir::Role;
use crossloom_model::BatchShape;
use crossloom_recipe::{Recipe, Split};
use crossloom_run::{Data, Model, Pools, evaluate, load_batch};
use crossloom_train::checkpoint::Checkpoints;
use crossloom_train::metrics::read_metrics;

use crate::support::{Entry, finish, recipe};

pub(crate) fn data(recipe: &Recipe) -> (Data, PackingPlan) {
    let data = Data::load(recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(recipe).unwrap();
    (data, plan)
}

pub(crate) fn model(recipe: &Recipe, plan: &PackingPlan) -> Model {
    Model::new(recipe, shape(plan), plan.vocab_size).unwrap()
}

fn shape(plan: &PackingPlan) -> BatchShape {
    BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None }
}

pub(crate) fn weights(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let weights = model.store.tensors().into_iter().filter(|tensor| tensor.role == Role::Weight);
    weights.map(|tensor| (tensor.name.clone(), model.store.read(&tensor.name).unwrap())).collect()
}

fn first_batch(recipe: &Recipe, data: &Data, plan: &PackingPlan) -> PackedBatch {
    let (split, encoded) = data.images(Split::Train);
    let options = TrainingOptions {
        seed: recipe.data.seed,
        normalization: Normalization::HALF,
        image_mode: ImageMode::Shown,
        ..TrainingOptions::default()
    };
    let mut batch = PackedBatch::new(plan);
    TrainingPacker::new(plan, encoded, split.images(), options).unwrap().fill(&mut batch).unwrap();
    batch
}

#[test]
fn shared_parameters_start_equal() {
    let recipe = recipe(&[]);
    let recipe_of = |name: &str| &recipe.variant(name).unwrap().recipe;
    let (_, plan) = data(recipe_of("projector"));
    let [projector, cli] = ["projector", "cli"].map(|name| weights(&model(recipe_of(name), &plan)));
    for (name, values) in &projector {
        assert!(cli.get(name) == Some(values), "{name} starts otherwise in cli");
    }
    let added: Vec<&String> = cli.keys().filter(|name| !projector.contains_key(*name)).collect();
    assert!(!added.is_empty() && added.iter().all(|name| name.starts_with("injection.")), "{added:?}");
}

#[test]
fn variants_see_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = recipe(&["train.steps=4", "train.warmup=1", "variants.question_only.train.steps=4"]);
    let finished = finish(&loaded, &[], folder.path(), Entry::New);
    let seen = |name: &str| {
        let dir = finished.dir.path().join(name);
        let state = Checkpoints::new(dir.join("checkpoints"), 0).newest().unwrap().unwrap().state().clone();
        let tokens: Vec<Option<f64>> = read_metrics(&dir.join("metrics.jsonl"))
            .unwrap()
            .iter()
            .map(|m| m.scalars.get("lr/language").copied())
            .collect();
        (state.sampler, state.total_tokens, tokens)
    };
    assert_eq!(seen("projector"), seen("cli"));
    assert_eq!(seen("projector"), seen("question_only"));
    let recipe_of = |name: &str| &loaded.variant(name).unwrap().recipe;
    let batches = ["projector", "cli"].map(|name| {
        let (data, plan) = data(recipe_of(name));
        let batch = first_batch(recipe_of(name), &data, &plan);
        (batch.tokens_bt.clone(), batch.pixels_bchw.clone(), batch.targets_bm.clone())
    });
    assert!(batches[0] == batches[1]);
}

/// Logits of the first training batch.
fn logits(recipe: &Recipe) -> Vec<f32> {
    let (data, plan) = data(recipe);
    let model = model(recipe, &plan);
    let mut whole = model.whole(recipe, shape(&plan), plan.vocab_size).unwrap();
    let batch = first_batch(recipe, &data, &plan);
    load_batch(&mut whole, &batch, &Pools::of(recipe)).unwrap();
    whole.run().unwrap();
    whole.read("logits").unwrap()
}

#[test]
fn cutting_the_edges_changes_the_answer_and_leaves_the_model_without_them() {
    let gated = |value: &str| {
        let gate = format!("variants.cli.topology.gate={{ kind = 'constant', value = {value} }}");
        // A gate that does not pool has no `pool`.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/methods/constant-gate.toml");
        assert!(path.exists());
        logits(&recipe(&[&gate]).variant("cli").unwrap().recipe)
    };
    let (open, closed) = (gated("1.0"), gated("0.0"));
    let none = logits(&recipe(&[]).variant("projector").unwrap().recipe);
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart(&open, &closed) > 1e-3);
    assert!(apart(&closed, &none) < 1e-5);
}

#[test]
fn a_withheld_picture_changes_nothing_that_is_seen() {
    let loaded = recipe(&[
        "data.source={ kind = 'synthetic', train_images = 12, test_images = 60, questions_per_image = 4 }",
    ]);
    let blind = &loaded.variant("question_only").unwrap().recipe;
    let (data, plan) = data(blind);
    let mut model = model(blind, &plan);
    let stop = AtomicBool::new(false);
    let answers = evaluate(blind, &data, &plan, &mut model, &stop, &mut |_, _| ()).unwrap().unwrap().records;
    let mut by_question: BTreeMap<&str, &Option<String>> = BTreeMap::new();
    for record in &answers {
        let first = by_question.entry(&record.question).or_insert(&record.answer);
        assert_eq!(*first, &record.answer, "`{}` is answered by its picture", record.question);
    }
    assert!(by_question.len() < answers.len(), "some question is asked about two pictures");
}

#[test]
fn a_stopped_evaluation_has_no_result() {
    let loaded = recipe(&[]);
    let recipe = &loaded.variant("cli").unwrap().recipe;
    let (data, plan) = data(recipe);
    let mut model = model(recipe, &plan);
    let stop = AtomicBool::new(true);
    assert!(evaluate(recipe, &data, &plan, &mut model, &stop, &mut |_, _| ()).unwrap().is_none());
}

#[test]
fn the_progress_of_an_evaluation_is_that_of_the_questions_that_it_answers() {
    let loaded = recipe(&["eval.limit=5"]);
    let recipe = &loaded.variant("cli").unwrap().recipe;
    let (data, plan) = data(recipe);
    let mut model = model(recipe, &plan);
    let mut heard = Vec::new();
    let mut hear = |done, of| heard.push((done, of));
    let told =
        evaluate(recipe, &data, &plan, &mut model, &AtomicBool::new(false), &mut hear).unwrap().unwrap();
    assert_eq!(told.records.len(), 5);
    assert!(heard.is_sorted() && heard.iter().all(|&(_, of)| of == 5), "{heard:?}");
    assert_eq!(heard.last(), Some(&(5, 5)));
}
