//! Which values are read in 16 bits alone.

use crossloom_ir::{DType, Func};

use super::{Marks, is_low_operand};

/// For every value, whether it is `f32` and all that reads it, also by way of movements, are products that read it in 16 bits.
pub(super) fn read_by_products(func: &Func, marks: &Marks) -> Vec<bool> {
    let mut read = vec![false; func.value_count()];
    let mut narrow: Vec<bool> =
        (0..func.value_count()).map(|i| func.dtype(crossloom_ir::Value(i as u32)) == DType::F32).collect();
    for result in func.results() {
        narrow[result.value.index()] = false;
    }
    for inst in func.insts().iter().rev() {
        let wide = Marks::is_wide_product(&marks.0, inst);
        let moved = inst.op.moves() && inst.outputs.iter().all(|v| read[v.index()] && narrow[v.index()]);
        for (operand, input) in inst.inputs.iter().enumerate() {
            read[input.index()] = true;
            narrow[input.index()] &= moved || (!wide && is_low_operand(&inst.op, operand));
        }
    }
    narrow.iter().zip(read).map(|(&narrow, read)| narrow && read).collect()
}
