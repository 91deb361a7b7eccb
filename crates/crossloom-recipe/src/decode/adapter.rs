//! `topology.adapter`.

use std::ops::Bound::{Excluded, Unbounded};

use super::fields::{Cx, Fields, Kinds};
use super::sets::{Depth, list, peek};
use crate::schema::{Adapter, AmpAttach, TapNorm};
use crate::tree::{Node, Value};

pub(super) const ADAPTER: Kinds = Kinds {
    path: "topology.adapter",
    all: &[
        ("shared", &["tap_norm"]),
        ("per_tap", &["tap_norm"]),
        ("per_edge", &["tap_norm", "corners"]),
        ("linear", &["tap_norm", "bias"]),
        ("windows", &["hidden"]),
        ("amp", &["rank", "alpha", "attach", "tap_norm"]),
    ],
    absent: Some("shared"),
};

/// From vision width to language width.
pub(super) fn adapter(root: &Node, language: Depth, cx: &mut Cx) -> Option<Adapter> {
    let (mut f, kind) = Fields::open_kind(root, &ADAPTER, cx)?;
    if kind == "windows" {
        let hidden = f.optional_in("hidden", 1..=1_048_576);
        f.finish();
        return Some(Adapter::Windows { hidden: hidden?.or_else(|| peek(root, "model.vision.hidden"))? });
    }
    let tap_norm = f.or("tap_norm", TapNorm::None);
    let adapter = match kind {
        "shared" => tap_norm.map(|tap_norm| Adapter::Shared { tap_norm }),
        "per_tap" => tap_norm.map(|tap_norm| Adapter::PerTap { tap_norm }),
        "per_edge" => {
            let corners = match f.ask("corners").map(|node| &node.value) {
                None => Some(Vec::new()),
                Some(Value::Array(items)) => list(items, "topology.adapter.corners", language, f.cx),
                // Reports that it is no list.
                Some(_) => f.or("corners", Vec::<String>::new()).map(|_| Vec::new()),
            };
            tap_norm.zip(corners).map(|(tap_norm, corners)| Adapter::PerEdge { tap_norm, corners })
        }
        "linear" => {
            let bias = f.or("bias", true);
            tap_norm.zip(bias).map(|(tap_norm, bias)| Adapter::Linear { tap_norm, bias })
        }
        _ => amp(&mut f, tap_norm),
    };
    f.finish();
    adapter
}

fn amp(f: &mut Fields<'_, '_>, tap_norm: Option<TapNorm>) -> Option<Adapter> {
    let rank = f.or_in("rank", 1..=65_536, 16);
    let alpha = f.optional_in("alpha", (Excluded(0.0), Unbounded));
    let attach = f.or("attach", AmpAttach::Parallel);
    let rank: usize = rank?;
    Some(Adapter::Amp { rank, alpha: alpha?.unwrap_or(rank as f64), attach: attach?, tap_norm: tap_norm? })
}
