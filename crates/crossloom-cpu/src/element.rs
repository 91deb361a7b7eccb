//! The float types of memory. Kernels compute in `f32`: an element is widened where it is loaded and rounded to
//! nearest, ties to even, where it is stored.

use std::ops::Range;

use half::bf16;

use crate::simd::{Simd, map1};

/// A float type that kernels read and write: `f32`, or `bf16`, whose upper half of an `f32` is all that is kept.
pub trait Element: lanes::Lanes + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// Whether memory holds `f32` as it is computed with.
    const WIDE: bool;
    /// The value as `f32`; exact.
    fn widen(self) -> f32;
    /// The nearest value, ties to even; a NaN stays a quiet NaN.
    fn round(x: f32) -> Self;
}

impl Element for f32 {
    const WIDE: bool = true;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn round(x: f32) -> Self {
        x
    }
}

impl Element for bf16 {
    const WIDE: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn round(x: f32) -> Self {
        Self::from_bits(narrow(x.to_bits()))
    }
}

/// The upper half of the bits of an `f32`, rounded; NaN is kept quiet.
#[inline(always)]
fn narrow(bits: u32) -> u16 {
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

/// Lanes of the widest register.
pub(crate) const MAX_LANES: usize = 16;

mod lanes {
    use super::Simd;

    /// Registers of an element type: how they are loaded and stored.
    pub trait Lanes: Copy {
        /// Loads one whole register.
        ///
        /// # Safety
        /// `p` is valid for reads of `S::F32_LANES` elements.
        unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::f32s;

        /// Stores one whole register.
        ///
        /// # Safety
        /// `p` is valid for writes of `S::F32_LANES` elements.
        unsafe fn store<S: Simd>(s: S, v: S::f32s, p: *mut Self);

        /// Loads at most one register; lanes past the end are zero.
        fn load_some<S: Simd>(s: S, x: &[Self]) -> S::f32s;

        /// Stores as many lanes as there is room for.
        fn store_some<S: Simd>(s: S, v: S::f32s, y: &mut [Self]);
    }
}
pub(crate) use lanes::Lanes;

impl Lanes for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(_: S, p: *const Self) -> S::f32s {
        // SAFETY: the caller promises that the register's worth of values is readable; the read is unaligned.
        unsafe { p.cast::<S::f32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(_: S, v: S::f32s, p: *mut Self) {
        // SAFETY: the caller promises that the register's worth of values is writable; the write is unaligned.
        unsafe { p.cast::<S::f32s>().write_unaligned(v) }
    }

    #[inline(always)]
    fn load_some<S: Simd>(s: S, x: &[Self]) -> S::f32s {
        s.partial_load_f32s(x)
    }

    #[inline(always)]
    fn store_some<S: Simd>(s: S, v: S::f32s, y: &mut [Self]) {
        s.partial_store_f32s(y, v);
    }
}

impl Lanes for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(_: S, p: *const Self) -> S::f32s {
        const { assert!(S::F32_LANES <= MAX_LANES) }
        // SAFETY: the caller promises `S::F32_LANES` readable elements, which is 8 for AVX2 and 16 for AVX-512; with the
        // token of a set in hand, the machine has it; both register types are the token's own.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            #[allow(clippy::wildcard_imports, reason = "intrinsics name themselves")]
            use std::arch::x86_64::*;
            if is::<S, pulp::x86::V4>() {
                let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                return std::mem::transmute_copy(&_mm512_slli_epi32::<16>(x));
            }
            if is::<S, pulp::x86::V3>() {
                let x = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                return std::mem::transmute_copy(&_mm256_slli_epi32::<16>(x));
            }
        }
        let mut wide = [0_f32; MAX_LANES];
        for (i, x) in wide.iter_mut().enumerate().take(S::F32_LANES) {
            // SAFETY: element `i` is readable by the caller's promise.
            *x = unsafe { *p.add(i) }.widen();
        }
        // SAFETY: the array is at least one register long.
        unsafe { wide.as_ptr().cast::<S::f32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(_: S, v: S::f32s, p: *mut Self) {
        const { assert!(S::F32_LANES <= MAX_LANES) }
        // SAFETY: as in `load`, for writing.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            #[allow(clippy::wildcard_imports, reason = "intrinsics name themselves")]
            use std::arch::x86_64::*;
            if is::<S, pulp::x86::V4>() {
                let x: __m512 = std::mem::transmute_copy(&v);
                let bits = _mm512_castps_si512(x);
                let half = _mm512_srli_epi32::<16>(bits);
                let odd = _mm512_and_si512(half, _mm512_set1_epi32(1));
                let up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                let quiet = _mm512_or_si512(half, _mm512_set1_epi32(0x40));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
                let y = _mm512_mask_blend_epi32(nan, _mm512_srli_epi32::<16>(up), quiet);
                _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(y));
                return;
            }
            if is::<S, pulp::x86::V3>() {
                let x: __m256 = std::mem::transmute_copy(&v);
                let bits = _mm256_castps_si256(x);
                let half = _mm256_srli_epi32::<16>(bits);
                let odd = _mm256_and_si256(half, _mm256_set1_epi32(1));
                let up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
                let quiet = _mm256_or_si256(half, _mm256_set1_epi32(0x40));
                let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
                let y = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(up), quiet, nan);
                // Both halves hold their four values in front; the quarters 0 and 2 are the result.
                let y = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(y, y));
                _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(y));
                return;
            }
        }
        let mut wide = [0_f32; MAX_LANES];
        // SAFETY: the array is at least one register long.
        unsafe { wide.as_mut_ptr().cast::<S::f32s>().write_unaligned(v) };
        for (i, x) in wide.iter().enumerate().take(S::F32_LANES) {
            // SAFETY: element `i` is writable by the caller's promise.
            unsafe { *p.add(i) = Self::round(*x) };
        }
    }

    #[inline(always)]
    fn load_some<S: Simd>(s: S, x: &[Self]) -> S::f32s {
        let mut whole = [Self::ZERO; MAX_LANES];
        let n = x.len().min(S::F32_LANES);
        whole[..n].copy_from_slice(&x[..n]);
        // SAFETY: the array is at least one register long.
        unsafe { Self::load(s, whole.as_ptr()) }
    }

    #[inline(always)]
    fn store_some<S: Simd>(s: S, v: S::f32s, y: &mut [Self]) {
        let mut whole = [Self::ZERO; MAX_LANES];
        // SAFETY: the array is at least one register long.
        unsafe { Self::store(s, v, whole.as_mut_ptr()) };
        let n = y.len().min(S::F32_LANES);
        y[..n].copy_from_slice(&whole[..n]);
    }
}

