//! Frames, boxes, and curves that are wider the more values they carry. What does not fit a box is in its tooltip.

use super::edge::route;
use super::place::{LETTERS, LINE, Rect, layout};
use super::{INK, MARGIN, MONO, SANS, document, escape, words};
use crate::{Cell, Edge, Kind, Picture};

/// Space for the title.
const TITLE: f64 = 40.0;
/// Most edges that have their numbers written beside them; of more, tooltips have them.
const LABELLED: usize = 48;

impl Picture {
    pub(super) fn layers(&self) -> String {
        let block = layout(&self.tree, &self.boxes, &self.edges);
        let least = self.title.chars().count() as f64 * 9.5;
        let (width, height) = (block.width.max(least) + 2.0 * MARGIN, block.height + TITLE + 2.0 * MARGIN);
        let mut svg = words(MARGIN, 36.0, 17, 600, &self.title);
        svg += &format!("  <g transform=\"translate({MARGIN} {:.0})\">\n", MARGIN + TITLE);
        for (label, rect) in &block.frames {
            svg += &frame(label, rect);
        }
        let mut places = vec![Rect::default(); self.boxes.len()];
        for (index, rect) in &block.cells {
            places[*index] = *rect;
        }
        for edge in &self.edges {
            svg += &curve(edge, &places, &self.boxes[edge.from].tint, self.edges.len() <= LABELLED);
        }
        for (cell, place) in self.boxes.iter().zip(&places) {
            svg += &plate(cell, place);
        }
        svg += "  </g>\n";
        document(width, height, &format!("Graph of {}", self.title), &svg)
    }
}

impl Cell {
    /// The whole path.
    pub(crate) fn name(&self) -> String {
        let parts = self.section.iter().chain(&self.path).map(String::as_str);
        parts.chain([self.title.as_str()]).collect::<Vec<_>>().join(".")
    }
}

fn frame(label: &str, rect: &Rect) -> String {
    let Rect { x, y, width, height } = *rect;
    let (text_x, text_y) = (x + 10.0, y + 15.0);
    format!(
        "    <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"9\" fill=\"none\" \
         stroke=\"{INK}\" stroke-opacity=\"0.45\"/>\n    <text x=\"{text_x:.1}\" y=\"{text_y:.1}\" \
         font-family=\"{SANS}\" font-size=\"12\" fill=\"{INK}\">{}</text>\n",
        escape(&cut(label))
    )
}

fn plate(cell: &Cell, rect: &Rect) -> String {
    let Rect { x, y, width, height } = *rect;
    let radius = if matches!(cell.kind, Kind::Given | Kind::Result) { 14 } else { 6 };
    let all = [&[cell.name()], &cell.lines[..]].concat().join("\n");
    let mut text = format!(
        "    <g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         rx=\"{radius}\" fill=\"{}\"/>",
        escape(&all),
        escape(&cell.tint)
    );
    let middle = x + width / 2.0;
    for (number, line) in std::iter::once(&cell.title).chain(&cell.lines).enumerate() {
        let baseline = y + 17.0 + LINE * number as f64;
        let (size, weight, opacity) = if number == 0 { (12, 600, "1") } else { (11, 400, "0.85") };
        text += &format!(
            "<text x=\"{middle:.1}\" y=\"{baseline:.1}\" text-anchor=\"middle\" font-family=\"{MONO}\" \
             font-size=\"{size}\" font-weight=\"{weight}\" fill=\"#ffffff\" fill-opacity=\"{opacity}\">{}</text>",
            escape(&cut(line))
        );
    }
    text + "</g>\n"
}

fn curve(edge: &Edge, places: &[Rect], tint: &str, labelled: bool) -> String {
    let route = route(&places[edge.from], &places[edge.to]);
    let dash = if route.back { " stroke-dasharray=\"5 4\"" } else { "" };
    let tint = escape(tint);
    let mut text = format!(
        "    <g><title>{}</title><path d=\"{}\" fill=\"none\" stroke=\"{tint}\" stroke-width=\"{:.2}\" \
         stroke-opacity=\"{}\"{dash}/><path d=\"{}\" fill=\"{tint}\" fill-opacity=\"0.8\"/>",
        escape(&edge.tip),
        route.curve,
        edge.width,
        edge.opacity,
        route.head
    );
    if let Some(label) = edge.label.as_ref().filter(|_| labelled) {
        let (x, y) = route.middle;
        text += &format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-family=\"{SANS}\" font-size=\"10\" \
             fill=\"{INK}\">{}</text>",
            y - 4.0,
            escape(label)
        );
    }
    text + "</g>\n"
}

/// A line that fits a box.
fn cut(line: &str) -> String {
    let line = line.replace('\n', " ");
    if line.chars().count() <= LETTERS {
        return line;
    }
    line.chars().take(LETTERS - 1).chain(['…']).collect()
}
