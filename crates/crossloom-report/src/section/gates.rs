//! The learned gates: a heat map of decoder layer by vision layer per variant, and their course over training.

use super::{courses, empty, scroll, section};
use crate::chart::ramp::shade;
use crate::context::Context;
use crate::data::{Edge, Gate, Variant};
use crate::markup::Markup;
use crate::number::decimal;

/// Writes the section.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    section(out, "gates", "Gates", |out| {
        let has_gates = |variant: &&Variant| variant.topology.edges.iter().any(|edge| edge.gate.is_some());
        let gated: Vec<&Variant> = context.data.variants.iter().filter(has_gates).collect();
        if gated.is_empty() {
            let reason = if context.data.variants.is_empty() {
                "No gates are shown, because this run has no variants."
            } else {
                "No gates are shown, because no variant of this run has a gated edge."
            };
            empty(out, reason);
            return;
        }
        out.leaf(
            "p",
            &[("class", "lead")],
            "How far each decoder layer opens itself to each vision layer: 0 ignores the tap, larger values add \
             more of it. Means over the evaluated sequences; ± is the standard deviation between them.",
        );
        for variant in &gated {
            if let Some(note) = &variant.gate_note {
                out.leaf("p", &[("class", "lead")], &format!("{}: {note}", variant.name));
            }
        }
        scale_bar(out, context);
        out.element("div", &[("class", "maps")], |out| {
            for variant in &gated {
                heat_map(out, context, variant);
            }
        });
        let ungated: Vec<&str> = context
            .data
            .variants
            .iter()
            .filter(|variant| !has_gates(variant))
            .map(|variant| variant.name.as_str())
            .collect();
        if !ungated.is_empty() {
            let note = format!("Not shown, as they have no gated edge: {}.", ungated.join(", "));
            out.leaf("p", &[("class", "quiet")], &note);
        }
        out.leaf("h3", &[], "Gates over training");
        if gated.iter().all(|variant| courses::histories(&variant.topology).next().is_none()) {
            empty(out, "No course is shown, because the run did not record its gates while it trained.");
        }
        for variant in gated {
            courses::write(out, variant);
        }
    });
}

fn scale_bar(out: &mut Markup, context: &Context<'_>) {
    let stops = |pick: fn(&crate::chart::ramp::Shade) -> String| -> String {
        let colours: Vec<String> = (0..=16).map(|step| pick(&shade(f64::from(step) / 16.0))).collect();
        format!("linear-gradient(90deg,{})", colours.join(","))
    };
    let style = format!("--l:{};--d:{}", stops(|shade| shade.light.hex()), stops(|shade| shade.dark.hex()));
    out.element("div", &[("class", "scale")], |out| {
        out.leaf("span", &[("class", "scale-title")], "mean gate");
        out.element("div", &[("class", "scale-body")], |out| {
            out.leaf("div", &[("class", "bar"), ("style", &style)], "");
            out.element("div", &[("class", "marks")], |out| {
                for tick in context.gates.ticks() {
                    let place = format!("left:{:.2}%", tick.place * 100.0);
                    out.leaf("span", &[("style", &place)], &tick.label);
                }
            });
        });
    });
}