/// Whether two types are one; known when the code is compiled.
#[inline(always)]
pub(crate) fn is<T: 'static, U: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<U>()
}

/// Floats of either type, for operands of which a kernel reads little: biases and residuals of an epilogue.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// 4 bytes each.
    F32(&'a [f32]),
    /// 2 bytes each.
    Bf16(&'a [bf16]),
}

/// Floats of either type, for writing.
#[derive(Debug)]
pub enum FloatsMut<'a> {
    /// 4 bytes each.
    F32(&'a mut [f32]),
    /// 2 bytes each.
    Bf16(&'a mut [bf16]),
}

/// What slices of either type share, whether for reading or for writing.
macro_rules! either {
    ($floats:ident $($mutable:tt)?) => {
        impl $floats<'_> {
            /// The number of values.
            pub fn len(&self) -> usize {
                match self {
                    Self::F32(x) => x.len(),
                    Self::Bf16(x) => x.len(),
                }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether they are narrower than `f32`.
            pub fn is_narrow(&self) -> bool {
                matches!(self, Self::Bf16(_))
            }
        }

        impl<'a> From<&'a $($mutable)? [f32]> for $floats<'a> {
            fn from(x: &'a $($mutable)? [f32]) -> Self {
                Self::F32(x)
            }
        }

        impl<'a> From<&'a $($mutable)? [bf16]> for $floats<'a> {
            fn from(x: &'a $($mutable)? [bf16]) -> Self {
                Self::Bf16(x)
            }
        }
    };
}
either!(Floats);
either!(FloatsMut mut);

impl<'a> Floats<'a> {
    /// One value.
    #[inline(always)]
    pub(crate) fn at(self, i: usize) -> f32 {
        match self {
            Self::F32(x) => x[i],
            Self::Bf16(x) => x[i].widen(),
        }
    }

    /// The values of a range: where they lie, or widened into `room`, which holds as many.
    #[inline(always)]
    pub(crate) fn widened<'r, S: Simd>(self, s: S, range: Range<usize>, room: &'r mut [f32]) -> &'r [f32]
    where
        'a: 'r,
    {
        match self {
            Self::F32(x) => &x[range],
            Self::Bf16(x) => {
                let room = &mut room[..range.len()];
                map1!(s, &x[range], &mut room[..], |x| x);
                room
            }
        }
    }
}

impl<'a> FloatsMut<'a> {
    /// Writes one value.
    #[inline(always)]
    pub(crate) fn set(&mut self, i: usize, x: f32) {
        match self {
            Self::F32(y) => y[i] = x,
            Self::Bf16(y) => y[i] = Element::round(x),
        }
    }

    /// Where sums of so many values are made: in the result itself, or in `room`, to be rounded by [`rounded`].
    #[inline(always)]
    pub(crate) fn sums<'r>(self, room: &'r mut [f32]) -> (&'r mut [f32], Option<&'a mut [bf16]>)
    where
        'a: 'r,
    {
        match self {
            Self::F32(y) => (y, None),
            Self::Bf16(y) => (&mut room[..y.len()], Some(y)),
        }
    }
}

/// Writes finished sums to a narrow result, see [`FloatsMut::sums`].
#[inline(always)]
pub(crate) fn rounded<S: Simd>(s: S, sums: &[f32], narrow: Option<&mut [bf16]>) {
    if let Some(narrow) = narrow {
        map1!(s, sums, narrow, |x| x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::convert;
    use crate::kernels::testing::on_each_isa;

    /// Every pattern class: all halves with the lower bits below, at and above a tie.
    fn patterns() -> Vec<f32> {
        (0..=u16::MAX)
            .flat_map(|high| {
                [0_u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff]
                    .map(|low| f32::from_bits(u32::from(high) << 16 | low))
            })
            .collect()
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_nan() {
        let x = patterns();
        let want: Vec<u16> = x.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
        on_each_isa(|| {
            for cut in [0, 1, 7] {
                let x = &x[cut..];
                let mut y = vec![bf16::ZERO; x.len()];
                convert(x, &mut y).unwrap_or_else(|e| panic!("{e}"));
                assert!(y.iter().map(|y| y.to_bits()).eq(want[cut..].iter().copied()));
            }
        });
    }

    #[test]
    fn widening_is_exact() {
        let x: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        on_each_isa(|| {
            let mut y = vec![0_f32; x.len()];
            convert(&x, &mut y).unwrap_or_else(|e| panic!("{e}"));
            assert!(y.iter().zip(&x).all(|(y, x)| y.to_bits() == u32::from(x.to_bits()) << 16));
        });
    }
}
