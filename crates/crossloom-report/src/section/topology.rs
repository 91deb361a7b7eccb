//! A picture per variant: vision taps left, decoder points right, edges weighted by the learned mean gate.

use super::{empty, folding, scroll, section};
use crate::chart::label::shortened;
use crate::chart::ramp::{Shade, shade};
use crate::context::Context;
use crate::data::{Edge, Topology, Variant};
use crate::markup::Markup;
use crate::number::{coordinate as at, decimal, non_finite};

const WIDTH: f64 = 520.0;
const NODE_WIDTH: f64 = 128.0;
const NODE_HEIGHT: f64 = 26.0;
const PITCH: f64 = 46.0;
const TIGHT_PITCH: f64 = 30.0;
const TOP: f64 = 44.0;

/// Writes the section.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    section(out, "topology", "Topology", |out| {
        let variants = &context.data.variants;
        if variants.is_empty() {
            empty(out, "No topology is shown, because this run has no variants.");
            return;
        }
        out.leaf(
            "p",
            &[("class", "lead")],
            "Which vision layers (left) feed which decoder layers (right). An edge is wider and stronger in colour \
             the larger its learned gate is, as a mean over the evaluated samples. Point at an edge or a layer to \
             read it.",
        );
        if variants.iter().flat_map(|variant| &variant.topology.edges).any(|edge| edge.gate.is_some()) {
            legend(out, context);
        }
        folding(out, variants, |out, variants| {
            out.element("div", &[("class", "pair")], |out| {
                for variant in variants {
                    out.element("figure", &[("class", "card")], |out| picture(out, context, variant));
                }
            });
        });
    });
}

fn legend(out: &mut Markup, context: &Context<'_>) {
    out.element("ul", &[("class", "legend")], |out| {
        for tick in context.gates.ticks() {
            out.element("li", &[], |out| {
                swatch(out, "edge gated", &gated_style(tick.place));
                out.text(&tick.label);
            });
        }
        out.element("li", &[], |out| {
            swatch(out, "edge ungated", "");
            out.text("no gate");
        });
    });
}

fn swatch(out: &mut Markup, class: &str, style: &str) {
    let frame = &[("viewBox", "0 0 30 14"), ("width", "30"), ("height", "14"), ("aria-hidden", "true")];
    out.element("svg", frame, |out| {
        out.void("path", &[("class", class), ("style", style), ("d", "M1 7H29")]);
    });
}

fn picture(out: &mut Markup, context: &Context<'_>, variant: &Variant) {
    let topology = &variant.topology;
    out.leaf("h3", &[], &variant.name);
    if !variant.description.is_empty() {
        out.leaf("p", &[("class", "description")], &variant.description);
    }
    if topology.vision.is_empty() && topology.decoder.is_empty() {
        empty(out, "No picture: the run recorded no layers for this variant.");
        return;
    }
    let rows = topology.vision.len().max(topology.decoder.len()) as f64;
    let pitch = if rows > 12.0 { TIGHT_PITCH } else { PITCH };
    let height = TOP + rows * pitch + 8.0;
    let frame = format!("0 0 {} {}", at(WIDTH), at(height));
    let label = format!("Topology of {}: {}", variant.name, summary(topology));
    let attributes =
        &[("class", "chart topology"), ("viewBox", &*frame), ("role", "img"), ("aria-label", &*label)];
    let column = |names: &[String], left: f64| -> Vec<(f64, f64)> {
        let start = TOP + (rows - names.len() as f64) * pitch / 2.0 + pitch / 2.0;
        (0..names.len()).map(|index| (left, start + index as f64 * pitch)).collect()
    };
    let taps = column(&topology.vision, 20.0);
    let points = column(&topology.decoder, WIDTH - 20.0 - NODE_WIDTH);
    scroll(out, &format!("Topology picture of {}", variant.name), |out| {
        out.element("svg", attributes, |out| {
            for (title, side) in [("vision encoder", &taps), ("decoder", &points)] {
                column_frame(out, title, side);
            }
            out.element("g", &[("class", "edges")], |out| {
                for edge in weakest_first(&topology.edges) {
                    if let (Some(from), Some(to)) = (taps.get(edge.tap), points.get(edge.point)) {
                        let from = (from.0, from.1 + port(topology, edge, |edge| (edge.tap, edge.point)));
                        let to = (to.0, to.1 + port(topology, edge, |edge| (edge.point, edge.tap)));
                        draw_edge(out, context, edge, from, to);
                    }
                }
            });
            nodes(out, &topology.vision, &taps, "tap", |index| {
                topology.edges.iter().any(|edge| edge.tap == index)
            });
            nodes(out, &topology.decoder, &points, "point", |index| {
                topology.edges.iter().any(|edge| edge.point == index)
            });
        });
    });
    out.leaf("figcaption", &[], &summary(topology));
    lost_edges(out, topology);
}

/// The heading of a column and the line along which activations flow.
fn column_frame(out: &mut Markup, title: &'static str, nodes: &[(f64, f64)]) {
    let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else { return };
    let middle = first.0 + NODE_WIDTH / 2.0;
    out.leaf("text", &[("class", "axis-title middle"), ("x", &*at(middle)), ("y", "16")], title);
    let flow = format!("M{} {}V{}", at(middle), at(first.1), at(last.1));
    out.void("path", &[("class", "flow"), ("d", &flow)]);
}

