//! Graphs of luminal's own tensors: what they are compiled to.

use crossloom_compiler::{Context, Mode, compile};
use crossloom_cpu::{CpuDevice, CpuTarget};
use crossloom_graph::luminal::prelude::*;
use crossloom_graph::{CrossloomCompiler, lift};

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
        let plan = compile(&func, &Context::new(&CpuTarget, Mode::Forward)).unwrap().main.plan;
        let kernels: Vec<&str> = plan.steps.iter().map(|step| step.kernel.as_str()).collect();
        assert_eq!(kernels, ["attention"], "{plan}");

        cx.execute();
        let expected = y.data();
        y.drop();
        let compiler = CrossloomCompiler::for_device(CpuDevice::shared());
        cx.compile(&compiler, &mut y);
        assert!(compiler.last_error().is_none());
        cx.execute();
        for (given, expected) in y.data().iter().zip(&expected) {
            assert!((given - expected).abs() < 1e-5, "{given} {expected}");
        }
    }
}

/// A table's rows, in a function that counts its calls before it looks anything up.
#[test]
fn a_run_that_fails_leaves_parameters_as_they_were() {
    use crossloom_graph::{DataRef, DeviceRegions, RegionCompiler as _};
    let source = r#"func @counted {
  input  %id "id": i32[2]
  state  %n "n": f32[1]
  weight %table "table": f32[3, 2]
  "":
    %0 = affine %n {mul = 1.0, add = 1.0} : f32[1]
    %1 = embedding %table, %id : f32[2, 2]
  return "rows" = %1
  update %n = %0
}
"#;
    let func = crossloom_ir::text::parse(source).unwrap_or_else(|e| panic!("{e}"));
    let mut region = DeviceRegions(CpuDevice::shared()).compile(&func).unwrap();
    let count =
        |region: &dyn crossloom_graph::Region| region.get("n").unwrap().as_ref() == DataRef::F32(&[2.0]);
    region.set("n", DataRef::F32(&[1.0])).unwrap();
    region.run(&[DataRef::I32(&[0, 2])]).unwrap();
    assert!(count(&*region));
    let error = region.run(&[DataRef::I32(&[0, 3])]).unwrap_err().to_string();
    assert!(error.contains("embedding"), "{error}");
    assert!(count(&*region), "the update before the step that failed is taken back");
}
