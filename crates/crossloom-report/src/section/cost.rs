//! Score against cost: which models nothing beats at what they cost.

use super::{scroll, section};
use crate::chart::marker::{Swatch, legend};
use crate::chart::scatter::{self, Point};
use crate::context::{Context, OTHER};
use crate::data::{AccuracyRow, Estimate, RowKind};
use crate::markup::Markup;
use crate::number::{count, scientific};

/// What models are weighed by: its name on the axis, its value, and how it is read.
type Cost = (&'static str, fn(&AccuracyRow) -> Option<f64>, fn(f64) -> String);

/// Operations where they are known of all, else parameters.
const COSTS: [Cost; 2] = [
    (
        "floating-point operations of a training step",
        |row| row.step_flops.map(|count| count as f64),
        |cost| format!("{} FLOPs a step", scientific(cost)),
    ),
    (
        "parameters",
        |row| row.parameters.map(|count| count as f64),
        |cost| format!("{} parameters", count(cost as u64)),
    ),
];

/// A model with its score and its cost.
type Weighed<'d> = (&'d AccuracyRow, Estimate, f64);

/// The models with a score and a cost, by the first cost that is known of at least two.
fn weighed<'d>(context: &'d Context<'_>) -> Option<(&'static Cost, Vec<Weighed<'d>>)> {
    let models = || context.data.accuracy.rows.iter().filter(|row| row.kind == RowKind::Model);
    COSTS.iter().find_map(|cost| {
        let known = models().filter_map(|row| {
            let estimate = row.cells.first().copied().flatten().filter(Estimate::is_finite)?;
            Some((row, estimate, cost.1(row)?))
        });
        let known: Vec<_> = known.collect();
        (known.len() > 1 && known.len() == models().count()).then_some((cost, known))
    })
}

/// Whether there is anything to weigh.
pub(crate) fn is_shown(context: &Context<'_>) -> bool {
    weighed(context).is_some()
}

/// What the chart says, and its axes.
const LABEL: &str = "Score of each model over its cost";

fn score_axis(context: &Context<'_>) -> String {
    format!("{}, %", context.data.accuracy.metric())
}

/// The name of the cost, and every model over it; nothing where costs are not known.
fn points(context: &Context<'_>) -> Option<(&'static str, Vec<Point>)> {
    let ((axis, _, text), models) = weighed(context)?;
    let beaten = |(row, own, cost): &Weighed<'_>| {
        models.iter().any(|(other, estimate, less)| {
            other.name != row.name
                && estimate.mean >= own.mean
                && less <= cost
                && (estimate.mean > own.mean || less < cost)
        })
    };
    let point = |model: &Weighed<'_>| {
        let (row, estimate, cost) = *model;
        let (name, slot) = (row.name.clone(), context.slot(&row.name));
        Point { name, slot, cost, cost_text: text(cost), estimate, on_front: !beaten(model) }
    };
    Some((axis, models.iter().map(point).collect()))
}

/// The chart as an SVG file of its own; nothing where costs are not known.
pub(crate) fn alone(context: &Context<'_>) -> Option<String> {
    let (axis, points) = points(context)?;
    Some(scatter::alone(LABEL, [axis, &score_axis(context)], &points))
}

/// Writes the section; nothing where costs are not known.
pub(crate) fn write(out: &mut Markup, context: &Context<'_>) {
    let Some((axis, points)) = points(context) else { return };
    section(out, "cost", "Score and cost", |out| {
        out.leaf(
            "p",
            &[("class", "lead")],
            "Each model by what it costs and what it scores, with its interval. The line is the Pareto front: nothing that costs as \
             little scores as much. Intervals that overlap are no order.",
        );
        out.element("figure", &[], |out| {
            let marked = points.iter().filter(|point| point.slot != OTHER);
            legend(out, marked.map(|point| (point.name.as_str(), point.slot, Swatch::Mark)));
            scroll(out, "Score and cost", |out| {
                let label = format!("{LABEL}; the table above holds the same values");
                scatter::draw(out, &label, [axis, &score_axis(context)], &points);
            });
        });
        let front: Vec<&str> =
            points.iter().filter(|point| point.on_front).map(|point| point.name.as_str()).collect();
        out.leaf("p", &[], &format!("On the front: {}.", front.join(", ")));
    });
}
