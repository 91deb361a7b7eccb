//! How a part is trained touches that part alone.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_recipe::{LoadedRecipe, Part, Recipe};
use crossloom_train::checkpoint::{Checkpoints, RestorePart};

use crate::models::{data, model, weights};
use crate::support::{Entry, finish, recipe};

type Weights = BTreeMap<String, Vec<f32>>;

/// The weights of `cli` before and after its training, and the part to which each belongs.
struct Trained {
    start: Weights,
    end: Weights,
    parts: BTreeMap<String, Part>,
}

fn train(loaded: &LoadedRecipe) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let finished = finish(loaded, &["cli"], folder.path(), Entry::New);
    let cli: &Recipe = &loaded.variant("cli").unwrap().recipe;
    let (_, plan) = data(cli);
    let mut model = model(cli, &plan);
    let start = weights(&model);
    let parts = model.params.iter().map(|param| (param.name.clone(), param.part)).collect();
    restore(&mut model, &finished.dir.path().join("cli/checkpoints"));
    Trained { start, end: weights(&model), parts }
}

fn restore(model: &mut crossloom_run::Model, checkpoints: &Path) {
    let checkpoints = Checkpoints::new(checkpoints, 0);
    let newest = checkpoints.newest().unwrap().unwrap();
    newest.restore_model(model, RestorePart::Parameters).unwrap();
}

#[test]
fn a_checkpoint_of_other_types_is_refused_by_name() {
    const FROZEN: &str = "train.parts.vision.trainable=false";
    let kept_in = |dtype: &str| recipe(&[FROZEN, &format!("train.parts.vision.dtype={dtype}")]);
    let folder = tempfile::tempdir().unwrap();
    let finished = finish(&kept_in("f32"), &["cli"], folder.path(), Entry::New);
    let other = kept_in("bf16");
    let cli: &Recipe = &other.variant("cli").unwrap().recipe;
    let (_, plan) = data(cli);
    let mut model = model(cli, &plan);
    let before = model.store.read_bytes(&model.params[0].name).unwrap();
    let checkpoints = Checkpoints::new(finished.dir.path().join("cli/checkpoints"), 0);
    let newest = checkpoints.newest().unwrap().unwrap();
    let error = newest.restore_model(&mut model, RestorePart::Parameters).unwrap_err().to_string();
    let vision = model.params.iter().filter(|param| param.part == Part::Vision);
    for param in vision {
        let said = format!("`{}` has dtype F32, the model has BF16", param.name);
        assert!(error.contains(&said), "{error}");
    }
    assert_eq!(model.store.read_bytes(&model.params[0].name).unwrap(), before, "nothing was loaded");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The weights that two models have otherwise, of those of a part and of those of the others.
fn differing(
    a: &Weights,
    b: &Weights,
    parts: &BTreeMap<String, Part>,
    part: Part,
) -> [(usize, Vec<String>); 2] {
    assert!(a.keys().eq(b.keys()) && a.keys().eq(parts.keys()));
    [true, false].map(|wanted| {
        let of: Vec<&String> = a.keys().filter(|name| (parts[*name] == part) == wanted).collect();
        let differ = of.iter().filter(|name| bits(&a[**name]) != bits(&b[**name]));
        (of.len(), differ.map(|name| (*name).clone()).collect())
    })
}

#[test]
fn a_frozen_part_keeps_its_start_values_and_all_others_move() {
    let trained = train(&recipe(&["train.parts.vision.trainable=false"]));
    let [(vision, moved), (others, also_moved)] =
        differing(&trained.start, &trained.end, &trained.parts, Part::Vision);
    assert!(vision > 10 && moved.is_empty(), "of {vision} vision weights {moved:?} moved");
    assert!(others > 10);
    let stood: Vec<&String> = (trained.parts.iter())
        .filter(|(name, part)| **part != Part::Vision && !also_moved.contains(name))
        .map(|(name, _)| name)
        .collect();
    assert!(stood.is_empty(), "{stood:?} did not move");
}

#[test]
fn the_share_of_open_questions_decides_what_is_trained_on() {
    let [all, half, half_again] = [None, Some("data.open_share=0.5"), Some("data.open_share=0.5")]
        .map(|share| train(&recipe(share.as_slice())));
    assert!(all.start == half.start && all.end != half.end && half.end == half_again.end);
}

#[test]
fn a_factor_on_the_rate_of_the_gates_changes_the_first_update_of_the_gates_alone() {
    let first_step = |sets: &[&str]| {
        let one = ["train.steps=1", "variants.question_only.train.steps=1", "train.warmup=0"];
        train(&recipe(&[&one[..], sets].concat()))
    };
    let plain = first_step(&[]);
    let scaled = first_step(&["train.parts.gate.lr_scale=4"]);
    assert!(plain.start == scaled.start, "both start alike");
    let [(gates, differ), (_, others)] = differing(&plain.end, &scaled.end, &plain.parts, Part::Gate);
    assert!(others.is_empty(), "{others:?} differ");
    assert!(gates > 0 && !differ.is_empty());
    // AdamW's step is proportional to the rate.
    for name in plain.parts.iter().filter(|(_, part)| **part == Part::Gate).map(|(name, _)| name) {
        let start = &plain.start[name];
        for ((start, plain), scaled) in start.iter().zip(&plain.end[name]).zip(&scaled.end[name]) {
            let (once, more) = (f64::from(plain - start), f64::from(scaled - start));
            assert!((more - 4.0 * once).abs() <= 1e-6 + 1e-3 * once.abs(), "{name}: {once}, {more}");
        }
    }
}

#[test]
fn a_parts_own_weight_decay_pulls_the_matrices_of_that_part_alone() {
    let first_step = |sets: &[&str]| {
        let one =
            ["train.steps=1", "variants.question_only.train.steps=1", "train.warmup=0", "train.lr=0.01"];
        train(&recipe(&[&one[..], sets].concat()))
    };
    let plain = first_step(&["train.weight_decay=0"]);
    for (part, key) in [(Part::Vision, "vision"), (Part::Language, "language"), (Part::Gate, "gate")] {
        let own = format!("train.parts.{key}.weight_decay=0.5");
        // The recipe scales the rate of its gates; here all parts have the same.
        let rate = format!("train.parts.{key}.lr_scale=1");
        let decayed = first_step(&["train.weight_decay=0", &own, &rate]);
        let reference = first_step(&["train.weight_decay=0", &rate]);
        assert!(plain.start == decayed.start, "both start alike");
        let [(_, differ), (_, others)] = differing(&reference.end, &decayed.end, &plain.parts, part);
        assert!(others.is_empty(), "{key}: {others:?} differ");
        assert!(!differ.is_empty(), "{key}: nothing is decayed");
        for name in &differ {
            // Decoupled: on top of the same step, the rate times the decay times the weight.
            let weights = reference.end[name].iter().zip(&decayed.end[name]);
            for (start, (without, with)) in decayed.start[name].iter().zip(weights) {
                let (pulled, expected) = (f64::from(without - with), 0.01 * 0.5 * f64::from(*start));
                assert!(
                    (pulled - expected).abs() <= 1e-6 + 1e-3 * expected.abs(),
                    "{name}: {pulled}, {expected}"
                );
            }
        }
    }
}
