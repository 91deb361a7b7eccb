//! What happens to `C` while it is still in the cache.

use super::shape::Gemm;
use crate::kernels::activation::{Activation, with_function};
use crate::kernels::error::{KernelError, need};
use crate::parallel::SharedMut;
use crate::simd::{Simd, update1};

/// Work fused behind a matrix product. `c` is `[m, n]`; vectors along `n` are biases.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// `c += bias`, with `bias: [n]`.
    Bias(&'a [f32]),
    /// `z = c + bias; c = f(z)`; `z` is written to `pre` (laid out like `c`) where the backward pass will want it.
    Activation {
        /// `[n]`, or none.
        bias: Option<&'a [f32]>,
        /// The function.
        activation: Activation,
        /// Receives what went into the function; laid out like `c`.
        pre: Option<&'a mut [f32]>,
    },
    /// `c += bias + residual`, with `residual` laid out like `c`.
    Residual {
        /// `[n]`, or none.
        bias: Option<&'a [f32]>,
        /// Added to the product; laid out like `c`.
        residual: &'a [f32],
    },
}

/// The same, shareable between tasks.
#[derive(Clone, Copy)]
pub(crate) enum Shared<'a> {
    None,
    Bias(&'a [f32]),
    Activation { bias: Option<&'a [f32]>, activation: Activation, pre: Option<SharedMut<'a>> },
    Residual { bias: Option<&'a [f32]>, residual: &'a [f32] },
}

impl<'a> Epilogue<'a> {
    /// Checks the operands against the shape, and makes them shareable.
    pub(crate) fn share(self, p: &Gemm) -> Result<Shared<'a>, KernelError> {
        let bias_fits = |bias: &[f32]| need("gemm", "bias", bias.len(), p.n);
        let like_c = |operand, len| need("gemm", operand, len, p.c_len());
        Ok(match self {
            Epilogue::None => Shared::None,
            Epilogue::Bias(bias) => {
                bias_fits(bias)?;
                Shared::Bias(bias)
            }
            Epilogue::Activation { bias, activation, pre } => {
                bias.map_or(Ok(()), bias_fits)?;
                if let Some(pre) = &pre {
                    like_c("pre", pre.len())?;
                }
                Shared::Activation { bias, activation, pre: pre.map(SharedMut::new) }
            }
            Epilogue::Residual { bias, residual } => {
                bias.map_or(Ok(()), bias_fits)?;
                like_c("residual", residual.len())?;
                Shared::Residual { bias, residual }
            }
        })
    }
}

impl Shared<'_> {
    /// Applies the epilogue to columns `col ..` of one row of `c`, where `offset` is the place of `c[0]` in the
    /// whole buffer.
    ///
    /// # Safety
    /// The same part of the second output is touched by nobody else.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(&self, s: S, c: &mut [f32], offset: usize, col: usize) {
        let n = c.len();
        match *self {
            Self::None => {}
            Self::Bias(bias) => update1!(s, &bias[col..col + n], c, |b, c| b + c),
            Self::Activation { bias, activation, pre } => {
                if let Some(bias) = bias {
                    update1!(s, &bias[col..col + n], c, |b, c| b + c);
                }
                if let Some(pre) = pre {
                    // SAFETY: `pre` is laid out like `c`, whose part this is, and is as exclusive as it.
                    unsafe { pre.slice(offset, n) }.copy_from_slice(c);
                }
                with_function!(activation, F => crate::kernels::activation::value_in_place::<S, F>(s, c));
            }
            Self::Residual { bias, residual } => {
                let residual = &residual[offset..offset + n];
                if let Some(bias) = bias {
                    let bias = &bias[col..col + n];
                    update1!(s, bias, c, |b, c| b + c);
                }
                update1!(s, residual, c, |r, c| r + c);
            }
        }
    }
}
