//! The numbers that blocks of quantized weights stand for.
//!
//! A block is made of groups of [`GROUP`] numbers that follow each other: one in the formats of 32, eight in those of 256. A
//! number is `factor · q` or `factor · q + offset`, where `q` has at most 8 bits. The factors' products
//! fit an `f32` exactly, so a number is rounded once, when an offset is added. This is the definition: whatever computes
//! with quantized weights computes with these numbers.

#![allow(
    clippy::inline_always,
    reason = "kernels make numbers inside functions that enable an instruction set"
)]

use crate::DType;

/// Numbers of a group.
pub const GROUP: usize = 32;

/// A group as its block keeps it: number `i` is `factors[i / 16] · codes[i]`, and `offset` more where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Group {
    /// Whole numbers of at most 8 bits.
    pub codes: [i8; GROUP],
    /// Of its two halves.
    pub factors: [f32; 2],
    /// What is added.
    pub offset: Option<f32>,
}

impl Group {
    /// Group `group` of a row of blocks. For types that are not quantized, and groups that the row does not have, all is 0.
    #[inline(always)]
    pub fn of(dtype: DType, row: &[u8], group: usize) -> Self {
        let (elements, bytes) = dtype.block();
        let per_block = elements / GROUP;
        let start = group.checked_div(per_block).and_then(|block| block.checked_mul(bytes));
        match start.and_then(|at| row.get(at..)?.get(..bytes)) {
            Some(block) => Self::of_block(dtype, block, group % per_block),
            None => Self::default(),
        }
    }

    /// Group `group` of one block. For types that are not quantized all is 0.
    ///
    /// # Panics
    /// The block is not whole, or has no such group.
    #[inline(always)]
    pub fn of_block(dtype: DType, block: &[u8], group: usize) -> Self {
        match dtype {
            DType::Q8_0 => q8_0(block),
            DType::Q4_0 => q4_0(block),
            DType::Q4_1 => q4_1(block),
            DType::Q4K => q4_k(block, group),
            DType::Q6K => q6_k(block, group),
            _ => Self::default(),
        }
    }

    /// The numbers that it stands for.
    #[inline(always)]
    pub fn numbers(&self, to: &mut [f32; GROUP]) {
        let halves = to.chunks_exact_mut(GROUP / 2).zip(self.codes.chunks_exact(GROUP / 2));
        for ((to, codes), factor) in halves.zip(self.factors) {
            for (to, &code) in to.iter_mut().zip(codes) {
                let product = factor * f32::from(code);
                *to = self.offset.map_or(product, |offset| product + offset);
            }
        }
    }
}

/// All numbers of whole blocks.
pub fn dequantize(dtype: DType, blocks: &[u8]) -> Vec<f32> {
    let (elements, bytes) = dtype.block();
    let mut numbers = vec![[0.0; GROUP]; blocks.len() / bytes * elements / GROUP];
    for (group, to) in numbers.iter_mut().enumerate() {
        Group::of(dtype, blocks, group).numbers(to);
    }
    numbers.into_flattened()
}

#[inline(always)]
fn factor(block: &[u8], at: usize) -> f32 {
    widened(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// What the bits of an `f16` stand for, by arithmetic alone: a conversion that first asks for the processor's instruction costs as much as the
/// numbers of a block.
#[inline(always)]
fn widened(bits: u16) -> f32 {
    const EXPONENT: u16 = 0x7c00;
    // 2^(127 - 15): the difference of the exponents' biases. Subnormal numbers become what they are, too.
    const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    // The sign is copied into the three bits that the wider exponent has more, which are taken away again.
    let wide = i32::from(bits.cast_signed()).cast_unsigned() << 13 & 0x8fff_ffff;
    if bits & EXPONENT == EXPONENT {
        f32::from_bits(wide | 0x7f80_0000)
    } else {
        f32::from_bits(wide) * SCALE
    }
}

/// A factor and 32 signed numbers.
#[inline(always)]
fn q8_0(block: &[u8]) -> Group {
    let mut codes = [0; GROUP];
    for (code, q) in codes.iter_mut().zip(&block[2..]) {
        *code = q.cast_signed();
    }
    Group { codes, factors: [factor(block, 0); 2], offset: None }
}

/// A factor and 32 numbers of 4 bits, 8 more than they stand for: the first half in the lower bits of 16 bytes, the second in
/// the upper ones.
#[inline(always)]
fn q4_0(block: &[u8]) -> Group {
    Group { codes: nibbles(&block[2..], 8), factors: [factor(block, 0); 2], offset: None }
}

/// A factor, an offset and 32 numbers of 4 bits, laid out as in Q4_0.
#[inline(always)]
fn q4_1(block: &[u8]) -> Group {
    Group { codes: nibbles(&block[4..], 0), factors: [factor(block, 0); 2], offset: Some(factor(block, 2)) }
}

/// The lower halves of 16 bytes and the upper ones behind them, less so much.
#[inline(always)]
fn nibbles(bytes: &[u8], less: i8) -> [i8; GROUP] {
    let mut codes = [0; GROUP];
    let (low, high) = codes.split_at_mut(GROUP / 2);
    for ((low, high), q) in low.iter_mut().zip(high).zip(bytes) {
        *low = (q & 15).cast_signed() - less;
        *high = (q >> 4).cast_signed() - less;
    }
    codes
}

/// Two factors, scales and offsets of 6 bits per group, and numbers of 4 bits: of two groups in the lower and the upper bits of 32
/// bytes.
#[inline(always)]
fn q4_k(block: &[u8], group: usize) -> Group {
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
    let mut codes = [0; GROUP];
    for (code, q) in codes.iter_mut().zip(&block[16 + group / 2 * GROUP..]) {
        *code = (q >> shift & 15).cast_signed();
    }
    Group { codes, factors: [d; 2], offset: Some(-offset) }
}

/// A factor, a signed scale for every 16 numbers, and numbers of 6 bits, 32 more than they stand for: of four groups the lower
/// four bits in 64 bytes, the upper two in 32.
#[inline(always)]
fn q6_k(block: &[u8], group: usize) -> Group {
    let (half, quarter) = (group / 4, group % 4);
    let (lower, upper) = (&block[64 * half + quarter % 2 * GROUP..], &block[128 + GROUP * half..]);
    let (shift, upper_shift) = (quarter / 2 * 4, quarter * 2);
    let mut codes = [0; GROUP];
    for ((code, low), high) in codes.iter_mut().zip(lower).zip(upper) {
        *code = (low >> shift & 15 | (high >> upper_shift & 3) << 4).cast_signed() - 32;
    }
    let d = factor(block, 208);
    let factors = [0, 1].map(|i| d * f32::from(block[192 + 2 * group + i].cast_signed()));
    Group { codes, factors, offset: None }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::widened;

    #[test]
    fn every_f16_is_what_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (own, other) = (widened(bits), f16::from_bits(bits).to_f32());
            assert!(own.to_bits() == other.to_bits() || own.is_nan() && other.is_nan(), "{bits:#x}");
        }
    }
}
