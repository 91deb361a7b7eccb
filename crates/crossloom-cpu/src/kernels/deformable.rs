//! Attention over points of square grids, and its gradient.
//!
//! Tasks of the forward pass and of the gradients by places and weights own runs of queries. Several queries read one cell, so
//! tasks of the gradient by values own cells: those of one head of one grid of a sample, whose queries they add up in order.

use super::error::{KernelError, need, wanted};
use crate::element::{Element, Floats, FloatsMut, rounded};
use crate::parallel::{self, SharedFloats, SharedMut, chunk_range};
use crate::simd::{self, Simd, Vf, dispatch, map1, update1};

/// Multiplications of one task over queries, about.
const TASK_WORK: usize = 1 << 18;

/// The shape: `values [batch, rows, heads * head_dim]`, the cells of grids with those sides one behind the other;
/// `locations [batch, queries, heads, sides, points, 2]`, x and y from 0 to 1; `weights` as these without the last axis; the
/// result is `[batch, queries, heads * head_dim]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeformableAttention {
    /// Samples.
    pub batch: usize,
    /// Queries of a sample.
    pub queries: usize,
    /// Heads.
    pub heads: usize,
    /// Values of a row that are one head's.
    pub head_dim: usize,
    /// Points that a head of a query reads of one grid.
    pub points: usize,
    /// Cells of a side of every grid.
    pub sides: Vec<usize>,
}

/// One of the cells whose centres a place lies between, along one axis: its number, none beyond the grid; how much of it is
/// read; and the derivative of that by the place.
#[derive(Clone, Copy)]
struct Neighbour {
    cell: Option<usize>,
    share: f32,
    slope: f32,
}

#[inline(always)]
fn neighbours(place: f32, side: usize) -> [Neighbour; 2] {
    let steepness = side as f32;
    let at = place * steepness - 0.5;
    let first = at.floor();
    let behind = at - first;
    let cell = |at: f32| if at >= 0.0 && at < steepness { Some(at as usize) } else { None };
    [
        Neighbour { cell: cell(first), share: 1.0 - behind, slope: -steepness },
        Neighbour { cell: cell(first + 1.0), share: behind, slope: steepness },
    ]
}

/// The four cells of a point: the number of a cell in its grid, none beyond it, and the neighbours along x and y.
#[inline(always)]
fn corners(x: f32, y: f32, side: usize) -> [(Option<usize>, Neighbour, Neighbour); 4] {
    let (x, y) = (neighbours(x, side), neighbours(y, side));
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| {
        let cell = match (y[i].cell, x[j].cell) {
            (Some(row), Some(column)) => Some(row * side + column),
            _ => None,
        };
        (cell, x[j], y[i])
    })
}

impl DeformableAttention {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn rows(&self) -> usize {
        self.sides.iter().map(|side| side * side).sum()
    }

    /// Points of a query.
    fn per_query(&self) -> usize {
        self.heads * self.sides.len() * self.points
    }

    /// Queries of one task, by their work.
    fn per_task(&self) -> usize {
        (TASK_WORK / (4 * self.per_query() * self.head_dim).max(1)).max(1)
    }

    /// Tasks of a sample.
    fn tasks(&self) -> usize {
        self.queries.div_ceil(self.per_task())
    }

    /// Runs `task(number, sample, query)` for all queries, those of one task in order.
    fn for_each(&self, task: impl Fn(usize, usize, usize) + Sync) {
        let tasks = self.tasks();
        parallel::for_each(self.batch * tasks, |i| {
            chunk_range(self.queries, self.per_task(), i % tasks).for_each(|query| task(i, i / tasks, query));
        });
    }

    /// Scratch values of [`deformable_attention`], whose result `is_narrow` or not: the sums of a row of every task.
    pub fn scratch_len(&self, is_narrow: bool) -> usize {
        if is_narrow { self.batch * self.tasks() * self.head_dim } else { 0 }
    }

