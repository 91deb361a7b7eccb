//! What happens to `C` while it is still in the cache.

use crossloom_ir::op::Activation;

use super::shape::Gemm;
use crate::element::{Floats, FloatsMut};
use crate::kernels::activation::with_function;
use crate::kernels::convert::convert_body;
use crate::kernels::error::{KernelError, need};
use crate::parallel::SharedFloats;
use crate::simd::{Simd, update1};

/// Work fused behind a matrix product. `c` is `[m, n]`; vectors along `n` are biases.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// `c += bias`, with `bias: [n]`.
    Bias(Floats<'a>),
    /// `z = c + bias; c = f(z)`; `z` is written to `pre` (laid out like `c`) where the backward pass will want it.
    Activation {
        /// `[n]`, or none.
        bias: Option<Floats<'a>>,
        /// The function.
        activation: Activation,
        /// Receives what went into the function; laid out like `c`.
        pre: Option<FloatsMut<'a>>,
    },
    /// `c += bias + residual`, with `residual` laid out like `c`.
    Residual {
        /// `[n]`, or none.
        bias: Option<Floats<'a>>,
        /// Added to the product; laid out like `c`.
        residual: Floats<'a>,
    },
}

/// The same, shareable between tasks.
#[derive(Clone, Copy)]
pub(crate) enum Shared<'a> {
    None,
    Bias(Floats<'a>),
    Activation { bias: Option<Floats<'a>>, activation: Activation, pre: Option<SharedFloats<'a>> },
    Residual { bias: Option<Floats<'a>>, residual: Floats<'a> },
}

impl<'a> Epilogue<'a> {
    /// Checks the operands against the shape, and makes them shareable.
    pub(crate) fn share(self, p: &Gemm) -> Result<Shared<'a>, KernelError> {
        let bias_fits = |bias: Floats<'_>| need("gemm", "bias", bias.len(), p.n);
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
                Shared::Activation { bias, activation, pre: pre.map(SharedFloats::new) }
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
    /// Applies the epilogue to columns `col ..` of one row of `C`, whose values `c` are still `f32`; `offset` is the
    /// place of the first one in the whole buffer.
    ///
    /// # Safety
    /// The same part of the second output is touched by nobody else.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(&self, s: S, c: &mut [f32], offset: usize, col: usize) {
        let n = c.len();
        match *self {
            Self::None => {}
            Self::Bias(bias) => add(s, bias, col, c),
            Self::Activation { bias, activation, pre } => {
                if let Some(bias) = bias {
                    add(s, bias, col, c);
                }
                match pre {
                    None => {}
                    // SAFETY: `pre` is laid out like `C`, whose part this is, and is as exclusive as it.
                    Some(SharedFloats::F32(pre)) => unsafe { pre.slice(offset, n) }.copy_from_slice(c),
                    Some(SharedFloats::Bf16(pre)) => {
                        // SAFETY: as above.
                        let pre = unsafe { pre.slice(offset, n) };
                        convert_body(s, c, pre);
                    }
                }
                with_function!(activation, F => crate::kernels::activation::value_in_place::<S, F>(s, c));
            }
            Self::Residual { bias, residual } => {
                if let Some(bias) = bias {
                    add(s, bias, col, c);
                }
                add(s, residual, offset, c);
            }
        }
    }
}

/// `c += x[at ..]`.
#[inline(always)]
fn add<S: Simd>(s: S, x: Floats<'_>, at: usize, c: &mut [f32]) {
    let n = c.len();
    match x {
        Floats::F32(x) => update1!(s, &x[at..at + n], c, |x, c| c + x),
        Floats::Bf16(x) => update1!(s, &x[at..at + n], c, |x, c| c + x),
    }
}
