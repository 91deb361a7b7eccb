//! Norms and their gradients.

use crossloom_ir::{Op, OpSpec, TensorType};

use super::{THREADS, Teams};
use crate::Geometry;
use crate::launch::{Argument, Launch, Lowered, Source};
use Argument::{Input, Output, Scratch};

/// Rows that one thread sums up for the gradient of a column.
const CHUNK: usize = 64;

struct Norm {
    rows: usize,
    cols: usize,
    teams: Teams,
}

impl Norm {
    fn source(&self) -> Source {
        let source = Source::new().set("ROWS", self.rows).set("COLS", self.cols);
        source.set("TEAM", self.teams.team).set("THREADS", self.teams.threads)
    }

    fn launch(&self, source: Source, file: &str, text: &str, arguments: &[Argument]) -> Launch {
        source.launch(file, text, self.teams.geometry, arguments.to_vec())
    }
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let (rows, cols) = (inputs[0].rows(), inputs[0].last());
    let norm = Norm { rows, cols, teams: Teams::of(rows, cols)? };
    let rms = include_str!("../kernels/rms_norm.cu");
    let layer = include_str!("../kernels/layer_norm.cu");
    let forward = |add: bool, eps: f64| norm.source().set("ADD", u8::from(add)).float("EPS", eps);
    let plain = |launch| Some(Lowered::new(op.mnemonic(), vec![launch]).in_place(op.in_place()));
    match op {
        Op::RmsNorm(op) => {
            let arguments = [Input(0), Input(0), Input(1), Output(0), Output(0), Output(1)];
            plain(norm.launch(forward(false, op.eps), "rms_norm", rms, &arguments))
        }
        Op::AddRmsNorm(op) => {
            let arguments = [Input(0), Input(1), Input(2), Output(0), Output(1), Output(2)];
            plain(norm.launch(forward(true, op.eps), "rms_norm", rms, &arguments))
        }
        Op::LayerNorm(op) => {
            let arguments =
                [Input(0), Input(0), Input(1), Input(2), Output(0), Output(0), Output(1), Output(2)];
            plain(norm.launch(forward(false, op.eps), "layer_norm", layer, &arguments))
        }
        Op::AddLayerNorm(op) => {
            let arguments =
                [Input(0), Input(1), Input(2), Input(3), Output(0), Output(1), Output(2), Output(3)];
            plain(norm.launch(forward(true, op.eps), "layer_norm", layer, &arguments))
        }
        Op::RmsNormGrad(op) => {
            let ds = Input(if op.residual { 4 } else { 0 });
            let rows = norm.launch(
                norm.source().set("RESIDUAL", u8::from(op.residual)),
                "rms_norm_grad",
                include_str!("../kernels/rms_norm_grad.cu"),
                &[Input(0), Input(1), Input(2), Input(3), ds, Output(0)],
            );
            gradient(&norm, rows, "rms_norm_grad", false, op.in_place())
        }
        Op::LayerNormGrad(op) => {
            let ds = Input(if op.residual { 5 } else { 0 });
            let rows = norm.launch(
                norm.source().set("RESIDUAL", u8::from(op.residual)),
                "layer_norm_grad",
                include_str!("../kernels/layer_norm_grad.cu"),
                &[Input(0), Input(1), Input(2), Input(3), Input(4), ds, Output(0)],
            );
            gradient(&norm, rows, "layer_norm_grad", true, op.in_place())
        }
        _ => None,
    }
}

/// The gradients of the columns, then that of the rows, which may lie over an operand.
fn gradient(
    norm: &Norm,
    of_rows: Launch,
    name: &'static str,
    centred: bool,
    in_place: Vec<(usize, usize)>,
) -> Option<Lowered> {
    let chunks = norm.rows.div_ceil(CHUNK);
    let wide = norm.cols.div_ceil(THREADS as usize);
    let grid =
        |y: usize| Some([u32::try_from(wide).ok()?, u32::try_from(y).ok().filter(|&y| y <= 65535)?, 1]);
    let partial = chunks * norm.cols * 4;
    let parts = |i: usize| if chunks == 1 { Output(1 + i) } else { Scratch(i * partial) };
    let (mean, rstd) = if centred { (Input(3), Input(4)) } else { (Input(3), Input(3)) };
    let source = Source::new().set("ROWS", norm.rows).set("COLS", norm.cols).set("CHUNK", CHUNK);
    let source = source.set("THREADS", THREADS).set("CENTRED", u8::from(centred));
    let beta = if centred { parts(1) } else { parts(0) };
    let arguments = vec![Input(0), Input(1), mean, rstd, parts(0), beta];
    let text = include_str!("../kernels/norm_grad_columns.cu");
    let geometry = Geometry { grid: grid(chunks)?, block: [THREADS, 1, 1], shared: 0 };
    let mut launches = vec![source.launch("norm_grad_columns", text, geometry, arguments)];
    let results = if centred { 2 } else { 1 };
    if chunks > 1 {
        for i in 0..results {
            let source = Source::new().set("ROWS", chunks).set("COLS", norm.cols).set("CHUNK", chunks);
            let geometry = Geometry { grid: grid(1)?, block: [THREADS, 1, 1], shared: 0 };
            let text = include_str!("../kernels/sum_rows.cu");
            let arguments = vec![parts(i), Output(1 + i)];
            launches.push(source.set("THREADS", THREADS).launch("sum_rows", text, geometry, arguments));
        }
    }
    launches.push(of_rows);
    let scratch = if chunks > 1 { results * partial } else { 0 };
    Some(Lowered::new(name, launches).with_scratch(scratch).in_place(in_place))
}
