//! Blocks of a factor, perhaps an offset, and 32 numbers of eight or four bits, as columns of a panel. What is turned are their words, of four
//! numbers or of eight, and a row of the panel is made of them at a time.

use crossloom_ir::DType;
use crossloom_ir::quantized::GROUP;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::super::pack::{PANEL, pack_columns};
use crate::simd::{Simd, Vf};

/// Words of a column that are turned at once.
const WORDS: usize = 8;
const WORD: usize = size_of::<u32>();

/// The highest bit of every byte.
const SIGNS: u32 = 0x8080_8080;

type Row = [f32; PANEL];

/// Whether blocks of this format are of that kind.
pub(super) fn suits(dtype: DType) -> bool {
    matches!(dtype, DType::Q8_0 | DType::Q4_0 | DType::Q4_1)
}

/// Packs rows `first_k ..` and columns `first_n ..`, whose blocks begin at `row`. Numbers are those of
/// [`dequantize_group`](crossloom_ir::quantized::dequantize_group), bit for bit.
#[inline(always)]
pub(super) fn pack<'a, S: Simd>(
    s: S,
    dtype: DType,
    row: impl Fn(usize) -> &'a [u8],
    k: [usize; 2],
    n: [usize; 2],
    dst: &mut [f32],
) {
    match dtype {
        DType::Q8_0 => pack_blocks::<S, 1, 8>(s, row, k, n, dst),
        DType::Q4_0 => pack_blocks::<S, 1, 4>(s, row, k, n, dst),
        _ => pack_blocks::<S, 2, 4>(s, row, k, n, dst),
    }
}

/// The same of blocks of so many halves, a factor and an offset, and words behind them: what is copied has a known length.
#[inline(always)]
fn pack_blocks<'a, S: Simd, const HALVES: usize, const OF_BLOCK: usize>(
    s: S,
    row: impl Fn(usize) -> &'a [u8],
    [first_k, depth]: [usize; 2],
    [first_n, cols]: [usize; 2],
    dst: &mut [f32],
) {
    let bytes = 2 * HALVES + WORD * OF_BLOCK;
    let at_once = WORDS / OF_BLOCK;
    let end = (first_k + depth) / GROUP;
    let mut groups = dst.chunks_exact_mut(GROUP * PANEL).take(depth / GROUP);
    let (mut columns, mut turned) = ([[0_u32; WORDS]; PANEL], [[0_u32; PANEL]; WORDS]);
    let mut heads = [[[f16::ZERO; PANEL]; 2]; 2];
    for group in (first_k / GROUP..end).step_by(at_once) {
        let there = at_once.min(end - group);
        for (j, words) in columns.iter_mut().enumerate().take(cols) {
            let blocks = row(first_n + j)[group * bytes..].chunks_exact(bytes).take(there);
            let words = words.as_chunks_mut::<OF_BLOCK>().0.iter_mut();
            for ((block, words), heads) in blocks.zip(words).zip(&mut heads) {
                let (halves, numbers) = block.split_at(2 * HALVES);
                for (word, bytes) in words.iter_mut().zip(numbers.as_chunks::<WORD>().0) {
                    // Signed bytes become what they are less 128.
                    *word = u32::from_le_bytes(*bytes) ^ if OF_BLOCK == WORDS { SIGNS } else { 0 };
                }
                for (to, bytes) in heads.iter_mut().zip(halves.as_chunks::<2>().0) {
                    to[j] = f16::from_le_bytes(*bytes);
                }
            }
        }
        // SAFETY: there are `PANEL` columns of as many words, and as many rows of `turned`; no value is computed, so that any bits may
        // pass as numbers.
        unsafe {
            let to: &mut [f32] = bytemuck::cast_slice_mut(turned.as_flattened_mut());
            pack_columns(s, columns.as_ptr().cast::<f32>(), WORDS, WORDS, PANEL, to);
        }
        for ((words, [factors, offsets]), panel) in
            turned.as_chunks::<OF_BLOCK>().0.iter().zip(&heads).take(there).zip(&mut groups)
        {
            let (mut d, mut offset) = ([0.0; PANEL], [0.0; PANEL]);
            factors.convert_to_f32_slice(&mut d);
            offsets.convert_to_f32_slice(&mut offset);
            let offset = (HALVES == 2).then_some(&offset);
            let rows = panel.as_chunks_mut::<PANEL>().0;
            for (q, words) in words.iter().enumerate() {
                for byte in 0..WORD {
                    let (at, shift) = (WORD * q + byte, 8 * byte as u32);
                    if OF_BLOCK == WORDS {
                        let bits = Bits { shift, mask: 255, less: 128 };
                        numbers(s, &mut rows[at], words, bits, &d, offset);
                    } else {
                        // The lower halves of bytes are the first half of a block.
                        let bits = Bits { shift, mask: 15, less: if HALVES == 2 { 0 } else { 8 } };
                        numbers(s, &mut rows[at], words, bits, &d, offset);
                        let bits = Bits { shift: shift + 4, ..bits };
                        numbers(s, &mut rows[at + GROUP / 2], words, bits, &d, offset);
                    }
                }
            }
        }
    }
}

/// Which bits of a word are a number, and by how much they are more than it.
#[derive(Clone, Copy)]
struct Bits {
    shift: u32,
    mask: u32,
    less: u32,
}

/// A row of the panel: of every column's word a number, times its factor, and its offset added where there is one.
#[inline(always)]
fn numbers<S: Simd>(
    s: S,
    to: &mut Row,
    words: &[u32; PANEL],
    bits: Bits,
    factors: &Row,
    offsets: Option<&Row>,
) {
    /// The bits of 2^23: a whole number below in their lower bits is that much more.
    const WHOLE: u32 = 0x4b00_0000;
    let (shift, mask, whole) = (s.splat_u32s(bits.shift), s.splat_u32s(bits.mask), s.splat_u32s(WHOLE));
    let less = Vf::splat(s, (f32::from_bits(WHOLE) as u32 + bits.less) as f32);
    let words: &[f32; PANEL] = bytemuck::cast_ref(words);
    let lanes = S::F32_LANES;
    for at in (0..PANEL).step_by(lanes) {
        let word = Vf::load(s, &words[at..at + lanes]);
        let bits = s.or_u32s(s.and_u32s(s.wrapping_dyn_shr_u32s(word.bits(), shift), mask), whole);
        let product = Vf::load(s, &factors[at..at + lanes]) * (Vf::from_bits(s, bits) - less);
        let number = match offsets {
            Some(offsets) => product + Vf::load(s, &offsets[at..at + lanes]),
            None => product,
        };
        number.store(&mut to[at..at + lanes]);
    }
}
