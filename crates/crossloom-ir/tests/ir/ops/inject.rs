//! Adaptive projection, attention pooling, gates and the gated update.

use crossloom_ir::expand::expand_where;
use crossloom_ir::func::InstData;
use crossloom_ir::op::{
    Activation, AgfGate, AgfInject, AgfInjectGrad, AgfInjectNorm, AgfInjectNormGrad, AmpProject, Attach,
    AttnPool, AttnPoolGrad, LowRankLinear, NormKind, Op, PoolAttention,
};
use crossloom_ir::{DType, Func, TensorType, Value};

use super::support::{
    Arg, ERF, EXACT, assert_close, assert_complains, between, check, check_rounding, check_within, distance,
    function_of, given, outputs, random, refusal, whole,
};

#[test]
fn pooling_with_and_without_a_mask() {
    let (x, w) = (random(&[3, 4, 5], 1), random(&[2, 5], 2));
    check(AttnPool { scale: 0.6, masked: false }, &[x.clone(), w.clone()]);
    check(AttnPool { scale: 0.6, masked: false }, &[random(&[1, 1, 1], 1), random(&[1, 1], 2)]);
    // All rows, some rows, none.
    let mask = given(&[3, 4], &[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]).fixed();
    check(AttnPool { scale: 0.6, masked: true }, &[x.clone(), w.clone(), mask]);
    let probs = between(&[3, 2, 4], 0.0, 0.5, 3);
    check(AttnPoolGrad { scale: 0.6 }, &[random(&[3, 2, 5], 4), x, w, probs]);
}

#[test]
fn pooling_by_hand() {
    // Scores 0 and ln 3 give shares 1/4 and 3/4; the third row is left out, the second group is empty.
    let x = given(&[2, 3, 1], &[0.0, 1.0, 50.0, 1.0, 2.0, 3.0]);
    let mask = given(&[2, 3], &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let y = outputs(AttnPool { scale: 3.0_f64.ln(), masked: true }, &[x, given(&[1, 1], &[1.0]), mask]);
    assert_close(&y[0], &[0.75, 0.0], 1e-12);
    assert_close(&y[1], &[0.25, 0.75, 0.0, 0.0, 0.0, 0.0], 1e-12);
}

/// Operands of a projection of width 4 -> 3 -> 5; ranks differ between taps.
fn projection(op: AmpProject) -> Vec<Arg> {
    let (dv, inner, d) = (4, 3, 5);
    let mut args: Vec<Arg> = (0..op.taps).map(|k| random(&[2, 3, dv], 10 + k as u64)).collect();
    args.push(random(&[inner, dv], 20));
    args.extend(op.bias.then(|| random(&[inner], 21)));
    args.push(random(&[d, inner], 22));
    args.extend(op.bias.then(|| random(&[d], 23)));
    for k in 0..op.taps {
        let (rank, seed) = (1 + k, 30 + 10 * k as u64);
        match op.attach {
            Attach::None => {}
            Attach::Parallel => args.extend([random(&[rank, dv], seed), random(&[d, rank], seed + 1)]),
            Attach::PerLinear => {
                args.extend([random(&[rank, dv], seed), random(&[inner, rank], seed + 1)]);
                args.extend([random(&[rank, inner], seed + 2), random(&[d, rank], seed + 3)]);
            }
        }
    }
    args
}

#[test]
fn projection_of_every_kind() {
    for taps in [1, 3] {
        for attach in [Attach::None, Attach::Parallel, Attach::PerLinear] {
            for (bias, act) in
                [(true, Activation::GeluTanh), (false, Activation::GeluErf), (true, Activation::Silu)]
            {
                let op = AmpProject { taps, act, scale: 0.5, bias, attach };
                let tolerance = if act == Activation::GeluErf { ERF } else { EXACT };
                check_within(op, &projection(op), tolerance);
            }
        }
    }
}

#[test]
fn zero_up_projections_leave_the_shared_projector() {
    for attach in [Attach::Parallel, Attach::PerLinear] {
        let op = AmpProject { taps: 2, act: Activation::Silu, scale: 2.0, bias: true, attach };
        let mut args = projection(op);
        let first = op.branch_index(0);
        for up in args[first..].iter_mut().skip(1).step_by(2) {
            up.value.data.fill(0.0);
        }
        let plain = AmpProject { attach: Attach::None, ..op };
        assert_eq!(outputs(op, &args), outputs(plain, &args[..first]));
    }
}

#[test]
fn a_tap_has_only_its_own_branch() {
    let op = AmpProject { taps: 2, act: Activation::Silu, scale: 2.0, bias: true, attach: Attach::Parallel };
    let mut args = projection(op);
    let before = outputs(op, &args).remove(0);
    args[op.branch_index(1)].value.data[0] += 1.0;
    let after = outputs(op, &args).remove(0);
    let half = before.data.len() / 2;
    assert_eq!(before.data[..half], after.data[..half]);
    assert_ne!(before.data[half..], after.data[half..]);
}

/// Operands of a gate of width 6 for two samples, three taps of four tokens and a hidden state of five rows.
fn gate(op: AgfGate) -> Vec<Arg> {
    let d = 6;
    let mask = given(&[2, 5], &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]).fixed();
    let mut args = vec![random(&[2, 5, d], 40), random(&[3, 2, 4, d], 41), mask];
    args.extend(op.masked.then(|| given(&[2, 4], &[1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]).fixed()));
    args.extend([random(&[d], 42), random(&[d], 43)]);
    let sets = match op.attention {
        PoolAttention::None => 0,
        PoolAttention::Shared => 1,
        PoolAttention::Separate => 2,
    };
    for set in 0..sets {
        let seed = 50 + 10 * set;
        for (i, shape) in [&[d, d][..], &[d], &[d, d], &[d, d], &[d], &[d, d], &[d]].into_iter().enumerate() {
            args.push(random(shape, seed + i as u64));
        }
    }
    let gates = if op.channel { d } else { 1 };
    args.extend([random(&[gates, 2 * d], 80), random(&[gates], 81)]);
    args
}

