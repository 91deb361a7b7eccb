//! A thin vector type over `pulp`: one `f32` register with operators, generic over the instruction set.
//!
//! Everything here is `#[inline(always)]`, because code is compiled with an instruction set only where it is inlined
//! into the function that enables that set. Closures and function pointers are not inlined for certain, and one that is
//! not runs some thirty times slower. So the loops here are macros, and **no vector code stands in a closure**.

use std::ops::{Add, Div, Mul, Neg, Sub};

pub(crate) use pulp::Simd;

/// The instruction set to use: the widest that the machine has, or a narrower one that the environment variable
/// `CROSSLOOM_ISA` asks for (`avx2`, `plain`; read once). Results differ in the last bits between them.
#[inline]
pub(crate) fn arch() -> pulp::Arch {
    static ARCH: std::sync::OnceLock<pulp::Arch> = std::sync::OnceLock::new();
    *ARCH.get_or_init(choose)
}

/// Reads the wish and the machine.
#[cold]
fn choose() -> pulp::Arch {
    match std::env::var("CROSSLOOM_ISA").as_deref() {
        Ok("plain") => pulp::Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(pulp::Arch::Scalar, pulp::Arch::V3),
        _ => pulp::Arch::new(),
    }
}

/// The instruction set in use, by name: two machines with the same give the same bits.
pub fn instruction_set() -> &'static str {
    match arch() {
        pulp::Arch::Scalar => "plain",
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V3(_) => "avx2",
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V4(_) => "avx512",
        #[cfg(target_arch = "aarch64")]
        pulp::Arch::Neon(_) => "neon",
        _ => "other",
    }
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
    pub(crate) fn load(s: S, x: &[f32]) -> Self {
        Self { s, v: s.partial_load_f32s(x) }
    }

    /// Loads one whole register.
    ///
    /// # Safety
    /// `p` is valid for reads of `S::F32_LANES` values.
    #[inline(always)]
    pub(crate) unsafe fn load_ptr(s: S, p: *const f32) -> Self {
        // SAFETY: the caller promises that the register's worth of values is readable; the read is unaligned.
        Self { s, v: unsafe { p.cast::<S::f32s>().read_unaligned() } }
    }

    /// Loads the first `n` lanes (all of them when `n` is at least the register's width), others zero.
    ///
    /// # Safety
    /// `p` is valid for reads of `min(n, S::F32_LANES)` values.
    #[inline(always)]
    pub(crate) unsafe fn load_first(s: S, p: *const f32, n: usize) -> Self {
        if n >= S::F32_LANES {
            // SAFETY: a whole register is readable by the caller's promise.
            unsafe { Self::load_ptr(s, p) }
        } else {
            // SAFETY: the caller promises `n` readable values from `p`.
            Self::load(s, unsafe { std::slice::from_raw_parts(p, n) })
        }
    }

    /// Stores one whole register.
    ///
    /// # Safety
    /// `p` is valid for writes of `S::F32_LANES` values.
    #[inline(always)]
    pub(crate) unsafe fn store_ptr(self, p: *mut f32) {
        // SAFETY: the caller promises that the register's worth of values is writable; the write is unaligned.
        unsafe { p.cast::<S::f32s>().write_unaligned(self.v) }
    }

    /// Stores the first `n` lanes (all of them when `n` is at least the register's width).
    ///
    /// # Safety
    /// `p` is valid for writes of `min(n, S::F32_LANES)` values.
    #[inline(always)]
    pub(crate) unsafe fn store_first(self, p: *mut f32, n: usize) {
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
    pub(crate) fn store(self, y: &mut [f32]) {
        self.s.partial_store_f32s(y, self.v);
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

/// Whole registers of a slice, and the rest.
#[inline(always)]
pub(crate) fn split<S: Simd>(_: S, x: &[f32]) -> (&[S::f32s], &[f32]) {
    S::as_simd_f32s(x)
}

/// Whole registers of a slice, and the rest.
#[inline(always)]
pub(crate) fn split_mut<S: Simd>(_: S, x: &mut [f32]) -> (&mut [S::f32s], &mut [f32]) {
    S::as_mut_simd_f32s(x)
}

/// `map1!(s, x, y, |x| f)`: `y[i] = f(x[i])`, register by register, over the shorter length. The function is written
/// as a closure or named by its path, and is expanded in place.
macro_rules! map1 {
    ($s:expr, $x:expr, $y:expr, $(#[$meta:meta])? |$a:ident| $f:expr $(,)?) => {{
        let s = $s;
        let (x, y): (&[f32], &mut [f32]) = ($x, $y);
        let n = x.len().min(y.len());
        let (xv, xt) = crate::simd::split(s, &x[..n]);
        let (yv, yt) = crate::simd::split_mut(s, &mut y[..n]);
        for (x, y) in xv.iter().zip(yv) {
            let $a = crate::simd::Vf::new(s, *x);
            *y = crate::simd::Vf::raw($f);
        }
        if !xt.is_empty() {
            let $a = crate::simd::Vf::load(s, xt);
            crate::simd::Vf::store($f, yt);
        }
    }};
    ($s:expr, $x:expr, $y:expr, $f:path $(,)?) => {
        crate::simd::map1!($s, $x, $y, |x| $f(x))
    };
}
pub(crate) use map1;

/// `update0!(s, y, |y| f)`: `y[i] = f(y[i])`; as [`map1`].
macro_rules! update0 {
    ($s:expr, $y:expr, $(#[$meta:meta])? |$b:ident| $f:expr $(,)?) => {{
        let s = $s;
        let y: &mut [f32] = $y;
        let (yv, yt) = crate::simd::split_mut(s, y);
        for y in yv {
            let $b = crate::simd::Vf::new(s, *y);
            *y = crate::simd::Vf::raw($f);
        }
        if !yt.is_empty() {
            let $b = crate::simd::Vf::load(s, yt);
            crate::simd::Vf::store($f, yt);
        }
    }};
    ($s:expr, $y:expr, $f:path $(,)?) => {
        crate::simd::update0!($s, $y, |y| $f(y))
    };
}
pub(crate) use update0;

/// `update1!(s, a, y, |a, y| f)`: `y[i] = f(a[i], y[i])`; as [`map1`].
macro_rules! update1 {
    ($s:expr, $x:expr, $y:expr, $(#[$meta:meta])? |$a:ident, $b:ident| $f:expr $(,)?) => {{
        let s = $s;
        let (x, y): (&[f32], &mut [f32]) = ($x, $y);
        let n = x.len().min(y.len());
        let (xv, xt) = crate::simd::split(s, &x[..n]);
        let (yv, yt) = crate::simd::split_mut(s, &mut y[..n]);
        for (x, y) in xv.iter().zip(yv) {
            let ($a, $b) = (crate::simd::Vf::new(s, *x), crate::simd::Vf::new(s, *y));
            *y = crate::simd::Vf::raw($f);
        }
        if !xt.is_empty() {
            let ($a, $b) = (crate::simd::Vf::load(s, xt), crate::simd::Vf::load(s, yt));
            crate::simd::Vf::store($f, yt);
        }
    }};
}
pub(crate) use update1;

/// `map2!(s, a, b, y, |a, b| f)`: `y[i] = f(a[i], b[i])`; as [`map1`].
macro_rules! map2 {
    ($s:expr, $x:expr, $z:expr, $y:expr, $(#[$meta:meta])? |$a:ident, $b:ident| $f:expr $(,)?) => {{
        let s = $s;
        let (x, z, y): (&[f32], &[f32], &mut [f32]) = ($x, $z, $y);
        let n = x.len().min(z.len()).min(y.len());
        let (xv, xt) = crate::simd::split(s, &x[..n]);
        let (zv, zt) = crate::simd::split(s, &z[..n]);
        let (yv, yt) = crate::simd::split_mut(s, &mut y[..n]);
        for ((x, z), y) in xv.iter().zip(zv).zip(yv) {
            let ($a, $b) = (crate::simd::Vf::new(s, *x), crate::simd::Vf::new(s, *z));
            *y = crate::simd::Vf::raw($f);
        }
        if !xt.is_empty() {
            let ($a, $b) = (crate::simd::Vf::load(s, xt), crate::simd::Vf::load(s, zt));
            crate::simd::Vf::store($f, yt);
        }
    }};
    ($s:expr, $x:expr, $z:expr, $y:expr, $f:path $(,)?) => {
        crate::simd::map2!($s, $x, $z, $y, |x, z| $f(x, z))
    };
}
pub(crate) use map2;

/// Dot product with four independent accumulators; the order of the sum depends on the length alone.
#[inline(always)]
pub(crate) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (av, at) = S::as_simd_f32s(&a[..n]);
    let (bv, bt) = S::as_simd_f32s(&b[..n]);
    let mut acc = [Vf::zero(s); 4];
    let (a4, ar) = pulp::as_arrays::<4, _>(av);
    let (b4, br) = pulp::as_arrays::<4, _>(bv);
    for (a, b) in a4.iter().zip(b4) {
        for l in 0..4 {
            acc[l] = Vf::new(s, a[l]).mul_add(Vf::new(s, b[l]), acc[l]);
        }
    }
    for (a, b) in ar.iter().zip(br) {
        acc[0] = Vf::new(s, *a).mul_add(Vf::new(s, *b), acc[0]);
    }
    if !at.is_empty() {
        acc[1] = Vf::load(s, at).mul_add(Vf::load(s, bt), acc[1]);
    }
    ((acc[0] + acc[1]) + (acc[2] + acc[3])).sum()
}

/// Sum of a slice with four independent accumulators; the order depends on the length alone.
#[inline(always)]
pub(crate) fn sum<S: Simd>(s: S, a: &[f32]) -> f32 {
    let (av, at) = S::as_simd_f32s(a);
    let mut acc = [Vf::zero(s); 4];
    let (a4, ar) = pulp::as_arrays::<4, _>(av);
    for a in a4 {
        for l in 0..4 {
            acc[l] = acc[l] + Vf::new(s, a[l]);
        }
    }
    for a in ar {
        acc[0] = acc[0] + Vf::new(s, *a);
    }
    if !at.is_empty() {
        acc[1] = acc[1] + Vf::load(s, at);
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
/// `dispatch!(fn name(a: A, b: B) -> R = body)` makes `name`, which calls `body(simd, a, b)`.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        #[inline]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            struct Op<T>(T);
            impl pulp::WithSimd for Op<($($ty,)*)> {
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
