//! A dot-and-whisker chart: point estimates with their intervals, grouped.

use super::label::shortened;
use super::marker::mark;
use super::scale::Scale;
use crate::context::look;
use crate::data::Estimate;
use crate::markup::Markup;
use crate::number::{coordinate as at, percent, percent_interval};

/// One estimate of a group.
pub(crate) struct Whisker {
    /// Whose it is.
    pub(crate) name: String,
    /// Number of its look.
    pub(crate) slot: usize,
    /// Whether it is a question-only prior.
    pub(crate) hollow: bool,
    /// The estimate, in 0..1.
    pub(crate) estimate: Estimate,
}

/// Estimates that belong together, such as those of one question type.
pub(crate) struct Group {
    /// Name of the group.
    pub(crate) name: String,
    /// Its estimates, top to bottom.
    pub(crate) whiskers: Vec<Whisker>,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 124.0;
const RIGHT: f64 = 24.0;
const ROW: f64 = 17.0;
const GAP: f64 = 20.0;
const BOTTOM: f64 = 46.0;

/// Writes the chart and tells whether its axis starts at zero; estimates that are not finite are left out.
pub(crate) fn draw(out: &mut Markup, label: &str, axis: &str, groups: &[Group]) -> bool {
    let finite = |whisker: &&Whisker| whisker.estimate.is_finite();
    let rows: usize = groups.iter().map(|group| group.whiskers.len()).sum();
    let bottom = rows as f64 * ROW + groups.len() as f64 * GAP + 4.0;
    let values = groups.iter().flat_map(|group| &group.whiskers).filter(finite);
    let scale = Scale::linear(values.flat_map(|whisker| {
        [whisker.estimate.low, whisker.estimate.high, whisker.estimate.mean].map(|value| value * 100.0)
    }));
    let x = |value: f64| scale.place(value * 100.0).map(|place| LEFT + place * (WIDTH - LEFT - RIGHT));
    let frame = format!("0 0 {} {}", at(WIDTH), at(bottom + BOTTOM));
    let attributes = &[("class", "chart"), ("viewBox", &*frame), ("role", "img"), ("aria-label", label)];
    out.element("svg", attributes, |out| {
        for tick in scale.ticks(9) {
            let place = LEFT + tick.place * (WIDTH - LEFT - RIGHT);
            let grid = format!("M{} 4V{}", at(place), at(bottom));
            out.void("path", &[("class", "grid"), ("d", &grid)]);
            let text = &[("class", "tick middle"), ("x", &*at(place)), ("y", &*at(bottom + 18.0))];
            out.leaf("text", text, &tick.label);
        }
        let base = format!("M{} {}H{}", at(LEFT), at(bottom), at(WIDTH - RIGHT));
        out.void("path", &[("class", "axis"), ("d", &base)]);
        let middle = at(f64::midpoint(LEFT, WIDTH - RIGHT));
        let place = &[("class", "axis-title middle"), ("x", &*middle), ("y", &*at(bottom + 39.0))];
        out.leaf("text", place, axis);
        let mut y = 4.0 + GAP / 2.0;
        for (index, group) in groups.iter().enumerate() {
            let height = group.whiskers.len() as f64 * ROW;
            if index > 0 {
                let rule = format!("M0 {}H{}", at(y - GAP / 2.0), at(WIDTH - RIGHT));
                out.void("path", &[("class", "grid rule"), ("d", &rule)]);
            }
            let place =
                &[("class", "group-name end"), ("x", &*at(LEFT - 16.0)), ("y", &*at(y + height / 2.0 + 4.0))];
            out.leaf("text", place, &shortened(&group.name, 15));
            for whisker in group.whiskers.iter().filter(finite) {
                one(out, whisker, y + ROW / 2.0, x);
                y += ROW;
            }
            y += GAP
                + ROW * group.whiskers.iter().filter(|whisker| !whisker.estimate.is_finite()).count() as f64;
        }
    });
    scale.ends().0 == 0.0
}

fn one(out: &mut Markup, whisker: &Whisker, y: f64, x: impl Fn(f64) -> Option<f64>) {
    let Estimate { mean, low, high } = whisker.estimate;
    let (Some(mean_x), Some(low_x), Some(high_x)) = (x(mean), x(low), x(high)) else { return };
    out.element("g", &[], |out| {
        let title = format!("{}: {}% ({})", whisker.name, percent(mean), percent_interval(&whisker.estimate));
        out.leaf("title", &[], &title);
        let (left, right) = (at(low_x), at(high_x));
        let (top, bottom) = (at(y - 4.0), at(y + 4.0));
        let shape = format!("M{left} {}H{right}M{left} {top}V{bottom}M{right} {top}V{bottom}", at(y));
        let class = format!("whisker {}", if whisker.hollow { "prior" } else { look(whisker.slot) });
        out.void("path", &[("class", &class), ("d", &shape)]);
        mark(out, whisker.slot, whisker.hollow, mean_x, y);
    });
}
