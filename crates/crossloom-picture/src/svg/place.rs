//! Where everything lies.
//!
//! In a frame, boxes and frames lie in layers: each below everything in the same frame that it depends on. Edges that go
//! back in the order of the boxes (two scopes may take turns) do not count. The frames of a section lie side by side, what
//! is in them from top to bottom; sections lie below one another and are read in turns from the left and from the right,
//! so that a gradient lies below what it belongs to.

use crate::tree::Tree;
use crate::{Cell, Edge};

/// Space between the layers of a frame and between its neighbours.
const GAP: f64 = 26.0;
/// Space between frames that lie side by side: edges bend there.
const ROAD: f64 = 84.0;
/// Space in a frame around its content.
const PAD: f64 = 14.0;
/// Space for the label of a frame.
const HEAD: f64 = 22.0;
/// Height of a line.
pub(super) const LINE: f64 = 15.0;
/// Width of a letter.
const LETTER: f64 = 7.0;
/// Longest line of a box; the rest is in its tooltip.
pub(super) const LETTERS: usize = 34;
/// Most boxes in one row of a layer.
const ROW: usize = 8;

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    pub(super) fn right(&self) -> f64 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub(super) fn center(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    fn moved(self, x: f64, y: f64) -> Self {
        Self { x: self.x + x, y: self.y + y, ..self }
    }
}

/// Something laid out, from its own upper left corner.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) cells: Vec<(usize, Rect)>,
    /// Labels and places of frames, outer ones first.
    pub(super) frames: Vec<(String, Rect)>,
}

/// How the layers of a frame follow one another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Down,
    Right,
    Left,
}

/// Lays out a whole picture.
pub(super) fn layout(root: &Tree, cells: &[Cell], edges: &[Edge]) -> Block {
    let sources = sources(cells, edges);
    let mut whole = Block::default();
    for (index, section) in root.frames.iter().enumerate() {
        let flow = match (section.frames.is_empty(), index % 2) {
            (true, _) => Flow::Down,
            (false, 0) => Flow::Right,
            (false, _) => Flow::Left,
        };
        let block = framed(section, flow, cells, &sources);
        let top = if index == 0 { 0.0 } else { whole.height + 2.0 * GAP };
        whole.width = whole.width.max(block.width);
        whole.height = top + block.height;
        whole.take(block, 0.0, top);
    }
    whole
}

/// A frame with its label around its content; the main section has neither.
fn framed(tree: &Tree, flow: Flow, cells: &[Cell], sources: &[Vec<usize>]) -> Block {
    let inner = arrange(tree, flow, cells, sources);
    if tree.label.is_empty() {
        return inner;
    }
    let width = (inner.width + 2.0 * PAD).max(letters(&tree.label) + 2.0 * PAD);
    let height = inner.height + HEAD + PAD;
    let place = Rect { x: 0.0, y: 0.0, width, height };
    let mut block = Block { width, height, frames: vec![(tree.label.clone(), place)], ..Block::default() };
    let left = (width - inner.width) / 2.0;
    block.take(inner, left, HEAD);
    block
}

impl Block {
    fn take(&mut self, inner: Self, x: f64, y: f64) {
        self.cells.extend(inner.cells.into_iter().map(|(index, rect)| (index, rect.moved(x, y))));
        self.frames.extend(inner.frames.into_iter().map(|(label, rect)| (label, rect.moved(x, y))));
    }
}

/// The content of a frame.
fn arrange(tree: &Tree, flow: Flow, cells: &[Cell], sources: &[Vec<usize>]) -> Block {
    // Each item with its first box, all its boxes and its layout, in the order of boxes.
    let boxes = tree.cells.iter().map(|&cell| (cell, vec![cell], leaf(cell, &cells[cell])));
    let frames = tree
        .frames
        .iter()
        .map(|frame| (frame.first(), frame.all(), framed(frame, Flow::Down, cells, sources)));
    let mut items: Vec<(usize, Vec<usize>, Block)> = boxes.chain(frames).collect();
    items.sort_by_key(|(first, ..)| *first);

    let layers = layers(&items, sources);
    let mut rows: Vec<Vec<Block>> = Vec::new();
    for layer in 0..=layers.iter().copied().max().unwrap_or(0) {
        let of_layer = items.iter().zip(&layers).filter(|(_, at)| **at == layer);
        let blocks: Vec<Block> = of_layer.map(|((_, _, block), _)| block.clone()).collect();
        rows.extend(blocks.chunks(ROW).map(<[Block]>::to_vec));
    }
    match flow {
        Flow::Down => down(rows),
        Flow::Right => right(rows),
        Flow::Left => {
            rows.reverse();
            right(rows)
        }
    }
}

