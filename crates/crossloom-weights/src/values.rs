//! The values of a tensor, whatever type its file has them in.

use crossloom_ir::DType;
use crossloom_ir::quantized::dequantize;
use half::{bf16, f16};

/// Values that are looked through at once.
const CHUNK: usize = 1 << 16;

/// The types whose values can be read.
pub(crate) const FLOATS_AND_BLOCKS: [DType; 8] =
    [DType::F32, DType::Bf16, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_1, DType::Q4K, DType::Q6K];

/// The values of little-endian floats, or of quantized blocks, as `f32`, exactly.
///
/// # Errors
/// The type is a whole number's.
pub fn to_f32(dtype: DType, bytes: &[u8]) -> Result<Vec<f32>, String> {
    Ok(match dtype {
        DType::F32 => words(bytes).map(f32::from_le_bytes).collect(),
        DType::Bf16 => words(bytes).map(|word| bf16::from_le_bytes(word).to_f32()).collect(),
        DType::F16 => words(bytes).map(|word| f16::from_le_bytes(word).to_f32()).collect(),
        dtype if dtype.is_quantized() => dequantize(dtype, bytes),
        other => return Err(format!("has elements of type {other}, which are no floats")),
    })
}

/// The values as little-endian floats of another type, rounded to nearest even.
///
/// # Errors
/// The first type is a whole number's, or the second one no float.
pub fn converted(from: DType, bytes: &[u8], to: DType) -> Result<Vec<u8>, String> {
    let values = to_f32(from, bytes)?;
    Ok(match to {
        DType::F32 => values.into_iter().flat_map(f32::to_le_bytes).collect(),
        DType::Bf16 => values.into_iter().flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        DType::F16 => values.into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        other => return Err(format!("cannot be converted to {other}")),
    })
}

/// The place of the first value that is not finite. Whole numbers have none.
pub fn first_non_finite(dtype: DType, bytes: &[u8]) -> Option<usize> {
    match dtype {
        DType::F32 => find(bytes, |word: [u8; 4]| u32::from_le_bytes(word) & 0x7f80_0000 == 0x7f80_0000),
        DType::Bf16 => find(bytes, |word: [u8; 2]| u16::from_le_bytes(word) & 0x7f80 == 0x7f80),
        DType::F16 => find(bytes, |word: [u8; 2]| u16::from_le_bytes(word) & 0x7c00 == 0x7c00),
        dtype if dtype.is_quantized() => {
            let (elements, size) = dtype.block();
            let mut chunks = bytes.chunks(CHUNK / elements * size).enumerate();
            chunks.find_map(|(number, chunk)| {
                let place = dequantize(dtype, chunk).iter().position(|value| !value.is_finite())?;
                Some(number * CHUNK + place)
            })
        }
        _ => None,
    }
}

/// The first element that is one of those. Whole chunks are asked first, without a way out, which compiles to wide loads.
fn find<const N: usize>(bytes: &[u8], is: impl Fn([u8; N]) -> bool) -> Option<usize> {
    let mut chunks = bytes.chunks(CHUNK * N).enumerate();
    chunks.find_map(|(number, chunk)| {
        let any = words(chunk).fold(false, |any, word| any | is(word));
        if any { words(chunk).position(&is).map(|place| number * CHUNK + place) } else { None }
    })
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_that_is_not_finite_is_found_in_every_float_type() {
        let mut values = vec![1.0_f32; 2 * CHUNK + 7];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            values[CHUNK + 3] = bad;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            for dtype in [DType::F32, DType::Bf16, DType::F16] {
                let converted = converted(DType::F32, &bytes, dtype).unwrap();
                assert_eq!(first_non_finite(dtype, &converted), Some(CHUNK + 3), "{dtype} {bad}");
            }
        }
        let largest: Vec<u8> = [f32::MAX, f32::MIN, f32::MIN_POSITIVE].map(f32::to_le_bytes).concat();
        assert_eq!(first_non_finite(DType::F32, &largest), None);
    }

    #[test]
    fn a_factor_that_is_not_finite_spoils_its_block() {
        let mut bytes = vec![1_u8; 34 * (CHUNK / 32 + 4)];
        assert_eq!(first_non_finite(DType::Q8_0, &bytes), None);
        let block = CHUNK / 32 + 2;
        bytes[block * 34..block * 34 + 2].copy_from_slice(&f16::INFINITY.to_le_bytes());
        assert_eq!(first_non_finite(DType::Q8_0, &bytes), Some(block * 32));
        assert!(to_f32(DType::Q8_0, &bytes).unwrap()[block * 32].is_infinite());
    }

    #[test]
    fn sixteen_bits_widen_exactly_and_come_back() {
        for dtype in [DType::Bf16, DType::F16] {
            let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let finite: Vec<u8> = bytes
                .chunks(2)
                .filter(|word| first_non_finite(dtype, word).is_none())
                .flatten()
                .copied()
                .collect();
            let wide = converted(dtype, &finite, DType::F32).unwrap();
            assert_eq!(converted(DType::F32, &wide, dtype).unwrap(), finite);
        }
        assert!(to_f32(DType::I32, &[0; 4]).is_err());
    }
}
