//! The numbers that blocks of quantized weights stand for.
//!
//! A block is made of groups of [`GROUP`] numbers that follow each other: one in the formats of 32, eight in those of 256. A
//! number is `factor · q`, `factor · q + offset` or `factor · q − offset`, where `q` has at most 8 bits. The factors' products
//! fit an `f32` exactly, so a number is rounded once, when an offset is added. This is the definition: whatever computes
//! with quantized weights computes with these numbers.

#![allow(
    clippy::inline_always,
    reason = "kernels make numbers inside functions that enable an instruction set"
)]

use half::f16;

use crate::DType;

/// Numbers of a group.
pub const GROUP: usize = 32;

/// Group `group` of a row of blocks. For types that are not quantized, and groups that the row does not have, the numbers are 0.
#[inline(always)]
pub fn dequantize_group(dtype: DType, row: &[u8], group: usize, to: &mut [f32; GROUP]) {
    let (elements, bytes) = dtype.block();
    let per_block = elements / GROUP;
    let start = group.checked_div(per_block).and_then(|block| block.checked_mul(bytes));
    let Some(block) = start.and_then(|at| row.get(at..)?.get(..bytes)) else {
        to.fill(0.0);
        return;
    };
    match dtype {
        DType::Q8_0 => q8_0(block, to),
        DType::Q4_0 => q4_0(block, to),
        DType::Q4_1 => q4_1(block, to),
        DType::Q4K => q4_k(block, group % per_block, to),
        DType::Q6K => q6_k(block, group % per_block, to),
        _ => to.fill(0.0),
    }
}

/// All numbers of whole blocks.
pub fn dequantize(dtype: DType, blocks: &[u8]) -> Vec<f32> {
    let (elements, bytes) = dtype.block();
    let mut numbers = vec![[0.0; GROUP]; blocks.len() / bytes * elements / GROUP];
    for (group, to) in numbers.iter_mut().enumerate() {
        dequantize_group(dtype, blocks, group, to);
    }
    numbers.into_flattened()
}

#[inline(always)]
fn factor(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A factor and 32 signed numbers.
#[inline(always)]
fn q8_0(block: &[u8], to: &mut [f32; GROUP]) {
    let d = factor(block, 0);
    for (to, q) in to.iter_mut().zip(&block[2..]) {
        *to = d * f32::from(q.cast_signed());
    }
}

/// A factor and 32 numbers of 4 bits, 8 more than they stand for: the first half in the lower bits of 16 bytes, the second in
/// the upper ones.
#[inline(always)]
fn q4_0(block: &[u8], to: &mut [f32; GROUP]) {
    let d = factor(block, 0);
    let (low, high) = to.split_at_mut(GROUP / 2);
    for ((low, high), q) in low.iter_mut().zip(high).zip(&block[2..]) {
        *low = d * (f32::from(q & 15) - 8.0);
        *high = d * (f32::from(q >> 4) - 8.0);
    }
}

/// A factor, an offset and 32 numbers of 4 bits, laid out as in Q4_0.
#[inline(always)]
fn q4_1(block: &[u8], to: &mut [f32; GROUP]) {
    let (d, offset) = (factor(block, 0), factor(block, 2));
    let (low, high) = to.split_at_mut(GROUP / 2);
    for ((low, high), q) in low.iter_mut().zip(high).zip(&block[4..]) {
        *low = d * f32::from(q & 15) + offset;
        *high = d * f32::from(q >> 4) + offset;
    }
}

/// Two factors, scales and offsets of 6 bits per group, and numbers of 4 bits: of two groups in the lower and the upper bits of 32
/// bytes.
#[inline(always)]
fn q4_k(block: &[u8], group: usize, to: &mut [f32; GROUP]) {
    let packed = &block[4..16];
    // The first four groups' are the lower bits of a byte; of the others', the upper two bits are those that were left there.
    let (scale, offset) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (
            packed[group + 4] & 15 | packed[group - 4] >> 6 << 4,
            packed[group + 4] >> 4 | packed[group] >> 6 << 4,
        )
    };
    let (d, offset) = (factor(block, 0) * f32::from(scale), factor(block, 2) * f32::from(offset));
    let shift = group % 2 * 4;
    for (to, q) in to.iter_mut().zip(&block[16 + group / 2 * GROUP..]) {
        *to = d * f32::from(q >> shift & 15) - offset;
    }
}

/// A factor, a signed scale for every 16 numbers, and numbers of 6 bits, 32 more than they stand for: of four groups the lower
/// four bits in 64 bytes, the upper two in 32.
#[inline(always)]
fn q6_k(block: &[u8], group: usize, to: &mut [f32; GROUP]) {
    let (half, quarter) = (group / 4, group % 4);
    let lower = &block[64 * half + quarter % 2 * GROUP..];
    let upper = &block[128 + GROUP * half..];
    let d = factor(block, 208);
    let (shift, upper_shift) = (quarter / 2 * 4, quarter * 2);
    for (i, to) in to.chunks_exact_mut(GROUP / 2).enumerate() {
        let scale = d * f32::from(block[192 + 2 * group + i].cast_signed());
        let from = i * GROUP / 2;
        for ((to, low), high) in to.iter_mut().zip(&lower[from..]).zip(&upper[from..]) {
            let q = low >> shift & 15 | (high >> upper_shift & 3) << 4;
            *to = scale * (f32::from(q) - 32.0);
        }
    }
}
