//! The topology as a picture: vision states left, decoder places right, one curve per edge.
//!
//! The picture has no style sheet, no ids and no background: several can stand in one page, light or dark. Labels on the
//! page are a grey that reads on both; everything else brings its own ground.

use std::collections::BTreeMap;

use super::graph::{Edge, EdgeKind, Topology};

/// A weight from 0 to 1 for some edges, by name; for example the mean gate of each.
pub type EdgeWeights = BTreeMap<String, f64>;

/// Height of a layer's plate, in pixels.
const PLATE: f64 = 30.0;
/// From one plate to the next.
const STEP: f64 = 46.0;
/// Space around the picture.
const MARGIN: f64 = 24.0;
/// Space for title and headings.
const HEAD: f64 = 84.0;
/// From the left plates to the right plates.
const SPAN: f64 = 320.0;
/// Width of one letter on a plate.
const LETTER: f64 = 7.9;
/// Width of a column's heading.
const HEADING: f64 = 104.0;
/// Grey that reads on white and on near-black.
const INK: &str = "#7d8590";
/// Plate of the decoder.
const POINT: &str = "#3b4a6b";
/// Edge and plate of the input.
const INPUT: &str = "#8a6d3b";
const MONO: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
const SANS: &str = "system-ui, -apple-system, 'Segoe UI', sans-serif";

/// A column of plates.
struct Column {
    x: f64,
    width: f64,
    top: f64,
}

impl Column {
    fn y(&self, index: usize) -> f64 {
        self.top + index as f64 * STEP
    }

    fn middle(&self, index: usize) -> f64 {
        self.y(index) + PLATE / 2.0
    }
}

impl Topology {
    /// A self-contained SVG. Edges with a weight are drawn as wide and as opaque as it is large; without any weights all
    /// edges look alike. Each edge has its name, and its weight, as a tooltip.
    pub fn to_svg(&self, weights: Option<&EdgeWeights>) -> String {
        let (states, places) = (self.states(), self.places());
        let left_labels: Vec<String> = states.iter().map(ToString::to_string).collect();
        let right_labels: Vec<String> = places.iter().map(ToString::to_string).collect();
        let rows = states.len().max(places.len());
        let column = |labels: &[String], x: f64| Column {
            x,
            width: plate_width(labels),
            top: HEAD + (rows - labels.len()) as f64 * STEP / 2.0,
        };
        let left = column(&left_labels, MARGIN);
        let right = column(&right_labels, MARGIN + left.width + SPAN);
        let width = right.x + right.width + MARGIN;
        let bottom = HEAD + rows as f64 * STEP;
        let height = bottom + if self.spec.injects() { 66.0 } else { MARGIN };

        let title = escape(&self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\" aria-label=\"Injection topology of {title}\">\n"
        );
        svg.push_str(&label(MARGIN, 30.0, 17, "600", &title));
        svg.push_str(&label(left.x, left.top.min(HEAD) - 16.0, 12, "400", "vision encoder"));
        svg.push_str(&label(right.x, right.top.min(HEAD) - 16.0, 12, "400", "language model"));

        let mut edges: Vec<(f64, String)> = Vec::new();
        for edge in self.edges() {
            let from = states.iter().position(|state| *state == edge.tap).unwrap_or(0);
            let to = places.iter().position(|place| *place == edge.point).unwrap_or(0);
            let weight = weights.and_then(|weights| weights.get(&edge.name())).copied();
            let start = (left.x + left.width, left.middle(from));
            let end = (right.x, right.middle(to));
            edges.push((weight.unwrap_or(-1.0), curve(*edge, start, end, &tint(from, states.len()), weight)));
        }
        // Strong edges lie on top of weak ones.
        edges.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        for (_, edge) in &edges {
            svg.push_str(edge);
        }

        for (index, text) in left_labels.iter().enumerate() {
            svg.push_str(&plate(&left, index, &tint(index, states.len()), text));
        }
        for (index, text) in right_labels.iter().enumerate() {
            let fill = if text == "input" { INPUT } else { POINT };
            svg.push_str(&plate(&right, index, fill, text));
        }
        if self.spec.injects() {
            let wiring = format!("{} wiring · adapter {}", self.wiring_words(), self.adapter_words());
            let gate = format!("gate {}", self.gate_words());
            svg.push_str(&label(MARGIN, bottom + 14.0, 12, "400", &escape(&wiring)));
            svg.push_str(&label(MARGIN, bottom + 32.0, 12, "400", &escape(&gate)));
            if weights.is_some_and(|weights| !weights.is_empty()) {
                svg.push_str(&label(MARGIN, bottom + 50.0, 12, "400", "line width: weight W from 0 to 1"));
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn plate_width(labels: &[String]) -> f64 {
    let letters = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    (letters as f64 * LETTER + 28.0).max(HEADING)
}

fn label(x: f64, y: f64, size: u32, weight: &str, text: &str) -> String {
    format!(
        "  <text x=\"{x:.1}\" y=\"{y:.1}\" font-family=\"{SANS}\" font-size=\"{size}\" font-weight=\"{weight}\" \
         fill=\"{INK}\">{text}</text>\n"
    )
}

fn plate(column: &Column, index: usize, fill: &str, text: &str) -> String {
    let (x, y, width) = (column.x, column.y(index), column.width);
    let (middle, baseline) = (x + width / 2.0, column.middle(index) + 4.5);
    format!(
        "  <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{PLATE}\" rx=\"7\" fill=\"{fill}\"/>\n  \
         <text x=\"{middle:.1}\" y=\"{baseline:.1}\" text-anchor=\"middle\" font-family=\"{MONO}\" font-size=\"13\" \
         fill=\"#ffffff\">{text}</text>\n"
    )
}

fn curve(edge: Edge, start: (f64, f64), end: (f64, f64), tint: &str, weight: Option<f64>) -> String {
    let name = escape(&edge.name());
    let weight = weight.filter(|weight| weight.is_finite());
    let (stroke, mut width, mut opacity) = match edge.kind {
        EdgeKind::Input => (INPUT, 3.0, 0.9),
        EdgeKind::Injection => (tint, 1.8, 0.8),
    };
    let mut tooltip = name.clone();
    if let Some(weight) = weight {
        let share = weight.clamp(0.0, 1.0);
        width = 0.8 + 6.2 * share;
        opacity = 0.18 + 0.77 * share;
        tooltip = format!("{name}  W = {weight:.3}");
    }
    let bend = (end.0 - start.0) * 0.45;
    let (x1, y1, x2, y2) = (start.0, start.1, end.0, end.1);
    format!(
        "  <path d=\"M{x1:.1} {y1:.1} C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}\" fill=\"none\" stroke=\"{stroke}\" \
         stroke-width=\"{width:.2}\" stroke-opacity=\"{opacity:.2}\" stroke-linecap=\"round\" data-edge=\"{name}\">\
         <title>{tooltip}</title></path>\n",
        x1 + bend,
        x2 - bend,
    )
}

/// From teal for the first vision state to violet for the last.
fn tint(index: usize, count: usize) -> String {
    let share = index as f64 / (count.max(2) - 1) as f64;
    let mix = |from: f64, to: f64| (from + (to - from) * share).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(13.0, 124.0), mix(128.0, 77.0), mix(120.0, 190.0))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