fn heat_map(out: &mut Markup, context: &Context<'_>, variant: &Variant) {
    let topology = &variant.topology;
    let used = |names: &[String], end: fn(&Edge) -> usize| -> Vec<usize> {
        (0..names.len()).filter(|index| topology.edges.iter().any(|edge| end(edge) == *index)).collect()
    };
    let taps = used(&topology.vision, |edge| edge.tap);
    let points = used(&topology.decoder, |edge| edge.point);
    let name = |names: &[String], index: usize| names.get(index).cloned().unwrap_or_default();
    scroll(out, &format!("Gate heat map of {}", variant.name), |out| {
        out.element("table", &[("class", "heat")], |out| {
            out.leaf("caption", &[], &format!("{}: mean gate by decoder and vision layer", variant.name));
            out.element("thead", &[], |out| {
                out.element("tr", &[], |out| {
                    out.leaf("td", &[("colspan", "2")], "");
                    let span = taps.len().to_string();
                    let title = &[("scope", "colgroup"), ("colspan", &*span), ("class", "axis-name")];
                    out.leaf("th", title, "vision layer");
                    if taps.len() > 1 {
                        out.leaf("td", &[], "");
                    }
                });
                out.element("tr", &[], |out| {
                    out.leaf("td", &[("colspan", "2")], "");
                    for tap in &taps {
                        out.leaf("th", &[("scope", "col")], &name(&topology.vision, *tap));
                    }
                    if taps.len() > 1 {
                        out.leaf("th", &[("scope", "col"), ("class", "margin")], "mean");
                    }
                });
            });
            out.element("tbody", &[], |out| {
                for (row, point) in points.iter().enumerate() {
                    out.element("tr", &[], |out| {
                        if row == 0 {
                            let span = points.len().to_string();
                            let title =
                                &[("scope", "rowgroup"), ("rowspan", &*span), ("class", "axis-name side")];
                            out.element("th", title, |out| out.leaf("span", &[], "decoder layer"));
                        }
                        out.leaf("th", &[("scope", "row")], &name(&topology.decoder, *point));
                        for tap in &taps {
                            let edge =
                                topology.edges.iter().find(|edge| edge.tap == *tap && edge.point == *point);
                            cell(out, context, edge);
                        }
                        if taps.len() > 1 {
                            margin(out, topology.edges.iter().filter(|edge| edge.point == *point));
                        }
                    });
                }
            });
            if points.len() > 1 {
                out.element("tfoot", &[], |out| {
                    out.element("tr", &[], |out| {
                        out.leaf("td", &[], "");
                        out.leaf("th", &[("scope", "row"), ("class", "margin")], "mean");
                        for tap in &taps {
                            margin(out, topology.edges.iter().filter(|edge| edge.tap == *tap));
                        }
                        if taps.len() > 1 {
                            margin(out, topology.edges.iter());
                        }
                    });
                });
            }
        });
    });
}

fn cell(out: &mut Markup, context: &Context<'_>, edge: Option<&Edge>) {
    let Some(edge) = edge else {
        out.element("td", &[("class", "blank"), ("title", "no edge")], |out| {
            super::text_or_dash(out, "", "no edge");
        });
        return;
    };
    let Some(gate) = &edge.gate else {
        out.leaf("td", &[("class", "blank"), ("title", &edge.name)], "no gate");
        return;
    };
    let text = decimal(gate.mean, 3);
    let Some(place) = context.gates.place(gate.mean) else {
        out.leaf("td", &[("class", "non-finite"), ("title", &edge.name)], &text);
        return;
    };
    let shade = shade(place);
    let style = format!(
        "--l:{};--d:{};--li:{};--di:{}",
        shade.light.hex(),
        shade.dark.hex(),
        shade.light.ink(),
        shade.dark.ink()
    );
    let tip = format!("{}: mean gate {text}", edge.name);
    out.element("td", &[("class", "shade"), ("style", &style), ("data-tip", &tip)], |out| {
        out.text(&text);
        deviation(out, gate);
    });
}

fn deviation(out: &mut Markup, gate: &Gate) {
    if let Some(deviation) = gate.deviation {
        out.leaf("span", &[("class", "sub")], &format!("± {}", decimal(deviation, 3)));
    }
}

fn margin<'a>(out: &mut Markup, edges: impl Iterator<Item = &'a Edge>) {
    let gates: Vec<f64> = edges.filter_map(|edge| Some(edge.gate.as_ref()?.mean)).collect();
    let text = if gates.is_empty() {
        String::new()
    } else {
        decimal(gates.iter().sum::<f64>() / gates.len() as f64, 3)
    };
    out.element("td", &[("class", "margin")], |out| super::text_or_dash(out, &text, "no gate"));
}
