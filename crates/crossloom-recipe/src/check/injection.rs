//! Injections: adapters, fusions and gates that go together, on sources that there are.

use super::topology::{dead_points, written};
use crate::decode::Cx;
use crate::diagnostic::{Finding, any_of};
use crate::schema::{
    Adapter, Fusion, Gate, GateAttention, Input, LanguageModel, Mask, Merging, Phase, PointAddress,
    Projector, Sampling, Stream, Tap, TapNorm, TapSource, TopologySpec, VisionAddress, VisionModel,
};
use crate::tree::Node;

/// Something of the picture is read.
pub(super) fn input(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    if topology.input == Input::None && !topology.injects() {
        let (path, message) = match topology.stream {
            Stream::Sequence | Stream::Between(_) => (
                "topology.input",
                "nothing reads the picture: no state is at the input, and none is injected",
            ),
            Stream::None => (
                "topology.stream",
                "nothing reads the picture: no visual tokens are in the sequence, and nothing is injected",
            ),
        };
        let help = "name a state as `topology.input`, or add `taps` and `points`";
        cx.report(Finding::error(root.place(path), message).help(help));
    }
    if topology.stream == Stream::None && topology.input != Input::None {
        let message = "an input is named, but no visual tokens are in the sequence";
        let help = "remove `topology.input`, or write `topology.stream = \"sequence\"`";
        cx.report(Finding::error(root.place("topology.input"), message).help(help));
    }
}

/// Every source is used, and made of others than itself.
pub(super) fn sources(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    for (name, source) in &topology.sources {
        let place = root.place(&format!("topology.sources.{name}"));
        let names = |tap: &Tap| tap.source().is_some_and(|(of, _)| of == name);
        let inner = |source: &TapSource| matches!(source, TapSource::Channels { of } if of.iter().any(names));
        let read = topology.input.taps().iter().chain(&topology.taps).any(names)
            || topology.sources.values().any(inner);
        if !read {
            let message = format!("the source `{name}` feeds nothing");
            let help = "name it among `taps` or at the `input`, or remove it";
            cx.report(Finding::error(place, message).help(help));
        }
        if let TapSource::Stacks { side, .. } = source
            && *side != topology.magnification()
        {
            let sides = topology.magnification();
            let message =
                format!("`{name}` has {side} by {side} tiles, and another source {sides} by {sides}");
            let help = "pictures have one size: use the same `side` for all";
            cx.report(Finding::error(place, message).help(help));
        }
        if matches!(source, TapSource::MmFuser(fuser) if fuser.of.is_empty()) {
            let message = format!("`{name}` reads no state");
            cx.report(Finding::error(place, message).help("list at least one state as `of`"));
        }
        let TapSource::Channels { of } = source else { continue };
        for tap in of {
            let wide = matches!(topology.source(tap), Some((TapSource::Channels { .. }, _)));
            if wide {
                let message = format!("`{tap}` is a row of channels itself");
                let help = format!("list its states in `{name}` in its place");
                cx.report(Finding::error(place, message).help(help));
            }
        }
        if of.is_empty() {
            let help = "list at least one tap";
            cx.report(Finding::error(place, format!("`{name}` has the channels of nothing")).help(help));
        }
    }
}

