//! `topology.fusion`, and what follows from it where nothing else is said.

use super::fields::{Cx, Fields, Kinds};
use super::sets::peek;
use crate::schema::{CrossAttention, Fusion, FusionOrder, Gate, Mask, Phase, WindowAttention};
use crate::tree::Node;

const ORDER: &[&str] = &["order"];

pub(super) const FUSION: Kinds = Kinds {
    path: "topology.fusion",
    all: &[
        ("add", ORDER),
        ("gated_add", ORDER),
        ("convex", ORDER),
        (
            "cross_attention",
            &["heads", "kv_heads", "head_dim", "qk_norm", "mlp", "norm", "normed_residual", "gate_init"],
        ),
        ("windows", &["heads"]),
    ],
    absent: Some("add"),
};

/// The fusion of a recipe. Without a kind, features are added, times the weight of a gate where there is one.
pub(super) fn fusion(root: &Node, gate: Option<&Gate>, cx: &mut Cx) -> Option<Fusion> {
    if root.get("topology.fusion.kind").is_none() {
        let mut f = Fields::open(root, FUSION.path, cx)?;
        let order = f.or("order", FusionOrder::Parallel);
        f.finish();
        let order = order?;
        return Some(match gate? {
            Gate::None {} => Fusion::Add { order },
            _ => Fusion::GatedAdd { order },
        });
    }
    let (mut f, kind) = Fields::open_kind(root, &FUSION, cx)?;
    let fusion = match kind {
        "cross_attention" => cross_attention(root, &mut f).map(Fusion::CrossAttention),
        "windows" => {
            let heads = f.optional_in("heads", 1..=1024);
            let heads = heads.and_then(|heads| heads.or_else(|| peek(root, "model.vision.heads")));
            heads.map(|heads| Fusion::Windows(WindowAttention { heads }))
        }
        kind => f.or("order", FusionOrder::Parallel).map(|order| match kind {
            "add" => Fusion::Add { order },
            "gated_add" => Fusion::GatedAdd { order },
            _ => Fusion::Convex { order },
        }),
    };
    f.finish();
    fusion
}

fn cross_attention(root: &Node, f: &mut Fields<'_, '_>) -> Option<CrossAttention> {
    let of_language = |key: &str| peek(root, &format!("model.language.{key}"));
    let heads = f.optional_in("heads", 1..=1024);
    let kv_heads = f.optional_in("kv_heads", 1..=1024);
    let head_dim = f.optional_in("head_dim", 1..=4096);
    let qk_norm = f.or("qk_norm", false);
    let mlp = f.optional_in("mlp", 0..=1_048_576);
    let norm = f.or("norm", true);
    let normed_residual = f.or("normed_residual", false);
    let gate_init = f.or("gate_init", 0.0);
    let language_heads = of_language("heads");
    let heads = heads?.or(language_heads)?;
    let kv_heads = kv_heads?.or_else(|| of_language("kv_heads").or(Some(heads)))?;
    let width = |heads: usize| Some(of_language("hidden")? / heads);
    let head_dim = head_dim?.or_else(|| of_language("head_dim").or_else(|| width(language_heads?)))?;
    let mlp = mlp?.or_else(|| of_language("mlp"))?;
    Some(CrossAttention {
        heads,
        kv_heads,
        head_dim,
        qk_norm: qk_norm?,
        mlp,
        norm: norm?,
        normed_residual: normed_residual?,
        gate_init: gate_init?,
    })
}

impl Fusion {
    /// The positions that it changes where a recipe does not say.
    pub(super) fn usual_mask(&self) -> Mask {
        match self {
            Self::Add { .. } | Self::GatedAdd { .. } | Self::Convex { .. } | Self::Windows(_) => Mask::Visual,
            Self::CrossAttention(_) => Mask::All,
        }
    }
}

impl Mask {
    /// The passes in which such positions occur.
    pub(super) fn usual_phase(self) -> Phase {
        match self {
            Self::Visual => Phase::Prefill,
            Self::Text | Self::All => Phase::All,
        }
    }
}
