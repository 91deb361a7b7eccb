//! Where the rows of a call stand in a cache of keys and values.
//!
//! A cache is `[S, C, W]` (or `[S, C]` of whole numbers): `S` sequences of room for `C` positions. A call works on `B`
//! of them with up to `T` new positions each. Three operands say which: `slot [B]`, the sequence of the cache; `start
//! [B]`, the positions it holds already, at which the new ones begin; `count [B]`, how many of the `T` are real.

use crate::op::spec::ensure;
use crate::op::{Iota, ToFloat, ToInt, check, emit};
use crate::{Builder, IrError, Real, Tensor, TensorType, Value};

/// The operands that say where, by name.
pub(super) const PLACE_NAMES: [&str; 3] = ["slot", "start", "count"];

/// Extents of a call on a cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    /// Sequences of the cache.
    pub(super) slots: usize,
    /// Positions of a sequence.
    pub(super) capacity: usize,
    /// Sequences of the call.
    pub(super) rows: usize,
    /// New positions of a sequence of the call.
    pub(super) tokens: usize,
}

/// Where one sequence of a call stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) slot: usize,
    pub(super) start: usize,
    pub(super) count: usize,
}

/// Checks the types of the three operands.
pub(super) fn check_types(inputs: &[&TensorType], rows: usize) -> Result<(), String> {
    let wanted = TensorType::i32([rows]);
    PLACE_NAMES.into_iter().zip(inputs).try_for_each(|(name, ty)| check::is(name, ty, &wanted))
}

/// The places that `slot`, `start` and `count` name.
///
/// # Errors
/// A slot that is not there, or positions that do not fit: with the sequence of the call.
pub(super) fn places<T: Real>(
    x: &Extents,
    [slot, start, count]: [&Tensor<T>; 3],
) -> Result<Vec<Place>, String> {
    let place = |row: usize| {
        let within = |name: &str, given: i64, most: usize| {
            let inside = usize::try_from(given).ok().filter(|&given| given <= most);
            inside.ok_or_else(|| format!("{name} {given} of row {row} is outside 0..={most}"))
        };
        ensure(x.slots > 0, || "the cache has no slots".to_owned())?;
        let slot = within("slot", slot.int(row), x.slots - 1)?;
        let start = within("start", start.int(row), x.capacity)?;
        let count = within("count", count.int(row), x.tokens)?;
        ensure(count <= x.capacity - start, || {
            format!("row {row} has {count} positions from {start} on, the cache {} in all", x.capacity)
        })?;
        Ok(Place { slot, start, count })
    };
    (0..x.rows).map(place).collect()
}

/// The three operands and the step within the call, as floats `[B, T]`.
pub(super) struct Spread {
    pub(super) slot: Value,
    pub(super) start: Value,
    /// 1 where the position is real.
    pub(super) real: Value,
    pub(super) step: Value,
}

/// Spreads the operands over the positions of the call.
pub(super) fn spread(b: &mut Builder<'_>, x: &Extents, operands: &[Value]) -> Result<Spread, IrError> {
    let shape = [x.rows, x.tokens];
    let mut over_tokens = |operand: Value| {
        let operand = b.one(ToFloat, &[operand])?;
        b.broadcast(operand, &shape, &[0])
    };
    let (slot, start, count) =
        (over_tokens(operands[0])?, over_tokens(operands[1])?, over_tokens(operands[2])?);
    let step = b.one(Iota { shape: shape.to_vec(), axis: 1 }, &[])?;
    let real = emit::less(b, step, count)?;
    Ok(Spread { slot, start, real, step })
}

/// `[1, B*T]` i32: for every new position its row among all `S*C` of the cache; -1 where it is not real. Exact while
/// `S*C` is below 2^24.
pub(super) fn index(b: &mut Builder<'_>, x: &Extents, spread: &Spread) -> Result<Value, IrError> {
    let first = b.affine(spread.slot, x.capacity as f64, 1.0)?;
    let at = b.add(first, spread.start)?;
    let at = b.add(at, spread.step)?;
    let at = b.mul(at, spread.real)?;
    let at = b.affine(at, 1.0, -1.0)?;
    let at = b.one(ToInt, &[at])?;
    b.reshape(at, &[1, x.rows * x.tokens])
}
