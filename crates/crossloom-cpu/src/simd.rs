//! A thin vector type over `pulp`: one `f32` register with operators, generic over the instruction set.
//!
//! Everything here is `#[inline(always)]`, because code is compiled with an instruction set only where it is inlined
//! into the function that enables that set. Closures and function pointers are not inlined for certain, and one that is
//! not runs some thirty times slower. So the loops here are macros, and **no vector code stands in a closure**.

use std::ops::{Add, Div, Mul, Neg, Sub};

pub(crate) use pulp::Simd;

use crate::element::{Element, MAX_LANES, is};

/// What to dispatch on, see [`crate::isa`].
#[inline]
pub(crate) fn arch() -> pulp::Arch {
    crate::isa::current().1
}

/// One register of `f32` lanes.
#[derive(Clone, Copy)]
pub(crate) struct Vf<S: Simd> {
    s: S,
    v: S::f32s,
}

/// A mask register with one bit or word per `f32` lane.
pub(crate) type Mask<S> = <S as Simd>::m32s;

impl<S: Simd> Vf<S> {
    /// Wraps a raw register.
    #[inline(always)]
    pub(crate) fn new(s: S, v: S::f32s) -> Self {
        Self { s, v }
    }

    /// All lanes equal to `x`.
    #[inline(always)]
    pub(crate) fn splat(s: S, x: f32) -> Self {
        Self { s, v: s.splat_f32s(x) }
    }

    /// All lanes zero.
    #[inline(always)]
    pub(crate) fn zero(s: S) -> Self {
        Self::splat(s, 0.0)
    }

    /// Loads at most one register from a slice; lanes past its end are zero.
    #[inline(always)]
    pub(crate) fn load<E: Element>(s: S, x: &[E]) -> Self {
        Self { s, v: E::load_some(s, x) }
    }

    /// Loads one whole register.
    ///
    /// # Safety
    /// `p` is valid for reads of `S::F32_LANES` values.
    #[inline(always)]
    pub(crate) unsafe fn load_ptr<E: Element>(s: S, p: *const E) -> Self {
        // SAFETY: the caller's promise is what the element type asks for.
        Self { s, v: unsafe { E::load(s, p) } }
    }

    /// Loads the first `n` lanes (all of them when `n` is at least the register's width), others zero.
    ///
    /// # Safety
    /// `p` is valid for reads of `min(n, S::F32_LANES)` values.
    #[inline(always)]
    pub(crate) unsafe fn load_first<E: Element>(s: S, p: *const E, n: usize) -> Self {
        if n >= S::F32_LANES {
            // SAFETY: a whole register is readable by the caller's promise.
            unsafe { Self::load_ptr(s, p) }
        } else {
            // SAFETY: the caller promises `n` readable values from `p`.
            Self::load(s, unsafe { std::slice::from_raw_parts(p, n) })
        }
    }

