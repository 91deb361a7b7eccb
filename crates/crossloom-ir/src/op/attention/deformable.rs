//! `deformable_attention`: every query reads a few points of grids, at places of its own.

use super::DeformableAttentionGrad;
use super::grid::{Neighbour, neighbours, reading, shares};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::check;
use crate::op::spec::{OpSpec, ensure};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `values [B, S, H hd]`, the cells of square grids one behind the other, row by row; `locations [B, Q, H, L, P, 2]`, for
/// every query, head and grid the places (x, y) of P points, where a grid reaches from 0 to 1; `weights [B, Q, H, L, P]`. Output
/// `[B, Q, H hd]`: the sum over all points of a head's weight and of what is at the point, between the centres of four cells.
/// Beyond a grid there are zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct DeformableAttention {
    /// Heads.
    pub heads: usize,
    /// Cells of a side of every grid.
    pub sides: Vec<usize>,
}

/// Extents of the operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) samples: usize,
    pub(super) rows: usize,
    pub(super) queries: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) levels: usize,
    pub(super) points: usize,
}

/// A point: where its weight is in `weights`, its grid's first row in `values` and side, and its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) at: usize,
    pub(super) first: usize,
    pub(super) side: usize,
    pub(super) sample: usize,
    pub(super) query: usize,
    pub(super) head: usize,
}

impl DeformableAttention {
    /// Cells of all grids; none where that is no number.
    pub fn rows(&self) -> Option<usize> {
        self.sides.iter().try_fold(0_usize, |sum, &side| sum.checked_add(side.checked_mul(side)?))
    }

    /// Checks values, locations and weights; gives the extents.
    pub(super) fn check(&self, [values, locations, weights]: [&TensorType; 3]) -> Result<Extents, String> {
        check::float_axes("values", values, 3)?;
        check::float_axes("locations", locations, 6)?;
        let (samples, rows, width) = (values.shape[0], values.shape[1], values.shape[2]);
        let (heads, levels) = (self.heads, self.sides.len());
        ensure(levels > 0 && self.sides.iter().all(|&side| side > 0), || {
            format!("attribute `sides` is {:?}, must list sides of grids that are not empty", self.sides)
        })?;
        ensure(self.rows() == Some(rows), || {
            format!(
                "values is {values}, its {rows} rows are not the cells of grids with sides {:?}",
                self.sides
            )
        })?;
        ensure(heads > 0 && width % heads.max(1) == 0, || {
            format!("width {width} does not divide into {heads} heads")
        })?;
        let (queries, points) = (locations.shape[1], locations.shape[4]);
        ensure(points > 0, || format!("locations is {locations}, has no points"))?;
        check::is_f32("locations", locations, &[samples, queries, heads, levels, points, 2])?;
        check::is_f32("weights", weights, &[samples, queries, heads, levels, points])?;
        Ok(Extents { samples, rows, queries, heads, head_dim: width / heads, levels, points })
    }

    /// The extents of operands that have passed the type rule.
    pub(super) fn extents(&self, values: &[usize], locations: &[usize]) -> Extents {
        Extents {
            samples: values[0],
            rows: values[1],
            queries: locations[1],
            heads: self.heads,
            head_dim: values[2] / self.heads,
            levels: self.sides.len(),
            points: locations[4],
        }
    }

    /// Every grid's first row, and its side.
    pub(super) fn grids(&self) -> Vec<(usize, usize)> {
        let mut first = 0;
        let grid = |&side: &usize| {
            let grid = (first, side);
            first += side * side;
            grid
        };
        self.sides.iter().map(grid).collect()
    }

    /// All points, in the order of their weights.
    pub(super) fn points(&self, e: Extents) -> impl Iterator<Item = Point> {
        let grids = self.grids();
        (0..e.samples * e.queries * e.heads * e.levels * e.points).map(move |at| {
            let level = at / e.points % e.levels;
            let slot = at / e.points / e.levels;
            let (first, side) = grids[level];
            let (row, head) = (slot / e.heads, slot % e.heads);
            Point { at, first, side, sample: row / e.queries, query: row % e.queries, head }
        })
    }
}

