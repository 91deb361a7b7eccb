//! Two columns and the edges between them, in plain words.

use crate::tree::Tree;
use crate::{Arrangement, Cell, Edge, Kind, Picture};

/// Two columns of boxes; edges go from the left to the right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// The heading.
    pub title: String,
    /// Where edges start.
    pub left: Column,
    /// Where they end.
    pub right: Column,
    /// The edges, in the order in which the text forms list them.
    pub links: Vec<Link>,
    /// Lines below the drawing.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Written above it.
    pub head: String,
    /// From top to bottom.
    pub plates: Vec<Plate>,
}

/// A box of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plate {
    /// Written on it.
    pub label: String,
    /// Colour of its ground, as CSS has it; also of the edges that start there.
    pub tint: String,
}

/// An edge from the left column to the right one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// Its name, also its tooltip.
    pub name: String,
    /// Index of a plate of the left column.
    pub from: usize,
    /// Index of a plate of the right column.
    pub to: usize,
    /// Drawn thick.
    pub strong: bool,
    /// From 0 to 1: the greater, the wider and the more opaque. What is not finite is drawn like an edge without one.
    pub weight: Option<f64>,
    /// Its colour, as CSS has it, where that is not the one of the plate that it starts at.
    pub tint: Option<String>,
    /// Drawn as a broken line.
    pub dashed: bool,
}

impl Picture {
    /// The picture of two columns. A link whose end is no plate is left out.
    pub fn of_columns(columns: &Columns) -> Self {
        let boxes = |column: &Column| {
            let cell = |plate: &Plate| Cell {
                kind: Kind::Op,
                title: plate.label.clone(),
                lines: Vec::new(),
                section: None,
                path: vec![column.head.clone()],
                tint: plate.tint.clone(),
            };
            column.plates.iter().map(cell).collect::<Vec<_>>()
        };
        let (left, right) = (columns.left.plates.len(), columns.right.plates.len());
        let drawn = columns.links.iter().filter(|link| link.from < left && link.to < right);
        let edges = drawn.map(|link| edge(link, left)).collect();
        let boxes = [boxes(&columns.left), boxes(&columns.right)].concat();
        let frame = |column: &Column, cells| Tree { label: column.head.clone(), cells, frames: Vec::new() };
        let frames = vec![
            frame(&columns.left, (0..left).collect()),
            frame(&columns.right, (left..left + right).collect()),
        ];
        let tree = Tree { frames, ..Tree::default() };
        Self {
            title: columns.title.clone(),
            arrangement: Arrangement::Columns,
            boxes,
            edges,
            tree,
            notes: columns.notes.clone(),
        }
    }
}

fn edge(link: &Link, left: usize) -> Edge {
    let (mut width, mut opacity) = if link.strong { (3.0, 0.9) } else { (1.8, 0.8) };
    let mut tip = link.name.clone();
    if let Some(weight) = link.weight.filter(|weight| weight.is_finite()) {
        let share = weight.clamp(0.0, 1.0);
        width = 0.8 + 6.2 * share;
        opacity = 0.18 + 0.77 * share;
        tip = format!("{}  W = {weight:.3}", link.name);
    }
    Edge {
        from: link.from,
        to: left + link.to,
        name: Some(link.name.clone()),
        label: None,
        tip,
        strong: link.strong,
        width,
        opacity,
        rank: link.weight.unwrap_or(-1.0),
        tint: link.tint.clone(),
        dashed: link.dashed,
    }
}