    /// Loads one whole register of whole numbers of 8 bits.
    ///
    /// # Safety
    /// `p` is valid for reads of `S::F32_LANES` numbers.
    #[inline(always)]
    pub(crate) unsafe fn whole(s: S, p: *const i8) -> Self {
        // SAFETY: as many numbers are readable as a register has lanes: 16 in AVX-512 and 8 in AVX2; with the token of a set in hand, the
        // machine has it; both register types are the token's own.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            #[allow(clippy::wildcard_imports, reason = "intrinsics name themselves")]
            use std::arch::x86_64::*;
            if is::<S, pulp::x86::V4>() {
                let x = _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()));
                return Self { s, v: std::mem::transmute_copy(&_mm512_cvtepi32_ps(x)) };
            }
            if is::<S, pulp::x86::V3>() {
                let x = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()));
                return Self { s, v: std::mem::transmute_copy(&_mm256_cvtepi32_ps(x)) };
            }
        }
        let mut wide = [0.0; MAX_LANES];
        for (i, x) in wide.iter_mut().enumerate().take(S::F32_LANES) {
            // SAFETY: number `i` is readable by the caller's promise.
            *x = f32::from(unsafe { *p.add(i) });
        }
        Self::load(s, &wide)
    }

    /// Stores one whole register.
    ///
    /// # Safety
    /// `p` is valid for writes of `S::F32_LANES` values.
    #[inline(always)]
    pub(crate) unsafe fn store_ptr<E: Element>(self, p: *mut E) {
        // SAFETY: the caller's promise is what the element type asks for.
        unsafe { E::store(self.s, self.v, p) }
    }

    /// Stores the first `n` lanes (all of them when `n` is at least the register's width).
    ///
    /// # Safety
    /// `p` is valid for writes of `min(n, S::F32_LANES)` values.
    #[inline(always)]
    pub(crate) unsafe fn store_first<E: Element>(self, p: *mut E, n: usize) {
        if n >= S::F32_LANES {
            // SAFETY: a whole register is writable by the caller's promise.
            unsafe { self.store_ptr(p) }
        } else {
            // SAFETY: the caller promises `n` writable values from `p`, not otherwise borrowed.
            self.store(unsafe { std::slice::from_raw_parts_mut(p, n) });
        }
    }

    /// Stores as many lanes as `y` has room for.
    #[inline(always)]
    pub(crate) fn store<E: Element>(self, y: &mut [E]) {
        E::store_some(self.s, self.v, y);
    }

    /// The raw register.
    #[inline(always)]
    pub(crate) fn raw(self) -> S::f32s {
        self.v
    }

    /// `self * b + c`, fused where the machine can.
    #[inline(always)]
    pub(crate) fn mul_add(self, b: Self, c: Self) -> Self {
        Self { s: self.s, v: self.s.mul_add_e_f32s(self.v, b.v, c.v) }
    }

    /// `c - self * b`, fused where the machine can.
    #[inline(always)]
    pub(crate) fn neg_mul_add(self, b: Self, c: Self) -> Self {
        (-self).mul_add(b, c)
    }

    /// Lane-wise maximum; of a NaN and a number either one, depending on the machine.
    #[inline(always)]
    pub(crate) fn max(self, b: Self) -> Self {
        Self { s: self.s, v: self.s.max_f32s(self.v, b.v) }
    }

    /// Lane-wise maximum; NaN where one is NaN.
    #[inline(always)]
    pub(crate) fn max_or_nan(self, b: Self) -> Self {
        self.max(b).or_nan(self, b)
    }

    /// Lane-wise minimum; NaN where one is NaN.
    #[inline(always)]
    pub(crate) fn min_or_nan(self, b: Self) -> Self {
        Self { s: self.s, v: self.s.min_f32s(self.v, b.v) }.or_nan(self, b)
    }

    /// `a` or `b` where that is NaN, else `self`.
    #[inline(always)]
    fn or_nan(self, a: Self, b: Self) -> Self {
        self.select(a.eq(a), a).select(b.eq(b), b)
    }

    /// Square root.
    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self { s: self.s, v: self.s.sqrt_f32s(self.v) }
    }

    /// Absolute value.
    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        Self { s: self.s, v: self.s.abs_f32s(self.v) }
    }

    /// Sum of all lanes, in the register's fixed tree order.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        self.s.reduce_sum_f32s(self.v)
    }

    /// Largest lane; what it is among NaN depends on the machine.
    #[inline(always)]
    pub(crate) fn reduce_max(self) -> f32 {
        self.s.reduce_max_f32s(self.v)
    }

    /// Lanes where `self < b`.
    #[inline(always)]
    pub(crate) fn lt(self, b: Self) -> Mask<S> {
        self.s.less_than_f32s(self.v, b.v)
    }

    /// Lanes where `self == b`.
    #[inline(always)]
    pub(crate) fn eq(self, b: Self) -> Mask<S> {
        self.s.equal_f32s(self.v, b.v)
    }

    /// `mask ? self : other`, lane by lane.
    #[inline(always)]
    pub(crate) fn select(self, mask: Mask<S>, other: Self) -> Self {
        Self { s: self.s, v: self.s.select_f32s(mask, self.v, other.v) }
    }

    /// The bit pattern.
    #[inline(always)]
    pub(crate) fn bits(self) -> S::u32s {
        self.s.transmute_u32s_f32s(self.v)
    }

    /// From a bit pattern.
    #[inline(always)]
    pub(crate) fn from_bits(s: S, bits: S::u32s) -> Self {
        Self { s, v: s.transmute_f32s_u32s(bits) }
    }

    /// The instruction set this register belongs to.
    #[inline(always)]
    pub(crate) fn simd(self) -> S {
        self.s
    }
}

impl<S: Simd> Add for Vf<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self { s: self.s, v: self.s.add_f32s(self.v, b.v) }
    }
}

impl<S: Simd> Sub for Vf<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self { s: self.s, v: self.s.sub_f32s(self.v, b.v) }
    }
}

