//! Layer norm and RMS norm, their sums and gradients.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use crate::element::{Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Inputs, Io, Lowered, typed};
use crate::kernels::{
    Incoming, KernelError, add_layer_norm, add_rms_norm, layer_norm, layer_norm_grad, norm_grad_scratch_len,
    rms_norm, rms_norm_grad,
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
    let lowered = Lowered::with_scratch(name, scratch, kernel).in_place(in_place.into_iter().collect());
    // The residual stream, statistics and gradients are `f32`.
    Some(match kind {
        Kind::Layer if inputs[1].dtype == inputs[2].dtype => lowered.floats(&[0, 1, 2], &[0]),
        Kind::AddLayer if inputs[2].dtype == inputs[3].dtype => lowered.floats(&[1, 2, 3], &[1]),
        Kind::Layer | Kind::AddLayer => return None,
        Kind::Rms => lowered.floats(&[0, 1], &[0]),
        Kind::AddRms => lowered.floats(&[1, 2], &[1]),
        Kind::LayerGrad { .. } => lowered.floats(&[0, 1, 2], &[]).optional(vec![0, 1, 2]),
        Kind::RmsGrad { .. } => lowered.floats(&[0, 1, 2], &[]).optional(vec![0, 1]),
    })
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
                let (i, [y, mean, rstd], _) = io.take()?;
                let (mean, rstd) = (mean.of()?, rstd.of()?);
                typed!(
                    x: Floats = i.floats(0)?, gamma: Floats = i.floats(1)?, y: FloatsMut = y.floats()?;
                    layer_norm(rows, cols, eps, given(&i, x), gamma, i.of(2)?, y, mean, rstd)
                )?;
            }
            Kind::AddLayer => {
                let (i, [sum, y, mean, rstd], _) = io.take()?;
                let (x, sum, mean, rstd) = (i.unless_taken(0)?, sum.of()?, mean.of()?, rstd.of()?);
                typed!(
                    r: Floats = i.floats(1)?, gamma: Floats = i.floats(2)?, y: FloatsMut = y.floats()?;
                    add_layer_norm(rows, cols, eps, x, r, gamma, i.of(3)?, sum, y, mean, rstd)
                )?;
            }
            Kind::LayerGrad { residual } => {
                let (i, [dx, dgamma, dbeta], scratch) = io.split()?;
                let d_sum = incoming(&i, residual.then_some(5))?;
                let (mean, rstd) = (i.f32(3)?, i.f32(4)?);
                typed!(
                    dy: Floats = i.floats(0)?, x: Floats = i.floats(1)?, gamma: Floats = i.floats(2)?;
                    layer_norm_grad(rows, cols, x, gamma, mean, rstd, dy, d_sum, dx, dgamma, dbeta, scratch)
                )?;
            }
            Kind::Rms => {
                let (i, [y, rstd], _) = io.take()?;
                let rstd = rstd.of()?;
                typed!(
                    x: Floats = i.floats(0)?, gamma: Floats = i.floats(1)?, y: FloatsMut = y.floats()?;
                    rms_norm(rows, cols, eps, given(&i, x), gamma, y, rstd)
                )?;
            }
            Kind::AddRms => {
                let (i, [sum, y, rstd], _) = io.take()?;
                let (x, sum, rstd) = (i.unless_taken(0)?, sum.of()?, rstd.of()?);
                typed!(
                    r: Floats = i.floats(1)?, gamma: Floats = i.floats(2)?, y: FloatsMut = y.floats()?;
                    add_rms_norm(rows, cols, eps, x, r, gamma, sum, y, rstd)
                )?;
            }
            Kind::RmsGrad { residual } => {
                let (i, [dx, dgamma], scratch) = io.split()?;
                let d_sum = incoming(&i, residual.then_some(4))?;
                let rstd = i.f32(3)?;
                typed!(
                    dy: Floats = i.floats(0)?, x: Floats = i.floats(1)?, gamma: Floats = i.floats(2)?;
                    rms_norm_grad(rows, cols, x, gamma, rstd, dy, d_sum, dx, dgamma, scratch)
                )?;
            }
        }
        Ok(())
    }
}

/// What is normalised, unless the result's memory holds it.
fn given<'a, E>(i: &Inputs<'_>, x: &'a [E]) -> Option<&'a [E]> {
    (!i.is_taken(0)).then_some(x)
}