fn nodes(
    out: &mut Markup,
    names: &[String],
    places: &[(f64, f64)],
    side: &'static str,
    is_used: impl Fn(usize) -> bool,
) {
    for (index, (name, (x, y))) in names.iter().zip(places).enumerate() {
        let class = if is_used(index) { "node used" } else { "node" };
        let number = index.to_string();
        out.element("g", &[("class", class), ("data-side", side), ("data-index", &number)], |out| {
            out.leaf("title", &[], name);
            let (left, top) = (at(*x), at(y - NODE_HEIGHT / 2.0));
            let size = (at(NODE_WIDTH), at(NODE_HEIGHT));
            let shape =
                &[("x", &*left), ("y", &*top), ("width", &*size.0), ("height", &*size.1), ("rx", "5")];
            out.void("rect", shape);
            let place = &[("class", "middle"), ("x", &*at(x + NODE_WIDTH / 2.0)), ("y", &*at(y + 4.0))];
            out.leaf("text", place, &shortened(name, 16));
        });
    }
}

/// Offset at which `edge` meets its node: the edges of a node are spread over its height in the order of their other
/// ends. `ends` gives this node and the other one.
fn port(topology: &Topology, edge: &Edge, ends: fn(&Edge) -> (usize, usize)) -> f64 {
    let (node, other) = ends(edge);
    let siblings = || topology.edges.iter().map(ends).filter(|(sibling, _)| *sibling == node);
    let count = siblings().count().max(1) as f64;
    let order = siblings().filter(|(_, end)| *end < other).count() as f64;
    let spread = (NODE_HEIGHT - 8.0).min(4.5 * (count - 1.0));
    if count > 1.0 { spread * (order / (count - 1.0) - 0.5) } else { 0.0 }
}

fn draw_edge(out: &mut Markup, context: &Context<'_>, edge: &Edge, from: (f64, f64), to: (f64, f64)) {
    let (left, right) = (from.0 + NODE_WIDTH, to.0);
    let bend = (right - left) * 0.45;
    let shape = format!(
        "M{} {}C{} {} {} {} {} {}",
        at(left),
        at(from.1),
        at(left + bend),
        at(from.1),
        at(right - bend),
        at(to.1),
        at(right),
        at(to.1)
    );
    let (class, style, reading) = match &edge.gate {
        None => ("edge ungated", String::new(), "no gate".to_owned()),
        Some(gate) => match context.gates.place(gate.mean) {
            Some(place) => ("edge gated", gated_style(place), format!("mean gate {}", decimal(gate.mean, 3))),
            None => ("edge broken", String::new(), format!("mean gate {}", decimal(gate.mean, 3))),
        },
    };
    let tip = format!("{}: {reading}", edge.name);
    let (tap, point) = (edge.tap.to_string(), edge.point.to_string());
    out.element(
        "g",
        &[("class", "edge-group"), ("data-tap", &tap), ("data-point", &point), ("data-tip", &tip)],
        |out| {
            out.leaf("title", &[], &tip);
            out.void("path", &[("class", "reach"), ("d", &shape)]);
            out.void("path", &[("class", class), ("style", &style), ("d", &shape)]);
        },
    );
}

fn gated_style(place: f64) -> String {
    let Shade { light, dark } = shade(0.22 + 0.78 * place);
    format!(
        "--l:{};--d:{};stroke-width:{:.2}px;stroke-opacity:{:.2}",
        light.hex(),
        dark.hex(),
        1.2 + 6.3 * place,
        0.55 + 0.45 * place
    )
}

/// Strong edges are drawn last, so that they lie on top.
fn weakest_first(edges: &[Edge]) -> Vec<&Edge> {
    let strength = |edge: &Edge| edge.gate.as_ref().map_or(f64::INFINITY, |gate| gate.mean);
    let mut sorted: Vec<&Edge> = edges.iter().collect();
    sorted.sort_by(|a, b| strength(a).total_cmp(&strength(b)));
    sorted
}

fn summary(topology: &Topology) -> String {
    let edges = topology.edges.len();
    let noun = if edges == 1 { "edge" } else { "edges" };
    let gates: Vec<(&Edge, f64)> = topology
        .edges
        .iter()
        .filter_map(|edge| Some((edge, edge.gate.as_ref()?.mean)))
        .filter(|(_, mean)| mean.is_finite())
        .collect();
    let strongest = gates.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let weakest = gates.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    match (strongest, weakest) {
        (Some((strong, high)), Some((weak, low))) if gates.len() > 1 => format!(
            "{edges} {noun}; strongest {} ({}), weakest {} ({}).",
            strong.name,
            decimal(*high, 3),
            weak.name,
            decimal(*low, 3)
        ),
        (Some((only, value)), _) => {
            format!("{edges} {noun}; {} has the gate {}.", only.name, decimal(*value, 3))
        }
        _ if edges == 0 => "No edges: the decoder does not see the picture.".to_owned(),
        _ => match topology.edges.first() {
            Some(edge) if edges == 1 => format!("One edge, {}, without a gate.", edge.name),
            _ => format!("{edges} {noun} without gates."),
        },
    }
}

/// Names edges that cannot be drawn as they should be.
fn lost_edges(out: &mut Markup, topology: &Topology) {
    let is_lost = |edge: &&Edge| edge.tap >= topology.vision.len() || edge.point >= topology.decoder.len();
    let lost: Vec<&str> = topology.edges.iter().filter(is_lost).map(|edge| edge.name.as_str()).collect();
    if !lost.is_empty() {
        out.leaf(
            "p",
            &[("class", "warning")],
            &format!("Not drawn, as their ends are unknown: {}.", lost.join(", ")),
        );
    }
    let broken: Vec<String> = topology
        .edges
        .iter()
        .filter_map(|edge| Some(format!("{} ({})", edge.name, non_finite(edge.gate.as_ref()?.mean)?)))
        .collect();
    if !broken.is_empty() {
        out.leaf("p", &[("class", "warning")], &format!("Gates that are not finite: {}.", broken.join(", ")));
    }
}