impl<S: Simd> Mul for Vf<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self { s: self.s, v: self.s.mul_f32s(self.v, b.v) }
    }
}

impl<S: Simd> Div for Vf<S> {
    type Output = Self;
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        Self { s: self.s, v: self.s.div_f32s(self.v, b.v) }
    }
}

impl<S: Simd> Neg for Vf<S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self { s: self.s, v: self.s.neg_f32s(self.v) }
    }
}

/// `lanes!(s, n, [x, ..], to, |x, ..| f)`: `to[i] = f(x[i], ..)` for `n` elements, register by register. To be used in
/// `unsafe` code: all pointers are valid for `n` elements; `to` may be one of them exactly, as each element is read before
/// its place is written.
macro_rules! lanes {
    ($s:expr, $n:expr, [$($p:expr),+], $to:expr, |$($a:ident),+| $f:expr) => {{
        let (s, n, to) = ($s, $n, $to);
        let lanes = crate::simd::width(s);
        let whole = n / lanes * lanes;
        let mut i = 0;
        while i < whole {
            let y = {
                $(let $a = crate::simd::Vf::load_ptr(s, $p.add(i));)+
                $f
            };
            y.store_ptr(to.add(i));
            i += lanes;
        }
        if i < n {
            let y = {
                $(let $a = crate::simd::Vf::load_first(s, $p.add(i), n - i);)+
                $f
            };
            y.store_first(to.add(i), n - i);
        }
    }};
}
pub(crate) use lanes;

/// Lanes of a register.
#[inline(always)]
pub(crate) fn width<S: Simd>(_: S) -> usize {
    S::F32_LANES
}

/// `map1!(s, x, y, |x| f)`: `y[i] = f(x[i])`, register by register, over the shorter length, for elements of any types.
/// The function is written as a closure or named by its path, and is expanded in place.
macro_rules! map1 {
    ($s:expr, $x:expr, $y:expr, $(#[$meta:meta])? |$a:ident| $f:expr $(,)?) => {{
        let (x, y): (&[_], &mut [_]) = ($x, $y);
        let n = x.len().min(y.len());
        let (x, y) = (x.as_ptr(), y.as_mut_ptr());
        // SAFETY: both slices hold `n` elements.
        unsafe { crate::simd::lanes!($s, n, [x], y, |$a| $f) }
    }};
    ($s:expr, $x:expr, $y:expr, $f:path $(,)?) => {
        crate::simd::map1!($s, $x, $y, |x| $f(x))
    };
}
pub(crate) use map1;

/// `update0!(s, y, |y| f)`: `y[i] = f(y[i])`; as [`map1`].
macro_rules! update0 {
    ($s:expr, $y:expr, $(#[$meta:meta])? |$b:ident| $f:expr $(,)?) => {{
        let y: &mut [_] = $y;
        let (n, y) = (y.len(), y.as_mut_ptr());
        // SAFETY: the slice holds `n` elements.
        unsafe { crate::simd::lanes!($s, n, [y.cast_const()], y, |$b| $f) }
    }};
    ($s:expr, $y:expr, $f:path $(,)?) => {
        crate::simd::update0!($s, $y, |y| $f(y))
    };
}
pub(crate) use update0;

/// `update1!(s, a, y, |a, y| f)`: `y[i] = f(a[i], y[i])`; as [`map1`].
macro_rules! update1 {
    ($s:expr, $x:expr, $y:expr, $(#[$meta:meta])? |$a:ident, $b:ident| $f:expr $(,)?) => {{
        let (x, y): (&[_], &mut [_]) = ($x, $y);
        let n = x.len().min(y.len());
        let (x, y) = (x.as_ptr(), y.as_mut_ptr());
        // SAFETY: both slices hold `n` elements.
        unsafe { crate::simd::lanes!($s, n, [x, y.cast_const()], y, |$a, $b| $f) }
    }};
}
pub(crate) use update1;

/// `map2!(s, a, b, y, |a, b| f)`: `y[i] = f(a[i], b[i])`; as [`map1`].
macro_rules! map2 {
    ($s:expr, $x:expr, $z:expr, $y:expr, $(#[$meta:meta])? |$a:ident, $b:ident| $f:expr $(,)?) => {{
        let (x, z, y): (&[_], &[_], &mut [_]) = ($x, $z, $y);
        let n = x.len().min(z.len()).min(y.len());
        let (x, z, y) = (x.as_ptr(), z.as_ptr(), y.as_mut_ptr());
        // SAFETY: all slices hold `n` elements.
        unsafe { crate::simd::lanes!($s, n, [x, z], y, |$a, $b| $f) }
    }};
    ($s:expr, $x:expr, $z:expr, $y:expr, $f:path $(,)?) => {
        crate::simd::map2!($s, $x, $z, $y, |x, z| $f(x, z))
    };
}
pub(crate) use map2;

