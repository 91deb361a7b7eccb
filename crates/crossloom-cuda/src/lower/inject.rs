//! The gated update of visual rows (AGF) and its gradient, in all forms.

use crossloom_ir::Op;

use super::reduce::reduce;
use super::{THREADS, Teams, each, wide};
use crate::launch::{ABSENT, Argument, Launch, Lowered, Source, Types};
use Argument::{Fault, Input, Output, Scratch};

/// An update, with its extents.
pub(super) struct Inject<'t> {
    types: Types<'t>,
    pub(super) taps: usize,
    pub(super) samples: usize,
    pub(super) tokens: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    convex: bool,
    channel: bool,
}

impl<'t> Inject<'t> {
    /// Of a state, the first operand, and features.
    pub(super) fn of(types: Types<'t>, v: usize, convex: bool, channel: bool) -> Self {
        let (h, v) = (&types.inputs[0].shape, &types.inputs[v].shape);
        let [taps, samples, tokens, cols] = [0, 1, 2, 3].map(|axis| v[axis]);
        Self { types, taps, samples, tokens, rows: h[1], cols, convex, channel }
    }

    pub(super) fn source(&self) -> Source<'t> {
        let source = self.types.source().sets([
            ("TAPS", self.taps),
            ("SAMPLES", self.samples),
            ("TOKENS", self.tokens),
            ("ROWS", self.rows),
            ("COLS", self.cols),
            ("WIDE", wide(self.cols)),
        ]);
        source.flag("CONVEX", self.convex).flag("CHANNEL", self.channel)
    }

    /// Gradients of gates from what every token adds to them, `[samples, tokens, taps]`.
    pub(super) fn of_gates(&self, from_to: [Argument; 2]) -> Option<Launch> {
        reduce(self.types, [self.samples, self.tokens, self.taps], ("0.0f", "sum_of"), from_to)
    }

    /// The update, or backwards the gradient of the state.
    fn update(&self, backwards: bool, into: usize) -> Option<Launch> {
        let teams = Teams::warps(self.samples * self.rows)?;
        let source = self.source().flag("BACKWARDS", backwards).set("THREADS", teams.threads);
        let arguments = vec![Input(0), Input(1), Input(2), Input(3), Output(into), Fault];
        source.launch("agf_inject", include_str!("../kernels/agf_inject.cu"), teams.geometry, arguments)
    }
}

pub(super) fn lower(op: &Op, types: Types<'_>) -> Option<Lowered> {
    match op {
        Op::AgfInject(op) => {
            let inject = Inject::of(types, 2, op.convex, op.channel);
            Some(Lowered::new("agf_inject", vec![inject.update(false, 0)?]).in_place(vec![(0, 0)]))
        }
        Op::AgfInjectGrad(op) => gradient(&Inject::of(types, 2, op.convex, op.channel)),
        _ => None,
    }
}

fn gradient(inject: &Inject<'_>) -> Option<Lowered> {
    let state = if inject.convex { Input(4) } else { ABSENT };
    let slots = inject.samples * inject.tokens;
    let partial = if inject.channel { ABSENT } else { Scratch(0) };
    let teams = Teams::warps(slots)?;
    let mut launches = vec![inject.source().set("THREADS", teams.threads).launch(
        "agf_features_grad",
        include_str!("../kernels/agf_features_grad.cu"),
        teams.geometry,
        vec![Input(0), Input(1), Input(2), Input(3), state, Output(0), partial],
    )?];
    if inject.channel {
        launches.push(inject.source().set("THREADS", THREADS).launch(
            "agf_channel_grad",
            include_str!("../kernels/agf_channel_grad.cu"),
            each(inject.samples * inject.taps * inject.cols)?,
            vec![Input(0), Input(2), Input(3), state, Output(1)],
        )?);
    } else {
        launches.push(inject.of_gates([Scratch(0), Output(1)])?);
    }
    if inject.convex {
        launches.push(inject.update(true, 2)?);
    }
    let scratch = if inject.channel { 0 } else { slots * inject.taps * 4 };
    Some(Lowered::new("agf_inject_grad", launches).with_scratch(scratch))
}
