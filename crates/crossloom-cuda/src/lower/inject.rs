//! The gated update of visual rows (AGF) and its gradient, in all forms.

use crossloom_ir::{Op, TensorType};

use super::{THREADS, Teams, each};
use crate::launch::{Argument, Launch, Lowered, Source};
use Argument::{Fault, Input, Output, Scratch};

struct Inject {
    taps: usize,
    samples: usize,
    tokens: usize,
    rows: usize,
    cols: usize,
    convex: bool,
    channel: bool,
}

impl Inject {
    fn of(h: &TensorType, v: &TensorType, convex: bool, channel: bool) -> Self {
        let [taps, samples, tokens, cols] = [0, 1, 2, 3].map(|axis| v.shape[axis]);
        Self { taps, samples, tokens, rows: h.shape[1], cols, convex, channel }
    }

    fn source(&self) -> Source {
        let source =
            Source::new().set("TAPS", self.taps).set("SAMPLES", self.samples).set("TOKENS", self.tokens);
        let source = source.set("ROWS", self.rows).set("COLS", self.cols);
        source.set("CONVEX", u8::from(self.convex)).set("CHANNEL", u8::from(self.channel))
    }

    /// The update, or backwards the gradient of the state.
    fn update(&self, backwards: bool, into: usize) -> Option<Launch> {
        let teams = Teams::warps(self.samples * self.rows)?;
        let source = self.source().set("BACKWARDS", u8::from(backwards)).set("THREADS", teams.threads);
        let arguments = vec![Input(0), Input(1), Input(2), Input(3), Output(into), Fault];
        Some(source.launch("agf_inject", include_str!("../kernels/agf_inject.cu"), teams.geometry, arguments))
    }
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    match op {
        Op::AgfInject(op) => {
            let inject = Inject::of(inputs[0], inputs[2], op.convex, op.channel);
            Some(Lowered::new("agf_inject", vec![inject.update(false, 0)?]).in_place(vec![(0, 0)]))
        }
        Op::AgfInjectGrad(op) => gradient(&Inject::of(inputs[0], inputs[2], op.convex, op.channel)),
        _ => None,
    }
}

fn gradient(inject: &Inject) -> Option<Lowered> {
    let state = Input(if inject.convex { 4 } else { 0 });
    let slots = inject.samples * inject.tokens;
    let teams = Teams::warps(slots)?;
    let mut launches = vec![inject.source().set("THREADS", teams.threads).launch(
        "agf_features_grad",
        include_str!("../kernels/agf_features_grad.cu"),
        teams.geometry,
        vec![Input(0), Input(1), Input(2), Input(3), state, Output(0), Scratch(0)],
    )];
    if inject.channel {
        launches.push(inject.source().set("THREADS", THREADS).launch(
            "agf_channel_grad",
            include_str!("../kernels/agf_channel_grad.cu"),
            each(inject.samples * inject.taps * inject.cols)?,
            vec![Input(0), Input(2), Input(3), state, Output(1)],
        ));
    } else {
        // [samples, tokens, taps], summed over the tokens.
        let source = Source::new().set("THREADS", THREADS).set("OUTER", inject.samples);
        let source = source.set("EXTENT", inject.tokens).set("INNER", inject.taps);
        let source = source.set("START", "0.0f").set("COMBINE", "sum_of");
        let text = include_str!("../kernels/reduce.cu");
        let arguments = vec![Scratch(0), Output(1)];
        launches.push(source.launch("reduce", text, each(inject.samples * inject.taps)?, arguments));
    }
    if inject.convex {
        launches.push(inject.update(true, 2)?);
    }
    let scratch = if inject.channel { 0 } else { slots * inject.taps * 4 };
    Some(Lowered::new("agf_inject_grad", launches).with_scratch(scratch))
}