/// Dot product with four independent accumulators; the order of the sum depends on the length alone.
#[inline(always)]
pub(crate) fn dot<S: Simd, A: Element, B: Element>(s: S, a: &[A], b: &[B]) -> f32 {
    let (lanes, n) = (S::F32_LANES, a.len().min(b.len()));
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut acc = [Vf::zero(s); 4];
    let mut i = 0;
    // SAFETY: every register starts at `i` and ends at or before `n`, to where both slices reach.
    unsafe {
        while i + 4 * lanes <= n {
            for (l, acc) in acc.iter_mut().enumerate() {
                let at = i + l * lanes;
                *acc = Vf::load_ptr(s, a.add(at)).mul_add(Vf::load_ptr(s, b.add(at)), *acc);
            }
            i += 4 * lanes;
        }
        while i + lanes <= n {
            acc[0] = Vf::load_ptr(s, a.add(i)).mul_add(Vf::load_ptr(s, b.add(i)), acc[0]);
            i += lanes;
        }
        if i < n {
            acc[1] = Vf::load_first(s, a.add(i), n - i).mul_add(Vf::load_first(s, b.add(i), n - i), acc[1]);
        }
    }
    ((acc[0] + acc[1]) + (acc[2] + acc[3])).sum()
}

/// Sum of a slice with four independent accumulators; the order depends on the length alone.
#[inline(always)]
pub(crate) fn sum<S: Simd, A: Element>(s: S, a: &[A]) -> f32 {
    let (lanes, n) = (S::F32_LANES, a.len());
    let a = a.as_ptr();
    let mut acc = [Vf::zero(s); 4];
    let mut i = 0;
    // SAFETY: every register starts at `i` and ends at or before `n`, to where the slice reaches.
    unsafe {
        while i + 4 * lanes <= n {
            for (l, acc) in acc.iter_mut().enumerate() {
                *acc = *acc + Vf::load_ptr(s, a.add(i + l * lanes));
            }
            i += 4 * lanes;
        }
        while i + lanes <= n {
            acc[0] = acc[0] + Vf::load_ptr(s, a.add(i));
            i += lanes;
        }
        if i < n {
            acc[1] = acc[1] + Vf::load_first(s, a.add(i), n - i);
        }
    }
    ((acc[0] + acc[1]) + (acc[2] + acc[3])).sum()
}

/// Largest value of a slice; negative infinity where it is empty.
///
/// NaN may be dropped, and with it what was larger before it. This serves softmax, which subtracts the result from every
/// value of the slice and sums the exponentials: a NaN among them is met again there, and makes the whole row NaN, which
/// is what a NaN in a row is to give.
#[inline(always)]
pub(crate) fn max<S: Simd>(s: S, a: &[f32]) -> f32 {
    let (av, at) = S::as_simd_f32s(a);
    let mut best = Vf::splat(s, f32::NEG_INFINITY);
    for a in av {
        best = best.max(Vf::new(s, *a));
    }
    at.iter().fold(best.reduce_max(), |m, x| m.max(*x))
}

/// Defines a function that picks the instruction set at run time and calls a generic body with it.
///
/// `dispatch!(fn name(a: A, b: B) -> R = body)` makes `name`, which calls `body(simd, a, b)`. Type parameters, as in
/// `fn name<E>(..)`, are element types.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($g:ident),+>)? ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        #[inline]
        $vis fn $name $(<$($g: crate::element::Element),+>)? ($($arg: $ty),*) $(-> $ret)? {
            struct Op<T>(T);
            impl $(<$($g: crate::element::Element),+>)? pulp::WithSimd for Op<($($ty,)*)> {
                type Output = crate::simd::dispatch!(@ret $($ret)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, simd: S) -> Self::Output {
                    let ($($arg,)*) = self.0;
                    $body(simd, $($arg),*)
                }
            }
            crate::simd::arch().dispatch(Op(($($arg,)*)))
        }
    };
    (@ret) => { () };
    (@ret $ret:ty) => { $ret };
}
pub(crate) use dispatch;
