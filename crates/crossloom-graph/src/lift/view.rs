//! luminal's views (shape trackers) as IR movement ops.

use crossloom_ir::op::ReduceKind;
use crossloom_ir::{Builder, IrError, Value};
use luminal::prelude::{Graph, ShapeTracker};

/// An axis of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RealAxis {
    /// Elements in the buffer.
    extent: usize,
    /// Zeros shown in front and behind.
    pad: (usize, usize),
    /// Range of the padded axis that is shown.
    range: (usize, usize),
}

/// An axis that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShownAxis {
    /// The buffer axis of that position.
    Real(usize),
    /// A repetition of everything.
    Repeat(usize),
}

/// A shape tracker in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Axes of the buffer, slowest first.
    real: Vec<RealAxis>,
    /// Axes shown, slowest first.
    shown: Vec<ShownAxis>,
    /// Whether luminal's own `shape()` says the same extents as its index arithmetic.
    consistent: bool,
}

type Expression = luminal::shape::symbolic::Expression;

impl View {
    /// Reads a tracker with the graph's dynamic dimensions.
    ///
    /// # Errors
    /// A dimension is not set, an axis is empty, or the view mixes a slice and padding in a way that luminal itself
    /// does not compute consistently.
    pub(super) fn read(tracker: &ShapeTracker, graph: &Graph) -> Result<Self, String> {
        let number = |what: &str, expression: &Expression| -> Result<usize, String> {
            let value = expression.exec(&graph.dyn_map);
            value.filter(|&value| i32::try_from(value).is_ok()).ok_or_else(|| {
                format!("{what} {expression:?} is no number; set the dynamic dimensions before lifting")
            })
        };
        let mut axes = Vec::with_capacity(tracker.dims.len());
        for at in 0..tracker.dims.len() {
            let extent = number("extent", &tracker.dims[at])?;
            let pad =
                (number("padding", &tracker.padding[at].0)?, number("padding", &tracker.padding[at].1)?);
            let range = (number("slice", &tracker.slices[at].0)?, number("slice", &tracker.slices[at].1)?);
            let axis = RealAxis { extent, pad, range: (range.0, range.1.min(extent + pad.0 + pad.1)) };
            if axis.range.0 >= axis.range.1 || extent == 0 {
                return Err(format!("axis {at} of the view is empty"));
            }
            if range.0 > 0 && pad != (0, 0) {
                return Err(format!(
                    "axis {at} of the view is padded and cut at its start; make it contiguous between"
                ));
            }
            let said = (extent + pad.0 + pad.1 - range.0).min(range.1);
            axes.push((axis, tracker.fake[at], said == axis.shown()));
        }
        let mut position = vec![None; axes.len()];
        let mut real = Vec::new();
        for (at, (axis, fake, _)) in axes.iter().enumerate() {
            if !fake {
                position[at] = Some(real.len());
                real.push(*axis);
            }
        }
        let shown = tracker.indexes.iter().map(|&at| {
            let (axis, ..) = axes.get(at).ok_or("the view's axes are numbered wrongly")?;
            Ok(position[at].map_or(ShownAxis::Repeat(axis.shown()), ShownAxis::Real))
        });
        let shown: Vec<ShownAxis> = shown.collect::<Result<_, String>>()?;
        let consistent = axes.iter().all(|(.., consistent)| *consistent);
        Ok(Self { real, shown, consistent })
    }

    /// Extents of the buffer axes.
    pub(super) fn buffer_shape(&self) -> Vec<usize> {
        self.real.iter().map(|axis| axis.extent).collect()
    }

    /// Extents shown.
    pub(super) fn shape(&self) -> Vec<usize> {
        let extent = |axis: &ShownAxis| match *axis {
            ShownAxis::Real(at) => self.real[at].shown(),
            ShownAxis::Repeat(extent) => extent,
        };
        self.shown.iter().map(extent).collect()
    }

    /// Checks that reducing this view along `axis` means the same in luminal and in the IR.
    ///
    /// # Errors
    /// The axis does not exist; the largest element over padding, which luminal leaves out and the IR counts as zero;
    /// a view whose extents luminal computes in two contradicting ways.
    pub(super) fn check_reduce(&self, kind: ReduceKind, axis: usize) -> Result<(), String> {
        if axis >= self.shown.len() {
            return Err(format!("reduces axis {axis} of a view with {} axes", self.shown.len()));
        }
        if kind == ReduceKind::Max && self.real.iter().any(|axis| axis.pad != (0, 0)) {
            return Err("takes the largest element of a padded view; make it contiguous first".to_owned());
        }
        if !self.consistent {
            return Err("reduces a view cut at both ends, which luminal miscounts; make it contiguous first"
                .to_owned());
        }
        Ok(())
    }

    /// Emits what the view shows of a buffer.
    ///
    /// # Errors
    /// The view reads beyond the buffer, or a type rule failed.
    pub(super) fn apply(&self, b: &mut Builder<'_>, buffer: Value) -> Result<Value, IrError> {
        let mut value = self.fitted(b, buffer)?;
        for (at, axis) in self.real.iter().enumerate() {
            if axis.pad != (0, 0) {
                value = b.pad(value, at, axis.pad.0, axis.pad.1)?;
            }
            if axis.shown() != axis.extent + axis.pad.0 + axis.pad.1 {
                value = b.slice(value, at, axis.range.0, axis.shown())?;
            }
        }
        let mut perm = Vec::new();
        let mut axes = Vec::new();
        for (to, axis) in self.shown.iter().enumerate() {
            if let ShownAxis::Real(at) = *axis {
                perm.push(at);
                axes.push(to);
            }
        }
        if !perm.is_sorted() {
            value = b.transpose(value, &perm)?;
        }
        b.broadcast(value, &self.shape(), &axes)
    }

    /// The buffer under the shape the view gives it. luminal lets a view claim more elements than the buffer has, as
    /// long as it never shows them.
    fn fitted(&self, b: &mut Builder<'_>, buffer: Value) -> Result<Value, IrError> {
        let given = b.func().ty(buffer).elements();
        let claimed: usize = self.real.iter().map(|axis| axis.extent).product();
        let mut value = buffer;
        if claimed != given {
            if self.reach() > given {
                return Err(IrError::new(format!("the view reads {} elements of {given}", self.reach())));
            }
            value = b.reshape(value, &[given])?;
            value = if claimed < given {
                b.slice(value, 0, 0, claimed)?
            } else {
                b.pad(value, 0, 0, claimed - given)?
            };
        }
        b.reshape(value, &self.buffer_shape())
    }

    /// One more than the largest buffer index shown.
    fn reach(&self) -> usize {
        let mut stride = 1;
        let mut last = 0;
        for axis in self.real.iter().rev() {
            let largest = axis.range.1.saturating_sub(axis.pad.0).clamp(1, axis.extent) - 1;
            last += largest * stride;
            stride *= axis.extent;
        }
        last + 1
    }
}

impl RealAxis {
    /// Elements shown.
    fn shown(self) -> usize {
        self.range.1 - self.range.0
    }
}
