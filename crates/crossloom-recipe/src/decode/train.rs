//! `[train]`.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::data::MAX_SEED;
use super::fields::{Cx, Fields};
use super::scalars::is_pattern;
use super::weights::weights;
use crate::diagnostic::Finding;
use crate::schema::{Lora, Part, PartTraining, Parts, Precision, Schedule, TensorSet, Train, Warmup};
use crate::tree::{Node, Value};

pub(super) fn train(root: &Node, cx: &mut Cx) -> Option<Train> {
    let mut f = Fields::open(root, "train", cx)?;
    let steps = f.required_in("steps", 1..=1_000_000_000);
    let batch_size = f.required_in("batch_size", 1..=1_048_576);
    let accumulate = f.or_in("accumulate", 1..=65_536, 1);
    let seed = f.or_in("seed", 0..=MAX_SEED, 0);
    let lr = f.required_in("lr", (Excluded(0.0), Included(10.0)));
    let betas = betas(&mut f);
    let eps = f.or_in("eps", (Excluded(0.0), Included(0.1)), 1e-8);
    let weight_decay = f.or_in("weight_decay", 0.0..=10.0, 0.0);
    let clip_norm = f.optional_in("clip_norm", (Excluded(0.0), Unbounded));
    let warmup = f.or("warmup", Warmup::Fraction(0.03));
    let schedule = f.or("schedule", Schedule::Cosine);
    let min_lr_ratio = f.or_in("min_lr_ratio", 0.0..=1.0, 0.0);
    let log_every = f.or_in("log_every", 1.., 10);
    let checkpoint_every = f.or("checkpoint_every", 0);
    let keep_checkpoints = f.or_in("keep_checkpoints", 1.., 2);
    let precision = f.or("precision", Precision::F32);
    f.ask("parts");
    f.finish();
    let parts = parts(root, cx);
    Some(Train {
        steps: steps?,
        batch_size: batch_size?,
        accumulate: accumulate?,
        seed: seed?,
        lr: lr?,
        betas: betas?,
        eps: eps?,
        weight_decay: weight_decay?,
        clip_norm: clip_norm?,
        warmup: warmup?,
        schedule: schedule?,
        min_lr_ratio: min_lr_ratio?,
        log_every: log_every?,
        checkpoint_every: checkpoint_every?,
        keep_checkpoints: keep_checkpoints?,
        precision: precision?,
        parts: parts?,
    })
}

fn betas(f: &mut Fields<'_, '_>) -> Option<[f64; 2]> {
    let betas: [f64; 2] = f.or("betas", [0.9, 0.999])?;
    if betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
        return Some(betas);
    }
    let span = f.ask("betas").map(|node| node.span);
    f.cx.report(
        Finding::error(span, "both `train.betas` must be at least 0 and below 1")
            .help("without it, it is [0.9, 0.999]"),
    );
    None
}

fn parts(root: &Node, cx: &mut Cx) -> Option<Parts> {
    let mut f = Fields::open(root, "train.parts", cx)?;
    for part in Part::ALL {
        f.ask(part.name());
    }
    f.finish();
    let vision = part(root, &VISION, cx);
    let projector = part(root, &PROJECTOR, cx);
    let adapter = part(root, &ADAPTER, cx);
    let fusion = part(root, &FUSION, cx);
    let gate = part(root, &GATE, cx);
    let language = part(root, &LANGUAGE, cx);
    Some(Parts {
        vision: vision?,
        projector: projector?,
        adapter: adapter?,
        fusion: fusion?,
        gate: gate?,
        language: language?,
    })
}

/// Where the settings of a part stand.
struct Places {
    part: &'static str,
    /// None where a part has no linear layers of its own from the start.
    lora: Option<LoraPlaces>,
    tensors: &'static str,
}

/// Where the settings of a part's pairs stand.
#[derive(Clone, Copy)]
struct LoraPlaces {
    table: &'static str,
    weights: &'static str,
}

const VISION: Places = Places {
    part: "train.parts.vision",
    lora: Some(LoraPlaces { table: "train.parts.vision.lora", weights: "train.parts.vision.lora.weights" }),
    tensors: "train.parts.vision.tensors",
};
const PROJECTOR: Places = Places {
    part: "train.parts.projector",
    lora: Some(LoraPlaces {
        table: "train.parts.projector.lora",
        weights: "train.parts.projector.lora.weights",
    }),
    tensors: "train.parts.projector.tensors",
};
const ADAPTER: Places =
    Places { part: "train.parts.adapter", lora: None, tensors: "train.parts.adapter.tensors" };
const FUSION: Places =
    Places { part: "train.parts.fusion", lora: None, tensors: "train.parts.fusion.tensors" };
