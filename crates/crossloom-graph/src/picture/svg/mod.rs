//! A picture as SVG: frames, boxes, and curves that are wider the more values they carry.
//!
//! Like the picture of a topology it has no style sheet, no ids and no background, so several can stand in one page, light
//! or dark. What does not fit a box is in its tooltip.

mod edge;
mod layout;

use super::{Cell, Edge, Picture};
use crate::describe::NodeKind;
use edge::route;
use layout::{LETTERS, LINE, Rect, layout};

/// Space around the picture.
const MARGIN: f64 = 24.0;
/// Space for the title.
const TITLE: f64 = 40.0;
/// Most edges that have their numbers written beside them; of more, tooltips have them.
const LABELLED: usize = 48;
/// Grey that reads on white and on near-black.
const INK: &str = "#7d8590";
/// Inputs and results.
const DATA: &str = "#8a6d3b";
/// Of the outermost frames, in order of appearance.
const TINTS: [&str; 7] = ["#0d7f78", "#7c4dbe", "#3b4a6b", "#a0456e", "#4f7a28", "#2f6db5", "#8a5a2b"];
const MONO: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace";
const SANS: &str = "system-ui, -apple-system, 'Segoe UI', sans-serif";

impl Picture {
    /// A self-contained SVG.
    pub fn to_svg(&self) -> String {
        let block = layout(&self.tree, &self.cells, &self.edges);
        let title = escape(&self.title);
        let least = self.title.chars().count() as f64 * 9.5;
        let (width, height) = (block.width.max(least) + 2.0 * MARGIN, block.height + TITLE + 2.0 * MARGIN);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\" aria-label=\"Graph of {title}\">\n  <text x=\"{MARGIN}\" y=\"36\" \
             font-family=\"{SANS}\" font-size=\"17\" font-weight=\"600\" fill=\"{INK}\">{title}</text>\n  \
             <g transform=\"translate({MARGIN} {:.0})\">\n",
            MARGIN + TITLE
        );
        for (label, rect) in &block.frames {
            svg += &frame(label, rect);
        }
        let mut places = vec![Rect::default(); self.cells.len()];
        for (index, rect) in &block.cells {
            places[*index] = *rect;
        }
        let tints = self.tints();
        for edge in &self.edges {
            let names = (self.cells[edge.from].name(), self.cells[edge.to].name());
            svg += &curve(edge, &places, tints[edge.from], &names, self.edges.len() <= LABELLED);
        }
        for ((cell, place), tint) in self.cells.iter().zip(&places).zip(&tints) {
            svg += &plate(cell, place, tint);
        }
        svg + "  </g>\n</svg>\n"
    }

    /// The colour of every box.
    fn tints(&self) -> Vec<&'static str> {
        let mut known: Vec<&str> = Vec::new();
        let mut tints = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            if matches!(cell.kind, NodeKind::Input | NodeKind::Result) {
                tints.push(DATA);
                continue;
            }
            let part = cell.path.first().unwrap_or(&cell.title).as_str();
            let at = known.iter().position(|other| *other == part).unwrap_or_else(|| {
                known.push(part);
                known.len() - 1
            });
            tints.push(TINTS[at % TINTS.len()]);
        }
        tints
    }
}

impl Cell {
    /// The whole path.
    fn name(&self) -> String {
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

fn plate(cell: &Cell, rect: &Rect, tint: &str) -> String {
    let Rect { x, y, width, height } = *rect;
    let radius = if matches!(cell.kind, NodeKind::Input | NodeKind::Result) { 14 } else { 6 };
    let all = [&[cell.name()], &cell.lines[..]].concat().join("\n");
    let mut text = format!(
        "    <g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         rx=\"{radius}\" fill=\"{tint}\"/>",
        escape(&all)
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

fn curve(edge: &Edge, places: &[Rect], tint: &str, names: &(String, String), labelled: bool) -> String {
    let route = route(&places[edge.from], &places[edge.to]);
    let width = 1.0 + 0.6 * (edge.values.max(1) as f64).log2().min(6.0);
    let dash = if route.back { " stroke-dasharray=\"5 4\"" } else { "" };
    let values = if edge.values == 1 { "1 value".to_owned() } else { format!("{} values", edge.values) };
    let mut tooltip = format!("{} → {}: {values}", names.0, names.1);
    if edge.bytes > 0 {
        tooltip += &format!(", {}", super::size(edge.bytes));
    }
    let mut text = format!(
        "    <g><title>{}</title><path d=\"{}\" fill=\"none\" stroke=\"{tint}\" stroke-width=\"{width:.2}\" \
         stroke-opacity=\"0.6\"{dash}/><path d=\"{}\" fill=\"{tint}\" fill-opacity=\"0.8\"/>",
        escape(&tooltip),
        route.curve,
        route.head
    );
    if let Some(label) = edge.label().filter(|_| labelled) {
        let (x, y) = route.middle;
        text += &format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-family=\"{SANS}\" font-size=\"10\" \
             fill=\"{INK}\">{}</text>",
            y - 4.0,
            escape(&label)
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

/// Text as XML has it: no markup, and none of the control characters that XML lacks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
