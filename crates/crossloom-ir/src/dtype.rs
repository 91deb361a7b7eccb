//! Element types.
//!
//! What a type means to a computation: operands are widened, the op computes in `f32` (in `f64` in the oracle), and the
//! result is rounded to its own type, to nearest, ties to even: [`DType::round`]. The block-quantized types hold weights:
//! a product with one is the product with the numbers that its blocks stand for.

use std::fmt;

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// The upper half of an `f32`: 8 bits of exponent, 7 of fraction.
    Bf16,
    /// 16-bit IEEE float: 5 bits of exponent, 10 of fraction.
    F16,
    /// 32-bit signed integer: token ids, positions, indices, segment numbers.
    I32,
    /// 8-bit unsigned integer: pixels.
    U8,
    /// Blocks of 32: an `f16` scale and 8-bit numbers.
    Q8_0,
    /// Blocks of 32: an `f16` scale and 4-bit numbers.
    Q4_0,
    /// Blocks of 32: an `f16` scale, an `f16` offset and 4-bit numbers.
    Q4_1,
    /// Blocks of 256: two `f16` factors, 6-bit scales and offsets of 8 sub-blocks, 4-bit numbers.
    Q4K,
    /// Blocks of 256: an `f16` factor, 8-bit scales of 16 sub-blocks, 6-bit numbers.
    Q6K,
}

impl DType {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::Bf16,
        Self::F16,
        Self::I32,
        Self::U8,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q4K,
        Self::Q6K,
    ];

    /// Elements and bytes of a block, the smallest piece of memory that can be addressed; one element for the types that
    /// are not quantized.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 | Self::I32 => (1, 4),
            Self::Bf16 | Self::F16 => (1, 2),
            Self::U8 => (1, 1),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q4K => (256, 144),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of that many elements in a row; elements that do not fill a block take a whole one.
    pub const fn bytes_of(self, elements: usize) -> usize {
        let (block, bytes) = self.block();
        elements.div_ceil(block) * bytes
    }

    /// Whether it is a floating-point type, of any width.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::Bf16 | Self::F16)
    }

    /// Whether it holds whole numbers.
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::I32 | Self::U8)
    }

    /// Whether it is a block-quantized weight format.
    pub const fn is_quantized(self) -> bool {
        !self.is_float() && !self.is_integer()
    }

    /// The printed name, such as `bf16` or `q4_k`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::I32 => "i32",
            Self::U8 => "u8",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q4K => "q4_k",
            Self::Q6K => "q6_k",
        }
    }

    /// The type of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The number of a 16-bit float type that is nearest to `x`, ties to even; beyond the largest, infinity. Numbers of
    /// all other types are returned as they are: `f32` is the type of the arithmetic, whole numbers are exact, and
    /// quantized types are never results.
    pub fn round(self, x: f64) -> f64 {
        match self {
            Self::Bf16 => f64::from(half::bf16::from_f32(to_odd(x)).to_f32()),
            Self::F16 => f64::from(half::f16::from_f32(to_odd(x)).to_f32()),
            _ => x,
        }
    }
}

/// The `f32` that rounds to the same 16-bit float as `x`: cut off towards zero, with the last bit set if anything was
/// lost. Rounding to the nearest `f32` first could make a tie out of what is none.
fn to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let exact = f64::from(nearest);
    if exact == x || nearest.is_nan() {
        return nearest;
    }
    let bits = nearest.to_bits();
    // The magnitude lies in all bits but the sign, so one less is the next number towards zero.
    let towards_zero = if exact.abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(towards_zero | 1)
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_formats() {
        let sizes = DType::ALL.map(|dtype| (dtype.name(), dtype.bytes_of(512)));
        let expected = [
            ("f32", 2048),
            ("bf16", 1024),
            ("f16", 1024),
            ("i32", 2048),
            ("u8", 512),
            ("q8_0", 16 * 34),
            ("q4_0", 16 * 18),
            ("q4_1", 16 * 20),
            ("q4_k", 2 * 144),
            ("q6_k", 2 * 210),
        ];
        assert_eq!(sizes, expected);
        assert_eq!(DType::Q4_0.bytes_of(33), 36);
        assert_eq!(DType::Q4K.bytes_of(0), 0);
        for dtype in DType::ALL {
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
            let classes = [dtype.is_float(), dtype.is_integer(), dtype.is_quantized()];
            assert_eq!(classes.iter().filter(|&&class| class).count(), 1, "{dtype}");
        }
        assert_eq!(DType::from_name("q4"), None);
    }

    #[test]
    fn numbers_are_rounded_once() {
        let ulp = 2.0_f64.powi(-7);
        // A tie goes to the even neighbour, and a hair more or less does not, be it far below an f32's last bit.
        assert_eq!(DType::Bf16.round(1.0 + ulp / 2.0), 1.0);
        assert_eq!(DType::Bf16.round(1.0 + 3.0 * ulp / 2.0), 1.0 + 2.0 * ulp);
        for hair in [2.0_f64.powi(-30), 2.0_f64.powi(-50)] {
            assert_eq!(DType::Bf16.round(1.0 + ulp / 2.0 + hair), 1.0 + ulp);
            assert_eq!(DType::Bf16.round(1.0 + 3.0 * ulp / 2.0 - hair), 1.0 + ulp);
            assert_eq!(DType::Bf16.round(-1.0 - ulp / 2.0 - hair), -1.0 - ulp);
        }
        assert_eq!(DType::F16.round(1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-50)), 1.0 + 2.0_f64.powi(-10));
        // Subnormals, overflow, and what is no number.
        assert_eq!(DType::F16.round(2.0_f64.powi(-24) * 1.5), 2.0_f64.powi(-23));
        assert_eq!(DType::F16.round(2.0_f64.powi(-25)), 0.0);
        assert_eq!(DType::F16.round(65519.0), 65504.0);
        assert_eq!(DType::F16.round(65520.0), f64::INFINITY);
        assert_eq!(DType::Bf16.round(3.4e38), f64::INFINITY);
        assert_eq!(DType::Bf16.round(-1e300), f64::NEG_INFINITY);
        assert_eq!(DType::Bf16.round(1e-60), 0.0);
        assert!(DType::Bf16.round(f64::NAN).is_nan());
        assert!(DType::Bf16.round(-0.0).is_sign_negative());
        assert_eq!(DType::F32.round(0.1), 0.1);
    }
}
