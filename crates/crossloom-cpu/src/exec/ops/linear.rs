//! Products: `matmul` and `linear` with its epilogue, of `f32` and `bf16` in any mix, and of quantized weights.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Activation, Linear, Matmul};

use crate::element::{Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Inputs, Io, Lowered, Out, typed};
use crate::kernels::{Epilogue, Gemm, KernelError, gemm, gemm_blocks};

struct MatmulKernel(Gemm);

pub(super) fn lower_matmul(op: Matmul, inputs: &[&TensorType]) -> Lowered {
    let p = op.extents(&inputs[0].shape, &inputs[1].shape);
    let (m, n, k) = (p.m, p.n, p.k);
    let product = Gemm {
        m,
        n,
        k,
        trans_a: op.transpose_a,
        trans_b: op.transpose_b,
        lda: if op.transpose_a { m } else { k },
        ldb: if op.transpose_b { k } else { n },
        ..Gemm::nn(m, n, k)
    };
    let product = product.batched(p.batch, m * k, k * n, m * n);
    Lowered::with_scratch("gemm", product.scratch_len(), MatmulKernel(product))
        .weights(&[1])
        .floats(&[0], &[0])
}

/// The product of the first two operands, of whatever types they are.
fn product(
    p: &Gemm,
    inputs: &Inputs<'_>,
    out: Out<'_>,
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    if let Some(w) = inputs.blocks(1)? {
        return typed!(
            x: Floats = inputs.floats(0)?, y: FloatsMut = out.floats()?;
            gemm_blocks(p, x, w, y, epilogue, scratch)
        );
    }
    typed!(
        x: Floats = inputs.floats(0)?, w: Floats = inputs.floats(1)?, y: FloatsMut = out.floats()?;
        gemm(p, x, w, y, epilogue, scratch)
    )
}

impl CpuKernel for MatmulKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [c], scratch) = io.take()?;
        product(&self.0, &inputs, c, Epilogue::None, scratch)
    }
}

struct LinearKernel {
    product: Gemm,
    bias: bool,
    act: Option<Activation>,
    residual: Option<usize>,
}

pub(super) fn lower_linear(op: Linear, inputs: &[&TensorType]) -> Option<Lowered> {
    if op.act.is_some() && op.residual {
        return None;
    }
    let (n, k) = (inputs[1].shape[0], inputs[1].shape[1]);
    let product = Gemm::nt(inputs[0].rows(), n, k);
    let name = match (op.act, op.residual) {
        (Some(_), _) => "gemm_activation",
        (None, true) => "gemm_residual",
        (None, false) => "gemm_bias",
    };
    let kernel = LinearKernel { product, bias: op.bias, act: op.act, residual: op.residual_index() };
    let in_place = op.residual_index().map(|at| (at, 0)).into_iter().collect();
    // What went into the function is wanted by the backward pass only.
    let optional = op.act.map(|_| 1).into_iter().collect();
    let lowered = Lowered::with_scratch(name, product.scratch_len(), kernel);
    Some(lowered.weights(&[1]).floats(&[0, 2, 3], &[0, 1]).in_place(in_place).optional(optional))
}

impl CpuKernel for LinearKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, mut y, pre, scratch) = if self.act.is_some() {
            let (inputs, [y, pre], scratch) = io.take()?;
            (inputs, y, Some(pre), scratch)
        } else {
            let (inputs, [y], scratch) = io.take()?;
            (inputs, y, None, scratch)
        };
        let bias = inputs.floats_if(self.bias, 2)?;
        let plain = bias.map_or(Epilogue::None, Epilogue::Bias);
        let (shape, epilogue) = match (self.act, self.residual) {
            (Some(activation), _) => {
                let pre = pre.filter(|pre| !pre.is_empty()).map(Out::floats).transpose()?;
                (self.product, Epilogue::Activation { bias, activation, pre })
            }
            // The sum begins with what the result's memory already holds, or is made to hold: whether the planner lets it be
            // the residual's changes no bit.
            (None, Some(at)) if inputs.is_taken(at) || y.holds(&inputs.floats(at)?)? => {
                (self.product.scaled(1.0, 1.0), plain)
            }
            (None, Some(at)) => (self.product, Epilogue::Residual { bias, residual: inputs.floats(at)? }),
            (None, None) => (self.product, plain),
        };
        product(&shape, &inputs, y, epilogue, scratch)
    }
}
