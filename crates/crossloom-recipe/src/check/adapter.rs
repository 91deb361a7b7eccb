//! Adapters that can read their taps, beside the input and the projector that they can share.

use crate::decode::Cx;
use crate::diagnostic::{Finding, any_of};
use crate::schema::{
    Adapter, Fusion, Injection, Input, Merging, NamedInjection, Projector, Sampling, TapNorm, TapSource,
    TopologySpec, WindowInput,
};
use crate::tree::Node;

/// The input beside the projector, and sources beside both.
pub(super) fn input(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let at_input = topology.input_width();
    if let Input::Windows(input) = &topology.input {
        input_windows(root, topology, input, projector, cx);
    }
    if projector.windows().is_some() && at_input > 1 {
        let message = format!("windows are read of one state, and the input has {at_input} side by side");
        let help = "name one state, or use `model.projector.kind = \"mlp2x\"`";
        cx.report(Finding::error(root.place("topology.input"), message).help(help));
    }
    scaled_down(root, topology, projector, cx);
}

/// An injection's adapter, which can read its taps, beside the input and the projector that it can share.
pub(super) fn adapter(
    root: &Node,
    topology: &TopologySpec,
    injection: &Injection,
    projector: &Projector,
    cx: &mut Cx,
) {
    if !injection.injects() {
        return;
    }
    let (windows, at_input) = (projector.windows(), topology.input_width());
    let place = root.place("topology.adapter");
    let reads = matches!(injection.fusion, Fusion::Windows(_));
    if reads != matches!(injection.adapter, Adapter::Windows { .. }) {
        let message = "the adapter `windows` and the fusion `windows` go together";
        cx.report(Finding::error(place, message).help("use both, or neither"));
    }
    if let (Adapter::Windows { hidden }, Fusion::Windows(of)) = (&injection.adapter, &injection.fusion) {
        divides(root, "topology.fusion.heads", of.heads, *hidden, cx);
    }
    let shares = matches!(injection.adapter, Adapter::Shared { .. } | Adapter::Amp { .. });
    if matches!(injection.adapter, Adapter::Amp { .. }) && windows.is_some() {
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
    for tap in injection.taps.iter().filter(|tap| topology.width_of(tap) > 1) {
        let message = match (shares, windows) {
            (true, _) => format!(
                "`{tap}` is {} states wide, and the shared projector reads one",
                topology.width_of(tap)
            ),
            (_, Some(_))
                if !matches!(injection.adapter, Adapter::Linear { .. } | Adapter::Windows { .. }) =>
            {
                format!("`{tap}` is {} states wide, and windows are read of one", topology.width_of(tap))
            }
            _ => continue,
        };
        let help = format!("use {}", any_of(["adapter = \"linear\"", "adapter = \"per_tap\""]));
        cx.report(Finding::error(place, message).help(help));
    }
    corners(root, injection, projector, cx);
}

/// Means of patches, where something counts on patches; stacks of such means, where there are as many tokens.
fn scaled_down(root: &Node, topology: &TopologySpec, projector: &Projector, cx: &mut Cx) {
    let means = projector.merging == Merging::Mean;
    let windows = |injection: NamedInjection<'_>| matches!(injection.of.adapter, Adapter::Windows { .. });
    if means && (topology.injections().any(windows) || matches!(topology.input, Input::Windows(_))) {
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

/// Windows that the input's tokens read: heads, widths, and what stands around them.
fn input_windows(
    root: &Node,
    topology: &TopologySpec,
    input: &WindowInput,
    projector: &Projector,
    cx: &mut Cx,
) {
    divides(root, "topology.input.heads", input.heads, input.hidden, cx);
    let place = root.place("topology.input");
    // Windows of one tap are the same ones at the input and in the injection without a name.
    if let Adapter::Windows { hidden } = topology.main.adapter
        && topology.main.injects()
        && hidden != input.hidden
    {
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

fn divides(root: &Node, path: &str, heads: usize, hidden: usize, cx: &mut Cx) {
    if !hidden.is_multiple_of(heads) {
        let message = format!("{heads} heads must divide the width {hidden} of what they read");
        cx.report(Finding::error(root.place(path), message).help("choose another number of `heads`"));
    }
}

/// Queries that begin as one patch of four, and a projector that can have such.
fn corners(root: &Node, injection: &Injection, projector: &Projector, cx: &mut Cx) {
    let Adapter::PerEdge { corners, .. } = &injection.adapter else { return };
    let place = root.place("topology.adapter.corners");
    let mut error = |message: String, help: &str| cx.report(Finding::error(place, message).help(help));
    if !corners.is_empty() && projector.windows().is_none_or(|of| of.window != 2 * of.queries) {
        let message = "`corners` are of queries that stand for two by two patches".to_owned();
        error(message, "use `model.projector = { kind = \"window_queries\", window = 2 n, queries = n, … }`");
    }
    if corners.len() > 4 {
        error(format!("two by two patches have four corners, found {}", corners.len()), "remove the others");
    }
    for corner in corners.iter().filter(|corner| !injection.points.contains(corner)) {
        error(format!("`{corner}` is a corner's point, but no tap feeds it"), "remove it, or wire it");
    }
}
