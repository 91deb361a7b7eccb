//! Every op of the IR computes the same four ways: as our luminal operator, decomposed into luminal's primitives (as
//! they are and through luminal's CPU compiler), on the interpreter, and in a compiled region of the interpreter and of
//! the CPU backend.

use std::collections::BTreeSet;

use crossloom_cpu::CpuDevice;
use crossloom_graph::{DeviceRegions, GraphBuilder, Interpreter, LuminalGraph, decompose};
use crossloom_ir::attrs::Attrs;
use crossloom_ir::op::{
    Activation, AdamW, Affine, AgfGate, AgfInject, AgfInjectGrad, AgfInjectNorm, AgfInjectNormGrad,
    AmpProject, Argmax, Attach, AttnPool, AttnPoolGrad, Broadcast, CacheWrite, CachedAttention, Concat,
    Constant, Convert, CrossEntropy, CrossEntropyGrad, DeformableAttention, DeformableAttentionGrad,
    Embedding, EmbeddingGrad, FusedElementwise, GatherRows, GlobalNorm, Iota, LayerNorm, Linear,
    LinearCrossEntropy, Load, LowRankLinear, Matmul, MatmulActGrad, MixRows, MixRowsGrad, MultiAdamW,
    NormKind, Pad, PoolAttention, Reduce, ReduceKind, Reshape, Rope, ScatterMode, ScatterRows, Slice,
    Softmax, Step, ToFloat, ToInt, Transpose, UnaryKind, WeightGrad,
};
use crossloom_ir::{DType, Func, Op, Role, Tensor, TensorType, interp};

use crate::common::{assert_close, data, read};