#[test]
fn gates_of_every_kind() {
    for (attention, heads) in [
        (PoolAttention::None, 1),
        (PoolAttention::Shared, 1),
        (PoolAttention::Shared, 3),
        (PoolAttention::Separate, 2),
    ] {
        for (channel, masked) in [(false, false), (true, false), (false, true), (true, true)] {
            let op = AgfGate { heads, attention, channel, masked };
            check(op, &gate(op));
        }
    }
}

#[test]
fn a_sample_without_pooled_rows_has_a_gate() {
    for attention in [PoolAttention::None, PoolAttention::Shared] {
        let op = AgfGate { heads: 1, attention, channel: false, masked: false };
        let mut args = gate(op);
        args[2].value.data[..5].fill(0.0);
        check(op, &args);
        let before = outputs(op, &args);
        args[0].value.data[..30].fill(3.0);
        assert_eq!(before, outputs(op, &args), "rows that are not pooled have no influence");
    }
}

#[test]
fn tokens_that_are_not_pooled_have_no_influence() {
    for attention in [PoolAttention::None, PoolAttention::Separate] {
        let op = AgfGate { heads: 1, attention, channel: false, masked: true };
        // Of the first sample the second token is not pooled; of the second none.
        let mut args = gate(op);
        args[3].value.data[4..].fill(0.0);
        check(op, &args);
        let before = outputs(op, &args);
        for tap in 0..3 {
            args[1].value.data[tap * 48 + 6..tap * 48 + 12].fill(3.0);
            args[1].value.data[tap * 48 + 24..tap * 48 + 48].fill(-2.0);
        }
        assert_eq!(before, outputs(op, &args));
        let all = AgfGate { masked: false, ..op };
        args.remove(3);
        assert_ne!(before, outputs(all, &args));
    }
}

