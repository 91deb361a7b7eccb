//! What product is wanted: sizes, transpositions, leading dimensions, scalars and batch.

use super::pack::{PANEL, packed_len};
use crate::amx::PAIRS;
use crate::kernels::error::{KernelError, need};

/// `C[m, n] = alpha op(A) op(B) + beta C`, row-major, repeated over a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Rows of `C`.
    pub m: usize,
    /// Columns of `C`.
    pub n: usize,
    /// The length of the sums.
    pub k: usize,
    /// `A` is stored `[k, m]` instead of `[m, k]`.
    pub trans_a: bool,
    /// `B` is stored `[n, k]` instead of `[k, n]`.
    pub trans_b: bool,
    /// Distance between stored rows of `A`.
    pub lda: usize,
    /// Distance between stored rows of `B`.
    pub ldb: usize,
    /// Distance between rows of `C`.
    pub ldc: usize,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the old `C`; with 0 the old `C` is not read.
    pub beta: f32,
    /// Number of products.
    pub batch: usize,
    /// Distance between the `A` of two products; 0 shares one.
    pub stride_a: usize,
    /// Distance between the `B` of two products; 0 shares one.
    pub stride_b: usize,
    /// Distance between the `C` of two products; at least the span of one.
    pub stride_c: usize,
}

/// Most values of `B` packed at once; larger operands are worked off in blocks.
const PACK_LIMIT: usize = 1 << 20;
/// Depth of one block of a large operand.
const DEEP: usize = 1024;

impl Gemm {
    /// Contiguous operands, one product, `alpha = 1`, `beta = 0`.
    fn contiguous(m: usize, n: usize, k: usize, trans_a: bool, trans_b: bool) -> Self {
        Self {
            m,
            n,
            k,
            trans_a,
            trans_b,
            lda: if trans_a { m } else { k },
            ldb: if trans_b { k } else { n },
            ldc: n,
            alpha: 1.0,
            beta: 0.0,
            batch: 1,
            stride_a: m * k,
            stride_b: k * n,
            stride_c: m * n,
        }
    }

    /// `A[m, k] B[k, n]`: the gradient of a linear layer's input, `dY W`.
    pub fn nn(m: usize, n: usize, k: usize) -> Self {
        Self::contiguous(m, n, k, false, false)
    }

    /// `A[m, k] B[n, k]ᵀ`: a linear layer, `X Wᵀ`.
    pub fn nt(m: usize, n: usize, k: usize) -> Self {
        Self::contiguous(m, n, k, false, true)
    }

    /// `A[k, m]ᵀ B[k, n]`: the gradient of a linear layer's weight, `dYᵀ X`.
    pub fn tn(m: usize, n: usize, k: usize) -> Self {
        Self::contiguous(m, n, k, true, false)
    }

    /// With these scalars.
    pub fn scaled(self, alpha: f32, beta: f32) -> Self {
        Self { alpha, beta, ..self }
    }

    /// Repeated `batch` times at these distances.
    pub fn batched(self, batch: usize, stride_a: usize, stride_b: usize, stride_c: usize) -> Self {
        Self { batch, stride_a, stride_b, stride_c, ..self }
    }

    /// Whether `B` is too large to be packed at once.
    pub(crate) fn is_blocked(&self) -> bool {
        packed_len(self.k, self.n) > PACK_LIMIT
    }

    /// The size of one block of `B` that is packed at once: depth and columns. A `C` that cannot hold sums (`narrow`)
    /// needs the whole depth at once.
    pub(crate) fn block(&self, narrow: bool) -> (usize, usize) {
        if !self.is_blocked() {
            (self.k, self.n)
        } else if narrow {
            (self.k, (PACK_LIMIT / self.k / PANEL * PANEL).max(PANEL))
        } else {
            let k = self.k.min(DEEP);
            (k, (PACK_LIMIT / k).min(self.n.next_multiple_of(32)) / 32 * 32)
        }
    }

    /// The number of scratch values [`gemm`](super::gemm) needs, whatever the types of its operands.
    pub fn scratch_len(&self) -> usize {
        let of = |(k, n): (usize, usize)| packed_len(k.max(PAIRS), n.min(self.n));
        of(self.block(false)).max(of(self.block(true)))
    }

    /// Floating-point operations of the product: a multiplication and an addition each.
    pub fn flops(&self) -> usize {
        2 * self.m * self.n * self.k * self.batch
    }

    /// The span of `C` over the whole batch.
    pub(crate) fn c_len(&self) -> usize {
        span(self.batch, self.stride_c, span(self.m, self.ldc, self.n))
    }

    /// Checks the lengths of the buffers against the shape.
    pub(crate) fn check(&self, [a, b, c, scratch]: [usize; 4]) -> Result<(), KernelError> {
        let (a_rows, a_cols) = if self.trans_a { (self.k, self.m) } else { (self.m, self.k) };
        let (b_rows, b_cols) = if self.trans_b { (self.n, self.k) } else { (self.k, self.n) };
        let one_c = span(self.m, self.ldc, self.n);
        need("gemm", "lda", self.lda, a_cols)?;
        need("gemm", "ldb", self.ldb, b_cols)?;
        need("gemm", "ldc", self.ldc, self.n)?;
        if self.batch > 1 {
            need("gemm", "stride_c", self.stride_c, one_c)?;
        }
        need("gemm", "a", a, span(self.batch, self.stride_a, span(a_rows, self.lda, a_cols)))?;
        need("gemm", "b", b, span(self.batch, self.stride_b, span(b_rows, self.ldb, b_cols)))?;
        need("gemm", "c", c, self.c_len())?;
        need("gemm", "scratch", scratch, self.scratch_len())
    }
}

/// The values that `count` items of `len` values span, `stride` apart.
fn span(count: usize, stride: usize, len: usize) -> usize {
    if count == 0 { 0 } else { (count - 1) * stride + len }
}
