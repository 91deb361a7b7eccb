//! Rows that are appended to sequences of a cache.

use super::Teams;
use super::movement::copy;
use crate::launch::{Argument, Lowered, Types};
use Argument::{Fault, Input, Output};

pub(super) fn lower(types: Types<'_>) -> Option<Lowered> {
    let (cache, rows) = (&types.inputs[0].shape, &types.inputs[1].shape);
    let cols: usize = cache[2..].iter().product();
    let teams = Teams::warps(rows[0] * rows[1])?;
    let source = types.source().set("THREADS", teams.threads).sets([
        ("ROWS", rows[0]),
        ("TOKENS", rows[1]),
        ("SLOTS", cache[0]),
        ("CAPACITY", cache[1]),
        ("COLS", cols),
    ]);
    let text = include_str!("../kernels/cache_write.cu");
    let arguments = vec![Input(1), Input(2), Input(3), Input(4), Output(0), Fault];
    let write = source.launch("cache_write", text, teams.geometry, arguments)?;
    Some(Lowered::new("cache_write", vec![copy(types)?, write]).in_place(vec![(0, 0)]))
}