    /// Scratch values of [`deformable_attention_grad`], whose gradient by values `is_narrow` or not: its sums.
    pub fn grad_scratch_len(&self, is_narrow: bool) -> usize {
        if is_narrow { self.batch * self.rows() * self.width() } else { 0 }
    }

    fn check(&self, name: &'static str, operands: Operands<'_>) -> Result<(), KernelError> {
        let points = self.batch * self.queries * self.per_query();
        need(name, "values", operands.values.len(), self.batch * self.rows() * self.width())?;
        need(name, "locations", operands.locations.len(), 2 * points)?;
        need(name, "weights", operands.weights.len(), points)
    }
}

#[derive(Clone, Copy)]
struct Operands<'a> {
    values: Floats<'a>,
    locations: Floats<'a>,
    weights: Floats<'a>,
}

impl Operands<'_> {
    /// x and y of a point, and its weight.
    #[inline(always)]
    fn point(&self, at: usize) -> [f32; 3] {
        [self.locations.at(2 * at), self.locations.at(2 * at + 1), self.weights.at(at)]
    }
}

/// What every query's points read of the grids. A place or weight that is not finite makes the head's values NaN. `scratch` holds
/// [`DeformableAttention::scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short.
pub fn deformable_attention<'a>(
    p: &DeformableAttention,
    values: impl Into<Floats<'a>>,
    locations: impl Into<Floats<'a>>,
    weights: impl Into<Floats<'a>>,
    out: impl Into<FloatsMut<'a>>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let operands = Operands { values: values.into(), locations: locations.into(), weights: weights.into() };
    forward(p, operands, out.into(), scratch)
}

fn forward(
    p: &DeformableAttention,
    operands: Operands<'_>,
    out: FloatsMut<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "deformable_attention";
    p.check(name, operands)?;
    let room = if out.is_narrow() { p.head_dim } else { 0 };
    need(name, "out", out.len(), p.batch * p.queries * p.width())?;
    need(name, "scratch", scratch.len(), p.scratch_len(out.is_narrow()))?;
    let (out, scratch) = (SharedFloats::new(out), SharedMut::new(scratch));
    p.for_each(|task, b, query| {
        for head in 0..p.heads {
            let slot = (b * p.queries + query) * p.heads + head;
            // SAFETY: every query is one task's, and a task runs its queries one after the other in its own scratch.
            let (out, sums) =
                unsafe { (out.slice(slot * p.head_dim, p.head_dim), scratch.slice(task * room, room)) };
            match operands.values {
                Floats::F32(values) => read(p, operands, values, (b, slot), out, sums),
                Floats::Bf16(values) => read(p, operands, values, (b, slot), out, sums),
            }
        }
    });
    Ok(())
}

dispatch!(
    fn read<V>(
        p: &DeformableAttention,
        operands: Operands<'_>,
        values: &[V],
        place: (usize, usize),
        out: FloatsMut<'_>,
        room: &mut [f32],
    ) = read_body
);

/// One head of a query, which is the slot of that number in a sample.
#[inline(always)]
fn read_body<S: Simd, V: Element>(
    s: S,
    p: &DeformableAttention,
    operands: Operands<'_>,
    values: &[V],
    (b, slot): (usize, usize),
    out: FloatsMut<'_>,
    room: &mut [f32],
) {
    let (sums, narrow) = out.sums(room);
    sums.fill(0.0);
    let (mut first, mut at) = (b * p.rows(), slot * p.sides.len() * p.points);
    let column = slot % p.heads * p.head_dim;
    for &side in &p.sides {
        for _ in 0..p.points {
            let [x, y, weight] = operands.point(at);
            at += 1;
            if !(x.is_finite() && y.is_finite() && weight.is_finite()) {
                sums.fill(f32::NAN);
                continue;
            }
            for (cell, x, y) in corners(x, y, side) {
                let Some(cell) = cell else { continue };
                let from = (first + cell) * p.width() + column;
                let share = Vf::splat(s, weight * (y.share * x.share));
                update1!(s, &values[from..from + p.head_dim], &mut *sums, |v, sum| share.mul_add(v, sum));
            }
        }
        first += side * side;
    }
    rounded(s, sums, narrow);
}

