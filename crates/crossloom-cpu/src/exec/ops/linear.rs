//! Products: `matmul` and `linear` with its epilogue.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Activation, Linear, Matmul};

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::{Epilogue, Gemm, gemm};

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
}

impl CpuKernel for MatmulKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [c], scratch) = io.split()?;
        Ok(gemm(&self.0, inputs.f32(0)?, inputs.f32(1)?, c, Epilogue::None, scratch)?)
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
    Some(Lowered::with_scratch(name, product.scratch_len(), kernel).in_place(in_place))
}

impl CpuKernel for LinearKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        if let Some(activation) = self.act {
            let (inputs, [y, pre], scratch) = io.split()?;
            let bias = inputs.f32_if(self.bias, 2)?.map(Into::into);
            let epilogue = Epilogue::Activation { bias, activation, pre: Some(pre.into()) };
            return Ok(gemm(&self.product, inputs.f32(0)?, inputs.f32(1)?, y, epilogue, scratch)?);
        }
        let (inputs, [y], scratch) = io.split()?;
        let (x, w, bias) = (inputs.f32(0)?, inputs.f32(1)?, inputs.f32_if(self.bias, 2)?.map(Into::into));
        match self.residual {
            // The residual is what the result's memory already holds.
            Some(at) if inputs.is_taken(at) => {
                let epilogue = bias.map_or(Epilogue::None, Epilogue::Bias);
                gemm(&self.product.scaled(1.0, 1.0), x, w, y, epilogue, scratch)?;
            }
            Some(at) => {
                let epilogue = Epilogue::Residual { bias, residual: inputs.f32(at)?.into() };
                gemm(&self.product, x, w, y, epilogue, scratch)?;
            }
            None => gemm(&self.product, x, w, y, bias.map_or(Epilogue::None, Epilogue::Bias), scratch)?,
        }
        Ok(())
    }
}
