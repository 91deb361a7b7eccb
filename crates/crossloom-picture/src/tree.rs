//! Boxes in the nested frames of their scopes.

use crate::Cell;

/// A frame: the boxes and frames directly in it, in the order of the boxes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Written on the frame; empty for the whole picture and for its main section.
    pub(super) label: String,
    /// Boxes.
    pub(super) cells: Vec<usize>,
    /// Frames.
    pub(super) frames: Vec<Tree>,
}

impl Tree {
    /// The sections of a picture, each with its boxes in frames.
    pub(super) fn of(cells: &[Cell]) -> Self {
        let mut root = Self::default();
        for (index, cell) in cells.iter().enumerate() {
            let section = cell.section.as_deref().unwrap_or_default();
            let mut at = root.frame(section);
            // A section that is named after its scope says so once.
            let named = usize::from(cell.path.first().is_some_and(|first| first == section));
            for part in &cell.path[named..] {
                at = at.frame(part);
            }
            at.cells.push(index);
        }
        root
    }

    /// The frame of that label directly in this one.
    fn frame(&mut self, label: &str) -> &mut Self {
        let at = self.frames.iter().position(|frame| frame.label == label).unwrap_or_else(|| {
            self.frames.push(Self { label: label.to_owned(), ..Self::default() });
            self.frames.len() - 1
        });
        &mut self.frames[at]
    }

    /// The first box below.
    pub(super) fn first(&self) -> usize {
        let below = self.frames.iter().map(Self::first);
        self.cells.iter().copied().chain(below).min().unwrap_or(usize::MAX)
    }

    /// Every box below.
    pub(super) fn all(&self) -> Vec<usize> {
        let below = self.frames.iter().flat_map(Self::all);
        self.cells.iter().copied().chain(below).collect()
    }
}
