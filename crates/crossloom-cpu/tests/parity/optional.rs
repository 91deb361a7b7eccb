//! Results that nobody reads: they have no memory, and what is left has the bits that it has beside them.

use crossloom_compiler::plan;
use crossloom_cpu::CpuTarget;
use crossloom_ir::op::{
    Activation, AgfInjectGrad, Attention, AttentionGrad, AttnPool, AttnPoolGrad, DeformableAttention,
    DeformableAttentionGrad, LayerNormGrad, Linear, Op, RmsNormGrad,
};
use crossloom_ir::{DType, Func, Role, Scope};

use crate::compare::{Arg, between, random, whole};
use crate::ops::{grid_points, outputs};
use crate::support::session;

/// Bits of the results in `kept`, where only those are results; checks that the others that can be left out are.
fn bits(op: &Op, args: &[Arg], kept: &[usize], optional: &[usize]) -> Vec<Vec<u32>> {
    let mut func = Func::new("one");
    let names: Vec<String> = (0..args.len()).map(|i| format!("p{i}")).collect();
    let operands: Vec<_> =
        names.iter().zip(args).map(|(name, arg)| func.add_param(name, Role::Input, arg.ty.clone())).collect();
    let outputs = func.push(op.clone(), &operands, &Scope::new("test")).unwrap();
    for &o in kept {
        func.add_result(format!("r{o}"), outputs[o]);
    }
    let plan = plan::plan(func, &CpuTarget).unwrap();
    plan::check(&plan).unwrap();
    for (o, &output) in outputs.iter().enumerate() {
        let skipped = !kept.contains(&o) && optional.contains(&o);
        assert_eq!(plan.place(output).len == 0, skipped, "result {o} of {}", op.mnemonic());
    }
    let mut session = session(plan);
    for (name, arg) in names.iter().zip(args) {
        if arg.ty.dtype == DType::I32 {
            session.write(name, &arg.data.iter().map(|&x| x as i32).collect::<Vec<_>>()).unwrap();
        } else {
            session.write(name, &arg.data).unwrap();
        }
    }
    session.run().unwrap();
    let read = |&o: &usize| session.read::<f32>(&format!("r{o}")).unwrap();
    kept.iter().map(|o| read(o).into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn what_nobody_reads_is_left_out_and_changes_nothing() {
    let (shape, d, lead) = ([300, 96], [96], [300]);
    let (dy, x, ds) = (random(&shape, 1), random(&shape, 2), random(&shape, 3));
    let (gamma, mean, rstd) = (random(&d, 4), random(&lead, 5), between(&lead, 0.5, 2.0, 6));
    let layer = vec![dy.clone(), x.clone(), gamma.clone(), mean, rstd.clone(), ds.clone()];
    let attention = Attention { heads: 4, kv_heads: 2, causal: true, segments: false, scale: 0.4 };
    let qkv = [random(&[1, 90, 32], 1), random(&[1, 90, 16], 2), random(&[1, 90, 16], 3)];
    let of_attention = [vec![random(&[1, 90, 32], 4)], qkv.to_vec(), outputs(attention, &qkv)].concat();
    let pooled = [random(&[3, 70, 33], 1), random(&[4, 33], 2)];
    let probs = outputs(AttnPool { scale: 0.6, masked: false }, &pooled).remove(1);
    let of_pool = [vec![random(&[3, 4, 33], 3)], pooled.to_vec(), vec![probs]].concat();
    let state = |seed| random(&[1, 60, 37], seed);
    let index = whole(&[1, 50], &(0..50).collect::<Vec<i32>>());
    let of_injection = vec![state(1), random(&[1, 3], 2), random(&[3, 1, 50, 37], 3), index, state(4)];
    let grids = DeformableAttention { heads: 2, sides: vec![5, 3] };
    let of_grids = [&[random(&[2, 40, 24], 4)], &grid_points(&grids, [40, 12, 3])[..]].concat();
    let cases: [(Op, Vec<Arg>, &[usize], usize); 7] = [
        (DeformableAttentionGrad(grids).into(), of_grids, &[0, 1, 2], 3),
        (AttentionGrad(attention).into(), of_attention, &[0, 1, 2], 3),
        (AttnPoolGrad { scale: 0.6 }.into(), of_pool, &[0, 1], 2),
        (AgfInjectGrad { convex: true, channel: false }.into(), of_injection, &[0, 1, 2], 3),
        (LayerNormGrad { residual: true }.into(), layer, &[0, 1, 2], 3),
        (RmsNormGrad { residual: true }.into(), vec![dy, x.clone(), gamma, rstd, ds], &[0, 1], 2),
        (
            Linear { bias: false, act: Some(Activation::GeluErf), residual: false }.into(),
            vec![x, random(&[33, 96], 7)],
            &[1],
            2,
        ),
    ];
    for (op, args, optional, outputs) in cases {
        let every: Vec<usize> = (0..outputs).collect();
        let all = bits(&op, &args, &every, optional);
        for mix in 1..1_usize << outputs {
            let kept: Vec<usize> = every.iter().copied().filter(|o| mix >> o & 1 == 1).collect();
            let some = bits(&op, &args, &kept, optional);
            let same = kept.iter().zip(&some).all(|(&o, bits)| *bits == all[o]);
            assert!(same, "results {kept:?} of {}", op.mnemonic());
        }
    }
}