/// The layer of every item: one more than the last layer that it reads from, be it through other frames.
fn layers(items: &[(usize, Vec<usize>, Block)], sources: &[Vec<usize>]) -> Vec<usize> {
    // A box comes after what it reads, so nothing before the first box of the frame leads back into the frame, and
    // only the boxes from the first to the last are looked at.
    let first = items.first().map_or(0, |(first, ..)| *first);
    let end = items.iter().flat_map(|(_, all, _)| all).max().map_or(0, |last| last + 1);
    let mut item_of = vec![None; end - first];
    for (item, (_, all, _)) in items.iter().enumerate() {
        for &cell in all {
            item_of[cell - first] = Some(item);
        }
    }
    let mut layers = vec![0; items.len()];
    // The last item from which a box was met.
    let mut met_from = vec![None; end - first];
    for (item, (_, all, _)) in items.iter().enumerate() {
        let mut stack = all.clone();
        while let Some(cell) = stack.pop() {
            for &source in sources[cell].iter().filter(|&&source| source >= first) {
                match item_of[source - first] {
                    Some(other) if other < item => layers[item] = layers[item].max(layers[other] + 1),
                    _ if met_from[source - first].replace(item) != Some(item) => stack.push(source),
                    _ => {}
                }
            }
        }
    }
    layers
}

/// For every box the boxes that it reads from, of those that come before it.
fn sources(cells: &[Cell], edges: &[Edge]) -> Vec<Vec<usize>> {
    let mut sources = vec![Vec::new(); cells.len()];
    for edge in edges.iter().filter(|edge| edge.from < edge.to) {
        sources[edge.to].push(edge.from);
    }
    sources
}

/// Rows below one another, each centred.
fn down(rows: Vec<Vec<Block>>) -> Block {
    let row_width = |row: &[Block]| {
        row.iter().map(|block| block.width).sum::<f64>() + GAP * row.len().saturating_sub(1) as f64
    };
    let mut whole =
        Block { width: rows.iter().map(|row| row_width(row)).fold(0.0, f64::max), ..Block::default() };
    for row in rows {
        let top = if whole.height > 0.0 { whole.height + GAP } else { 0.0 };
        let mut left = (whole.width - row_width(&row)) / 2.0;
        for block in row {
            let (width, bottom) = (block.width, top + block.height);
            whole.take(block, left, top);
            left += width + GAP;
            whole.height = whole.height.max(bottom);
        }
    }
    whole
}

/// Columns beside one another, each centred.
fn right(columns: Vec<Vec<Block>>) -> Block {
    let columns: Vec<Block> = columns
        .into_iter()
        .map(|column| down(column.into_iter().map(|block| vec![block]).collect()))
        .collect();
    let height = columns.iter().map(|column| column.height).fold(0.0, f64::max);
    let mut whole = Block { height, ..Block::default() };
    for column in columns {
        let left = if whole.width > 0.0 { whole.width + ROAD } else { 0.0 };
        let (width, top) = (column.width, (height - column.height) / 2.0);
        whole.take(column, left, top);
        whole.width = left + width;
    }
    whole
}

fn leaf(index: usize, cell: &Cell) -> Block {
    let lines = std::iter::once(&cell.title).chain(&cell.lines);
    let width = lines.map(|line| letters(line)).fold(0.0, f64::max) + 20.0;
    let height = LINE * (1 + cell.lines.len()) as f64 + 12.0;
    let rect = Rect { x: 0.0, y: 0.0, width, height };
    Block { width, height, cells: vec![(index, rect)], frames: Vec::new() }
}

fn letters(text: &str) -> f64 {
    text.chars().count().clamp(6, LETTERS) as f64 * LETTER
}