/// A gate without a use or a use without a gate, positions that a fusion cannot change, passes in which they do not occur.
pub(super) fn fusion(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    if !topology.injects() {
        return;
    }
    let mut error = |path: &str, message: &str, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    let gated = topology.gate != Gate::None {};
    match &topology.fusion {
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
    let rows = !matches!(topology.fusion, Fusion::CrossAttention(_));
    let (mask, phase) = (topology.mask, topology.phase);
    let in_attention = |point: &PointAddress| matches!(point, PointAddress::Attention(_));
    if topology.points.iter().any(in_attention) && (rows || mask != Mask::All) {
        error(
            "topology.points",
            "what a layer's attention reads is changed at all positions, which cross-attention alone does",
            "write `before` or `inside` in place of `attention`, or use the fusion `cross_attention` and `mask = \"all\"`",
        );
    }
    if matches!(&topology.fusion, Fusion::CrossAttention(of) if of.normed_residual)
        && !topology.points.iter().all(in_attention)
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
pub(super) fn stretch(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    let Some(stretch) = topology.stream.stretch().filter(|_| topology.mask == Mask::Visual) else { return };
    let outside = |point: &&PointAddress| point.layer().is_some_and(|layer| !stretch.holds(layer));
    for point in topology.points.iter().filter(outside) {
        let place = written(root, "topology.points", &point.to_string());
        let message = format!("visual tokens are changed `{point}`, where there are none");
        let help =
            format!("use points from `{}` to `{}`, or widen `topology.stream`", stretch.from, stretch.to);
        let place = place.unwrap_or_else(|| root.place("topology.points"));
        let set = root.get("topology.stream").map(|node| node.span);
        cx.report(Finding::error(place, message).help(help).related("`stream` is set", set));
    }
}

/// The topology against the model's real shape.
pub(super) fn against_model(
    root: &Node,
    topology: &TopologySpec,
    vision: Option<&VisionModel>,
    language: Option<&LanguageModel>,
    cx: &mut Cx,
) {
    if vision.is_some_and(|vision| !vision.post_norm) {
        no_post_norm(root, topology, cx);
    }
    for (name, source) in &topology.sources {
        if let (TapSource::MmFuser(fuser), Some(vision)) = (source, vision)
            && !vision.hidden.is_multiple_of(fuser.heads)
        {
            let place = root.place(&format!("topology.sources.{name}.heads"));
            let (heads, hidden) = (fuser.heads, vision.hidden);
            let message = format!("{heads} heads must divide the vision width {hidden}");
            let help = format!("set `heads`, for example to {}", vision.heads);
            cx.report(Finding::error(place, message).help(help));
        }
    }
    let Some(language) = language else { return };
    dead_points(root, topology, language, cx);
    if let Gate::Agf(agf) = &topology.gate {
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
    }
    if let Fusion::CrossAttention(of) = &topology.fusion
        && !of.heads.is_multiple_of(of.kv_heads)
    {
        let message = format!("{} key heads must divide {} query heads", of.kv_heads, of.heads);
        let help = format!("set `topology.fusion.kv_heads`, for example to {}", of.heads);
        cx.report(Finding::error(root.place("topology.fusion.kv_heads"), message).help(help));
    }
    if let (Adapter::Amp { rank, .. }, Some(vision)) = (&topology.adapter, vision) {
        let widest = vision.hidden.min(language.hidden);
        if *rank > widest {
            let message = format!("a branch of rank {rank} can do no more than one of rank {widest}");
            let help =
                format!("the vision width is {}, the language width {}", vision.hidden, language.hidden);
            cx.report(Finding::warning(root.place("topology.adapter.rank"), message).help(help));
        }
    }
}

/// States behind a norm that the encoder does not have.
fn no_post_norm(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    let mut report = |place| {
        let finding = Finding::error(place, "the vision encoder has no `post_norm`");
        cx.report(finding.help("set `model.vision.post_norm = true`, or use `block.last`"));
    };
    let post_norm = Tap::State(VisionAddress::PostNorm);
    if topology.input.taps().contains(&post_norm) {
        report(root.place("topology.input"));
    }
    if topology.taps.contains(&post_norm) {
        report(written(root, "topology.taps", "post_norm").unwrap_or_else(|| root.place("topology.taps")));
    }
    for name in topology.sources.keys() {
        let mut states = Vec::new();
        topology.states_of(&Tap::Source(name.clone()), &mut states);
        if states.contains(&VisionAddress::PostNorm) {
            report(root.place(&format!("topology.sources.{name}")));
        }
    }
}

/// Adapters that can read their taps, beside projectors that they can share.
pub(super) fn adapter(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let windows = projector.windows();
    let at_input = topology.input_width();
    window_attention(root, topology, projector, cx);
    if windows.is_some() && at_input > 1 {
        let message = format!("windows are read of one state, and the input has {at_input} side by side");
        let help = "name one state, or use `model.projector.kind = \"mlp2x\"`";
        cx.report(Finding::error(root.place("topology.input"), message).help(help));
    }
    scaled_down(root, topology, projector, cx);
    if !topology.injects() {
        return;
    }
    let place = root.place("topology.adapter");
    let reads = matches!(topology.fusion, Fusion::Windows(_));
    if reads != matches!(topology.adapter, Adapter::Windows { .. }) {
        let message = "the adapter `windows` and the fusion `windows` go together";
        cx.report(Finding::error(place, message).help("use both, or neither"));
    }
    let shares = matches!(topology.adapter, Adapter::Shared { .. } | Adapter::Amp { .. });
    if matches!(topology.adapter, Adapter::Amp { .. }) && windows.is_some() {
        let message = "the branches of `amp` stand beside two linear layers, and the projector has others";
        let help = "use the adapter `shared`, `per_tap` or `per_edge`, or `model.projector.kind = \"mlp2x\"`";
        cx.report(Finding::error(place, message).help(help));
    }
    if shares && matches!(topology.input, Input::Windows(_)) {
        let message = "the input's projector reads what windows gave, and cannot be the adapter of a state";
        let help = "use `topology.adapter = \"per_tap\"`";
        cx.report(Finding::error(root.place("topology.input"), message).help(help));
    } else if shares && at_input > 1 {
        let message = format!(
            "the input's projector reads {at_input} states at once, and cannot be the adapter of one"
        );
        let help = "use `topology.adapter = \"per_tap\"`, or one state at the input";
        cx.report(Finding::error(root.place("topology.input"), message).help(help));
    }
    for tap in topology.taps.iter().filter(|tap| topology.width_of(tap) > 1) {
        let message = match (shares, windows) {
            (true, _) => format!(
                "`{tap}` is {} states wide, and the shared projector reads one",
                topology.width_of(tap)
            ),
            (_, Some(_)) if !matches!(topology.adapter, Adapter::Linear { .. } | Adapter::Windows { .. }) => {
                format!("`{tap}` is {} states wide, and windows are read of one", topology.width_of(tap))
            }
            _ => continue,
        };
        let help = format!("use {}", any_of(["adapter = \"linear\"", "adapter = \"per_tap\""]));
        cx.report(Finding::error(place, message).help(help));
    }
    corners(root, topology, projector, cx);
}

/// Means of patches, where something counts on patches; stacks of such means, where there are as many tokens.
fn scaled_down(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let means = projector.merging == Merging::Mean;
    if means
        && (matches!(topology.adapter, Adapter::Windows { .. })
            || matches!(topology.input, Input::Windows(_)))
    {
        let message = "windows are read of patches, and the projector reads means of them";
        let help = "remove `merging`: a window is the patches of a block";
        cx.report(Finding::error(root.place("model.projector.merging"), message).help(help));
    }
    for (name, source) in &topology.sources {
        let scaled = matches!(source, TapSource::Stacks { sampling: Sampling::Scaledown2d, .. });
        if scaled && !(means && projector.merge == 2) {
            let message = format!(
                "`{name}` has a row for every two by two patches, and the picture itself one for every patch"
            );
            let help =
                "write `model.projector = { merge = 2, merging = \"mean\" }`, or use the sampling `2d`";
            let place = root.place(&format!("topology.sources.{name}.sampling"));
            cx.report(Finding::error(place, message).help(help));
        }
    }
}

/// Windows at the input and behind layers: heads, widths, and what stands around them.
fn window_attention(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let mut heads = |path: &str, heads: usize, hidden: usize| {
        if !hidden.is_multiple_of(heads) {
            let message = format!("{heads} heads must divide the width {hidden} of what they read");
            cx.report(Finding::error(root.place(path), message).help("choose another number of `heads`"));
        }
    };
    let injected = match (&topology.adapter, &topology.fusion) {
        (Adapter::Windows { hidden }, Fusion::Windows(of)) if topology.injects() => {
            heads("topology.fusion.heads", of.heads, *hidden);
            Some(*hidden)
        }
        _ => None,
    };
    let Input::Windows(input) = &topology.input else { return };
    heads("topology.input.heads", input.heads, input.hidden);
    let place = root.place("topology.input");
    if let Some(hidden) = injected.filter(|hidden| *hidden != input.hidden) {
        let message = format!("taps are {} wide at the input and {hidden} wide behind layers", input.hidden);
        let help = "both read the same windows: give `topology.input` and `topology.adapter` one `hidden`";
        cx.report(Finding::error(place, message).help(help));
    }
    if projector.windows().is_some() || projector.norm != TapNorm::None {
        let message = "windows at the input are read in front of two layers, without a norm between them";
        let help = "use `model.projector = { kind = \"mlp2x\", norm = \"none\", … }`";
        cx.report(Finding::error(place, message).help(help));
    }
}

/// Queries that begin as one patch of four, and a projector that can have such.
fn corners(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let Adapter::PerEdge { corners, .. } = &topology.adapter else { return };
    let place = root.place("topology.adapter.corners");
    let mut error = |message: String, help: &str| cx.report(Finding::error(place, message).help(help));
    if !corners.is_empty() && projector.windows().is_none_or(|of| of.window != 2 * of.queries) {
        let message = "`corners` are of queries that stand for two by two patches".to_owned();
        error(message, "use `model.projector = { kind = \"window_queries\", window = 2 n, queries = n, … }`");
    }
    if corners.len() > 4 {
        error(format!("two by two patches have four corners, found {}", corners.len()), "remove the others");
    }
    for corner in corners.iter().filter(|corner| !topology.points.contains(corner)) {
        error(format!("`{corner}` is a corner's point, but no tap feeds it"), "remove it, or wire it");
    }
}
