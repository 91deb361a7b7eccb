//! Wirings: every tap reaches a point, every point is fed, and answers can depend on it.

use crate::decode::Cx;
use crate::diagnostic::{Finding, listed};
use crate::schema::{
    Data, GatePool, Injection, LanguageModel, Mask, PointAddress, Tap, TopologySpec, Wiring,
};
use crate::tree::{Node, Value};

/// Both ends are there and the wiring joins them.
pub(super) fn wiring(root: &Node, injection: &Injection, cx: &mut Cx) {
    let (taps, points) = (injection.taps.len(), injection.points.len());
    let mut error = |path: &str, message: String, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    match (&injection.wiring, taps, points) {
        (Wiring::Pairs(pairs), _, _) if !pairs.is_empty() => explicit(root, injection, pairs, cx),
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
        _ => {}
    }
}

/// Settings of an injection that is not there: probably a forgotten `taps`.
fn unused(root: &Node, cx: &mut Cx) {
    if root.get("topology.taps").is_some() || root.get("topology.points").is_some() {
        return;
    }
    let gate = root.get("topology.gate.kind").and_then(Node::string);
    if gate.is_some_and(|kind| kind != "none") {
        let message = "a gate without a target: nothing is injected";
        let help = "add `taps` and `points` that it weighs, or remove `topology.gate`";
        cx.report(Finding::error(root.place("topology.gate"), message).help(help));
    }
    let keys = ["adapter", "fusion", "wiring"];
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
fn explicit(root: &Node, injection: &Injection, pairs: &[(Tap, PointAddress)], cx: &mut Cx) {
    let place = |index: usize| match root.get("topology.wiring").map(|node| &node.value) {
        Some(Value::Array(items)) => items.get(index).map(|item| item.span),
        _ => None,
    };
    for (index, (tap, point)) in pairs.iter().enumerate() {
        if !injection.taps.contains(tap) {
            let message = format!("`{tap}` is wired, but it is not one of the `taps`");
            cx.report(Finding::error(place(index), message).help("add it, or leave `taps` out"));
        }
        if !injection.points.contains(point) {
            let message = format!("`{point}` is wired, but it is not one of the `points`");
            cx.report(Finding::error(place(index), message).help("add it, or leave `points` out"));
        }
    }
    for tap in injection.taps.iter().filter(|tap| !pairs.iter().any(|(wired, _)| wired == *tap)) {
        let message = format!("the tap `{tap}` is not wired to any point");
        cx.report(Finding::error(root.place("topology.taps"), message).help("wire it or remove it"));
    }
    for point in injection.points.iter().filter(|point| !pairs.iter().any(|(_, wired)| wired == *point)) {
        let message = format!("the point `{point}` is not wired to any tap");
        cx.report(Finding::error(root.place("topology.points"), message).help("wire it or remove it"));
    }
}

/// Points whose injections no answer can depend on.
pub(super) fn dead_points(
    root: &Node,
    topology: &TopologySpec,
    injection: &Injection,
    language: &LanguageModel,
    cx: &mut Cx,
) {
    let layers = topology.stream.stretch().map_or(language.layers, |stretch| stretch.last() + 1);
    let dead = |point: &&PointAddress| injection.mask == Mask::Visual && !point.reaches_answers(layers);
    for point in injection.points.iter().filter(dead) {
        let place = ["after layer.last".to_owned(), point.to_string()]
            .iter()
            .find_map(|text| written(root, "topology.points", text))
            .unwrap_or_else(|| root.place("topology.points"));
        let message =
            format!("nothing reads what is injected `{point}`: no layer with visual tokens follows");
        let latest =
            topology.stream.stretch().map_or("last".to_owned(), |stretch| stretch.last().to_string());
        let help = format!(
            "image positions are changed, and answers read them through a later layer: use an earlier point, \
             `before layer.{latest}` at the latest"
        );
        cx.report(Finding::warning(place, message).help(help));
    }
}

/// The element of a list of addresses that is written like this.
pub(super) fn written(root: &Node, path: &str, text: &str) -> Option<crate::diagnostic::Span> {
    match &root.get(path)?.value {
        Value::Array(items) => items.iter().find(|item| item.string() == Some(text)).map(|item| item.span),
        _ => None,
    }
}

/// A gate that pools over the prompt reads every question of the sequence.
pub(super) fn against_data(root: &Node, injection: &Injection, data: &Data, cx: &mut Cx) {
    if injection.pool() == Some(GatePool::Prompt) {
        let help = "write `topology.gate.pool = \"image\"`, or `data.questions_per_sequence = 1`";
        one_question(root, data, "topology.gate.pool", "the gate pools over the prompt", help, cx);
    }
}

/// What reads the question of a sequence needs one alone: it would carry each of several to the others.
pub(super) fn one_question(root: &Node, data: &Data, path: &str, what: &str, help: &str, cx: &mut Cx) {
    let questions = data.questions_per_sequence;
    if questions < 2 {
        return;
    }
    let message = format!("{what}, but a sequence holds {questions} questions: each would see the others");
    let set = root.get("data.questions_per_sequence").map(|node| node.span);
    cx.report(
        Finding::error(root.place(path), message).help(help).related("`questions_per_sequence` is set", set),
    );
}
