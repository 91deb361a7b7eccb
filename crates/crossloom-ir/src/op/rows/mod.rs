//! Ops on whole rows: softmax and argmax of each, and moving rows between tensors by index.

mod argmax;
mod embedding;
mod embedding_grad;
mod gather_rows;
mod mix_rows;
mod mix_rows_grad;
mod scatter_rows;
mod softmax;

pub use argmax::Argmax;
pub use embedding::Embedding;
pub use embedding_grad::EmbeddingGrad;
pub use gather_rows::GatherRows;
pub use mix_rows::MixRows;
pub use mix_rows_grad::MixRowsGrad;
pub use scatter_rows::{ScatterMode, ScatterRows};
pub use softmax::Softmax;

use crate::{Real, Tensor};

pub(super) use softmax::softmax;

/// The row of a table that every id names.
fn table_rows<T: Real>(ids: &Tensor<T>, table: usize) -> Result<Vec<usize>, String> {
    let row = |i: usize| {
        let id = ids.int(i);
        let row = usize::try_from(id).ok().filter(|&row| row < table);
        row.ok_or_else(|| format!("id {id} at position {i} is outside the table of {table} rows"))
    };
    (0..ids.data.len()).map(row).collect()
}

/// The row of its sample that every index `[B, M]` names; `None` for -1. With `distinct`, no row of a sample may be
/// named twice.
pub(super) fn sample_rows<T: Real>(
    index: &Tensor<T>,
    rows: usize,
    distinct: bool,
) -> Result<Vec<Option<usize>>, String> {
    let slots = index.last();
    let mut named = Vec::with_capacity(index.data.len());
    for i in 0..index.data.len() {
        let (at, sample) = (index.int(i), i / slots);
        if at == -1 {
            named.push(None);
            continue;
        }
        let row = usize::try_from(at).ok().filter(|&row| row < rows);
        let row = row.ok_or_else(|| format!("index {at} of sample {sample} is outside its {rows} rows"))?;
        if distinct && named[sample * slots..].contains(&Some(row)) {
            return Err(format!("index {at} is given twice in sample {sample}"));
        }
        named.push(Some(row));
    }
    Ok(named)
}
