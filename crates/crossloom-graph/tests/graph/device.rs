//! Graphs of luminal's own tensors: what they are compiled to.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_compiler::{Mode, Options, compile};
use crossloom_cpu::exec::CpuBackend;
use crossloom_cpu::luminal_compiler;
use crossloom_graph::lift;
use crossloom_graph::luminal::prelude::*;

const SAMPLES: usize = 2;
const TIME: usize = 5;
const WIDTH: usize = 12;
const HEADS: usize = 3;
const HEAD: usize = 4;

type Rows = R3<SAMPLES, TIME, WIDTH>;

/// Values that are neither all equal nor special.
fn data(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 31) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// Attention as users of luminal write it, heads split and merged.
fn attention(cx: &mut Graph, causal: bool) -> GraphTensor<Rows> {
    let [q, k, v] = [1, 2, 3].map(|seed| cx.tensor::<Rows>().set(data(SAMPLES * TIME * WIDTH, seed)));
    let split = |x: GraphTensor<Rows>| {
        x.reshape::<R4<SAMPLES, TIME, HEADS, HEAD>>().permute::<R4<SAMPLES, HEADS, TIME, HEAD>, _>()
    };
    let keys = split(k).permute::<R4<SAMPLES, HEADS, HEAD, TIME>, Axes4<0, 1, 3, 2>>();
    let mut scores = split(q).matmul(keys) * (1.0 / (HEAD as f32).sqrt());
    if causal {
        let mask = cx.triu::<Const<TIME>>(1) * -65504.0;
        scores += mask.expand();
    }
    let mixed = scores.softmax::<3>().matmul(split(v));
    mixed.permute::<R4<SAMPLES, TIME, HEADS, HEAD>, _>().reshape()
}

#[test]
fn attention_of_luminals_primitives_is_one_kernel() {
    for causal in [false, true] {
        let mut cx = Graph::new();
        let mut y = attention(&mut cx, causal).retrieve();
        let func = lift(&cx, "attention").unwrap().func;
        let plan = compile(&func, &Mode::Forward, &CpuBackend, Options { verify: true }).unwrap().main.plan;
        let kernels: Vec<&str> = plan.steps.iter().map(|step| step.kernel.as_str()).collect();
        assert_eq!(kernels, ["attention"], "{plan}");

        cx.execute();
        let expected = y.data();
        y.drop();
        let compiler = luminal_compiler();
        cx.compile(&compiler, &mut y);
        assert!(compiler.last_error().is_none());
        cx.execute();
        for (given, expected) in y.data().iter().zip(&expected) {
            assert!((given - expected).abs() < 1e-5, "{given} {expected}");
        }
    }
}
