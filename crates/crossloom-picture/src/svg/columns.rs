//! Two columns of plates and the curves between them. The stronger of two edges lies on top; each has its name as a tooltip.

use super::{MARGIN, MONO, document, escape, words};
use crate::tree::Tree;
use crate::{Cell, Edge, Picture};

/// Height of a plate, in pixels.
const PLATE: f64 = 30.0;
/// From one plate to the next.
const STEP: f64 = 46.0;
/// Space for title and headings.
const HEAD: f64 = 84.0;
/// From the left plates to the right plates.
const SPAN: f64 = 320.0;
/// Width of one letter on a plate.
const LETTER: f64 = 7.9;
/// Width of a column's heading.
const HEADING: f64 = 104.0;
/// Height of a note.
const NOTE: f64 = 18.0;
/// Space is kept for so many notes where there are any, so that pictures with and without a legend are of one height.
const NOTES: usize = 3;

/// Where a column lies.
struct Lane {
    x: f64,
    width: f64,
    top: f64,
}

impl Lane {
    fn of(labels: &[&str], rows: usize, x: f64) -> Self {
        let letters = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        Self {
            x,
            width: (letters as f64 * LETTER + 28.0).max(HEADING),
            top: HEAD + (rows - labels.len()) as f64 * STEP / 2.0,
        }
    }

    fn y(&self, row: usize) -> f64 {
        self.top + row as f64 * STEP
    }

    fn middle(&self, row: usize) -> f64 {
        self.y(row) + PLATE / 2.0
    }
}

impl Picture {
    pub(super) fn columns(&self) -> String {
        let none = Tree::default();
        let frames = [0, 1].map(|index| self.tree.frames.get(index).unwrap_or(&none));
        let rows = frames.iter().map(|frame| frame.cells.len()).max().unwrap_or(0);
        let labels = |frame: &Tree| {
            frame.cells.iter().map(|&cell| self.boxes[cell].title.as_str()).collect::<Vec<_>>()
        };
        let left = Lane::of(&labels(frames[0]), rows, MARGIN);
        let right = Lane::of(&labels(frames[1]), rows, MARGIN + left.width + SPAN);
        let bottom = HEAD + rows as f64 * STEP;
        let notes =
            if self.notes.is_empty() { MARGIN } else { 12.0 + NOTE * self.notes.len().max(NOTES) as f64 };

        let mut svg = words(MARGIN, 30.0, 17, 600, &self.title);
        for (place, frame) in [&left, &right].into_iter().zip(frames) {
            svg += &words(place.x, place.top.min(HEAD) - 16.0, 12, 400, &frame.label);
        }
        let mut edges: Vec<&Edge> = self.edges.iter().collect();
        edges.sort_by(|a, b| a.rank.total_cmp(&b.rank));
        for edge in edges {
            let start = (left.x + left.width, left.middle(edge.from));
            let end = (right.x, right.middle(edge.to - frames[0].cells.len()));
            let plate = &self.boxes[if edge.strong { edge.to } else { edge.from }].tint;
            svg += &curve(edge, start, end, edge.tint.as_ref().unwrap_or(plate));
        }
        for (place, frame) in [&left, &right].into_iter().zip(frames) {
            for (row, &cell) in frame.cells.iter().enumerate() {
                svg += &plate(place, row, &self.boxes[cell]);
            }
        }
        for (index, note) in self.notes.iter().enumerate() {
            svg += &words(MARGIN, bottom + 14.0 + NOTE * index as f64, 12, 400, note);
        }
        let width = right.x + right.width + MARGIN;
        document(width, bottom + notes, &format!("Injection topology of {}", self.title), &svg)
    }
}

fn plate(column: &Lane, row: usize, cell: &Cell) -> String {
    let (x, y, width) = (column.x, column.y(row), column.width);
    let (middle, baseline) = (x + width / 2.0, column.middle(row) + 4.5);
    format!(
        "  <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{PLATE}\" rx=\"7\" fill=\"{}\"/>\n  \
         <text x=\"{middle:.1}\" y=\"{baseline:.1}\" text-anchor=\"middle\" font-family=\"{MONO}\" font-size=\"13\" \
         fill=\"#ffffff\">{}</text>\n",
        escape(&cell.tint),
        escape(&cell.title)
    )
}

fn curve(edge: &Edge, start: (f64, f64), end: (f64, f64), tint: &str) -> String {
    let bend = (end.0 - start.0) * 0.45;
    let (x1, y1, x2, y2) = (start.0, start.1, end.0, end.1);
    let name = edge.name.as_ref().map_or(String::new(), |name| format!(" data-edge=\"{}\"", escape(name)));
    let dashes = if edge.dashed { " stroke-dasharray=\"6 5\"" } else { "" };
    format!(
        "  <path d=\"M{x1:.1} {y1:.1} C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}\" fill=\"none\" stroke=\"{}\" \
         stroke-width=\"{:.2}\" stroke-opacity=\"{:.2}\" stroke-linecap=\"round\"{dashes}{name}>\
         <title>{}</title></path>\n",
        x1 + bend,
        x2 - bend,
        escape(tint),
        edge.width,
        edge.opacity,
        escape(&edge.tip)
    )
}
