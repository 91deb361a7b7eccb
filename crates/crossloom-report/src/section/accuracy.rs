//! Scores per variant and question type, as a chart and as a table.

use super::{empty, scroll, section, text_or_dash};
use crate::chart::interval::{self, Group, Whisker};
use crate::chart::marker::{Swatch, legend};
use crate::context::{Context, OTHER, by_score};
use crate::data::{AccuracyColumn, AccuracyRow, AccuracyTable, Estimate, RowKind};
use crate::markup::Markup;
use crate::number::{count, duration, non_finite, percent, percent_interval, points_interval, signed};
use crate::verdict::percent_level;

/// Writes the section.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    section(out, "accuracy", "Accuracy", |out| {
        let table = &context.data.accuracy;
        if table.rows.is_empty() || table.columns.is_empty() {
            empty(out, "No accuracy is shown, because no variant of this run was evaluated.");
            return;
        }
        let level = percent_level(table.confidence);
        let method = if table.method.is_empty() { String::new() } else { format!(" ({})", table.method) };
        let metric = capitalised(table.metric());
        let meaning = if table.meaning.is_empty() { String::new() } else { format!(": {}", table.meaning) };
        let note = format!(
            "{metric} over the {}, in percent{meaning}. Every interval has {level} confidence{method}. \
             What a model gains over one with the picture withheld comes from the picture; a prior is no model, but the \
             answers that were most frequent in training.",
            table.questions()
        );
        out.leaf("p", &[("class", "lead")], &note);
        chart(out, context, &level);
        rows(out, context, &level);
        for note in &table.notes {
            out.element("p", &[], |out| out.text_with_code(note));
        }
    });
}

fn chart(out: &mut Markup, context: &Context<'_>, level: &str) {
    let table = &context.data.accuracy;
    let groups: Vec<Group> = table
        .columns
        .iter()
        .enumerate()
        .map(|(column, title)| Group {
            name: title.name.clone(),
            whiskers: table
                .rows
                .iter()
                .filter(|row| context.slot(&row.name) != OTHER)
                .filter_map(|row| {
                    let estimate = row.cells.get(column).copied().flatten().filter(Estimate::is_finite)?;
                    let hollow = row.kind != RowKind::Model;
                    Some(Whisker { name: row.name.clone(), slot: context.slot(&row.name), hollow, estimate })
                })
                .collect(),
        })
        .filter(|group| !group.whiskers.is_empty())
        .collect();
    if groups.is_empty() {
        empty(out, "No chart is drawn, because no accuracy in the table is a finite number.");
        return;
    }
    out.element("figure", &[], |out| {
        legend(
            out,
            table.rows.iter().filter(|row| context.slot(&row.name) != OTHER).map(|row| {
                let swatch = if row.kind == RowKind::Model { Swatch::Mark } else { Swatch::Hollow };
                (row.name.as_str(), context.slot(&row.name), swatch)
            }),
        );
        let label = "Mean scores with intervals per question type; the table below holds the same values";
        let mut from_zero = false;
        scroll(out, "Accuracy chart", |out| {
            from_zero = interval::draw(out, label, &format!("{}, %", table.metric()), &groups);
        });
        let warning = if from_zero { "" } else { " The axis does not start at zero." };
        let mut caption =
            format!("{} (marks) with {level} intervals (whiskers).{warning}", capitalised(table.metric()));
        if context.is_crowded() {
            caption += &format!(
                " Drawn are the baseline and the highest; the table below ranks all {} rows.",
                table.rows.len()
            );
        }
        out.leaf("figcaption", &[], &caption);
    });
}

fn rows(out: &mut Markup, context: &Context<'_>, level: &str) {
    let table = &context.data.accuracy;
    let note = format!(
        "{} in percent with {level} intervals below. Bold: the highest value among the models of a column, which is not a \
         test; the paired difference is.",
        capitalised(table.metric())
    );
    out.leaf("p", &[("class", "quiet")], &note);
    scroll(out, "Accuracy table", |out| {
        out.element("table", &[("class", "accuracy")], |out| {
            out.leaf(
                "caption",
                &[("class", "spoken")],
                &format!("{} in percent per variant and question type", capitalised(table.metric())),
            );
            out.element("thead", &[], |out| head(out, table));
            out.element("tbody", &[], |out| {
                let mut ordered: Vec<&AccuracyRow> = table.rows.iter().collect();
                if context.is_crowded() {
                    ordered.sort_by(|a, b| {
                        let model = |row: &AccuracyRow| row.kind != RowKind::Model;
                        model(a).cmp(&model(b)).then_with(|| by_score(a, b))
                    });
                }
                for row in ordered {
                    let class = if row.kind == RowKind::Model { "" } else { "prior-row" };
                    out.element("tr", &[("class", class)], |out| one_row(out, table, row));
                }
            });
        });
    });
}

