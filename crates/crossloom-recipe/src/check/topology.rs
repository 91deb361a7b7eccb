//! Topologies: every tap reaches a point, every gate is used, every address exists.

use crate::decode::Cx;
use crate::diagnostic::{Finding, listed};
use crate::schema::{
    Adapter, Data, FusionKind, Gate, GateAttention, GatePool, LanguageModel, Mask, PointAddress, Projector,
    TopologySpec, VisionAddress, VisionModel, Wiring,
};
use crate::tree::{Node, Value};

/// Both ends are there and the wiring joins them.
pub(super) fn wiring(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    let (taps, points) = (topology.taps.len(), topology.points.len());
    let mut error = |path: &str, message: String, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    match (&topology.wiring, taps, points) {
        (_, 0, 0) => unused(root, cx),
        (_, 0, _) => error(
            "topology.points",
            "there are points, but no taps that could feed them".to_owned(),
            "add `taps`, or write `points = []` to inject nothing",
        ),
        (_, _, 0) => error(
            "topology.taps",
            "there are taps, but no points that receive them".to_owned(),
            "add `points`, or write `taps = []` to inject nothing",
        ),
        (Wiring::Diagonal, _, _) if taps != points => error(
            if root.get("topology.wiring").is_some() { "topology.wiring" } else { "topology" },
            format!("a diagonal wiring needs as many taps as points, found {taps} and {points}"),
            "`{ count = N }` chooses N layers, whatever the depth",
        ),
        (Wiring::Broadcast, 2.., _) => error(
            "topology.taps",
            format!("a broadcast has one tap, found {taps}"),
            "keep one, for example `taps = [\"block.last\"]`, or use the wiring `dense`",
        ),
        (Wiring::Pairs(pairs), _, _) => explicit(root, topology, pairs, cx),
        _ => {}
    }
}

/// Settings of an injection that is not there: probably a forgotten `taps`.
fn unused(root: &Node, cx: &mut Cx) {
    if root.get("topology.taps").is_some() || root.get("topology.points").is_some() {
        return;
    }
    let keys = ["adapter", "gate", "fusion", "wiring"];
    let written = keys.into_iter().filter(|key| root.get(&format!("topology.{key}")).is_some());
    let written: Vec<&str> = written.collect();
    if let Some(first) = written.first() {
        let message =
            format!("nothing is injected: {} without `taps` and `points`", listed(written.iter().copied()));
        cx.report(
            Finding::warning(root.place(&format!("topology.{first}")), message)
                .help("add `taps` and `points`, or write `taps = []` to say so"),
        );
    }
}

/// Explicit pairs use exactly the listed taps and points.
fn explicit(root: &Node, topology: &TopologySpec, pairs: &[(VisionAddress, PointAddress)], cx: &mut Cx) {
    let place = |index: usize| match root.get("topology.wiring").map(|node| &node.value) {
        Some(Value::Array(items)) => items.get(index).map(|item| item.span),
        _ => None,
    };
    for (index, (tap, point)) in pairs.iter().enumerate() {
        if !topology.taps.contains(tap) {
            let message = format!("`{tap}` is wired, but it is not one of the `taps`");
            cx.report(Finding::error(place(index), message).help("add it, or leave `taps` out"));
        }
        if !topology.points.contains(point) {
            let message = format!("`{point}` is wired, but it is not one of the `points`");
            cx.report(Finding::error(place(index), message).help("add it, or leave `points` out"));
        }
    }
    for tap in topology.taps.iter().filter(|tap| !pairs.iter().any(|(wired, _)| wired == *tap)) {
        let message = format!("the tap `{tap}` is not wired to any point");
        cx.report(Finding::error(root.place("topology.taps"), message).help("wire it or remove it"));
    }
    for point in topology.points.iter().filter(|point| !pairs.iter().any(|(_, wired)| wired == *point)) {
        let message = format!("the point `{point}` is not wired to any tap");
        cx.report(Finding::error(root.place("topology.points"), message).help("wire it or remove it"));
    }
}

/// A projector that reads several states side by side is none for a single tap; without any, what is injected is all that is seen.
pub(super) fn input(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    if topology.input.is_empty() && !topology.injects() {
        let message = "nothing reads the picture: no state is at the input, and none is injected";
        let help = "name a state as `topology.input`, or add `taps` and `points`";
        cx.report(Finding::error(root.place("topology.input"), message).help(help));
    }
    let own = matches!(topology.adapter, Adapter::PerTap { .. } | Adapter::PerEdge { .. });
    if topology.input.len() < 2 || !topology.injects() || own {
        return;
    }
    let states = topology.input.len();
    let message =
        format!("the input's projector reads {states} states at once, and cannot be the adapter of one");
    let help = "use `topology.adapter = \"per_tap\"`, or one state at the input";
    cx.report(Finding::error(root.place("topology.input"), message).help(help));
}

