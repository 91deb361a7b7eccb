#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_data::image::Normalization;
use crossloom_data::packing::{
    AnswerMode, EvaluationPacker, IGNORED_TARGET, ImageMode, PackingPlan, TrainingOptions,
};
use crossloom_model::BatchShape;
use crossloom_recipe::{LoadOptions, Part, Recipe, Split, load};
use crossloom_train::groups::GroupRates;
use crossloom_train::step::TrainBatch as _;

use std::rc::Rc;

use crossloom_data::packing::{PackedBatch, TrainingPacker};

use super::*;
use crossloom_compiler::{Context, Mode};
use crossloom_model::Outputs;

use crate::Data;
use crate::backends::Backend;
use crate::batch::Pools;
use crate::graph::{forward_func, policy, training_spec};
use crate::held_out::{HELD_OUT_LOSS, HeldOut};
use crate::programs::{Programs, compiled};
use crate::start::Start;
use crate::states::States;

/// A variant of the synthetic recipe on very little data.
fn recipe(variant: &str, sets: &[&str]) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    let small = [
        "data.source={ kind = 'synthetic', train_images = 16, test_images = 4, questions_per_image = 3 }",
        "train.batch_size=2",
    ];
    let sets = small.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    load(&path, &LoadOptions { sets }).unwrap().variant(variant).unwrap().recipe.clone()
}

