//! A scatter of estimates over a cost, with the line of those that nothing beats at their cost.

use super::marker::mark;
use super::scale::Scale;
use crate::context::look;
use crate::data::Estimate;
use crate::markup::Markup;
use crate::number::{coordinate as at, percent, percent_interval};

/// One estimate with its cost.
pub(crate) struct Point {
    /// Whose it is.
    pub(crate) name: String,
    /// Number of its look.
    pub(crate) slot: usize,
    /// Its cost, positive.
    pub(crate) cost: f64,
    /// The cost as it is read, with its unit.
    pub(crate) cost_text: String,
    /// The estimate, in 0..1.
    pub(crate) estimate: Estimate,
    /// Whether it is on the front.
    pub(crate) on_front: bool,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 52.0;

/// How a chart that is a file of its own looks: in literal colours, for programs that know no variables.
const STYLE: &str = include_str!("scatter.css");

/// Writes the chart; points whose cost or estimate is not finite are left out.
pub(crate) fn draw(out: &mut Markup, label: &str, axes: [&str; 2], points: &[Point]) {
    let frame = format!("0 0 {} {}", at(WIDTH), at(HEIGHT));
    let attributes = &[("class", "chart"), ("viewBox", &*frame), ("role", "img"), ("aria-label", label)];
    out.element("svg", attributes, |out| contents(out, axes, points, false));
}

/// The chart as a file of its own, with the name of each beside its mark.
pub(crate) fn alone(label: &str, axes: [&str; 2], points: &[Point]) -> String {
    let mut out = Markup::default();
    let [width, height] = [WIDTH, HEIGHT].map(at);
    let frame = format!("0 0 {width} {height}");
    let attributes = &[
        ("xmlns", "http://www.w3.org/2000/svg"),
        ("class", "chart"),
        ("width", &*width),
        ("height", &*height),
        ("viewBox", &*frame),
        ("role", "img"),
        ("aria-label", label),
    ];
    out.element("svg", attributes, |out| {
        out.element("style", &[], |out| out.fixed(STYLE));
        out.void("rect", &[("class", "paper"), ("width", &*width), ("height", &*height)]);
        contents(out, axes, points, true);
    });
    out.finish()
}

fn contents(out: &mut Markup, axes: [&str; 2], points: &[Point], named: bool) {
    let points: Vec<&Point> =
        points.iter().filter(|point| point.estimate.is_finite() && point.cost.is_finite()).collect();
    // Room for marks at the ends.
    let (least, most) = points
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), point| (least.min(point.cost), most.max(point.cost)));
    let margin = 0.06 * (most - least).max(0.02 * most);
    let across = Scale::exact(least - margin, most + margin);
    let up = Scale::linear(points.iter().flat_map(|point| {
        [point.estimate.low, point.estimate.mean, point.estimate.high].map(|value| value * 100.0)
    }));
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let x = |cost: f64| across.place(cost).map(|place| LEFT + place * (right - LEFT));
    let y = |score: f64| up.place(score * 100.0).map(|place| bottom - place * (bottom - TOP));
    for tick in up.ticks(6) {
        let place = bottom - tick.place * (bottom - TOP);
        out.void("path", &[("class", "grid"), ("d", &format!("M{} {}H{}", at(LEFT), at(place), at(right)))]);
        let text = &[("class", "tick end"), ("x", &*at(LEFT - 8.0)), ("y", &*at(place + 4.0))];
        out.leaf("text", text, &tick.label);
    }
    for tick in across.ticks(7) {
        let place = LEFT + tick.place * (right - LEFT);
        let text = &[("class", "tick middle"), ("x", &*at(place)), ("y", &*at(bottom + 18.0))];
        out.leaf("text", text, &tick.label);
    }
    let base = format!("M{} {}V{}H{}", at(LEFT), at(TOP), at(bottom), at(right));
    out.void("path", &[("class", "axis"), ("d", &base)]);
    let middle = at(f64::midpoint(LEFT, right));
    out.leaf("text", &[("class", "axis-title middle"), ("x", &*middle), ("y", &*at(HEIGHT - 12.0))], axes[0]);
    out.leaf("text", &[("class", "axis-title"), ("x", "2"), ("y", "10")], axes[1]);
    let mut front: Vec<(f64, f64)> = (points.iter().filter(|point| point.on_front))
        .filter_map(|point| Some((x(point.cost)?, y(point.estimate.mean)?)))
        .collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut line = String::new();
    for (number, (x, y)) in front.iter().enumerate() {
        // What costs more may still choose what costs less.
        line +=
            &if number == 0 { format!("M{} {}", at(*x), at(*y)) } else { format!("H{}V{}", at(*x), at(*y)) };
    }
    out.void("path", &[("class", "front"), ("d", &line)]);
    for point in &points {
        let Estimate { mean, low, high } = point.estimate;
        let (Some(x), Some(mean_y), Some(low_y), Some(high_y)) = (x(point.cost), y(mean), y(low), y(high))
        else {
            continue;
        };
        out.element("g", &[], |out| {
            let title = format!(
                "{}: {}% ({}), {}",
                point.name,
                percent(mean),
                percent_interval(&point.estimate),
                point.cost_text
            );
            out.leaf("title", &[], &title);
            let (left, right) = (at(x - 4.0), at(x + 4.0));
            let (top, bottom) = (at(high_y), at(low_y));
            let shape = format!("M{} {top}V{bottom}M{left} {top}H{right}M{left} {bottom}H{right}", at(x));
            out.void("path", &[("class", &format!("whisker {}", look(point.slot))), ("d", &shape)]);
            mark(out, point.slot, false, x, mean_y);
            if named {
                let (class, x) =
                    if x < f64::midpoint(LEFT, WIDTH) { ("name", x + 9.0) } else { ("name end", x - 9.0) };
                let place = &[("class", class), ("x", &*at(x)), ("y", &*at(mean_y - 7.0))];
                out.leaf("text", place, &point.name);
            }
        });
    }
}
