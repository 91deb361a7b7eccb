//! Products on the processor, in plain loops: what stands for the library where there is no GPU.

use crossloom_ir::DType;
use crossloom_ir::op::Activation;

use super::{Operands, Product};

/// Numbers in memory, of a type that is known when they are read.
#[derive(Clone, Copy)]
struct Numbers {
    start: *mut u8,
    dtype: DType,
}

impl Numbers {
    /// # Safety
    /// There is an element of that number, initialised.
    unsafe fn get(self, at: usize) -> f32 {
        // SAFETY: the caller says that it is there; `f32` and `u16` have no invalid bits.
        unsafe {
            match self.dtype {
                DType::Bf16 => {
                    f32::from_bits(u32::from(self.start.add(2 * at).cast::<u16>().read_unaligned()) << 16)
                }
                _ => self.start.add(4 * at).cast::<f32>().read_unaligned(),
            }
        }
    }

    /// # Safety
    /// There is room for an element of that number.
    unsafe fn set(self, at: usize, value: f32) {
        // SAFETY: the caller says so.
        unsafe {
            match self.dtype {
                DType::Bf16 => self.start.add(2 * at).cast::<u16>().write_unaligned(to_bf16(value)),
                _ => self.start.add(4 * at).cast::<f32>().write_unaligned(value),
            }
        }
    }
}

/// The 16 bits nearest to a number, the even ones of two; what is no number stays none.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The nearest number with 10 bits behind the point.
fn to_tf32(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let bits = value.to_bits();
    f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff)
}

impl Product {
    /// Computes it, every sum in `f32` from the first `k` to the last.
    ///
    /// # Safety
    /// The places are those of whole matrices of the product's shapes and types, initialised where they are read; results are apart from
    /// operands, but that the result may be where the residual is.
    pub(crate) unsafe fn compute(&self, at: &Operands<*mut u8>) {
        let Self { batch, m, n, k, operands, result, .. } = *self;
        let of = |start: *mut u8, dtype| Numbers { start, dtype };
        let (a, b) = (of(at.a, operands), of(at.b, operands));
        let rest = |place: Option<*mut u8>| place.map(|start| of(start, result));
        let (bias, residual, before) = (rest(at.bias), rest(at.residual), rest(at.before));
        let sums = at.sums.map(|start| of(start, DType::F32));
        let rounded = |x: f32| if self.tf32 { to_tf32(x) } else { x };
        for (pair, i) in (0..batch).flat_map(|pair| (0..m).map(move |i| (pair, i))) {
            if let Some(sums) = sums {
                let in_a = |l: usize| if self.transpose_a { l * m + i } else { i * k + l };
                // SAFETY: as below; one sum per row.
                unsafe { sums.set(i, (0..k).map(|l| a.get(in_a(l))).sum()) };
            }
            for j in 0..n {
                let mut sum = 0.0_f32;
                for l in 0..k {
                    let in_a = if self.transpose_a { l * m + i } else { i * k + l };
                    let in_b = if self.transpose_b { j * k + l } else { l * n + j };
                    // SAFETY: the places within a pair of matrices are below their sizes, and the caller says that these are there.
                    let (x, y) = unsafe { (a.get(pair * m * k + in_a), b.get(pair * k * n + in_b)) };
                    sum += rounded(x) * rounded(y);
                }
                let place = (pair * m + i) * n + j;
                // SAFETY: as above; each element of the results is written once, after the residual was read there.
                unsafe {
                    sum += bias.map_or(0.0, |bias| bias.get(j));
                    match before {
                        Some(before) if self.gelu_slope => {
                            sum *= Activation::GeluTanh.derivative(f64::from(before.get(place))) as f32;
                        }
                        Some(before) => before.set(place, sum),
                        None => {}
                    }
                    if self.gelu {
                        sum = Activation::GeluTanh.value(f64::from(sum)) as f32;
                    }
                    sum += residual.map_or(0.0, |residual| residual.get(place));
                    of(at.result, result).set(place, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_even_ones() {
        let tf32 = |x: f32| to_tf32(x).to_bits();
        assert_eq!(tf32(1.0 + 1.0 / 2048.0), 1.0_f32.to_bits());
        assert_eq!(tf32(1.0 + 3.0 / 2048.0), (1.0_f32 + 4.0 / 2048.0).to_bits());
        assert_eq!(tf32(-1.0 - 1.1 / 2048.0), (-1.0_f32 - 2.0 / 2048.0).to_bits());
        assert!(to_tf32(f32::NAN).is_nan() && to_tf32(f32::INFINITY) == f32::INFINITY);
        for value in [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -3.3, 1e-30, f32::INFINITY, -0.0] {
            assert_eq!(to_bf16(value), half::bf16::from_f32(value).to_bits(), "{value}");
        }
        assert!(f32::from_bits(u32::from(to_bf16(f32::NAN)) << 16).is_nan());
    }
}
