//! The course of the gates over training: one small chart per decoder point, one line per tap.

use crate::chart::line::{Line, LineChart};
use crate::chart::marker;
use crate::chart::ramp::shade;
use crate::chart::scale::Scale;
use crate::chart::trace::Trace;
use crate::data::{Edge, Gate, Topology, Variant};
use crate::markup::Markup;

/// Edges with a recorded course and known ends.
pub(crate) fn histories(topology: &Topology) -> impl Iterator<Item = (&Edge, &Gate)> {
    topology
        .edges
        .iter()
        .filter(|edge| edge.tap < topology.vision.len() && edge.point < topology.decoder.len())
        .filter_map(|edge| Some((edge, edge.gate.as_ref()?)))
        .filter(|(_, gate)| !gate.history.points.is_empty())
}

/// One small chart per decoder point, one line per tap, all on the same axes.
pub(crate) fn write(out: &mut Markup, variant: &Variant) {
    let topology = &variant.topology;
    let all: Vec<(&Edge, &Gate)> = histories(topology).collect();
    let Some(last) = all.iter().filter_map(|(_, gate)| gate.history.points.last()).map(|point| point.0).max()
    else {
        return;
    };
    let x = Scale::exact(0.0, last as f64);
    let values = all.iter().flat_map(|(_, gate)| gate.history.points.iter().map(|point| point.1));
    let y = Scale::linear(values.chain([0.0]));
    let mut taps: Vec<usize> = all.iter().map(|(edge, _)| edge.tap).collect();
    taps.sort_unstable();
    taps.dedup();
    let style = |tap: usize| {
        let order = taps.iter().position(|other| *other == tap).unwrap_or(0);
        let place = 0.3 + 0.7 * order as f64 / (taps.len().max(2) - 1) as f64;
        format!("--l:{};--d:{}", shade(place).light.hex(), shade(place).dark.hex())
    };
    let dash = |tap: usize| {
        let order = taps.iter().position(|other| *other == tap).unwrap_or(0);
        marker::dash(order)
    };
    let tap_name = |tap: usize| topology.vision.get(tap).map_or("", String::as_str);
    out.leaf("h4", &[], &variant.name);
    out.element("ul", &[("class", "legend")], |out| {
        for tap in &taps {
            out.element("li", &[], |out| {
                let frame =
                    &[("viewBox", "0 0 30 14"), ("width", "30"), ("height", "14"), ("aria-hidden", "true")];
                out.element("svg", frame, |out| {
                    let class = ("class", "line shaded");
                    let style = style(*tap);
                    out.void(
                        "path",
                        &[class, ("style", &style), ("stroke-dasharray", dash(*tap)), ("d", "M1 7H29")],
                    );
                });
                out.text(tap_name(*tap));
            });
        }
    });
    out.element("div", &[("class", "multiples")], |out| {
        for (point, name) in topology.decoder.iter().enumerate() {
            let lines: Vec<Line> = all
                .iter()
                .filter(|(edge, _)| edge.point == point)
                .map(|(edge, gate)| Line {
                    name: tap_name(edge.tap).to_owned(),
                    class: "shaded".to_owned(),
                    style: style(edge.tap),
                    dash: dash(edge.tap),
                    points: Trace::new(&gate.history).raw,
                    dots: false,
                    readable: true,
                })
                .collect();
            if lines.is_empty() {
                continue;
            }
            out.element("figure", &[("class", "small")], |out| {
                out.leaf("figcaption", &[("class", "title")], name);
                let label = format!("{}: gates into {name} over training", variant.name);
                let y_title = "mean gate".to_owned();
                let (size, marks) = ((350.0, 210.0), Vec::new());
                LineChart { label, x_title: "step", y_title, size, x, y, lines, marks }.draw(out);
            });
        }
    });
}