const GATE: Places = Places { part: "train.parts.gate", lora: None, tensors: "train.parts.gate.tensors" };
const LANGUAGE: Places = Places {
    part: "train.parts.language",
    lora: Some(LoraPlaces {
        table: "train.parts.language.lora",
        weights: "train.parts.language.lora.weights",
    }),
    tensors: "train.parts.language.tensors",
};

fn part(root: &Node, places: &Places, cx: &mut Cx) -> Option<PartTraining> {
    let mut f = Fields::open(root, places.part, cx)?;
    let trainable = f.optional("trainable");
    let lr_scale = f.or_in("lr_scale", (Excluded(0.0), Included(1e6)), 1.0);
    let weight_decay = f.optional_in("weight_decay", 0.0..=10.0);
    let dtype = f.optional("dtype");
    let adapted = f.ask("lora");
    let sets = f.ask("tensors");
    f.finish();
    let lora = match (adapted, places.lora) {
        (None, _) => Some(None),
        (Some(_), Some(places)) => lora(root, places, cx).map(Some),
        (Some(node), None) => {
            let message = format!("`{}` has no LoRA: it starts random, and is small as it is", places.part);
            cx.report(
                Finding::error(node.span, message).help("vision, projector and language can have `lora`"),
            );
            None
        }
    };
    let sets = sets.map_or(Some(Vec::new()), |node| tensor_sets(node, places.tensors, cx));
    let trainable: Option<bool> = trainable?;
    let pairs = lora.as_ref().is_none_or(|lora| lora.as_ref().is_none_or(|lora| lora.trainable));
    if let (Some(_), Some(true), true) = (adapted, trainable, pairs) {
        let part = places.part;
        let message = format!("`{part}` has `lora`, which freezes its own tensors, and `trainable = true`");
        cx.report(Finding::error(root.place(&format!("{part}.trainable")), message).help(format!(
            "remove one of the two; `{part}.tensors` trains some of its tensors beside the low-rank pairs"
        )));
        return None;
    }
    let lora = lora?;
    Some(PartTraining {
        trainable: trainable.unwrap_or(lora.is_none()),
        lr_scale: lr_scale?,
        weight_decay: weight_decay?,
        dtype: dtype?,
        lora,
        tensors: sets?,
    })
}

fn lora(root: &Node, places: LoraPlaces, cx: &mut Cx) -> Option<Lora> {
    let path = places.table;
    let weights = weights(root, places.weights, cx);
    let mut f = Fields::open(root, path, cx)?;
    f.ask("weights");
    let rank = f.required_in("rank", 1..=65_536);
    let alpha = f.optional_in("alpha", (Excluded(0.0), Unbounded));
    let targets = f.required::<Vec<String>>("targets");
    let trainable = f.or("trainable", true);
    f.finish();
    let targets = targets?;
    if targets.is_empty() || targets.iter().any(String::is_empty) {
        let message = format!("`{path}.targets` names no layer");
        let help = "name linear layers by the last parts of their names, as in [\"q_proj\", \"v_proj\"]";
        cx.report(Finding::error(root.place(&format!("{path}.targets")), message).help(help));
        return None;
    }
    let rank: usize = rank?;
    Some(Lora {
        weights: weights?,
        rank,
        alpha: alpha?.unwrap_or(rank as f64),
        targets,
        trainable: trainable?,
    })
}

/// What a set of tensors looks like.
const A_SET: &str = "write a list of tables, as in [{ match = \"*norm*\", trainable = false }]";

fn tensor_sets(node: &Node, path: &'static str, cx: &mut Cx) -> Option<Vec<TensorSet>> {
    let Value::Array(items) = &node.value else {
        let message = format!("`{path}` must be a list, found {}", node.value.type_name());
        cx.report(Finding::error(node.span, message).help(A_SET));
        return None;
    };
    let sets: Vec<Option<TensorSet>> = items.iter().map(|item| tensor_set(item, path, cx)).collect();
    sets.into_iter().collect()
}

fn tensor_set(node: &Node, path: &'static str, cx: &mut Cx) -> Option<TensorSet> {
    if node.table().is_none() {
        let message = format!("`{path}` lists tables, found {}", node.value.type_name());
        cx.report(Finding::error(node.span, message).help(A_SET));
        return None;
    }
    let mut f = Fields::item(node, path, cx)?;
    let pattern = f.required::<String>("match");
    let trainable = f.or("trainable", true);
    let lr_scale = f.optional_in("lr_scale", (Excluded(0.0), Included(1e6)));
    let weight_decay = f.optional_in("weight_decay", 0.0..=10.0);
    f.finish();
    let pattern = pattern?;
    if !is_pattern(&pattern, node.place("match"), cx) {
        return None;
    }
    Some(TensorSet { pattern, trainable: trainable?, lr_scale: lr_scale?, weight_decay: weight_decay? })
}
