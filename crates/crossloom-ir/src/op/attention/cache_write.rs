//! `cache_write`: appends rows to sequences of a cache.

use super::cache::{self, Extents, PLACE_NAMES, places};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{ScatterMode, ScatterRows, ToFloat, ToInt, check};
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// `cache'[slot[b], start[b] + t] = rows[b, t]` for `t < count[b]`; all else as in `cache`. Operands: `cache [S, C, W]` of
/// floats or `[S, C]` i32; `rows [B, T, W]` or `[B, T]`; `slot`, `start`, `count`, each `[B]` i32. Output: `cache'`. Rows
/// of the call that write something name different slots. No gradient: what is written is state of a forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheWrite;

fn extents(cache: &[usize], rows: &[usize]) -> Extents {
    Extents { slots: cache[0], capacity: cache[1], rows: rows[0], tokens: rows[1] }
}

impl OpSpec for CacheWrite {
    const MNEMONICS: &'static [&'static str] = &["cache_write"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [slot, start, count] = PLACE_NAMES;
        check::count(inputs, &["cache", "rows", slot, start, count])?;
        let (cache, rows) = (inputs[0], inputs[1]);
        if cache.dtype == DType::I32 {
            check::whole_axes("cache", cache, 2)?;
            check::whole_axes("rows", rows, 2)?;
        } else {
            check::float_axes("cache", cache, 3)?;
            check::float_axes("rows", rows, 3)?;
            ensure(rows.last() == cache.last(), || {
                format!("rows is {rows}, of another width than the cache {cache}")
            })?;
        }
        cache::check_types(&inputs[2..], rows.shape[0])?;
        Ok(vec![cache.clone()])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [old, rows] = [inputs[0], inputs[1]];
        let x = extents(&old.shape, &rows.shape);
        let width: usize = old.shape[2..].iter().product();
        let mut new = old.clone();
        let mut written = vec![false; x.slots];
        for (row, place) in places(&x, [inputs[2], inputs[3], inputs[4]])?.into_iter().enumerate() {
            if place.count == 0 {
                continue;
            }
            ensure(!std::mem::replace(&mut written[place.slot], true), || {
                format!("slot {} is written by two rows", place.slot)
            })?;
            let (to, from) = ((place.slot * x.capacity + place.start) * width, row * x.tokens * width);
            let len = place.count * width;
            new.data[to..to + len].copy_from_slice(&rows.data[from..from + len]);
        }
        Ok(vec![new])
    }

    fn gradient(&self, _: &mut GradCx<'_>) -> Result<(), IrError> {
        Err(IrError::new("has no gradient: a cache belongs to prefill and decode, not to training"))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let shape = b.func().shape(inputs[0]).to_vec();
        let x = extents(&shape, b.func().shape(inputs[1]));
        let whole = b.func().ty(inputs[0]).dtype == DType::I32;
        let spread = cache::spread(b, &x, &inputs[2..])?;
        let index = cache::index(b, &x, &spread)?;
        let width = shape[2..].iter().product();
        let mut floats = |value: Value, rows: usize| {
            let value = if whole { b.one(ToFloat, &[value])? } else { value };
            b.reshape(value, &[1, rows, width])
        };
        let (old, rows) = (floats(inputs[0], x.slots * x.capacity)?, floats(inputs[1], x.rows * x.tokens)?);
        let new = b.one(ScatterRows { mode: ScatterMode::Set }, &[old, index, rows])?;
        let new = b.reshape(new, &shape)?;
        Ok(Some(vec![if whole { b.one(ToInt, &[new])? } else { new }]))
    }

    /// Counts the rows that are read and written; in place, the rest of the cache is not touched.
    fn cost(&self, inputs: &[&TensorType], _: &[&TensorType]) -> Cost {
        Cost::new(0, &inputs[1..], &inputs[1..2])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