/// With a capital first letter, as a sentence begins.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn head(out: &mut Markup, table: &AccuracyTable) {
    let number = [("scope", "col"), ("class", "number")];
    out.element("tr", &[], |out| {
        out.leaf("th", &[("scope", "col")], "Variant");
        for AccuracyColumn { name, questions } in &table.columns {
            out.element("th", &number, |out| {
                out.text(name);
                out.leaf("span", &[("class", "sub")], &format!("n = {}", count(*questions as u64)));
            });
        }
        out.element("th", &number, |out| {
            out.text("Paired difference");
            if let Some(baseline) = &table.baseline {
                out.leaf("span", &[("class", "sub")], &format!("points, to {baseline}"));
            }
        });
        out.leaf("th", &number, "Parameters");
        out.leaf("th", &number, "Step time");
    });
}

fn one_row(out: &mut Markup, table: &AccuracyTable, row: &AccuracyRow) {
    out.element("th", &[("scope", "row")], |out| {
        out.text(&row.name);
        match row.kind {
            RowKind::Model => {}
            RowKind::QuestionOnly => out.leaf("span", &[("class", "sub")], "picture withheld"),
            RowKind::Prior => out.leaf("span", &[("class", "sub")], "no model"),
        }
    });
    for column in 0..table.columns.len() {
        let cell = row.cells.get(column).copied().flatten();
        let best = row.kind == RowKind::Model && is_highest(table, column, cell);
        let class = if best { "number best" } else { "number" };
        out.element("td", &[("class", class)], |out| match cell {
            Some(estimate) => {
                value(out, estimate.mean, &percent(estimate.mean), &percent_interval(&estimate));
            }
            None => text_or_dash(out, "", "not measured"),
        });
    }
    let is_baseline = table.baseline.as_deref() == Some(row.name.as_str());
    out.element("td", &[("class", "number")], |out| match row.difference {
        _ if is_baseline => out.leaf("span", &[("class", "none")], "baseline"),
        Some(difference) => {
            value(out, difference.mean, &signed(difference.mean * 100.0, 1), &points_interval(&difference));
        }
        None => text_or_dash(out, "", "not measured"),
    });
    out.element("td", &[("class", "number")], |out| {
        text_or_dash(out, &row.parameters.map(count).unwrap_or_default(), "not recorded");
    });
    out.element("td", &[("class", "number")], |out| match row.step_ms {
        Some(step) => {
            let below = [relative_step(table, row, step), waited(row)];
            let below: Vec<&str> = below.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            value(out, step, &duration(step / 1e3), &below.join(", "));
        }
        None if row.kind == RowKind::Prior => text_or_dash(out, "", "not applicable"),
        None => text_or_dash(out, "", "not recorded"),
    });
}

/// A figure with a remark below it.
fn value(out: &mut Markup, figure: f64, text: &str, below: &str) {
    let class = if non_finite(figure).is_some() { "main non-finite" } else { "main" };
    out.leaf("span", &[("class", class)], text);
    if !below.is_empty() {
        out.leaf("span", &[("class", "sub")], below);
    }
}

fn is_highest(table: &AccuracyTable, column: usize, cell: Option<Estimate>) -> bool {
    let models = table.rows.iter().filter(|row| row.kind == RowKind::Model);
    let others: Vec<f64> =
        models.filter_map(|row| row.cells.get(column).copied().flatten()).map(|e| e.mean).collect();
    others.len() > 1
        && cell.is_some_and(|cell| {
            cell.mean.is_finite() && others.iter().all(|other| cell.mean >= *other || other.is_nan())
        })
}

/// How much of the steps' time went into waiting for data.
fn waited(row: &AccuracyRow) -> String {
    let share = row.data_wait.filter(|share| share.is_finite());
    share.map_or_else(String::new, |share| format!("{}% waiting for data", percent(share)))
}

/// How much longer or shorter a step takes than the baseline's.
fn relative_step(table: &AccuracyTable, row: &AccuracyRow, step: f64) -> String {
    let baseline = table.rows.iter().find(|other| Some(&other.name) == table.baseline.as_ref());
    match baseline.and_then(|other| other.step_ms) {
        Some(base) if base > 0.0 && baseline.is_some_and(|other| other.name != row.name) => {
            format!("{}%", signed((step / base - 1.0) * 100.0, 0))
        }
        _ => String::new(),
    }
}