#[test]
fn a_zero_controller_leaves_its_bias() {
    let op = AgfGate { heads: 2, attention: PoolAttention::Separate, channel: false, masked: false };
    let mut args = gate(op);
    let last = args.len() - 1;
    args[last - 1].value.data.fill(0.0);
    args[last].value.data.fill(-4.0);
    let closed = 1.0 / (1.0 + 4.0_f64.exp());
    assert_close(&outputs(op, &args)[0], &[closed; 6], 1e-12);
}

/// Two samples of five rows, two taps of three tokens of width four; tokens without a row.
fn update(op: AgfInject) -> Vec<Arg> {
    let gate: &[usize] = if op.channel { &[2, 2, 4] } else { &[2, 2] };
    let index = whole(&[2, 3], &[4, -1, 1, 0, 2, 3]);
    vec![random(&[2, 5, 4], 90), random(gate, 91), random(&[2, 2, 3, 4], 92), index]
}

#[test]
fn updates_of_every_kind() {
    for convex in [false, true] {
        for channel in [false, true] {
            let op = AgfInject { convex, channel };
            let args = update(op);
            check(op, &args);
            let mut backward = vec![random(&[2, 5, 4], 93)];
            backward.extend(args[1..].iter().cloned());
            backward.extend(convex.then(|| args[0].clone()));
            check(AgfInjectGrad { convex, channel }, &backward);
        }
    }
}

#[test]
fn updates_with_the_norm_behind_them() {
    for convex in [false, true] {
        for channel in [false, true] {
            let inject = AgfInject { convex, channel };
            let operands = update(inject);
            let (h, d) = (&operands[0].ty.shape, &operands[0].ty.shape[2..]);
            for norm in [NormKind::Layer, NormKind::Rms] {
                let weights = [between(d, 0.5, 1.5, 20), random(d, 21)];
                let mut forward = operands.clone();
                forward.extend_from_slice(&weights[..norm.vectors()]);
                check(AgfInjectNorm { inject, norm, eps: 0.1 }, &forward);
                let statistics = [random(&h[..2], 22), between(&h[..2], 0.5, 2.0, 23)];
                for residual in [false, true] {
                    let mut backward = vec![random(h, 24), random(h, 25), weights[0].clone()];
                    backward.extend_from_slice(&statistics[2 - norm.vectors()..]);
                    backward.extend(residual.then(|| random(h, 26)));
                    backward.extend_from_slice(&operands[1..]);
                    backward.extend(convex.then(|| operands[0].clone()));
                    check(AgfInjectNormGrad { inject, norm, residual }, &backward);
                }
            }
        }
    }
}

#[test]
fn a_projector_with_a_branch_for_every_tap() {
    for (bias, act, scale) in [(true, None, 1.0), (false, Some(Activation::Silu), 0.5)] {
        let mut operands = vec![random(&[6, 4], 1), random(&[5, 4], 2)];
        operands.extend(bias.then(|| random(&[5], 3)));
        for rank in [2, 1] {
            operands.extend([random(&[3, rank], 4), random(&[5, rank], 5)]);
        }
        check(LowRankLinear { taps: 2, bias, act, scale, rounded: DType::F32 }, &operands);
        let rounded = LowRankLinear { taps: 2, bias, act, scale, rounded: DType::Bf16 };
        check_rounding(rounded, &operands);
    }
    let op = LowRankLinear { taps: 2, bias: false, act: None, scale: 1.0, rounded: DType::F32 };
    let f = |shape: &[usize]| TensorType::f32(shape);
    let pair = [f(&[3, 2]), f(&[5, 2])];
    assert_complains(
        op,
        &[f(&[6, 4]), f(&[5, 4])],
        "a low-rank pair for each of 2 taps, 2 operands were given",
    );
    let odd = [&[f(&[5, 4]), f(&[5, 4])], &pair[..], &pair].concat();
    assert_complains(op, &odd, "do not divide among 2 taps");
    let other = [&[f(&[6, 4]), f(&[5, 4])], &pair[..], &[f(&[3, 2]), f(&[5, 3])]].concat();
    assert_complains(op, &other, "up_1 is f32[5, 3], must be f32[5, 2]");
}

