//! Training curves of all variants: loss, score of a sample of the questions, learning rate and gradient norm.

use std::collections::BTreeMap;

use super::{empty, scroll, section};
use crate::chart::line::{Line, LineChart};
use crate::chart::marker::{Swatch, dash, legend};
use crate::chart::scale::Scale;
use crate::chart::trace::Trace;
use crate::context::{Context, OTHER, look};
use crate::data::{Curves, Series, Stage, Variant};
use crate::markup::Markup;
use crate::number::{count, significant};

/// Writes the section.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    section(out, "training", "Training", |out| {
        let trained: Vec<&Variant> =
            context.data.variants.iter().filter(|variant| last_step(&variant.curves).is_some()).collect();
        let Some(end) = trained.iter().filter_map(|variant| last_step(&variant.curves)).max() else {
            empty(out, "No curves are shown, because this run recorded no training metrics.");
            return;
        };
        let x = Scale::exact(0.0, end as f64);
        let marked = |variant: &&&Variant| context.slot(&variant.name) != OTHER;
        let others = format!("{} others", trained.iter().filter(|variant| !marked(variant)).count());
        let mut entries: Vec<(&str, usize, Swatch)> = trained
            .iter()
            .filter(marked)
            .map(|variant| (variant.name.as_str(), context.slot(&variant.name), Swatch::Line))
            .collect();
        if context.is_crowded() && entries.len() < trained.len() {
            entries.push((&others, OTHER, Swatch::Line));
        }
        legend(out, entries.into_iter());
        // What has no look of its own lies below what has one.
        let trained: Vec<&Variant> = [false, true]
            .into_iter()
            .flat_map(|wanted| trained.iter().copied().filter(move |variant| marked(&variant) == wanted))
            .collect();
        let loss = Plot {
            title: "Loss",
            y_title: "loss, nats per answer token",
            size: (960.0, 360.0),
            smooth: true,
            pick: |curves| &curves.loss,
            dots: Some(|curves| &curves.held_out_loss),
        };
        loss.draw(out, context, &trained, x);
        if trained.iter().any(|variant| !variant.curves.sampled_score.points.is_empty()) {
            let score = Plot {
                title: "Score of a sample of the questions",
                y_title: "mean score, 0 to 1",
                size: (960.0, 250.0),
                smooth: false,
                pick: |curves| &curves.sampled_score,
                dots: None,
            };
            score.draw(out, context, &trained, x);
        }
        out.element("div", &[("class", "pair")], |out| {
            for (title, y_title, smooth, pick) in [
                (
                    "Learning rate",
                    "learning rate",
                    false,
                    (|curves| &curves.learning_rate) as fn(&Curves) -> &Series,
                ),
                ("Gradient norm", "norm before clipping", true, |curves| &curves.gradient_norm),
            ] {
                Plot { title, y_title, size: (520.0, 250.0), smooth, pick, dots: None }
                    .draw(out, context, &trained, x);
            }
        });
        stages(out, &context.data.variants);
    });
}

/// Where the stages of variants begin, behind the first; a place that several have is marked once, with all their names.
fn marks<'v>(variants: impl Iterator<Item = &'v Variant>) -> Vec<(f64, String)> {
    let mut marks: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for stage in variants.flat_map(|variant| &variant.stages).filter(|stage| stage.begins > 0) {
        let names = marks.entry(stage.begins).or_default();
        if !names.contains(&stage.name.as_str()) {
            names.push(&stage.name);
        }
    }
    marks.into_iter().map(|(begins, names)| (begins as f64, names.join(", "))).collect()
}

/// The stages of all variants that have some.
fn stages(out: &mut Markup, variants: &[Variant]) {
    let staged: Vec<(&Variant, &Stage)> = variants
        .iter()
        .flat_map(|variant| variant.stages.iter().map(move |stage| (variant, stage)))
        .collect();
    if staged.is_empty() {
        return;
    }
    out.leaf("h3", &[], "Stages");
    scroll(out, "Stages", |out| {
        out.element("table", &[], |out| {
            out.leaf("caption", &[("class", "spoken")], "The trainings of each variant, one after the other");
            super::head_row(
                out,
                &[
                    ("Variant", false),
                    ("Stage", false),
                    ("Steps", false),
                    ("Trained parameters", true),
                    ("Peak learning rate", true),
                    ("Last loss", true),
                    ("Trained", false),
                ],
            );
            out.element("tbody", &[], |out| {
                for (variant, stage) in staged {
                    out.element("tr", &[], |out| {
                        out.leaf("th", &[("scope", "row")], &variant.name);
                        out.leaf("td", &[], &stage.name);
                        let first = stage.begins.saturating_add(1);
                        let last = stage.begins.saturating_add(stage.steps);
                        out.leaf("td", &[], &format!("{} to {}", count(first), count(last)));
                        out.leaf("td", &[("class", "number")], &count(stage.trained));
                        out.leaf("td", &[("class", "number")], &significant(stage.learning_rate));
                        let loss = stage.loss.map_or_else(|| "not recorded".to_owned(), significant);
                        out.leaf("td", &[("class", "number")], &loss);
                        let place = stage.taken_from.as_ref().map(|from| format!("by {from}"));
                        out.leaf("td", &[], place.as_deref().unwrap_or("here"));
                    });
                }
            });
        });
    });
}