fn data(recipe: &Recipe) -> (Data, PackingPlan) {
    let data = Data::load(recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(recipe).unwrap();
    (data, plan)
}

fn model(recipe: &Recipe, plan: &PackingPlan) -> Model {
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    Model::new(recipe, shape, plan.vocab_size).unwrap()
}

fn batches(data: &Data, plan: &PackingPlan, count: usize) -> Vec<TrainingBatch> {
    let (split, encoded) = data.images(Split::Train);
    let mut packer = TrainingPacker::new(plan, encoded, split.images(), TrainingOptions::default()).unwrap();
    (0..count)
        .map(|_| {
            let mut batch = PackedBatch::new(plan);
            packer.fill(&mut batch).unwrap();
            TrainingBatch::new(batch)
        })
        .collect()
}

fn update(step: u64) -> Update {
    Update { step, rates: GroupRates::new(Part::ALL.map(|part| (part.name(), 1e-3))) }
}

fn contaminate(store: &Store, prefix: &str) {
    let names: Vec<(String, usize)> = (store.tensors().into_iter())
        .filter(|tensor| tensor.name.starts_with(prefix))
        .map(|tensor| (tensor.name.clone(), tensor.ty.elements()))
        .collect();
    assert!(!names.is_empty(), "{prefix}");
    for (name, elements) in names {
        store.write(&name, &vec![f32::NAN; elements]).unwrap();
    }
}

#[test]
fn a_non_finite_gradient_is_traced_to_the_micro_batch_that_made_it() {
    let recipe = recipe("projector", &["train.accumulate=3"]);
    let (data, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    let mut drawn = batches(&data, &plan, 3);
    contaminate(&model.store, ACCUMULATOR);
    let mut step = ModelStep::new(&mut model, Pools::of(&recipe), recipe.train.betas, 1).unwrap();
    // What a step left in the accumulators is no fault of sound batches.
    assert_eq!(step.locate_non_finite(&drawn, &update(1)), None);
    Rc::make_mut(&mut drawn[1].batch).pixels_bchw[7] = f32::NAN;
    contaminate(step.store, ACCUMULATOR);
    let found = step.locate_non_finite(&drawn, &update(1)).unwrap();
    assert!(found.scope.starts_with("vision"), "{found}");
}

#[test]
fn what_is_lost_on_a_picture_is_what_is_lost_where_only_that_one_is_learned_from() {
    let recipe = recipe("projector", &[]);
    let (data, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    let mut drawn = batches(&data, &plan, 1).remove(0);
    let mut step = ModelStep::new(&mut model, Pools::of(&recipe), recipe.train.betas, 1).unwrap();
    let none = Update { step: 1, rates: GroupRates::new(Part::ALL.map(|part| (part.name(), 0.0))) };
    let micro = MicroStep { step: 1, index: 0, count: 1, weight: 1.0, update: Some(&none) };
    let both = step.micro_step(&drawn, &micro).unwrap();
    assert_eq!(both.sample_losses.len(), drawn.sample_ids().len());
    let targets = drawn.batch.targets_bm.clone();
    for row in 0..2 {
        let other = (1 - row) * plan.targets..(2 - row) * plan.targets;
        let batch = Rc::make_mut(&mut drawn.batch);
        batch.targets_bm.clone_from(&targets);
        batch.targets_bm[other].fill(IGNORED_TARGET);
        let alone = step.micro_step(&drawn, &micro).unwrap();
        assert!((alone.loss - both.sample_losses[row].unwrap()).abs() < 1e-6, "{alone:?}, {both:?}");
        assert_eq!(alone.sample_losses[1 - row], None);
    }
    assert_ne!(both.sample_losses[0], both.sample_losses[1]);
}

#[test]
fn a_non_finite_moment_is_found_in_the_update() {
    let recipe = recipe("projector", &["train.accumulate=2"]);
    let (data, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    let drawn = batches(&data, &plan, 2);
    contaminate(&model.store, "optimizer.m.");
    let mut step = ModelStep::new(&mut model, Pools::of(&recipe), recipe.train.betas, 1).unwrap();
    let found = step.locate_non_finite(&drawn, &update(1)).unwrap();
    assert!(found.scope.contains("optimizer"), "{found}");
}

#[test]
fn rows_that_only_fill_a_batch_do_not_count_in_the_mean_gate() {
    let recipe = recipe("cli", &["train.batch_size=4"]);
    let (data, plan) = data(&recipe);
    let model = model(&recipe, &plan);
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    let mut whole = model.whole(&recipe, shape, plan.vocab_size).unwrap();
    let mut drawn = batches(&data, &plan, 1).remove(0);
    let mut gates_of = |batch: &PackedBatch, rows: usize| {
        load_batch(&mut whole, batch, &Pools::of(&recipe)).unwrap();
        whole.run().unwrap();
        let mut gates = GateMoments::default();
        let rows: Vec<usize> = (0..rows).collect();
        gates.add(&whole, &model.gates, &rows).unwrap();
        gates.records()
    };
    let (three, four) = (gates_of(&drawn.batch, 3), gates_of(&drawn.batch, 4));
    assert!(!three.is_empty());
    // The fourth picture blanked, as in a filling row.
    let batch = Rc::make_mut(&mut drawn.batch);
    let pixels = batch.pixels_bchw.len() / 4;
    batch.pixels_bchw[3 * pixels..].fill(0.0);
    assert_eq!(gates_of(&drawn.batch, 3), three);
    assert_ne!(gates_of(&drawn.batch, 4), four);
    assert!(four.values().all(|gate| gate.deviation >= 0.0 && gate.mean > 0.0));
}

/// The mean loss over all answers of a split, one question at a time.
fn brute_force(recipe: &Recipe, split: Split) -> f64 {
    let mut alone = recipe.clone();
    (alone.train.batch_size, alone.data.questions_per_sequence) = (1, 1);
    let (data, plan) = data(&alone);
    let mut model = model(&alone, &plan);
    let (pictures, encoded) = data.images(split);
    let packer =
        EvaluationPacker::new(&plan, encoded, pictures.images(), &Normalization::HALF, ImageMode::Shown)
            .unwrap();
    let mut batch = PackedBatch::new(&plan);
    let (mut sum, mut targets) = (0.0, 0.0);
    for index in 0..packer.batches() {
        packer.fill(index, AnswerMode::Given, &mut batch).unwrap();
        let loss = model.training.as_mut().unwrap().held_out.as_mut().unwrap();
        load_batch(loss, &batch, &Pools::of(&alone)).unwrap();
        loss.run().unwrap();
        let count = batch.trained_targets() as f64;
        sum += count * f64::from(loss.read::<f32>("loss").unwrap()[0]);
        targets += count;
    }
    sum / targets
}

#[test]
fn the_held_out_loss_is_that_of_the_held_out_pictures_and_changes_nothing() {
    let recipe = recipe("projector", &["data.validation=0.3"]);
    let (data, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    let (pictures, held) = data.images(Split::Validation);
    let held: std::collections::BTreeSet<usize> =
        held.examples().iter().map(|&number| pictures.examples()[number].image).collect();
    assert_eq!(held.len(), 5);
    let mut held_out = HeldOut::new(&recipe, &data, &plan).unwrap().unwrap();
    let bits = |model: &Model| -> Vec<u8> {
        let tensors = model.store.tensors();
        tensors.iter().flat_map(|tensor| model.store.read_bytes(&tensor.name).unwrap()).collect()
    };
    let before = bits(&model);
    let mut step = ModelStep::new(&mut model, Pools::of(&recipe), recipe.train.betas, 1).unwrap();
    let loss = held_out.measure(&mut step).unwrap()[HELD_OUT_LOSS];
    assert_eq!(bits(&model), before);
    let (held, trained) = (brute_force(&recipe, Split::Validation), brute_force(&recipe, Split::Train));
    assert!((loss - held).abs() < 1e-5, "{loss}, one by one {held}");
    assert!((loss - trained).abs() > 1e-5, "the trained pictures have {trained}");
}

/// Losses of some steps of a model, and the model.
fn trained(sets: &[&str], steps: u64) -> (Vec<f32>, Model) {
    let recipe = recipe("cli", sets);
    let (_, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    (losses(&recipe, &mut model, steps), model)
}

fn losses(recipe: &Recipe, model: &mut Model, steps: u64) -> Vec<f32> {
    let (data, plan) = data(recipe);
    let batches = batches(&data, &plan, steps as usize);
    let mut step = ModelStep::new(model, Pools::of(recipe), recipe.train.betas, 1).unwrap();
    let losses = (1..=steps).zip(&batches).map(|(number, batch)| {
        let update = update(number);
        let micro = MicroStep { step: number, index: 0, count: 1, weight: 1.0, update: Some(&update) };
        step.micro_step(batch, &micro).unwrap().loss
    });
    losses.collect()
}

#[test]
fn a_step_that_is_squeezed_computes_the_same_in_less_memory() {
    for sets in [&["train.batch_size=12"][..], &["train.batch_size=12", "train.precision=bf16"]] {
        let recipe = recipe("cli", sets);
        let (_, plan) = data(&recipe);
        let shape = BatchShape {
            batch: plan.batch_size,
            tokens: plan.sequence_len,
            targets: plan.targets,
            views: None,
        };
        let device = Backend::default().running().unwrap();
        let target = device.target();
        /// Bytes of the arena, losses, and all tensors in the end.
        type Whole = (usize, Vec<f32>, BTreeMap<String, Vec<u8>>);
        let mut whole: Option<Whole> = None;
        for percent in [100, 80, 60] {
            let mut programs = Programs::to_train(&recipe, shape, plan.vocab_size, None, target).unwrap();
            let arena = |programs: &Programs| programs.training.as_ref().unwrap().step.arena_bytes().unwrap();
            let all = arena(&programs);
            let budget = all * percent / 100;
            assert_eq!(programs.squeeze(target, budget).unwrap(), percent < 100);
            assert_eq!(programs.recomputed().is_some(), percent < 100);
            let needed = arena(&programs);
            assert!(needed <= budget, "{sets:?}: {needed} of {budget} bytes at {percent} %");
            let start = Start::new(&recipe, &programs.params).unwrap();
            let mut model = Model::blank(programs, start, &device).unwrap();
            model.start(recipe.train.seed).unwrap();
            let losses = losses(&recipe, &mut model, 3);
            let tensors =
                model.store.tensors().into_iter().filter(|tensor| !tensor.name.starts_with("cache."));
            let bytes: BTreeMap<String, Vec<u8>> = tensors
                .map(|tensor| (tensor.name.clone(), model.store.read_bytes(&tensor.name).unwrap()))
                .collect();
            match &whole {
                None => whole = Some((needed, losses, bytes)),
                Some((all, expected, weights)) => {
                    assert!(needed < *all);
                    assert_eq!(&losses, expected, "{sets:?}, {percent} %");
                    let other: Vec<&String> =
                        bytes.keys().filter(|&name| bytes[name] != weights[name]).collect();
                    assert!(other.is_empty(), "{sets:?}, {percent} %: {other:?}");
                }
            }
        }
    }
}

#[test]
fn a_model_in_bf16_follows_the_one_in_f32_and_keeps_its_copies() {
    let (wide, _) = trained(&[], 6);
    let (low, model) = trained(&["train.precision=bf16"], 6);
    assert_ne!(wide, low, "nothing is computed in bf16");
    for (wide, low) in wide.iter().zip(&low) {
        assert!((wide - low).abs() <= 0.02 * wide.abs(), "{wide} became {low}");
    }
    // Every copy is its master rounded, after updates and after a load; and none is part of a checkpoint.
    let copies = |store: &Store| {
        let names: Vec<String> = store.tensors().into_iter().map(|tensor| tensor.name).collect();
        let copies = names.into_iter().filter(|name| name.starts_with("bf16.")).collect::<Vec<_>>();
        for copy in &copies {
            let master = store.read::<f32>(copy.strip_prefix("bf16.").unwrap()).unwrap();
            let rounded: Vec<half::bf16> = master.into_iter().map(half::bf16::from_f32).collect();
            assert_eq!(store.read::<half::bf16>(copy).unwrap(), rounded, "{copy}");
        }
        copies.len()
    };
    assert!(copies(&model.store) > 0);
    let (_, mut fresh) = trained(&["train.precision=bf16", "train.seed=9"], 1);
    model
        .visit_state(&mut |tensor| {
            assert!(!tensor.name.starts_with("bf16."), "{}", tensor.name);
            fresh.load_state(tensor)
        })
        .unwrap();
    copies(&fresh.store);
    for tensor in fresh.store.tensors() {
        let bytes = |store: &Store| store.read_bytes(&tensor.name).unwrap();
        assert!(bytes(&fresh.store) == bytes(&model.store), "{}", tensor.name);
    }
}

#[test]
fn a_frozen_part_is_kept_in_its_own_type() {
    let sets = ["train.parts.vision={ trainable = false, dtype = 'bf16' }"];
    for sets in [&sets[..], &["train.precision=bf16", sets[0]]] {
        let (losses, model) = trained(sets, 2);
        assert!(losses.iter().all(|loss| loss.is_finite()));
        for param in model.params.iter().filter(|param| param.part == crossloom_recipe::Part::Vision) {
            let tensor = model.store.info(&param.name).unwrap();
            assert_eq!(tensor.ty.dtype, crossloom_ir::DType::Bf16, "{}", param.name);
            assert!(model.store.info(&format!("bf16.{}", param.name)).is_none());
        }
    }
}

/// How a model whose encoder is frozen gets its pictures.
enum Sight {
    /// Its step encodes them itself, every time.
    Whole,
    /// They are encoded before every step, and forgotten.
    Anew,
    /// They are encoded once and held.
    Held,
}

/// Losses and held-out losses of some steps, the weights after them, and how many pictures were encoded.
fn frozen(sight: &Sight, sets: &[&str]) -> (Vec<u32>, Vec<u64>, Vec<u8>, u64) {
    const FROZEN: [&str; 2] = ["train.parts.vision.trainable=false", "data.validation=0.25"];
    let recipe = recipe("cli", &[&FROZEN[..], sets].concat());
    let (data, plan) = data(&recipe);
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    let device = Backend::default().running().unwrap();
    let target = device.target();
    let mut programs = Programs::to_train(&recipe, shape, plan.vocab_size, None, target).unwrap();
    assert!(programs.encodes_before);
    if matches!(sight, Sight::Whole) {
        let (graph, func) = forward_func(&recipe, shape, plan.vocab_size, Outputs::Loss).unwrap();
        let (spec, policy) = (training_spec(&recipe, &graph.params), policy(&recipe, &graph.params).unwrap());
        let cx = Context { policy: policy.clone(), ..Context::new(target, Mode::Train(&spec)) };
        let set = crossloom_compiler::compile(&func, &cx).unwrap();
        let training = programs.training.as_mut().unwrap();
        training.step = set.main.plan;
        training.held_out = Some(compiled(&func, target, &policy).unwrap());
    }
    let start = Start::new(&recipe, &programs.params).unwrap();
    let mut model = Model::blank(programs, start, &device).unwrap();
    model.start(recipe.train.seed).unwrap();
    if matches!(sight, Sight::Anew) {
        model.phases.encoder.hold_in(States::new(0, None));
    }
    let mut held_out = HeldOut::new(&recipe, &data, &plan).unwrap().unwrap();
    let (steps, count) = (9, recipe.train.accumulate);
    let drawn = batches(&data, &plan, steps * count);
    let mut step = ModelStep::new(&mut model, Pools::of(&recipe), recipe.train.betas, 1).unwrap();
    let (mut losses, mut held) = (Vec::new(), Vec::new());
    for (number, micro_batches) in (1..).zip(drawn.chunks(count)) {
        let update = update(number);
        for (index, batch) in micro_batches.iter().enumerate() {
            let update = (index + 1 == count).then_some(&update);
            let weight = (count as f32).recip();
            let micro = MicroStep { step: number, index, count, weight, update };
            losses.push(step.micro_step(batch, &micro).unwrap().loss.to_bits());
        }
        held.push(held_out.measure(&mut step).unwrap()[HELD_OUT_LOSS].to_bits());
    }
    let tensors = model.store.tensors().into_iter().filter(|tensor| !tensor.name.starts_with("cache."));
    let bytes = tensors.flat_map(|tensor| model.store.read_bytes(&tensor.name).unwrap()).collect();
    (losses, held, bytes, model.phases.encoded())
}

#[test]
fn a_frozen_encoder_runs_once_per_picture_and_no_number_knows_it() {
    for sets in [&[][..], &["train.precision=bf16"], &["train.accumulate=2"]] {
        let (whole, anew, held) =
            (frozen(&Sight::Whole, sets), frozen(&Sight::Anew, sets), frozen(&Sight::Held, sets));
        for other in [&anew, &held] {
            assert_eq!((&whole.0, &whole.1), (&other.0, &other.1), "{sets:?}: losses");
            assert!(whole.2 == other.2, "{sets:?}: weights");
        }
        assert_eq!((whole.3, held.3), (0, 16), "{sets:?}: there are sixteen pictures");
        assert!(anew.3 > 50, "{sets:?}: {}", anew.3);
    }
}

#[test]
fn an_encoder_that_is_trained_is_part_of_the_step() {
    for (sets, before) in [
        (&[][..], false),
        (&["train.parts.vision.trainable=false"][..], true),
        (&["train.parts.language.trainable=false"], false),
    ] {
        let recipe = recipe("cli", sets);
        let (_, plan) = data(&recipe);
        let mut model = model(&recipe, &plan);
        let step = &model.training.as_mut().unwrap().step;
        assert_eq!(step.has_input(inputs::PIXELS), !before, "{sets:?}");
        let reads = step.plan().func.params().iter().any(|param| param.name.starts_with("vision_tower."));
        assert_eq!(reads, !before, "{sets:?}");
    }
}

/// Pairs in the language model over a base that is otherwise frozen, the encoder in 16 bits.
const ADAPTED: [&str; 5] = [
    "train.parts.vision={ trainable = false, dtype = 'bf16' }",
    "train.parts.projector.trainable=false",
    "train.parts.adapter.trainable=false",
    "train.parts.gate.trainable=false",
    "train.parts.language={ dtype = 'bf16', lora = { rank = 3, alpha = 6, targets = ['gate_proj', 'up_proj', 'q_proj'] } }",
];

#[test]
fn beside_a_frozen_base_pairs_alone_are_trained_and_nothing_is_computed_or_kept_for_the_rest() {
    let recipe = recipe("cli", &ADAPTED);
    let (_, plan) = data(&recipe);
    let bytes = |model: &Model| -> Vec<Vec<u8>> {
        model.params.iter().map(|param| model.store.read_bytes(&param.name).unwrap()).collect()
    };
    let before = bytes(&model(&recipe, &plan));
    let (losses, model) = trained(&ADAPTED, 4);
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let mut pairs = 0;
    for ((param, before), after) in model.params.iter().zip(&before).zip(bytes(&model)) {
        let moved = *before != after;
        // A starts to move once B has: it has a gradient through B alone.
        assert_eq!(moved, param.beside.is_some(), "{}", param.name);
        let state = model.store.info(&format!("optimizer.m.{}", param.name)).is_some();
        assert_eq!(state, param.beside.is_some(), "{}", param.name);
        pairs += usize::from(moved);
    }
    assert_eq!(pairs, 3 * 3 * 2);
    // The gradient of a weight would have its shape.
    let step = model.training.as_ref().unwrap().step.plan();
    assert!(![32, 64].contains(&(plan.batch_size * plan.sequence_len)), "or activations have it too");
    let language = step.func.insts().iter().filter(|inst| inst.scope.as_str().starts_with("language.layer."));
    let mut products = 0;
    for inst in
        language.filter(|inst| inst.op.mnemonic().contains("matmul") || inst.op.mnemonic() == "linear")
    {
        for &output in &inst.outputs {
            let shape = step.func.shape(output);
            assert!(![[32, 64], [64, 32]].iter().any(|weight| shape == weight), "{}", inst.op.mnemonic());
            products += 1;
        }
    }
    assert!(products > 50, "{products}");
}

#[test]
fn a_prediction_through_pairs_is_that_of_the_merged_weights() {
    let sets = ["train.parts.language.lora={ rank = 3, alpha = 6, targets = ['q_proj', 'down_proj'] }"];
    let (_, adapted) = trained(&sets, 3);
    let (adapted_recipe, plain_recipe) = (recipe("cli", &sets), recipe("cli", &[]));
    let (data, plan) = data(&plain_recipe);
    let plain = model(&plain_recipe, &plan);
    let value = |name: &str| adapted.store.read::<f32>(name).unwrap();
    for param in &plain.params {
        let mut weight = value(&param.name);
        let linear = param.name.trim_end_matches(".weight");
        if adapted.store.info(&format!("{linear}.lora_A.weight")).is_some() {
            let (a, b) =
                (value(&format!("{linear}.lora_A.weight")), value(&format!("{linear}.lora_B.weight")));
            for (i, weight) in weight.iter_mut().enumerate() {
                let (row, column, fan_in) = (i / param.shape[1], i % param.shape[1], param.shape[1]);
                *weight += 2.0 * (0..3).map(|r| b[row * 3 + r] * a[r * fan_in + column]).sum::<f32>();
            }
        }
        plain.store.write(&param.name, &weight).unwrap();
    }
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    let drawn = batches(&data, &plan, 1).remove(0);
    let logits = |model: &Model, recipe: &Recipe| {
        let mut whole = model.whole(recipe, shape, plan.vocab_size).unwrap();
        load_batch(&mut whole, &drawn.batch, &Pools::of(recipe)).unwrap();
        whole.run().unwrap();
        whole.read::<f32>("logits").unwrap()
    };
    let (unmerged, merged) = (logits(&adapted, &adapted_recipe), logits(&plain, &plain_recipe));
    let largest = merged.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    for (a, b) in unmerged.iter().zip(&merged) {
        assert!((a - b).abs() <= 2e-5 * largest, "{a} and {b}, of {largest}");
    }
}

#[test]
fn sets_of_tensors_are_trained_each_as_it_says() {
    let sets = [
        "train.weight_decay=0",
        "train.parts.language.tensors=[{ match = '*.embed_tokens.*', trainable = false }, { match = '*norm*' }]",
        "train.parts.vision={ trainable = false, tensors = [{ match = '*layer_norm*' }] }",
    ];
    let recipe = recipe("cli", &sets);
    let (data, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    let before: Vec<_> =
        model.params.iter().map(|param| model.store.read::<f32>(&param.name).unwrap()).collect();
    let drawn = batches(&data, &plan, 1);
    let mut step = ModelStep::new(&mut model, Pools::of(&recipe), recipe.train.betas, 1).unwrap();
    let groups = crossloom_recipe::Selection::new(&recipe.train);
    let rates = groups.groups().iter().map(|group| {
        // The first update of AdamW is as long as the rate.
        (group.name.clone(), if group.name == "language.2" { 1e-2 } else { 1e-3 })
    });
    let update = Update { step: 1, rates: GroupRates::new(rates) };
    let micro = MicroStep { step: 1, index: 0, count: 1, weight: 1.0, update: Some(&update) };
    step.micro_step(&drawn[0], &micro).unwrap();
    for (param, before) in model.params.iter().zip(&before) {
        let after = model.store.read::<f32>(&param.name).unwrap();
        let longest = before.iter().zip(&after).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        let expected = match (param.part, param.name.as_str()) {
            (Part::Vision, name) if name.contains("layer_norm") => 1e-3,
            (Part::Vision, _) => 0.0,
            (Part::Language, name) if name.contains("embed_tokens") => 0.0,
            (Part::Language, name) if name.contains("norm") => 1e-2,
            _ => continue,
        };
        assert!((longest - expected).abs() <= 0.02 * expected, "{}: {longest}, not {expected}", param.name);
    }
}
