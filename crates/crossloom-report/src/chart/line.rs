//! A line chart with axes, grid and an optional read-out by the script.

use serde_json::{Value, json};

use super::scale::Scale;
use crate::markup::Markup;
use crate::number::{coordinate as at, significant};

/// One line, or one set of marks, of a chart.
pub(crate) struct Line {
    /// Name in the read-out.
    pub(crate) name: String,
    /// Style classes.
    pub(crate) class: String,
    /// Inline custom properties, empty where the classes say all.
    pub(crate) style: String,
    /// `stroke-dasharray`.
    pub(crate) dash: &'static str,
    /// Points in ascending x.
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether the points are drawn as separate dots.
    pub(crate) dots: bool,
    /// Whether the read-out shows the line.
    pub(crate) readable: bool,
}

/// A line chart.
pub(crate) struct LineChart {
    /// What the chart shows, for readers who cannot see it.
    pub(crate) label: String,
    /// Title of the horizontal axis.
    pub(crate) x_title: &'static str,
    /// Title of the vertical axis.
    pub(crate) y_title: String,
    /// Width and height in user units.
    pub(crate) size: (f64, f64),
    /// Horizontal scale.
    pub(crate) x: Scale,
    /// Vertical scale.
    pub(crate) y: Scale,
    /// The lines, in drawing order.
    pub(crate) lines: Vec<Line>,
    /// Places on the horizontal scale where something begins, with its name.
    pub(crate) marks: Vec<(f64, String)>,
}

const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;

impl LineChart {
    /// Writes the chart, and the data of its readable lines for the script.
    pub(crate) fn draw(&self, out: &mut Markup) {
        let (width, height) = self.size;
        let frame = format!("0 0 {} {}", at(width), at(height));
        let attributes =
            &[("class", "chart lines"), ("viewBox", &*frame), ("role", "img"), ("aria-label", &*self.label)];
        out.element("svg", attributes, |out| {
            self.axes(out);
            self.marks(out);
            for line in &self.lines {
                if line.dots { self.dots(out, line) } else { self.path(out, line) }
            }
            out.void("line", &[("class", "cursor"), ("y1", &at(TOP)), ("y2", &at(height - BOTTOM))]);
        });
        if self.lines.iter().any(|line| line.readable) {
            out.json("chart-data", &self.read_out());
            out.leaf("p", &[("class", "read-out"), ("hidden", "")], "");
        }
    }

    /// Left end of the plot, beyond the axis title and the longest label.
    fn left(&self) -> f64 {
        let longest = self.y.ticks(5).iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0);
        38.0 + 7.0 * longest.clamp(2, 12) as f64
    }

    fn right(&self) -> f64 {
        self.size.0 - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.size.1 - BOTTOM
    }

    fn position(&self, point: (f64, f64)) -> Option<(f64, f64)> {
        let (x, y) = (self.x.place(point.0)?, self.y.place(point.1)?);
        let left = self.left();
        Some((left + x * (self.right() - left), self.bottom() - y * (self.bottom() - TOP)))
    }

    fn axes(&self, out: &mut Markup) {
        let (left, right, bottom) = (self.left(), self.right(), self.bottom());
        for tick in self.y.ticks(5) {
            let y = bottom - tick.place * (bottom - TOP);
            let grid = format!("M{} {}H{}", at(left), at(y), at(right));
            out.void("path", &[("class", "grid"), ("d", &grid)]);
            let place = &[("class", "tick end"), ("x", &*at(left - 8.0)), ("y", &*at(y + 4.0))];
            out.leaf("text", place, &tick.label);
        }
        let columns = if self.size.0 > 600.0 { 8 } else { 4 };
        for tick in self.x.ticks(columns) {
            let x = left + tick.place * (right - left);
            let stroke = format!("M{} {}V{}", at(x), at(bottom), at(bottom + 5.0));
            out.void("path", &[("class", "axis"), ("d", &stroke)]);
            let place = &[("class", "tick middle"), ("x", &*at(x)), ("y", &*at(bottom + 18.0))];
            out.leaf("text", place, &tick.label);
        }
        let base = format!("M{} {}H{}", at(left), at(bottom), at(right));
        out.void("path", &[("class", "axis"), ("d", &base)]);
        let middle = at(f64::midpoint(left, right));
        let place = &[("class", "axis-title middle"), ("x", &*middle), ("y", &*at(self.size.1 - 6.0))];
        out.leaf("text", place, self.x_title);
        let turn = format!("translate(14 {}) rotate(-90)", at(f64::midpoint(TOP, bottom)));
        out.leaf("text", &[("class", "axis-title middle"), ("transform", &turn)], &self.y_title);
    }

    fn marks(&self, out: &mut Markup) {
        let (left, right, bottom) = (self.left(), self.right(), self.bottom());
        for (place, name) in &self.marks {
            let Some(place) = self.x.place(*place) else { continue };
            let x = left + place * (right - left);
            let stroke = format!("M{} {}V{}", at(x), at(TOP), at(bottom));
            out.void("path", &[("class", "axis"), ("stroke-dasharray", "4 3"), ("d", &stroke)]);
            let place = &[("class", "tick"), ("x", &*at(x + 4.0)), ("y", &*at(TOP + 11.0))];
            out.leaf("text", place, name);
        }
    }

    fn path(&self, out: &mut Markup, line: &Line) {
        let mut shape = String::new();
        let mut pen_down = false;
        for point in &line.points {
            match self.position(*point) {
                Some((x, y)) => {
                    shape.push(if pen_down { 'L' } else { 'M' });
                    shape.push_str(&format!("{} {}", at(x), at(y)));
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        let class = format!("line {}", line.class);
        out.void(
            "path",
            &[("class", &*class), ("style", &line.style), ("stroke-dasharray", line.dash), ("d", &shape)],
        );
    }

    fn dots(&self, out: &mut Markup, line: &Line) {
        let class = format!("dot {}", line.class);
        for (x, y) in line.points.iter().filter_map(|point| self.position(*point)) {
            out.void("circle", &[("class", &*class), ("cx", &at(x)), ("cy", &at(y)), ("r", "3.4")]);
        }
    }

    fn read_out(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .filter(|line| line.readable)
            .map(|line| {
                let steps: Vec<f64> = line.points.iter().map(|point| point.0).collect();
                let values: Vec<String> = line.points.iter().map(|point| significant(point.1)).collect();
                json!({ "name": line.name, "x": steps, "y": values })
            })
            .collect();
        let (low, high) = self.x.ends();
        json!({ "left": self.left(), "right": self.right(), "low": low, "high": high, "lines": lines })
    }
}
