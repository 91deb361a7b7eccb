//! `topology.gate`.

use super::fields::{Cx, Fields, Kinds};
use super::sets::peek;
use crate::schema::{AgfGate, Gate, GateAttention, GateGranularity, GateNorm, GatePool, GateShare};
use crate::tree::Node;

pub(super) const GATE: Kinds = Kinds {
    path: "topology.gate",
    all: &[
        ("none", &[]),
        ("constant", &["value"]),
        ("static", &["init"]),
        ("agf", &["attention", "heads", "granularity", "bias_init", "norm", "pool", "share"]),
    ],
    absent: Some("none"),
};

/// The weight of every edge.
pub(super) fn gate(root: &Node, cx: &mut Cx) -> Option<Gate> {
    let (mut f, kind) = Fields::open_kind(root, &GATE, cx)?;
    let gate = match kind {
        "none" => Some(Gate::None {}),
        "constant" => f.required("value").map(|value| Gate::Constant { value }),
        "static" => f.or("init", 0.018).map(|init| Gate::Static { init }),
        _ => agf(root, &mut f).map(Gate::Agf),
    };
    f.finish();
    gate
}

fn agf(root: &Node, f: &mut Fields<'_, '_>) -> Option<AgfGate> {
    let attention = f.or("attention", GateAttention::Shared);
    let heads = f.optional_in("heads", 1..=1024);
    let granularity = f.or("granularity", GateGranularity::Scalar);
    let bias_init = f.or("bias_init", -4.0);
    let norm = f.or("norm", GateNorm::None);
    let pool = f.or("pool", GatePool::Prompt);
    let share = f.or("share", GateShare::Point);
    let attention = attention?;
    let heads = match (heads?, attention) {
        (Some(heads), _) => heads,
        (None, GateAttention::None) => 1,
        (None, _) => peek(root, "model.language.heads")?,
    };
    Some(AgfGate {
        attention,
        heads,
        granularity: granularity?,
        bias_init: bias_init?,
        norm: norm?,
        pool: pool?,
        share: share?,
    })
}
