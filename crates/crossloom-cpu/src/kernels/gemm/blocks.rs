//! A right operand in quantized blocks, and the numbers that they stand for: rows of them for inner products (`inner`), else panels, so
//! that the tile multiplies what it always multiplies.

use crossloom_ir::DType;
use crossloom_ir::quantized::{GROUP, Group};

use super::pack::{PANEL, pack_columns};
use super::shape::Gemm;
use crate::element::MAX_LANES;
use crate::kernels::error::KernelError;
use crate::prefetch::prefetch;
use crate::simd::{Simd, Vf, dispatch};

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
    blocks: Blocks<'_>,
    p: &Gemm,
    [first_k, depth]: [usize; 2],
    [first_n, cols]: [usize; 2],
    dst: &mut [f32],
) {
    if p.trans_b {
        // Columns of the product are rows here: a square of numbers at a time is turned.
        let mut square = [[0.0_f32; GROUP]; GROUP];
        for (at, panel) in dst.chunks_exact_mut(GROUP * PANEL).take(depth / GROUP).enumerate() {
            for (j, numbers) in square.iter_mut().enumerate().take(cols) {
                let group = first_k / GROUP + at;
                blocks.numbers(blocks.row(p.ldb, first_n + j), group, 0, std::slice::from_mut(numbers));
            }
            // SAFETY: the square has `GROUP` rows of as many numbers, and the panel as many rows.
            unsafe { pack_columns(s, square.as_ptr().cast::<f32>(), GROUP, GROUP, cols, panel) };
        }
    } else {
        for (at, panel) in dst.as_chunks_mut::<PANEL>().0.iter_mut().take(depth).enumerate() {
            let row = blocks.row(p.ldb, first_k + at);
            blocks.numbers(row, first_n / GROUP, 0, std::slice::from_mut(panel));
        }
    }
}

/// `of_format!(dtype, D => …)`: with `D` known where the code is compiled, so that of blocks whose layout is known registers are made.
macro_rules! of_format {
    ($dtype:expr, $known:ident => $body:expr) => {
        of_format!(@ $dtype, $known => $body, Q8_0 Q4_0 Q4_1 Q4K Q6K)
    };
    (@ $dtype:expr, $known:ident => $body:expr, $($format:ident)+) => {
        match $dtype {
            $(crossloom_ir::DType::$format => {
                const $known: crossloom_ir::DType = crossloom_ir::DType::$format;
                $body
            })+
            _ => {}
        }
    };
}
pub(super) use of_format;

impl<'a> Blocks<'a> {
    /// The blocks of row `row`, of rows of `ld` numbers, and what follows.
    #[inline(always)]
    pub(super) fn row(self, ld: usize, row: usize) -> &'a [u8] {
        &self.bytes[row * self.dtype.bytes_of(ld)..]
    }

    /// The numbers of a row from group `first` on. What lies `ahead` bytes behind is brought near meanwhile.
    pub(super) fn numbers(self, row: &[u8], first: usize, ahead: usize, to: &mut [[f32; GROUP]]) {
        numbers(self.dtype, row, first, ahead, to);
    }
}

dispatch!(fn numbers(dtype: DType, row: &[u8], first: usize, ahead: usize, to: &mut [[f32; GROUP]]) = numbers_body);

#[inline(always)]
fn numbers_body<S: Simd>(
    s: S,
    dtype: DType,
    row: &[u8],
    first: usize,
    ahead: usize,
    to: &mut [[f32; GROUP]],
) {
    of_format!(dtype, D => {
        for (at, to) in to.iter_mut().enumerate() {
            let group = group_of(D, row, first + at, ahead);
            let mut lane = 0;
            while lane < GROUP {
                // SAFETY: registers divide a group.
                unsafe { register(s, &group, lane).store_ptr(to.as_mut_ptr().add(lane)) };
                lane += S::F32_LANES;
            }
        }
    });
}

/// A group of a row that has it. What lies `ahead` bytes behind its block is brought near.
#[inline(always)]
pub(super) fn group_of(dtype: DType, row: &[u8], group: usize, ahead: usize) -> Group {
    let (elements, bytes) = dtype.block();
    let per_block = elements / GROUP;
    let block = &row[group / per_block * bytes..][..bytes];
    // Of a long block every group asks for its part.
    let part = group % per_block * (bytes / per_block);
    prefetch(block.as_ptr().wrapping_add(ahead + part));
    Group::of_block(dtype, block, group % per_block)
}

// The factor of a register is one: none is wider than what shares it.
const _: () = assert!(MAX_LANES <= GROUP / 2);

/// The numbers of a group from `lane` on.
///
/// # Safety
/// It has a register's numbers there.
#[inline(always)]
pub(super) unsafe fn register<S: Simd>(s: S, group: &Group, lane: usize) -> Vf<S> {
    // SAFETY: by the contract of this function.
    let codes = unsafe { Vf::whole(s, group.codes.as_ptr().add(lane)) };
    let factor = if lane < GROUP / 2 { group.factors[0] } else { group.factors[1] };
    let product = Vf::splat(s, factor) * codes;
    match group.offset {
        Some(offset) => product + Vf::splat(s, offset),
        None => product,
    }
}
