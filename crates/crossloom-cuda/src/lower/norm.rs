//! Norms and their gradients.

use crossloom_ir::{Op, OpSpec};

use super::reduce::sum_rows;
use super::{THREADS, Teams, wide};
use crate::Geometry;
use crate::launch::{ABSENT, Argument, Launch, Lowered, Source, Types};
use Argument::{Input, Output, Scratch};

/// Rows that one thread sums up for the gradient of a column.
const CHUNK: usize = 64;

/// Rows that are normalised.
pub(super) struct Norm<'t> {
    types: Types<'t>,
    rows: usize,
    cols: usize,
    teams: Teams,
}

impl<'t> Norm<'t> {
    /// Of the rows of the first operand.
    pub(super) fn of(types: Types<'t>) -> Option<Self> {
        let (rows, cols) = (types.inputs[0].rows(), types.inputs[0].last());
        Some(Self { types, rows, cols, teams: Teams::of(rows, cols)? })
    }

    /// Bytes that the gradients of the columns need.
    pub(super) fn scratch(&self, centred: bool) -> usize {
        let chunks = self.rows.div_ceil(CHUNK);
        if chunks > 1 { (1 + usize::from(centred)) * chunks * self.cols * 4 } else { 0 }
    }

    fn source(&self) -> Source<'t> {
        let source = self.types.source().sets([("ROWS", self.rows), ("COLS", self.cols)]);
        let source = source.set("WIDE", wide(self.cols));
        source.set("TEAM", self.teams.team).set("THREADS", self.teams.threads)
    }

    fn forward(&self, file: &str, text: &str, add: bool, eps: f64, arguments: &[Argument]) -> Option<Launch> {
        let source = self.source().flag("ADD", add).float("EPS", eps);
        source.launch(file, text, self.teams.geometry, arguments.to_vec())
    }

    fn backward(&self, file: &str, text: &str, residual: bool, arguments: &[Argument]) -> Option<Launch> {
        let source = self.source().flag("RESIDUAL", residual);
        source.launch(file, text, self.teams.geometry, arguments.to_vec())
    }
}

pub(super) fn lower(op: &Op, types: Types<'_>) -> Option<Lowered> {
    let norm = Norm::of(types)?;
    let rms = include_str!("../kernels/rms_norm.cu");
    let layer = include_str!("../kernels/layer_norm.cu");
    let plain =
        |launch: Option<Launch>| Some(Lowered::new(op.mnemonic(), vec![launch?]).in_place(op.in_place()));
    match op {
        Op::RmsNorm(op) => {
            let arguments = [Input(0), ABSENT, Input(1), ABSENT, Output(0), Output(1)];
            plain(norm.forward("rms_norm", rms, false, op.eps, &arguments))
        }
        Op::AddRmsNorm(op) => {
            let arguments = [Input(0), Input(1), Input(2), Output(0), Output(1), Output(2)];
            plain(norm.forward("rms_norm", rms, true, op.eps, &arguments))
        }
        Op::LayerNorm(op) => {
            let arguments = [Input(0), ABSENT, Input(1), Input(2), ABSENT, Output(0), Output(1), Output(2)];
            plain(norm.forward("layer_norm", layer, false, op.eps, &arguments))
        }
        Op::AddLayerNorm(op) => {
            let arguments =
                [Input(0), Input(1), Input(2), Input(3), Output(0), Output(1), Output(2), Output(3)];
            plain(norm.forward("layer_norm", layer, true, op.eps, &arguments))
        }
        Op::RmsNormGrad(op) => {
            let ds = if op.residual { Input(4) } else { ABSENT };
            let arguments = [Input(0), Input(1), Input(2), Input(3), ds, Output(0)];
            let text = include_str!("../kernels/rms_norm_grad.cu");
            let rows = norm.backward("rms_norm_grad", text, op.residual, &arguments)?;
            gradient(&norm, rows, "rms_norm_grad", false, op.in_place())
        }
        Op::LayerNormGrad(op) => {
            let ds = if op.residual { Input(5) } else { ABSENT };
            let arguments = [Input(0), Input(1), Input(2), Input(3), Input(4), ds, Output(0)];
            let text = include_str!("../kernels/layer_norm_grad.cu");
            let rows = norm.backward("layer_norm_grad", text, op.residual, &arguments)?;
            gradient(&norm, rows, "layer_norm_grad", true, op.in_place())
        }
        _ => None,
    }
}

/// The gradients of the columns, then that of the rows, which may lie over an operand.
pub(super) fn gradient(
    norm: &Norm<'_>,
    of_rows: Launch,
    name: &'static str,
    centred: bool,
    in_place: Vec<(usize, usize)>,
) -> Option<Lowered> {
    let chunks = norm.rows.div_ceil(CHUNK);
    let partial = chunks * norm.cols * 4;
    let parts = |i: usize| if chunks == 1 { Output(1 + i) } else { Scratch(i * partial) };
    let (mean, rstd) = if centred { (Input(3), Input(4)) } else { (ABSENT, Input(3)) };
    let source = norm.types.source().sets([("ROWS", norm.rows), ("COLS", norm.cols), ("CHUNK", CHUNK)]);
    let source = source.set("THREADS", THREADS).flag("CENTRED", centred);
    let beta = if centred { parts(1) } else { ABSENT };
    let arguments = vec![Input(0), Input(1), mean, rstd, parts(0), beta];
    let wide = u32::try_from(norm.cols.div_ceil(THREADS as usize)).ok()?;
    let tall = u32::try_from(chunks).ok().filter(|&tall| tall <= 65535)?;
    let geometry = Geometry { grid: [wide, tall, 1], block: [THREADS, 1, 1], shared: 0 };
    let text = include_str!("../kernels/norm_grad_columns.cu");
    let mut launches = vec![source.launch("norm_grad_columns", text, geometry, arguments)?];
    let results = if centred { 2 } else { 1 };
    if chunks > 1 {
        for i in 0..results {
            launches.push(sum_rows(norm.types, chunks, norm.cols, chunks, [parts(i), Output(1 + i)])?);
        }
    }
    launches.push(of_rows);
    Some(Lowered::new(name, launches).with_scratch(norm.scratch(centred)).in_place(in_place))
}