#[test]
fn updates_by_hand() {
    let h = given(&[1, 3, 1], &[1.0, 2.0, 3.0]);
    let v = given(&[2, 1, 2, 1], &[10.0, 20.0, 100.0, 200.0]);
    let (gate, index) = (given(&[1, 2], &[0.5, 0.25]), whole(&[1, 2], &[2, 0]));
    let args = [h, gate, v, index];
    let residual = outputs(AgfInject { convex: false, channel: false }, &args);
    assert_close(&residual[0], &[1.0 + 10.0 + 50.0, 2.0, 3.0 + 5.0 + 25.0], 1e-12);
    let convex = outputs(AgfInject { convex: true, channel: false }, &args);
    assert_close(&convex[0], &[61.0 - 0.75, 2.0, 33.0 - 2.25], 1e-12);
}

#[test]
fn one_open_gate_replaces_the_row() {
    let op = AgfInject { convex: true, channel: false };
    let mut args = update(op);
    args[1].value.data.copy_from_slice(&[1.0, 0.0, 0.0, 1.0]);
    let y = outputs(op, &args).remove(0);
    let row = |t: usize| y.data[t * 4..t * 4 + 4].to_vec();
    // Sample 0: token 0 of tap 0 into row 4; sample 1: token 2 of tap 1 into row 3.
    let (first, second) = (given(&[4], &row(4)), given(&[4], &row(5 + 3)));
    assert!(distance(&first.value, &given(&[4], &args[2].value.data[..4]).value) < 1e-12);
    let token = (3 + 3 + 3 + 2) * 4;
    assert!(distance(&second.value, &given(&[4], &args[2].value.data[token..token + 4]).value) < 1e-12);
}

#[test]
fn rows_outside_or_given_twice_are_refused() {
    let op = AgfInject::default();
    let mut args = update(op);
    args[3] = whole(&[2, 3], &[0, 5, 1, 0, 1, 2]);
    assert!(refusal(op, &args).contains("index 5 of sample 0 is outside its 5 rows"));
    args[3] = whole(&[2, 3], &[0, 1, 2, 4, 1, 4]);
    assert!(refusal(op, &args).contains("index 4 is given twice in sample 1"));
    assert!(refusal(AgfInjectGrad::default(), &args).contains("index 4 is given twice in sample 1"));
}

#[test]
fn cost_is_that_of_the_fast_form() {
    let assert_cost = |op: Op, args: &[Arg]| {
        let one = function_of(&op, args);
        let many = expand_where(&one, |inner| *inner == op).unwrap();
        let flops = |func: &Func| -> u64 {
            let types = |values: &[Value]| values.iter().map(|&v| func.ty(v).clone()).collect::<Vec<_>>();
            let cost = |inst: &InstData| {
                let (inputs, outputs) = (types(&inst.inputs), types(&inst.outputs));
                inst.op.cost(&inputs.iter().collect::<Vec<_>>(), &outputs.iter().collect::<Vec<_>>()).flops
            };
            func.insts().iter().map(cost).sum()
        };
        assert_eq!(flops(&one), flops(&many), "{}", op.mnemonic());
    };
    for attach in [Attach::None, Attach::Parallel, Attach::PerLinear] {
        let op = AmpProject { taps: 3, act: Activation::Silu, scale: 2.0, bias: true, attach };
        assert_cost(op.into(), &projection(op));
    }
    for attention in [PoolAttention::None, PoolAttention::Shared, PoolAttention::Separate] {
        for channel in [false, true] {
            let op = AgfGate {
                heads: if attention == PoolAttention::None { 1 } else { 3 },
                attention,
                channel,
                masked: channel,
            };
            assert_cost(op.into(), &gate(op));
        }
    }
}