impl Extents {
    pub(super) fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// The four cells that a point reads: where the head's values of one begin, none beyond the grid; and its neighbours along x
    /// and y.
    pub(super) fn corners<T: Real>(
        self,
        point: Point,
        locations: &Tensor<T>,
    ) -> [(Option<usize>, Neighbour, Neighbour); 4] {
        let [x, y] = [0, 1].map(|axis| neighbours(locations.at(2 * point.at + axis), point.side));
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| {
            let cell = y[i].cell.zip(x[j].cell).map(|(row, column)| {
                let row = point.sample * self.rows + point.first + row * point.side + column;
                row * self.width() + point.head * self.head_dim
            });
            (cell, x[j], y[i])
        })
    }

    /// Where a query's row of a head begins in `[B, Q, H hd]`.
    pub(super) fn query(self, point: Point) -> usize {
        (point.sample * self.queries + point.query) * self.width() + point.head * self.head_dim
    }

    /// `[B, N, H hd]` as `[B H, N, hd]`.
    pub(super) fn by_head(self, b: &mut Builder<'_>, x: Value) -> Result<Value, IrError> {
        let rows = b.func().shape(x)[1];
        let x = b.reshape(x, &[self.samples, rows, self.heads, self.head_dim])?;
        let x = b.transpose(x, &[0, 2, 1, 3])?;
        b.reshape(x, &[self.samples * self.heads, rows, self.head_dim])
    }

    /// The inverse of [`Extents::by_head`].
    pub(super) fn beside(self, b: &mut Builder<'_>, x: Value) -> Result<Value, IrError> {
        let rows = b.func().shape(x)[1];
        let x = b.reshape(x, &[self.samples, self.heads, rows, self.head_dim])?;
        let x = b.transpose(x, &[0, 2, 1, 3])?;
        b.reshape(x, &[self.samples, rows, self.width()])
    }

    /// One grid's numbers of all points: `[B, Q, H, L, P, ..]` to `[B H, Q, P]`, of the places along that axis or of weights.
    pub(super) fn of_grid(
        self,
        b: &mut Builder<'_>,
        x: Value,
        level: usize,
        axis: Option<usize>,
    ) -> Result<Value, IrError> {
        let mut x = b.slice(x, 3, level, 1)?;
        if let Some(axis) = axis {
            x = b.slice(x, 5, axis, 1)?;
        }
        let x = b.reshape(x, &[self.samples, self.queries, self.heads, self.points])?;
        let x = b.transpose(x, &[0, 2, 1, 3])?;
        b.reshape(x, &[self.samples * self.heads, self.queries, self.points])
    }
}

impl OpSpec for DeformableAttention {
    const MNEMONICS: &'static [&'static str] = &["deformable_attention"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("heads", self.heads).ints("sides", &self.sides)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { heads: attrs.take_int("heads")?, sides: attrs.take_ints("sides")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["values", "locations", "weights"])?;
        let e = self.check([inputs[0], inputs[1], inputs[2]])?;
        Ok(vec![TensorType::f32([e.samples, e.queries, e.width()])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [values, locations, weights] = [inputs[0], inputs[1], inputs[2]];
        let e = self.extents(&values.shape, &locations.shape);
        let mut out = vec![0.0; e.samples * e.queries * e.width()];
        for point in self.points(e) {
            let (corners, weight) = (e.corners(point, locations), weights.at(point.at));
            for c in 0..e.head_dim {
                let read: f64 = corners
                    .iter()
                    .map(|(cell, x, y)| y.share * x.share * cell.map_or(0.0, |cell| values.at(cell + c)))
                    .sum();
                out[e.query(point) + c] += weight * read;
            }
        }
        Ok(vec![Tensor::from_fn([e.samples, e.queries, e.width()], |i| out[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(grad) = cx.out_grad(0) else { return Ok(()) };
        let operands = [grad, cx.input(0), cx.input(1), cx.input(2)];
        let grads = cx.builder().push(DeformableAttentionGrad(self.clone()), &operands)?;
        (0..3).try_for_each(|operand| cx.add(operand, grads[operand]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [values, locations, weights] = [inputs[0], inputs[1], inputs[2]];
        let e = self.extents(b.func().shape(values), b.func().shape(locations));
        let mut readings = Vec::with_capacity(e.levels);
        for (level, &side) in self.sides.iter().enumerate() {
            let mut of_axis = |axis| {
                let place = e.of_grid(b, locations, level, Some(axis))?;
                Ok::<_, IrError>(shares(b, place, side)?[0])
            };
            let of_axes = [of_axis(0)?, of_axis(1)?];
            let weights = e.of_grid(b, weights, level, None)?;
            readings.push(reading(b, weights, of_axes)?);
        }
        let reading = if readings.len() == 1 { readings[0] } else { b.concat(&readings, 2)? };
        let values = e.by_head(b, values)?;
        let read = b.matmul(reading, values, false, false)?;
        Ok(Some(vec![e.beside(b, read)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Per point: four products with a cell's row; places, shares and their products.
        let (points, head_dim) = (inputs[2].elements() as u64, outputs[0].last() / self.heads.max(1));
        Cost::new(points * (8 * head_dim as u64 + 16), inputs, outputs)
    }
}
