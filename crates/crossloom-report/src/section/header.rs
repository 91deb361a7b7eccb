//! The header: name, verdict, key figures, and where it all comes from.

use super::text_or_dash;
use crate::context::Context;
use crate::data::{KeyFigure, RowKind};
use crate::markup::Markup;
use crate::number::{count, duration, percent, percent_interval, points_interval, signed};
use crate::verdict::{best_model, comparison, percent_level, verdict, yardstick};

/// Writes the header.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    let data = context.data;
    out.element("header", &[("class", "front")], |out| {
        out.leaf("p", &[("class", "kicker")], "crossloom run report");
        let name = if data.name.is_empty() { "Unnamed run" } else { &data.name };
        out.leaf("h1", &[], name);
        let derived = || verdict(&data.accuracy);
        out.element("p", &[("class", "verdict")], |out| {
            out.text_with_code(&data.verdict.clone().unwrap_or_else(derived));
        });
        let figures =
            if data.key_figures.is_empty() { derived_figures(context) } else { data.key_figures.clone() };
        if !figures.is_empty() {
            out.element("dl", &[("class", "figures")], |out| {
                for figure in &figures {
                    out.element("div", &[], |out| {
                        out.leaf("dt", &[], &figure.label);
                        out.leaf("dd", &[("class", "value")], &figure.value);
                        if !figure.note.is_empty() {
                            out.leaf("dd", &[("class", "note")], &figure.note);
                        }
                    });
                }
            });
        }
        provenance(out, context);
    });
}

fn provenance(out: &mut Markup, context: &Context<'_>) {
    let provenance = &context.data.provenance;
    out.element("dl", &[("class", "provenance")], |out| {
        let total = provenance.total_seconds.map(|total| total_time(context, total)).unwrap_or_default();
        let entries = [
            ("Date", &provenance.date, false),
            ("Recipe hash", &provenance.recipe_hash, true),
            ("Device", &provenance.device, false),
            ("Total time", &total, false),
            ("crossloom", &provenance.version, false),
        ];
        for (label, value, is_code) in entries {
            out.element("div", &[], |out| {
                out.leaf("dt", &[], label);
                out.element("dd", &[], |out| {
                    if is_code && !value.is_empty() {
                        out.leaf("code", &[], value);
                    } else {
                        text_or_dash(out, value, "not recorded");
                    }
                });
            });
        }
    });
}

/// The total, with what of it went into compiling.
fn total_time(context: &Context<'_>, total: f64) -> String {
    let timings = context.data.reproduction.timings.iter();
    let compile: f64 = timings.filter(|timing| timing.phase == "compile").map(|timing| timing.seconds).sum();
    if compile > 0.0 {
        format!("{} ({} of it compiling)", duration(total), duration(compile))
    } else {
        duration(total)
    }
}

fn figure(label: &str, value: String, note: String) -> KeyFigure {
    KeyFigure { label: label.to_owned(), value, note }
}

fn derived_figures(context: &Context<'_>) -> Vec<KeyFigure> {
    let table = &context.data.accuracy;
    let mut figures = Vec::new();
    if let Some((best, score)) = best_model(table) {
        let questions = table.columns.first().map_or(0, |column| column.questions);
        figures.push(figure(
            &format!("Best {}", table.metric()),
            format!("{}%", percent(score.mean)),
            format!(
                "{}, interval {}; {} questions",
                best.name,
                percent_interval(&score),
                count(questions as u64)
            ),
        ));
        if let Some(comparison) = comparison(table, best) {
            let first = comparison.winner.unwrap_or(best);
            figures.push(figure(
                "Paired difference",
                format!("{} points", signed(comparison.difference.mean * 100.0, 1)),
                format!(
                    "{} − {}, {} interval {}",
                    first.name,
                    comparison.loser.name,
                    percent_level(table.confidence),
                    points_interval(&comparison.difference)
                ),
            ));
        }
        if let Some((kind, without)) = yardstick(table) {
            let (label, who) = match kind {
                RowKind::Prior => ("Above the most frequent answers", "they reach"),
                _ => ("Above the same without the picture", "it reaches"),
            };
            figures.push(figure(
                label,
                format!("{} points", signed((score.mean - without.mean) * 100.0, 1)),
                format!("{who} {}%", percent(without.mean)),
            ));
        }
        if let Some(step) = best.step_ms {
            figures.push(figure("Training step", duration(step / 1e3), format!("{}, median", best.name)));
        }
    }
    figures
}