/// What an operand holds.
#[derive(Clone)]
enum Operand {
    /// Numbers in -1..1.
    F(Vec<usize>),
    /// Numbers in 0.1..1.1.
    Positive(Vec<usize>),
    /// Zeros and ones.
    Mask(Vec<usize>, &'static [i32]),
    /// Whole numbers, repeated until the shape is full.
    Ids(Vec<usize>, &'static [i32]),
}

impl Operand {
    fn ty(&self) -> TensorType {
        match self {
            Self::F(shape) | Self::Positive(shape) | Self::Mask(shape, _) => TensorType::f32(shape.clone()),
            Self::Ids(shape, _) => TensorType::i32(shape.clone()),
        }
    }

    fn data(&self, name: &str) -> Vec<f32> {
        match self {
            Self::F(_) => data(name, &self.ty()),
            Self::Positive(_) => data(name, &self.ty()).iter().map(|x| x.abs() + 0.1).collect(),
            Self::Mask(_, of) | Self::Ids(_, of) => {
                of.iter().cycle().take(self.ty().elements()).map(|&id| id as f32).collect()
            }
        }
    }
}

fn f<const N: usize>(shape: [usize; N]) -> Operand {
    Operand::F(shape.to_vec())
}

fn positive<const N: usize>(shape: [usize; N]) -> Operand {
    Operand::Positive(shape.to_vec())
}

fn ids<const N: usize>(shape: [usize; N], of: &'static [i32]) -> Operand {
    Operand::Ids(shape.to_vec(), of)
}

fn mask<const N: usize>(shape: [usize; N], of: &'static [i32]) -> Operand {
    Operand::Mask(shape.to_vec(), of)
}

fn set(graph: &mut LuminalGraph, operands: &[Operand]) {
    for (at, operand) in operands.iter().enumerate() {
        let name = format!("p{at}");
        let values = operand.data(&name);
        match operand.ty().dtype {
            DType::I32 => {
                graph.set_ids(&name, &values.iter().map(|&id| id as i32).collect::<Vec<_>>()).unwrap();
            }
            _ => graph.set(&name, &values).unwrap(),
        }
    }
}

fn run(graph: &mut LuminalGraph, operands: &[Operand]) -> Vec<Vec<f32>> {
    set(graph, operands);
    graph.execute().unwrap();
    read(graph)
}

fn check(seen: &mut BTreeSet<&'static str>, op: impl Into<Op>, operands: &[Operand]) {
    let op = op.into();
    seen.insert(op.mnemonic());
    let what = format!("{}{}", op.mnemonic(), op.attrs());
    let build = || {
        let mut b = GraphBuilder::new("op");
        let params: Vec<_> = operands
            .iter()
            .enumerate()
            .map(|(at, operand)| {
                let role = if at % 2 == 0 { Role::Input } else { Role::Weight };
                b.param(&format!("p{at}"), role, operand.ty())
            })
            .collect();
        let outputs = b.push(op.clone(), &params).unwrap();
        for (at, &output) in outputs.iter().enumerate() {
            b.result(&format!("r{at}"), output);
        }
        b.finish()
    };
    let mut graph = build();
    let func = graph.lift().unwrap();
    let expected = interpreted(&func, operands);
    assert!(expected.iter().flatten().all(|x| x.is_finite()), "{what}: {expected:?}");
    assert_close(&format!("{what}: plain luminal"), &run(&mut graph, operands), &expected);
    graph.compile_region(&Interpreter).unwrap();
    assert_close(&format!("{what}: region"), &run(&mut graph, operands), &expected);
    let mut graph = build();
    graph.compile_region(&DeviceRegions(CpuDevice::shared())).unwrap();
    assert_close(&format!("{what}: region on the CPU"), &run(&mut graph, operands), &expected);
    let mut primitives = decompose(&func).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_close(&format!("{what}: decomposed"), &run(&mut primitives, operands), &expected);
    primitives.compile_luminal_cpu().unwrap();
    assert_close(&format!("{what}: luminal's CPU compiler"), &run(&mut primitives, operands), &expected);
}

fn interpreted(func: &Func, operands: &[Operand]) -> Vec<Vec<f32>> {
    let named = operands.iter().enumerate();
    let args = named.map(|(at, p)| Tensor::new(p.ty().shape, p.data(&format!("p{at}"))).unwrap());
    interp::run(func, &args.collect::<Vec<Tensor<f32>>>()).unwrap().into_iter().map(|t| t.data).collect()
}

/// An op by its text form.
fn text(mnemonic: &str, attrs: Attrs) -> Op {
    Op::from_text(mnemonic, attrs).unwrap()
}

#[test]
fn every_op_agrees_four_ways() {
    let seen = &mut BTreeSet::new();
    simple(seen);
    norms(seen);
    attention(seen);
    cache(seen);
    grids(seen);
    rows_and_loss(seen);
    injection(seen);
    optimizer(seen);
    let missing: Vec<_> = Op::mnemonics().into_iter().filter(|mnemonic| !seen.contains(mnemonic)).collect();
    assert!(missing.is_empty(), "not tested: {missing:?}");
}

fn simple(seen: &mut BTreeSet<&'static str>) {
    let unary = [
        "log2",
        "exp2",
        "sin",
        "sqrt",
        "recip",
        "exp",
        "log",
        "rsqrt",
        "tanh",
        "sigmoid",
        "gelu_tanh",
        "gelu_erf",
        "quick_gelu",
        "silu",
        "gelu_tanh_grad",
        "gelu_erf_grad",
        "quick_gelu_grad",
        "silu_grad",
    ];
    for mnemonic in unary {
        check(seen, text(mnemonic, Attrs::new()), &[positive([2, 3])]);
    }
    for mnemonic in ["add", "mul", "mod", "less_than", "sub", "div", "min", "max"] {
        check(seen, text(mnemonic, Attrs::new()), &[f([2, 3]), positive([2, 3])]);
    }
    check(seen, Affine { mul: -1.5, add: 0.5 }, &[f([2, 3])]);
    check(seen, Constant { value: 0.5, shape: vec![2, 3] }, &[]);
    check(seen, Iota { shape: vec![2, 3], axis: 0 }, &[]);
    check(seen, Convert, &[f([2, 3])]);
    check(seen, ToFloat, &[ids([2, 2], &[-1, 3, 7])]);
    check(seen, ToInt, &[f([2, 3])]);
    check(seen, Reduce { kind: ReduceKind::Sum, axes: vec![0, 2] }, &[f([2, 3, 4])]);
    check(seen, Reduce { kind: ReduceKind::Max, axes: vec![1] }, &[f([2, 3, 4])]);
    check(seen, Reshape { shape: vec![3, 2] }, &[f([2, 3])]);
    check(seen, Transpose { perm: vec![2, 0, 1] }, &[f([2, 3, 4])]);
    check(seen, Broadcast { shape: vec![4, 2, 5, 3], axes: vec![1, 3] }, &[f([2, 3])]);
    check(seen, Slice { axis: 1, start: 1, len: 2 }, &[f([2, 4])]);
    check(seen, Pad { axis: 1, before: 1, after: 2 }, &[f([2, 4])]);
    check(seen, Concat { axis: 1 }, &[f([2, 4]), f([2, 1]), f([2, 2])]);
    for (ta, tb, a, b) in [(false, false, [2, 3, 4], [2, 4, 5]), (true, true, [2, 4, 3], [2, 5, 4])] {
        let product = Matmul { transpose_a: ta, transpose_b: tb };
        check(seen, product, &[f(a), f(b)]);
        let op = MatmulActGrad { product, act: Activation::GeluTanh, rounded: DType::F32 };
        check(seen, op, &[f(a), f(b), f([2, 3, 5])]);
    }
    check(seen, WeightGrad, &[f([4, 3]), f([4, 2])]);
    let full = Linear { bias: true, act: Some(Activation::GeluErf), residual: true };
    check(seen, full, &[f([2, 3, 4]), f([5, 4]), f([5]), f([2, 3, 5])]);
    let fused = FusedElementwise {
        shape: vec![2, 3],
        loads: vec![Load::Full, Load::Row, Load::Column, Load::Scalar],
        body: vec![
            Step::Binary(crossloom_ir::op::BinaryKind::Mul, 0, 1),
            Step::Binary(crossloom_ir::op::BinaryKind::Add, 4, 2),
            Step::Unary(UnaryKind::Tanh, 5),
            Step::Affine(6, 2.0, 1.0),
            Step::Binary(crossloom_ir::op::BinaryKind::Mul, 7, 3),
        ],
        stores: vec![5, 8],
    };
    check(seen, fused, &[f([2, 3]), f([3]), f([2]), f([])]);
}

fn norms(seen: &mut BTreeSet<&'static str>) {
    check(seen, LayerNorm { eps: 1e-5 }, &[f([2, 3, 4]), f([4]), f([4])]);
    let eps = || Attrs::new().float("eps", 1e-5);
    check(seen, text("add_layer_norm", eps()), &[f([2, 3, 4]), f([2, 3, 4]), f([4]), f([4])]);
    check(seen, text("rms_norm", eps()), &[f([2, 3, 4]), f([4])]);
    check(seen, text("add_rms_norm", eps()), &[f([2, 3, 4]), f([2, 3, 4]), f([4])]);
    let x = || f([2, 3, 4]);
    for residual in [false, true] {
        let flag = Attrs::new().flag("residual", residual);
        let mut layer = vec![x(), x(), f([4]), f([2, 3]), positive([2, 3])];
        let mut rms = vec![x(), x(), f([4]), positive([2, 3])];
        if residual {
            layer.push(x());
            rms.push(x());
        }
        check(seen, text("layer_norm_grad", flag.clone()), &layer);
        check(seen, text("rms_norm_grad", flag), &rms);
    }
}

fn attention(seen: &mut BTreeSet<&'static str>) {
    let attrs = |causal, segments| {
        let attrs = Attrs::new().int("heads", 2).int("kv_heads", 1).flag("causal", causal);
        attrs.flag("segments", segments).float("scale", 0.7)
    };
    let (q, k) = (|| f([2, 3, 4]), || f([2, 3, 2]));
    let segments = || ids([2, 3], &[0, 1, 2, 0, 1, -1]);
    check(seen, text("attention", attrs(false, false)), &[q(), k(), k()]);
    check(seen, text("attention", attrs(true, true)), &[q(), k(), k(), segments()]);
    let grad = || vec![q(), q(), k(), k(), q(), positive([2, 2, 3])];
    check(seen, text("attention_grad", attrs(true, false)), &grad());
    check(
        seen,
        text("attention_grad", attrs(true, true)),
        &grad().into_iter().chain([segments()]).collect::<Vec<_>>(),
    );
    for inverse in [false, true] {
        let op = Rope { head_dim: 4, theta: 100.0, inverse, sections: None };
        check(seen, op, &[f([2, 3, 8]), ids([2, 3], &[0, 1, 2, 5, 6, 7])]);
        let op = Rope { head_dim: 8, sections: Some([2, 1, 1]), ..op };
        check(seen, op, &[f([2, 1, 8]), ids([2, 1, 3], &[0, 1, 2, 5, 6, 7])]);
    }
}

/// Two calls' rows go on with slots 2 and 0 of three; the second has one position less than the call.
fn cache(seen: &mut BTreeSet<&'static str>) {
    let at = |more: Vec<Operand>| -> Vec<Operand> {
        more.into_iter().chain([ids([2], &[2, 0]), ids([2], &[1, 0]), ids([2], &[2, 1])]).collect()
    };
    check(seen, CacheWrite, &at(vec![f([3, 4, 4]), f([2, 2, 4])]));
    let op = CachedAttention { heads: 2, kv_heads: 1, segments: false, scale: 0.7 };
    check(seen, op, &at(vec![f([2, 2, 4]), f([3, 4, 2]), f([3, 4, 2])]));
}

/// Two grids, and places in and around them.
fn grids(seen: &mut BTreeSet<&'static str>) {
    let op = DeformableAttention { heads: 2, sides: vec![2, 1] };
    let operands = || vec![f([2, 5, 4]), f([2, 3, 2, 2, 2, 2]), f([2, 3, 2, 2, 2])];
    check(seen, op.clone(), &operands());
    let grad = [f([2, 3, 4])].into_iter().chain(operands()).collect::<Vec<_>>();
    check(seen, DeformableAttentionGrad(op), &grad);
}

fn rows_and_loss(seen: &mut BTreeSet<&'static str>) {
    check(seen, Softmax, &[f([2, 3, 4])]);
    check(seen, Argmax, &[f([2, 3, 5])]);
    check(seen, Embedding, &[f([5, 3]), ids([2, 2], &[4, 0, 2, 2])]);
    check(seen, EmbeddingGrad { vocab: 5 }, &[f([2, 2, 3]), ids([2, 2], &[4, 0, 2, 2])]);
    let index = || ids([2, 2], &[1, -1, 2, 0]);
    check(seen, GatherRows, &[f([2, 3, 4]), index()]);
    check(seen, ScatterRows { mode: ScatterMode::Set }, &[f([2, 3, 4]), index(), f([2, 2, 4])]);
    let twice = ids([2, 2], &[1, 1, -1, 0]);
    check(seen, ScatterRows { mode: ScatterMode::Add }, &[f([2, 3, 4]), twice, f([2, 2, 4])]);
    let parts = || [ids([2, 2, 2], &[3, 0, 4, 4, 0, 0, 1, 4]), f([2, 2, 2])];
    check(seen, MixRows, &[&[f([2, 4, 3]), f([3])], &parts()[..]].concat());
    check(seen, MixRowsGrad { rows: 4 }, &[&[f([2, 2, 2, 3])], &parts()[..]].concat());
    let targets = || ids([4], &[2, -1, 0, 4]);
    check(seen, CrossEntropy, &[f([4, 5]), targets()]);
    check(seen, CrossEntropyGrad, &[f([]), f([4, 5]), targets(), positive([4])]);
    let head = LinearCrossEntropy { rounded: DType::F32, trained: true };
    check(seen, head, &[f([]), f([4, 3]), f([5, 3]), targets()]);
}

fn injection(seen: &mut BTreeSet<&'static str>) {
    let groups = || mask([2, 3], &[1, 0, 1, 0, 0, 0]);
    check(seen, AttnPool { scale: 0.5, masked: false }, &[f([2, 3, 4]), f([2, 4])]);
    check(seen, AttnPool { scale: 0.5, masked: true }, &[f([2, 3, 4]), f([2, 4]), groups()]);
    check(seen, AttnPoolGrad { scale: 0.5 }, &[f([2, 2, 4]), f([2, 3, 4]), f([2, 4]), positive([2, 2, 3])]);
    let (dv, d1, d, r) = (3, 4, 5, 2);
    for attach in [Attach::None, Attach::Parallel, Attach::PerLinear] {
        let op = AmpProject {
            taps: 2,
            act: Activation::GeluTanh,
            scale: 0.5,
            bias: attach != Attach::None,
            attach,
        };
        let mut operands = vec![f([2, 3, dv]), f([2, 3, dv]), f([d1, dv])];
        let branch = match attach {
            Attach::None => vec![],
            Attach::Parallel => vec![[r, dv], [d, r]],
            Attach::PerLinear => vec![[r, dv], [d1, r], [r, d1], [d, r]],
        };
        operands.extend(op.bias.then(|| f([d1])));
        operands.push(f([d, d1]));
        operands.extend(op.bias.then(|| f([d])));
        operands.extend([&branch, &branch].into_iter().flatten().map(|&shape| f(shape)));
        check(seen, op, &operands);
    }
    let pairs = [f([3, r]), f([d, r]), f([3, 1]), f([d, 1])];
    let act = Some(Activation::GeluTanh);
    let op = LowRankLinear { taps: 2, bias: true, act, scale: 0.5, rounded: DType::F32 };
    check(seen, op, &[&[f([6, dv]), f([d, dv]), f([d])][..], &pairs].concat());
    for channel in [false, true] {
        for (attention, modules) in
            [(PoolAttention::None, 0), (PoolAttention::Shared, 1), (PoolAttention::Separate, 2)]
        {
            let heads = if modules == 0 { 1 } else { 2 };
            let gates = if channel { 4 } else { 1 };
            let mut operands = vec![f([2, 3, 4]), f([2, 2, 3, 4]), mask([2, 3], &[1, 1, 0])];
            let masked = channel && modules > 0;
            operands.extend(masked.then(|| mask([2, 3], &[1, 0, 1, 0])));
            operands.extend([f([4]), f([4])]);
            // wq, bq, wk, wv, bv, wo, bo: the key bias has no effect and is left out.
            for _ in 0..modules {
                operands.extend([f([4, 4]), f([4]), f([4, 4]), f([4, 4]), f([4]), f([4, 4]), f([4])]);
            }
            operands.extend([f([gates, 8]), f([gates])]);
            check(seen, AgfGate { heads, attention, channel, masked }, &operands);
        }
        for convex in [false, true] {
            let gate = if channel { vec![2, 2, 4] } else { vec![2, 2] };
            let index = || ids([2, 3], &[2, -1, 0, 1, 3, -1]);
            let (h, v) = (|| f([2, 4, 4]), || f([2, 2, 3, 4]));
            check(seen, AgfInject { convex, channel }, &[h(), Operand::F(gate.clone()), v(), index()]);
            let mut grad = vec![h(), Operand::F(gate.clone()), v(), index()];
            grad.extend(convex.then(h));
            check(seen, AgfInjectGrad { convex, channel }, &grad);
            let (inject, norm) = (AgfInject { convex, channel }, NormKind::Rms);
            let forward = [h(), Operand::F(gate), v(), index(), f([4])];
            check(seen, AgfInjectNorm { inject, norm, eps: 0.1 }, &forward);
            let own = [h(), h(), f([4]), positive([2, 4])];
            let op = AgfInjectNormGrad { inject, norm, residual: false };
            check(seen, op, &[&own[..], &grad[1..]].concat());
        }
    }
}

fn optimizer(seen: &mut BTreeSet<&'static str>) {
    let op = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-3, weight_decay: 0.1 };
    let x = || f([2, 3]);
    check(seen, op, &[x(), x(), x(), positive([2, 3]), positive([3]), positive([])]);
    let several = MultiAdamW { beta1: 0.9, beta2: 0.95, eps: 1e-3, weight_decay: vec![0.1, 0.0] };
    let step = || [x(), x(), x(), positive([2, 3]), positive([3])];
    check(seen, several, &[&[positive([])][..], &step(), &step()].concat());
    check(seen, GlobalNorm, &[f([2, 3]), f([4]), f([])]);
}
