//! Layer norm and RMS norm, their sums and gradients.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use crate::exec::io::{CpuKernel, Inputs, Io, KernelError, Lowered};
use crate::kernels::{
    Incoming, add_layer_norm, add_rms_norm, layer_norm, layer_norm_grad, norm_grad_scratch_len, rms_norm,
    rms_norm_grad,
};

#[derive(Clone, Copy)]
enum Kind {
    Layer,
    AddLayer,
    LayerGrad { residual: bool },
    Rms,
    AddRms,
    RmsGrad { residual: bool },
}

struct NormKernel {
    kind: Kind,
    rows: usize,
    cols: usize,
    eps: f32,
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let (rows, cols) = (inputs[0].rows(), inputs[0].last());
    let (name, kind, eps, vectors) = match op {
        Op::LayerNorm(op) => ("layer_norm", Kind::Layer, op.eps, 0),
        Op::AddLayerNorm(op) => ("add_layer_norm", Kind::AddLayer, op.eps, 0),
        Op::LayerNormGrad(op) => ("layer_norm_grad", Kind::LayerGrad { residual: op.residual }, 0.0, 2),
        Op::RmsNorm(op) => ("rms_norm", Kind::Rms, op.eps, 0),
        Op::AddRmsNorm(op) => ("add_rms_norm", Kind::AddRms, op.eps, 0),
        Op::RmsNormGrad(op) => ("rms_norm_grad", Kind::RmsGrad { residual: op.residual }, 0.0, 1),
        _ => return None,
    };
    let scratch = if vectors == 0 { 0 } else { norm_grad_scratch_len(rows, cols, vectors) };
    // The kernels read the first operand of a sum, or the gradient that passes by, from the result's own memory.
    let in_place = match kind {
        Kind::LayerGrad { residual } => residual.then_some((5, 0)),
        Kind::RmsGrad { residual } => residual.then_some((4, 0)),
        _ => Some((0, 0)),
    };
    let kernel = NormKernel { kind, rows, cols, eps: eps as f32 };
    Some(Lowered::with_scratch(name, scratch, kernel).in_place(in_place.into_iter().collect()))
}

/// The gradient that passes by on the residual stream.
fn incoming<'a>(i: &Inputs<'a>, operand: Option<usize>) -> Result<Incoming<'a>, KernelError> {
    Ok(match operand {
        None => Incoming::None,
        Some(at) if i.is_taken(at) => Incoming::Held,
        Some(at) => Incoming::Add(i.f32(at)?),
    })
}

impl CpuKernel for NormKernel {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (rows, cols, eps) = (self.rows, self.cols, self.eps);
        match self.kind {
            Kind::Layer => {
                let (i, [y, mean, rstd], _) = io.split()?;
                layer_norm(rows, cols, eps, i.unless_taken(0)?, i.f32(1)?, i.f32(2)?, y, mean, rstd)?;
            }
            Kind::AddLayer => {
                let (i, [sum, y, mean, rstd], _) = io.split()?;
                let x = i.unless_taken(0)?;
                add_layer_norm(rows, cols, eps, x, i.f32(1)?, i.f32(2)?, i.f32(3)?, sum, y, mean, rstd)?;
            }
            Kind::LayerGrad { residual } => {
                let (i, [dx, dgamma, dbeta], scratch) = io.split()?;
                let d_sum = incoming(&i, residual.then_some(5))?;
                let (dy, x, gamma, mean, rstd) = (i.f32(0)?, i.f32(1)?, i.f32(2)?, i.f32(3)?, i.f32(4)?);
                layer_norm_grad(rows, cols, x, gamma, mean, rstd, dy, d_sum, dx, dgamma, dbeta, scratch)?;
            }
            Kind::Rms => {
                let (i, [y, rstd], _) = io.split()?;
                rms_norm(rows, cols, eps, i.unless_taken(0)?, i.f32(1)?, y, rstd)?;
            }
            Kind::AddRms => {
                let (i, [sum, y, rstd], _) = io.split()?;
                add_rms_norm(rows, cols, eps, i.unless_taken(0)?, i.f32(1)?, i.f32(2)?, sum, y, rstd)?;
            }
            Kind::RmsGrad { residual } => {
                let (i, [dx, dgamma], scratch) = io.split()?;
                let d_sum = incoming(&i, residual.then_some(4))?;
                let (dy, x, gamma, rstd) = (i.f32(0)?, i.f32(1)?, i.f32(2)?, i.f32(3)?);
                rms_norm_grad(rows, cols, x, gamma, rstd, dy, d_sum, dx, dgamma, scratch)?;
            }
        }
        Ok(())
    }
}