/// The gradients of [`deformable_attention`] for `d_out`, that of its result: by values, locations and weights; each is left out
/// where it is empty. `scratch` holds [`DeformableAttention::grad_scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short.
pub fn deformable_attention_grad<'a>(
    p: &DeformableAttention,
    d_out: impl Into<Floats<'a>>,
    [values, locations, weights]: [Floats<'a>; 3],
    [d_values, d_locations, d_weights]: [FloatsMut<'a>; 3],
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "deformable_attention_grad";
    let (d_out, operands) = (d_out.into(), Operands { values, locations, weights });
    p.check(name, operands)?;
    let points = p.batch * p.queries * p.per_query();
    need(name, "d_out", d_out.len(), p.batch * p.queries * p.width())?;
    let wants_values = wanted(name, "d_values", d_values.len(), p.batch * p.rows() * p.width())?;
    let wants_locations = wanted(name, "d_locations", d_locations.len(), 2 * points)?;
    let wants_weights = wanted(name, "d_weights", d_weights.len(), points)?;
    need(name, "scratch", scratch.len(), p.grad_scratch_len(d_values.is_narrow()))?;
    if wants_locations || wants_weights {
        let (of_places, of_weights) = (SharedFloats::new(d_locations), SharedFloats::new(d_weights));
        p.for_each(|_, b, query| {
            let (own, count) = ((b * p.queries + query) * p.per_query(), p.per_query());
            let of_places = wants_locations.then_some(of_places);
            let of_weights = wants_weights.then_some(of_weights);
            // SAFETY: every query is one task's, and the gradients were checked to hold the points of all.
            let mut to = unsafe {
                OfPoints {
                    places: of_places.map(|places| places.slice(2 * own, 2 * count)),
                    weights: of_weights.map(|weights| weights.slice(own, count)),
                }
            };
            match (d_out, values) {
                (Floats::F32(d), Floats::F32(v)) => points_of(p, operands, d, v, (b, query), &mut to),
                (Floats::F32(d), Floats::Bf16(v)) => points_of(p, operands, d, v, (b, query), &mut to),
                (Floats::Bf16(d), Floats::F32(v)) => points_of(p, operands, d, v, (b, query), &mut to),
                (Floats::Bf16(d), Floats::Bf16(v)) => points_of(p, operands, d, v, (b, query), &mut to),
            }
        });
    }
    if wants_values {
        let (d_values, scratch) = (SharedFloats::new(d_values), SharedMut::new(scratch));
        let levels = p.sides.len();
        parallel::for_each(p.batch * p.heads * levels, |i| {
            let cells = Cells { b: i / levels / p.heads, head: i / levels % p.heads, level: i % levels };
            match d_out {
                Floats::F32(d) => values_of(p, operands, d, cells, d_values, scratch),
                Floats::Bf16(d) => values_of(p, operands, d, cells, d_values, scratch),
            }
        });
    }
    Ok(())
}

/// Gradients of the points of one query, those that are wanted.
struct OfPoints<'a> {
    places: Option<FloatsMut<'a>>,
    weights: Option<FloatsMut<'a>>,
}

dispatch!(
    fn points_of<D, V>(
        p: &DeformableAttention,
        operands: Operands<'_>,
        d_out: &[D],
        values: &[V],
        place: (usize, usize),
        to: &mut OfPoints<'_>,
    ) = points_body
);

