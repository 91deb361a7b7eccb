//! Points on square grids: what bilinear sampling and its gradient share.
//!
//! A point's place is normalised: a grid reaches from 0 to 1, and cell `i` of `side` has its centre at `(i + 1/2) / side`. A cell
//! is read by how near its centre is, along each axis `1 - distance` in cells, and beyond the grid there are zeros.

use crate::op::{BinaryKind, Iota, emit};
use crate::{Builder, IrError, Value};

/// One of the two cells whose centres a place lies between, along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbour {
    /// Its number; none beyond the grid.
    pub(super) cell: Option<usize>,
    /// How much of it is read.
    pub(super) share: f64,
    /// The derivative of that by the place. At a centre it is that of places behind.
    pub(super) slope: f64,
}

/// The cells of an axis that a place lies between. One that is not finite is beyond the grid, and its shares are NaN.
pub(super) fn neighbours(place: f64, side: usize) -> [Neighbour; 2] {
    let steepness = side as f64;
    let at = place * steepness - 0.5;
    let first = at.floor();
    let cell = |at: f64| (0.0..steepness).contains(&at).then_some(at as usize);
    let behind = at - first;
    [
        Neighbour { cell: cell(first), share: 1.0 - behind, slope: -steepness },
        Neighbour { cell: cell(first + 1.0), share: behind, slope: steepness },
    ]
}

/// The same in simpler ops: of places `[..]`, the shares of all cells of an axis, `[.., side]`, and their slopes, which are no
/// function of the places that is differentiated.
pub(super) fn shares(b: &mut Builder<'_>, place: Value, side: usize) -> Result<[Value; 2], IrError> {
    let mut shape = b.func().shape(place).to_vec();
    shape.push(side);
    let at = b.affine(place, side as f64, -0.5)?;
    let at = emit::spread_rows(b, at, &shape)?;
    let cell = b.one(Iota { shape: shape.clone(), axis: shape.len() - 1 }, &[])?;
    let from = b.sub(at, cell)?;
    // 1 where the place is less than that many cells behind the centre.
    let mut below = |cells: f64| {
        let bound = b.constant(cells, &shape)?;
        b.binary(BinaryKind::LessThan, from, bound)
    };
    let (before, at_all, behind) = (below(-1.0)?, below(0.0)?, below(1.0)?);
    let rising = b.sub(at_all, before)?;
    let falling = b.sub(behind, at_all)?;
    let direction = b.sub(rising, falling)?;
    let near = b.add(rising, falling)?;
    let lost = b.mul(direction, from)?;
    let share = b.add(near, lost)?;
    Ok([share, b.affine(direction, side as f64, 0.0)?])
}

/// What every query reads of every cell of a grid, `[G, Q, side²]`: the sum over points of `weights [G, Q, P]` and both shares,
/// along x and along y, `[G, Q, P, side]`.
pub(super) fn reading(
    b: &mut Builder<'_>,
    weights: Value,
    [across, down]: [Value; 2],
) -> Result<Value, IrError> {
    let shape = b.func().shape(down).to_vec();
    let weights = b.broadcast(weights, &shape, &[0, 1, 2])?;
    let down = b.mul(weights, down)?;
    let reading = b.matmul(down, across, true, false)?;
    b.reshape(reading, &[shape[0], shape[1], shape[3] * shape[3]])
}
