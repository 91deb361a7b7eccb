//! `[train]`.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::data::MAX_SEED;
use super::fields::{Cx, Fields};
use crate::diagnostic::Finding;
use crate::schema::{Part, PartTraining, Parts, Precision, Schedule, Train, Warmup};
use crate::tree::Node;

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
    let vision = part(root, "train.parts.vision", cx);
    let projector = part(root, "train.parts.projector", cx);
    let adapter = part(root, "train.parts.adapter", cx);
    let gate = part(root, "train.parts.gate", cx);
    let language = part(root, "train.parts.language", cx);
    Some(Parts {
        vision: vision?,
        projector: projector?,
        adapter: adapter?,
        gate: gate?,
        language: language?,
    })
}

fn part(root: &Node, path: &'static str, cx: &mut Cx) -> Option<PartTraining> {
    let mut f = Fields::open(root, path, cx)?;
    let trainable = f.or("trainable", true);
    let lr_scale = f.or_in("lr_scale", (Excluded(0.0), Included(1e6)), 1.0);
    let weight_decay = f.optional_in("weight_decay", 0.0..=10.0);
    let dtype = f.optional("dtype");
    f.finish();
    Some(PartTraining {
        trainable: trainable?,
        lr_scale: lr_scale?,
        weight_decay: weight_decay?,
        dtype: dtype?,
    })
}