#[test]
fn wrong_operands_are_named() {
    let f32 = |shape: &[usize]| TensorType::f32(shape);
    let types = |args: &[Arg]| args.iter().map(|arg| arg.ty.clone()).collect::<Vec<_>>();
    let pool = AttnPool { scale: 1.0, masked: true };
    let wrong = [f32(&[2, 3, 4]), f32(&[1, 4]), f32(&[2, 4])];
    assert_complains(pool, &wrong, "mask is f32[2, 4], must be f32[2, 3]");
    assert_complains(pool, &wrong[..2], "takes 3 operands (x, w, mask), 2 were given");
    let none = AttnPool { scale: 1.0, masked: false };
    assert_complains(none, &[f32(&[2, 0, 4]), f32(&[1, 4])], "has no rows to pool");
    assert_complains(none, &[f32(&[2, 3, 4]), f32(&[1, 3])], "w is f32[1, 3], must be f32[1, 4]");
    let grad = [f32(&[2, 1, 4]), f32(&[2, 3, 4]), f32(&[1, 4]), f32(&[2, 3, 1])];
    assert_complains(AttnPoolGrad { scale: 1.0 }, &grad, "probs is f32[2, 3, 1], must be f32[2, 1, 3]");

    let amp = AmpProject { taps: 2, act: Activation::Silu, scale: 1.0, bias: true, attach: Attach::Parallel };
    let good = types(&projection(amp));
    assert_complains(amp, &good[1..], "takes 10 operands for 2 taps and attach = parallel, 9 were given");
    let with = |at: usize, ty: TensorType| {
        let mut types = good.clone();
        types[at] = ty;
        types
    };
    assert_complains(amp, &with(1, f32(&[2, 3, 5])), "x_1 is f32[2, 3, 5], must be f32[2, 3, 4]");
    assert_complains(amp, &with(2, f32(&[3, 5])), "w1 is f32[3, 5], must be f32[3, 4]");
    assert_complains(amp, &with(5, f32(&[3])), "b2 is f32[3], must be f32[5]");
    assert_complains(amp, &with(9, f32(&[5, 3])), "B_1 is f32[5, 3], must be f32[5, 2]");
    assert_complains(AmpProject { taps: 0, ..amp }, &good, "needs at least one tap");
    assert_complains(AmpProject { taps: usize::MAX, ..amp }, &good, "takes too many operands");

    let shared = AgfGate { heads: 2, attention: PoolAttention::Shared, channel: false, masked: false };
    let good = types(&gate(shared));
    assert_complains(
        shared,
        &good[1..],
        "takes 14 operands (h, v, pool_mask, query_vision, query_hidden, wq",
    );
    assert_complains(AgfGate { heads: 4, ..shared }, &good, "width 6 does not divide into 4 heads");
    assert_complains(
        AgfGate { channel: true, ..shared },
        &good,
        "controller_w is f32[1, 12], must be f32[6, 12]",
    );
    let bare = AgfGate { heads: 2, attention: PoolAttention::None, channel: false, masked: false };
    assert_complains(bare, &types(&gate(bare)), "has no projections, so it has 1 head, not 2");
    let separate = AgfGate { attention: PoolAttention::Separate, ..shared };
    let mut wrong = types(&gate(separate));
    wrong[14] = f32(&[6]);
    assert_complains(separate, &wrong, "hidden wk is f32[6], must be f32[6, 6]");

    let inject = AgfInject::default();
    let mut wrong = types(&update(inject));
    wrong[1] = f32(&[2, 3]);
    assert_complains(inject, &wrong, "gate is f32[2, 3], must be f32[2, 2]");
    let mut wrong = types(&update(inject));
    wrong[3] = f32(&[2, 3]);
    assert_complains(inject, &wrong, "index is f32[2, 3], must be i32[2, 3]");
    let convex = AgfInjectGrad { convex: true, channel: false };
    assert_complains(
        convex,
        &types(&update(inject)),
        "takes 5 operands (dh', gate, v, index, h), 4 were given",
    );
}
