//! A right operand in quantized blocks. They are made numbers where panels are packed, so that the tile multiplies what it always
//! multiplies: a product with blocks has the bits of the product with their numbers in `f32`.

mod words;

use crossloom_ir::DType;
use crossloom_ir::quantized::{GROUP, dequantize_group};

use super::pack::{PANEL, pack_columns};
use super::shape::Gemm;
use crate::kernels::error::KernelError;
use crate::simd::{Simd, dispatch};

/// Quantized numbers, row-major; every row is a whole number of blocks.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    /// The format.
    pub dtype: DType,
    /// The blocks.
    pub bytes: &'a [u8],
}

impl Blocks<'_> {
    /// Numbers that whole blocks stand for.
    pub(crate) fn len(self) -> usize {
        let (elements, bytes) = self.dtype.block();
        self.bytes.len() / bytes * elements
    }

    /// What follows the first `numbers` ones, which are whole blocks.
    pub(crate) fn behind(self, numbers: usize) -> Self {
        Self { bytes: &self.bytes[self.dtype.bytes_of(numbers)..], ..self }
    }

    /// Whether the format is one of blocks, and the rows of a product's operand begin where blocks do.
    pub(super) fn check(self, p: &Gemm) -> Result<(), KernelError> {
        let (elements, _) = self.dtype.block();
        let columns = if p.trans_b { p.k } else { p.n };
        let whole = [p.ldb, columns, p.stride_b].iter().all(|extent| extent.is_multiple_of(elements));
        if self.dtype.is_quantized() && whole {
            return Ok(());
        }
        let rows = format!("rows of {columns}, {} apart, are no whole blocks of {}", p.ldb, self.dtype);
        Err(KernelError::Step(rows))
    }
}

// A group is a panel's width, so that a panel's columns are whole groups.
const _: () = assert!(GROUP == PANEL);

dispatch!(
    /// Packs rows `first_k ..` and columns `first_n ..` as the tile reads them.
    pub(super) fn pack(blocks: Blocks<'_>, p: &Gemm, k: [usize; 2], n: [usize; 2], dst: &mut [f32]) = pack_body
);

#[inline(always)]
fn pack_body<S: Simd>(
    s: S,
    Blocks { dtype, bytes }: Blocks<'_>,
    p: &Gemm,
    [first_k, depth]: [usize; 2],
    [first_n, cols]: [usize; 2],
    dst: &mut [f32],
) {
    let row_bytes = dtype.bytes_of(p.ldb);
    let row = |at: usize| &bytes[at * row_bytes..];
    if p.trans_b && words::suits(dtype) {
        words::pack(s, dtype, row, [first_k, depth], [first_n, cols], dst);
    } else if p.trans_b {
        // Columns of the product are rows here: a square of numbers at a time is turned.
        let mut square = [[0.0_f32; GROUP]; GROUP];
        for (at, panel) in dst.chunks_exact_mut(GROUP * PANEL).take(depth / GROUP).enumerate() {
            for (j, numbers) in square.iter_mut().enumerate().take(cols) {
                dequantize_group(dtype, row(first_n + j), first_k / GROUP + at, numbers);
            }
            // SAFETY: the square has `GROUP` rows of as many numbers, and the panel as many rows.
            unsafe { pack_columns(s, square.as_ptr().cast::<f32>(), GROUP, GROUP, cols, panel) };
        }
    } else {
        for (at, panel) in dst.as_chunks_mut::<PANEL>().0.iter_mut().take(depth).enumerate() {
            dequantize_group(dtype, row(first_k + at), first_n / GROUP, panel);
        }
    }
}
