//! `[eval]`.

use std::ops::Bound::Excluded;

use super::data::MAX_SEED;
use super::fields::{Cx, Fields};
use crate::schema::{Eval, Metric, Precision, Split};
use crate::tree::Node;

pub(super) fn eval(root: &Node, cx: &mut Cx) -> Option<Eval> {
    let mut f = Fields::open(root, "eval", cx)?;
    let split = f.or("split", Split::Test);
    let metric = f.or("metric", Metric::ExactMatch);
    let max_new_tokens = f.or_in("max_new_tokens", 1..=65_536, 3);
    let cache = f.or("cache", Precision::F32);
    // A test of the binary holds this against the statistics.
    let permutations = f.or_in("permutations", 100..=10_000_000, 1000);
    let confidence = f.or_in("confidence", (Excluded(0.0), Excluded(1.0)), 0.95);
    let seed = f.or_in("seed", 0..=MAX_SEED, 0);
    let limit = f.optional_in("limit", 1..);
    let every = f.optional_in("every", 1..);
    let sample = f.optional_in("sample", 1..);
    f.finish();
    Some(Eval {
        split: split?,
        metric: metric?,
        max_new_tokens: max_new_tokens?,
        cache: cache?,
        permutations: permutations?,
        confidence: confidence?,
        seed: seed?,
        limit: limit?,
        every: every?,
        sample: sample?,
    })
}
