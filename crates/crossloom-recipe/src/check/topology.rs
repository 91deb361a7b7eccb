//! What all injections of a topology share: the input, sources, and points that belong to one of them.

use super::wiring::written;
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{Input, Stream, Tap, TapSource, TopologySpec, VisionAddress, VisionModel};
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
        let read = topology.input.taps().iter().chain(&topology.taps()).any(names)
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

/// A point belongs to one injection, and one with a name injects something.
pub(super) fn injections(root: &Node, topology: &TopologySpec, cx: &mut Cx) {
    for (name, injection) in &topology.named {
        let path = format!("topology.injections.{name}");
        if injection.taps.is_empty() && injection.points.is_empty() {
            let message = format!("the injection `{name}` injects nothing");
            let help = "give it `taps` and `points`, or remove it";
            cx.report(Finding::error(root.place(&path), message).help(help));
        }
        for point in &injection.points {
            let first = topology.injection_at(*point).filter(|first| first.name != Some(name));
            let Some(first) = first else { continue };
            let at = format!("{path}.points");
            let place = written(root, &at, &point.to_string()).unwrap_or_else(|| root.place(&at));
            let whose = first.name.map_or("that of `[topology]`".to_owned(), |other| format!("`{other}`"));
            let message = format!("`{point}` belongs to two injections, {whose} and `{name}`");
            let help =
                "name another point in one of them: `after layer.0` and `before layer.1` are the same place";
            let set = root.get(&format!("{}.points", first.path())).map(|node| node.span);
            cx.report(Finding::error(place, message).help(help).related("the other", set));
        }
    }
}

/// Sources against the encoder's real shape.
pub(super) fn against_vision(root: &Node, topology: &TopologySpec, vision: &VisionModel, cx: &mut Cx) {
    if !vision.post_norm {
        no_post_norm(root, topology, cx);
    }
    for (name, source) in &topology.sources {
        if let TapSource::MmFuser(fuser) = source
            && !vision.hidden.is_multiple_of(fuser.heads)
        {
            let place = root.place(&format!("topology.sources.{name}.heads"));
            let (heads, hidden) = (fuser.heads, vision.hidden);
            let message = format!("{heads} heads must divide the vision width {hidden}");
            let help = format!("set `heads`, for example to {}", vision.heads);
            cx.report(Finding::error(place, message).help(help));
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
    for injection in topology.injections().filter(|injection| injection.of.taps.contains(&post_norm)) {
        let path = format!("{}.taps", injection.path());
        report(written(root, &path, "post_norm").unwrap_or_else(|| root.place(&path)));
    }
    for name in topology.sources.keys() {
        let mut states = Vec::new();
        topology.states_of(&Tap::Source(name.clone()), &mut states);
        if states.contains(&VisionAddress::PostNorm) {
            report(root.place(&format!("topology.sources.{name}")));
        }
    }
}