/// The gradients by places and weights of one query of a sample.
#[inline(always)]
fn points_body<S: Simd, D: Element, V: Element>(
    s: S,
    p: &DeformableAttention,
    operands: Operands<'_>,
    d_out: &[D],
    values: &[V],
    (b, query): (usize, usize),
    to: &mut OfPoints<'_>,
) {
    let row = b * p.queries + query;
    let mut at = 0;
    for head in 0..p.heads {
        let column = head * p.head_dim;
        let d = &d_out[row * p.width() + column..][..p.head_dim];
        let mut first = b * p.rows();
        for &side in &p.sides {
            for _ in 0..p.points {
                let [x, y, weight] = operands.point(row * p.per_query() + at);
                let (mut by_weight, mut by_x, mut by_y) = (0.0, 0.0, 0.0);
                for (cell, x, y) in corners(x, y, side) {
                    let product = match cell {
                        Some(cell) => {
                            simd::dot(s, d, &values[(first + cell) * p.width() + column..][..p.head_dim])
                        }
                        None => 0.0,
                    };
                    by_weight += y.share * x.share * product;
                    by_x += y.share * x.slope * product;
                    by_y += y.slope * x.share * product;
                }
                if let Some(places) = &mut to.places {
                    places.set(2 * at, weight * by_x);
                    places.set(2 * at + 1, weight * by_y);
                }
                if let Some(weights) = &mut to.weights {
                    weights.set(at, by_weight);
                }
                at += 1;
            }
            first += side * side;
        }
    }
}

/// The cells of one task: a head's of a grid of a sample.
#[derive(Clone, Copy)]
struct Cells {
    b: usize,
    head: usize,
    level: usize,
}

dispatch!(
    fn values_of<D>(
        p: &DeformableAttention,
        operands: Operands<'_>,
        d_out: &[D],
        cells: Cells,
        d_values: SharedFloats<'_>,
        scratch: SharedMut<'_>,
    ) = values_body
);

/// The gradient by the values of one task's cells: what all queries' points add to them, in order.
#[inline(always)]
fn values_body<S: Simd, D: Element>(
    s: S,
    p: &DeformableAttention,
    operands: Operands<'_>,
    d_out: &[D],
    Cells { b, head, level }: Cells,
    d_values: SharedFloats<'_>,
    scratch: SharedMut<'_>,
) {
    let side = p.sides[level];
    let first: usize = b * p.rows() + p.sides[..level].iter().map(|side| side * side).sum::<usize>();
    // Wide gradients are summed where they are, narrow ones in scratch of the same shape.
    let sums = match d_values {
        SharedFloats::F32(wide) => wide,
        SharedFloats::Bf16(_) => scratch,
    };
    let place = |cell: usize| (first + cell) * p.width() + head * p.head_dim;
    for cell in 0..side * side {
        // SAFETY: a head's values of a cell of a sample are one task's.
        unsafe { sums.slice(place(cell), p.head_dim) }.fill(0.0);
    }
    for query in 0..p.queries {
        let slot = (b * p.queries + query) * p.heads + head;
        let d = &d_out[slot * p.head_dim..][..p.head_dim];
        for point in 0..p.points {
            let [x, y, weight] = operands.point((slot * p.sides.len() + level) * p.points + point);
            for (cell, x, y) in corners(x, y, side) {
                let Some(cell) = cell else { continue };
                let share = Vf::splat(s, weight * (y.share * x.share));
                // SAFETY: as above; the last borrow has ended.
                let sum = unsafe { sums.slice(place(cell), p.head_dim) };
                update1!(s, d, sum, |d, sum| share.mul_add(d, sum));
            }
        }
    }
    let SharedFloats::Bf16(narrow) = d_values else { return };
    for cell in 0..side * side {
        // SAFETY: as above, of both.
        let (sum, to) =
            unsafe { (sums.slice(place(cell), p.head_dim), narrow.slice(place(cell), p.head_dim)) };
        map1!(s, &*sum, to, |sum| sum);
    }
}

#[cfg(test)]
mod tests;
