//! Views of a buffer that luminal's tracker expresses without copying: permuted and repeated axes.

use crossloom_ir::IrError;
use luminal::prelude::ShapeTracker;

use crate::wiring::fits;

/// Axes in the order of the tracker, each an extent and whether it only repeats, and the order in which they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    axes: Vec<(usize, bool)>,
    shown: Vec<usize>,
}

impl View {
    /// The buffer as it lies in memory.
    pub(super) fn contiguous(shape: &[usize]) -> Self {
        Self {
            axes: shape.iter().map(|&extent| (extent, false)).collect(),
            shown: (0..shape.len()).collect(),
        }
    }

    /// One element, everywhere.
    pub(super) fn repeated(shape: &[usize]) -> Self {
        Self { axes: shape.iter().map(|&extent| (extent, true)).collect(), shown: (0..shape.len()).collect() }
    }

    /// Whether the buffer is shown as it lies in memory.
    pub(super) fn is_contiguous(&self) -> bool {
        self.shown.is_sorted() && self.axes.iter().all(|(_, repeats)| !repeats)
    }

    /// Extents in the order of the tracker.
    pub(super) fn extents(&self) -> Vec<usize> {
        self.axes.iter().map(|(extent, _)| *extent).collect()
    }

    /// Extents in the order in which they are shown.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.shown.iter().map(|&at| self.axes[at].0).collect()
    }

    /// The shape of the buffer.
    pub(super) fn buffer_shape(&self) -> Vec<usize> {
        self.axes.iter().filter(|(_, repeats)| !repeats).map(|(extent, _)| *extent).collect()
    }

    /// The tracker axis behind a shown axis, and whether it only repeats.
    pub(super) fn axis(&self, shown: usize) -> (usize, bool) {
        let at = self.shown[shown];
        (at, self.axes[at].1)
    }

    /// Shown axis `i` becomes what axis `perm[i]` was.
    pub(super) fn permute(&mut self, perm: &[usize]) {
        self.shown = perm.iter().map(|&axis| self.shown[axis]).collect();
    }

    /// A new shown axis that repeats everything.
    pub(super) fn repeat(&mut self, at: usize, extent: usize) {
        self.shown.insert(at, self.axes.len());
        self.axes.push((extent, true));
    }

    /// luminal's tracker of this view.
    ///
    /// # Errors
    /// More than six axes, an empty one, or one that 31 bits cannot count.
    pub(super) fn tracker(&self) -> Result<ShapeTracker, IrError> {
        let extents = self.extents();
        if !fits(&extents) || extents.contains(&0) {
            let message =
                format!("luminal cannot hold {extents:?}: at most 6 axes, none empty, each below 2^31");
            return Err(IrError::new(message));
        }
        let dims: Vec<_> = self.axes.iter().map(|&(extent, _)| extent.into()).collect();
        let mut tracker = ShapeTracker::new(&dims);
        for (at, &(_, repeats)) in self.axes.iter().enumerate() {
            tracker.fake[at] = repeats;
            tracker.indexes[at] = self.shown[at];
        }
        Ok(tracker)
    }
}