fn last_step(curves: &Curves) -> Option<u64> {
    let Curves { loss, held_out_loss, sampled_score, learning_rate, gradient_norm } = curves;
    let series = [loss, held_out_loss, sampled_score, learning_rate, gradient_norm];
    series.into_iter().filter_map(|series| series.points.last()).map(|point| point.0).max()
}

/// One chart of a quantity of all variants.
struct Plot {
    title: &'static str,
    y_title: &'static str,
    size: (f64, f64),
    /// Draw what was recorded faintly and its running mean on top.
    smooth: bool,
    pick: fn(&Curves) -> &Series,
    /// A second quantity, drawn as dots.
    dots: Option<fn(&Curves) -> &Series>,
}

impl Plot {
    fn draw(&self, out: &mut Markup, context: &Context<'_>, variants: &[&Variant], x: Scale) {
        let traces: Vec<(&Variant, Trace)> =
            variants.iter().map(|variant| (*variant, Trace::new((self.pick)(&variant.curves)))).collect();
        out.element("figure", &[("class", "plot")], |out| {
            out.leaf("h3", &[], self.title);
            if traces.iter().all(|(_, trace)| trace.raw.is_empty()) {
                empty(out, "Not drawn, because the run recorded no finite value of it.");
            } else {
                self.chart(out, context, &traces, x);
            }
            for (variant, trace) in &traces {
                broken(out, &variant.name, trace);
            }
        });
    }

    fn chart(&self, out: &mut Markup, context: &Context<'_>, traces: &[(&Variant, Trace)], x: Scale) {
        let dots: Vec<(&Variant, Trace)> = self.dots.map_or_else(Vec::new, |pick| {
            traces.iter().map(|(variant, _)| (*variant, Trace::new(pick(&variant.curves)))).collect()
        });
        let typical: Vec<f64> =
            traces.iter().chain(&dots).flat_map(|(_, trace)| trace.typical_values()).collect();
        let y = if self.smooth {
            Scale::automatic(typical.iter().copied())
        } else {
            Scale::linear(typical.iter().copied().chain([0.0]))
        };
        let line = |variant: &Variant, points: &[(f64, f64)], class: &str, readable: bool| {
            let slot = context.slot(&variant.name);
            let readable = readable && slot != OTHER;
            Line {
                name: variant.name.clone(),
                class: format!("{}{class}", look(slot)),
                style: String::new(),
                dash: if readable { dash(slot) } else { "none" },
                points: points.to_vec(),
                dots: false,
                readable,
            }
        };
        let mut lines = Vec::new();
        if self.smooth {
            let own = traces.iter().filter(|(variant, _)| context.slot(&variant.name) != OTHER);
            lines.extend(own.map(|(variant, trace)| line(variant, &trace.raw, " faint", false)));
            lines.extend(traces.iter().map(|(variant, trace)| line(variant, &trace.smooth, "", true)));
        } else {
            lines.extend(traces.iter().map(|(variant, trace)| line(variant, &trace.raw, "", true)));
        }
        lines.extend(
            dots.iter().map(|(variant, trace)| Line { dots: true, ..line(variant, &trace.raw, "", false) }),
        );
        let log = if y.is_logarithmic() { " (log scale)" } else { "" };
        let own = traces.iter().filter(|(variant, _)| context.slot(&variant.name) != OTHER);
        let names: Vec<&str> = own.map(|(variant, _)| variant.name.as_str()).collect();
        let more = match traces.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        let label = format!("{} over training steps for {}{more}", self.title, names.join(", "));
        let chart = LineChart {
            label,
            x_title: "step",
            y_title: format!("{}{log}", self.y_title),
            size: self.size,
            x,
            y,
            lines,
            marks: marks(traces.iter().map(|(variant, _)| *variant)),
        };
        scroll(out, self.title, |out| chart.draw(out));
        out.leaf(
            "figcaption",
            &[],
            &self.caption(traces, !dots.iter().all(|(_, trace)| trace.raw.is_empty())),
        );
    }

    fn caption(&self, traces: &[(&Variant, Trace)], has_dots: bool) -> String {
        let mut caption = String::new();
        if self.smooth {
            let window = traces.iter().map(|(_, trace)| trace.window).max().unwrap_or(1);
            caption.push_str(&format!(
                "Faint: as recorded (extreme values may lie outside). Strong: centred mean of {window} records."
            ));
        } else {
            caption.push_str("As recorded.");
        }
        if has_dots {
            caption.push_str(" Dots: held-out data.");
        }
        caption
    }
}

/// Says where a series was not finite.
fn broken(out: &mut Markup, name: &str, trace: &Trace) {
    let Some((step, word)) = trace.broken.first() else { return };
    let more = match trace.broken.len() {
        1 => String::new(),
        count => format!(" and in {} later records", count - 1),
    };
    out.leaf(
        "p",
        &[("class", "warning")],
        &format!("{name}: {word} at step {step}{more}, left out of the chart."),
    );
}
