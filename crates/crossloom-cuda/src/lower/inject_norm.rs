//! The gated update of visual rows together with the norm behind it (AGF), forwards and backwards.

use crossloom_ir::OpSpec;
use crossloom_ir::op::{AgfInjectNorm, AgfInjectNormGrad, NormKind};

use super::Teams;
use super::inject::Inject;
use super::norm::{Norm, gradient};
use crate::launch::{ABSENT, Argument, Lowered, Types, Work};
use Argument::{Fault, Input, Output, Scratch};

pub(super) fn lower(op: &AgfInjectNorm, types: Types<'_>) -> Option<Lowered> {
    let inject = Inject::of(types, 2, op.inject.convex, op.inject.channel);
    let teams = Teams::of(inject.samples * inject.rows, inject.cols)?;
    let centred = op.norm == NormKind::Layer;
    let source = inject.source().flag("CENTRED", centred).float("EPS", op.eps);
    let source = source.set("TEAM", teams.team).set("THREADS", teams.threads);
    let (beta, mean, rstd) =
        if centred { (Input(5), Output(2), Output(3)) } else { (ABSENT, ABSENT, Output(2)) };
    let operands = [Input(0), Input(1), Input(2), Input(3), Input(4), beta];
    let arguments = [&operands[..], &[Output(0), Output(1), mean, rstd, Fault]].concat();
    let text = include_str!("../kernels/agf_norm.cu");
    let launch = source.launch("agf_norm", text, teams.geometry, arguments)?;
    Some(Lowered::new("agf_inject_norm", vec![launch]).in_place(op.in_place()))
}

pub(super) fn lower_grad(op: &AgfInjectNormGrad, types: Types<'_>) -> Option<Lowered> {
    // Gradients of gates with channels are sums over tokens that lie side by side, which a sweep over rows does not see.
    if op.inject.channel {
        return None;
    }
    let centred = op.norm == NormKind::Layer;
    let first = op.first_of_update();
    let inject = Inject::of(types, first + 1, op.inject.convex, false);
    let norm = Norm::of(types)?;
    let slots = inject.samples * inject.tokens;
    let teams = Teams::of(inject.samples * inject.rows + slots, inject.cols)?;
    let source = inject.source().flag("CENTRED", centred).flag("RESIDUAL", op.residual);
    let source = source.set("TEAM", teams.team).set("THREADS", teams.threads);
    let (mean, rstd) = if centred { (Input(3), Input(4)) } else { (ABSENT, Input(3)) };
    let ds = if op.residual { Input(first - 1) } else { ABSENT };
    let [gate, v, index] = [0, 1, 2].map(|i| Input(first + i));
    let h = if op.inject.convex { Input(first + 3) } else { ABSENT };
    let of_features = 1 + op.norm.vectors();
    // What tokens add to the gates' gradients lies behind what the norm's columns need.
    let partial = norm.scratch(centred);
    let of_rows = source.launch(
        "agf_norm_grad",
        include_str!("../kernels/agf_norm_grad.cu"),
        teams.geometry,
        vec![
            Input(0),
            Input(1),
            Input(2),
            mean,
            rstd,
            ds,
            gate,
            v,
            index,
            h,
            Output(0),
            Output(of_features),
            Scratch(partial),
        ],
    )?;
    let mut lowered = gradient(&norm, of_rows, "agf_inject_norm_grad", centred, op.in_place())?;
    lowered.work.push(Work::Launch(inject.of_gates([Scratch(partial), Output(of_features + 1)])?));
    Some(lowered.with_scratch(partial + slots * inject.taps * 4))
}