/// A gate without a use, or a use without a gate.
pub(super) fn fusion(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    if !topology.injects() {
        return;
    }
    let gated = topology.gate != Gate::None {};
    match topology.fusion.kind {
        FusionKind::Add if gated => cx.report(
            Finding::error(root.place("topology.fusion.kind"), "the fusion `add` would ignore the gate")
                .help("use `gated_add`, or `gate = \"none\"`"),
        ),
        FusionKind::GatedAdd | FusionKind::Convex if !gated => cx.report(
            Finding::error(
                root.place("topology.fusion.kind"),
                "this fusion needs the weight of a gate, and there is none",
            )
            .help("use `add`, or choose a `gate`: `constant`, `static` or `agf`"),
        ),
        _ => {}
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
    if let Some(vision) = vision
        && !vision.post_norm
    {
        let help = "set `model.vision.post_norm = true`, or use `block.last`";
        let missing = "the vision encoder has no `post_norm`";
        if topology.input.contains(&VisionAddress::PostNorm) {
            cx.report(Finding::error(root.place("topology.input"), missing).help(help));
        }
        if topology.taps.contains(&VisionAddress::PostNorm) {
            let place =
                written(root, "topology.taps", "post_norm").unwrap_or_else(|| root.place("topology.taps"));
            cx.report(Finding::error(place, missing).help(help));
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

/// Queries that begin as one patch of four, and a projector that can have such; low-rank branches beside linear layers alone.
pub(super) fn adapter(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let windows = projector.windows();
    if matches!(topology.adapter, Adapter::Amp { .. }) && windows.is_some() && topology.injects() {
        let message = "the branches of `amp` stand beside two linear layers, and the projector has others";
        let help = "use the adapter `shared`, `per_tap` or `per_edge`, or `model.projector.kind = \"mlp2x\"`";
        cx.report(Finding::error(root.place("topology.adapter"), message).help(help));
    }
    let Adapter::PerEdge { corners, .. } = &topology.adapter else { return };
    let place = root.place("topology.adapter.corners");
    let mut error = |message: String, help: &str| cx.report(Finding::error(place, message).help(help));
    if !corners.is_empty() && windows.is_none_or(|of| of.window != 2 * of.queries) {
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

/// Points whose injections no answer can depend on.
fn dead_points(root: &Node, topology: &TopologySpec, language: &LanguageModel, cx: &mut Cx) {
    let dead =
        |point: &&PointAddress| topology.mask == Mask::Visual && !point.reaches_answers(language.layers);
    for point in topology.points.iter().filter(dead) {
        let place = ["after layer.last".to_owned(), point.to_string()]
            .iter()
            .find_map(|text| written(root, "topology.points", text))
            .unwrap_or_else(|| root.place("topology.points"));
        let message = format!("nothing reads what is injected `{point}`: no layer follows");
        cx.report(Finding::warning(place, message).help(
            "image positions are changed, and answers read them through a later layer: use an earlier point, \
             `before layer.last` at the latest",
        ));
    }
}

/// The element of a list of addresses that is written like this.
fn written(root: &Node, path: &str, text: &str) -> Option<crate::diagnostic::Span> {
    match &root.get(path)?.value {
        Value::Array(items) => items.iter().find(|item| item.string() == Some(text)).map(|item| item.span),
        _ => None,
    }
}

/// A gate that pools over the prompt reads every question of the sequence.
pub(super) fn against_data(root: &Node, topology: &TopologySpec, data: &Data, cx: &mut Cx) {
    let Gate::Agf(agf) = &topology.gate else { return };
    if topology.injects() && agf.pool == GatePool::Prompt && data.questions_per_sequence > 1 {
        let message = format!(
            "the gate pools over the prompt, but a sequence holds {} questions: each would see the others",
            data.questions_per_sequence
        );
        cx.report(
            Finding::error(root.place("topology.gate.pool"), message)
                .help("write `topology.gate.pool = \"image\"`, or `data.questions_per_sequence = 1`")
                .related(
                    "`questions_per_sequence` is set",
                    root.get("data.questions_per_sequence").map(|node| node.span),
                ),
        );
    }
}
