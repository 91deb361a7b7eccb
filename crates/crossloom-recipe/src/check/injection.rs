//! Fusions, gates, masks and phases that go together, at points that there are.

use super::wiring::{dead_points, written};
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{
    Adapter, Fusion, Gate, GateAttention, GateNorm, Injection, LanguageModel, Mask, Phase, PointAddress,
    Stream, TopologySpec, VisionModel,
};
use crate::tree::Node;

/// A gate without a use or a use without a gate, positions that a fusion cannot change, passes in which they do not occur.
pub(super) fn fusion(root: &Node, topology: &TopologySpec, injection: &Injection, cx: &mut Cx) {
    if !injection.injects() {
        return;
    }
    let mut error = |path: &str, message: &str, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    let gated = injection.gate != Gate::None {};
    match &injection.fusion {
        Fusion::Add { .. } if gated => error(
            "topology.fusion.kind",
            "the fusion `add` would ignore the gate",
            "use `gated_add`, or `gate = \"none\"`",
        ),
        fusion if fusion.is_gated() && !gated => error(
            "topology.fusion.kind",
            "this fusion needs the weight of a gate, and there is none",
            "use `add`, or choose a `gate`: `constant`, `static` or `agf`",
        ),
        Fusion::Windows(_) if gated => error(
            "topology.gate",
            "the fusion `windows` would ignore the gate",
            "write `gate = \"none\"`, or use `gated_add`",
        ),
        Fusion::CrossAttention(_) if gated => error(
            "topology.gate",
            "cross-attention has gates of its own, and would ignore this one",
            "write `gate = \"none\"`; `fusion.gate_init` is what its own begin as",
        ),
        _ => {}
    }
    let rows = !matches!(injection.fusion, Fusion::CrossAttention(_));
    let (mask, phase) = (injection.mask, injection.phase);
    let in_attention = |point: &PointAddress| matches!(point, PointAddress::Attention(_));
    if injection.points.iter().any(in_attention) && (rows || mask != Mask::All) {
        error(
            "topology.points",
            "what a layer's attention reads is changed at all positions, which cross-attention alone does",
            "write `before` or `inside` in place of `attention`, or use the fusion `cross_attention` and `mask = \"all\"`",
        );
    }
    if matches!(&injection.fusion, Fusion::CrossAttention(of) if of.normed_residual)
        && !injection.points.iter().all(in_attention)
    {
        error(
            "topology.fusion.normed_residual",
            "`normed_residual` is of a layer whose attention reads what is fused, and a point is elsewhere",
            "write `attention layer.N` for all points, or remove `normed_residual`",
        );
    }
    if rows && mask != Mask::Visual {
        error(
            "topology.mask",
            "this fusion gives each visual token features of its own, and has none for text",
            "write `mask = \"visual\"`, or use the fusion `cross_attention`",
        );
    }
    if mask == Mask::Visual && topology.stream == Stream::None {
        error(
            "topology.stream",
            "visual tokens are changed, but none are in the sequence",
            "write `stream = \"sequence\"`, or use the fusion `cross_attention`",
        );
    } else if mask == Mask::Visual && phase == Phase::All {
        error(
            "topology.phase",
            "visual tokens are changed, and no decode step has any",
            "write `phase = \"prefill\"`",
        );
    } else if mask != Mask::Visual && phase == Phase::Prefill {
        error(
            "topology.phase",
            "answers would be trained with what they read of the picture and generated without it",
            "write `phase = \"all\"`",
        );
    }
}

/// Visual tokens are changed in layers that have them.
pub(super) fn stretch(root: &Node, topology: &TopologySpec, injection: &Injection, cx: &mut Cx) {
    let Some(stretch) = topology.stream.stretch().filter(|_| injection.mask == Mask::Visual) else { return };
    let outside = |point: &&PointAddress| point.layer().is_some_and(|layer| !stretch.holds(layer));
    for point in injection.points.iter().filter(outside) {
        let place = written(root, "topology.points", &point.to_string());
        let message = format!("visual tokens are changed `{point}`, where there are none");
        let help =
            format!("use points from `{}` to `{}`, or widen `topology.stream`", stretch.from, stretch.to);
        let place = place.unwrap_or_else(|| root.place("topology.points"));
        let set = root.get("topology.stream").map(|node| node.span);
        cx.report(Finding::error(place, message).help(help).related("`stream` is set", set));
    }
}

/// An injection against the model's real shape.
pub(super) fn against_model(
    root: &Node,
    topology: &TopologySpec,
    injection: &Injection,
    vision: Option<&VisionModel>,
    language: Option<&LanguageModel>,
    cx: &mut Cx,
) {
    let Some(language) = language else { return };
    dead_points(root, topology, injection, language, cx);
    if let Gate::Agf(agf) = &injection.gate {
        let place = root.place("topology.gate.heads");
        if agf.attention == GateAttention::None {
            if agf.heads != 1 {
                let message = format!("a gate with `attention = \"none\"` has one head, found {}", agf.heads);
                cx.report(
                    Finding::error(place, message).help("remove `heads`, or use `attention = \"shared\"`"),
                );
            }
        } else if !language.hidden.is_multiple_of(agf.heads) {
            let (heads, hidden) = (agf.heads, language.hidden);
            let message = format!("the gate's {heads} heads must divide the language model's width {hidden}");
            let help = format!("set `topology.gate.heads`, for example to {}", language.heads);
            cx.report(Finding::error(place, message).help(help));
        }
        let pretrained = ["model.language.weights", "model.weights"].iter().find_map(|path| root.get(path));
        if let (GateNorm::None, Some(weights)) = (agf.norm, pretrained) {
            let message = "the gate pools the hidden state of a pretrained language model as it is: a few positions and channels \
                           that tower over the rest decide it, whatever the picture";
            let finding = Finding::warning(root.place("topology.gate"), message);
            let help = "write `norm = \"rms\"` in the gate";
            cx.report(finding.help(help).related("the weights are named", Some(weights.span)));
        }
    }
    if let Fusion::CrossAttention(of) = &injection.fusion
        && !of.heads.is_multiple_of(of.kv_heads)
    {
        let message = format!("{} key heads must divide {} query heads", of.kv_heads, of.heads);
        let help = format!("set `topology.fusion.kv_heads`, for example to {}", of.heads);
        cx.report(Finding::error(root.place("topology.fusion.kv_heads"), message).help(help));
    }
    if let (Adapter::Amp { rank, .. }, Some(vision)) = (&injection.adapter, vision) {
        let widest = vision.hidden.min(language.hidden);
        if *rank > widest {
            let message = format!("a branch of rank {rank} can do no more than one of rank {widest}");
            let help =
                format!("the vision width is {}, the language width {}", vision.hidden, language.hidden);
            cx.report(Finding::warning(root.place("topology.adapter.rank"), message).help(help));
        }
    }
}
