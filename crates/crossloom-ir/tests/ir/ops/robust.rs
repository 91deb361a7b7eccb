//! Wrong and degenerate operands never panic: every op either complains or gives outputs of the types it announced.

use crossloom_ir::expand::expand_inst;
use crossloom_ir::op::{
    Activation, AdamW, AddLayerNorm, AddRmsNorm, AgfGate, AgfInject, AgfInjectGrad, AgfInjectNorm,
    AgfInjectNormGrad, AmpProject, Argmax, Attach, Attention, AttentionGrad, AttnPool, AttnPoolGrad,
    CacheWrite, CachedAttention, CrossEntropy, CrossEntropyGrad, DeformableAttention,
    DeformableAttentionGrad, Embedding, EmbeddingGrad, GatherRows, GlobalNorm, LayerNorm, LayerNormGrad,
    Linear, LinearCrossEntropy, LowRankLinear, Matmul, MatmulActGrad, MixRows, MixRowsGrad, MultiAdamW,
    NormKind, Op, PoolAttention, RmsNorm, RmsNormGrad, Rope, ScatterMode, ScatterRows, Softmax, ToFloat,
    ToInt, WeightGrad,
};
use crossloom_ir::{DType, Func, Role, Scope, Tensor, TensorType};
use proptest::prelude::*;

/// Ops with operand types that they accept, in which different axes have different extents where that is possible.
fn samples() -> Vec<(Op, Vec<TensorType>)> {
    let f = |shape: &[usize]| TensorType::f32(shape);
    let i = |shape: &[usize]| TensorType::i32(shape);
    let (x, d, r) = (f(&[2, 3, 4]), f(&[4]), f(&[2, 3]));
    let attention = Attention { heads: 2, kv_heads: 1, causal: true, segments: true, scale: 1.0 };
    let (q, k, o, lse, s) = (f(&[2, 3, 8]), f(&[2, 3, 4]), f(&[2, 3, 8]), f(&[2, 2, 3]), i(&[2, 3]));
    let amp = AmpProject { taps: 2, act: Activation::Silu, scale: 1.0, bias: true, attach: Attach::Parallel };
    let gate = AgfGate { heads: 2, attention: PoolAttention::Shared, channel: true, masked: false };
    let deformable = DeformableAttention { heads: 2, sides: vec![2, 1] };
    let points = [f(&[2, 5, 4]), f(&[2, 3, 2, 2, 1, 2]), f(&[2, 3, 2, 2, 1])];
    let product = Matmul { transpose_a: false, transpose_b: true };
    let (square, v) = (f(&[4, 4]), f(&[5, 2, 7, 4]));
    let (edge, index) = (f(&[2, 5]), i(&[2, 7]));
    let inject = AgfInject { convex: true, channel: false };
    vec![
        (ToFloat.into(), vec![i(&[2, 3])]),
        (ToInt.into(), vec![f(&[2, 3])]),
        (LayerNorm { eps: 0.1 }.into(), vec![x.clone(), d.clone(), d.clone()]),
        (AddLayerNorm { eps: 0.1 }.into(), vec![x.clone(), x.clone(), d.clone(), d.clone()]),
        (
            LayerNormGrad { residual: true }.into(),
            vec![x.clone(), x.clone(), d.clone(), r.clone(), r.clone(), x.clone()],
        ),
        (RmsNorm { eps: 0.1 }.into(), vec![x.clone(), d.clone()]),
        (AddRmsNorm { eps: 0.1 }.into(), vec![x.clone(), x.clone(), d.clone()]),
        (RmsNormGrad { residual: true }.into(), vec![x.clone(), x.clone(), d.clone(), r, x.clone()]),
        (Softmax.into(), vec![x.clone()]),
        (Argmax.into(), vec![x.clone()]),
        (attention.into(), vec![q.clone(), k.clone(), k.clone(), s.clone()]),
        (AttentionGrad(attention).into(), vec![o.clone(), q, k.clone(), k, o, lse, s.clone()]),
        (CacheWrite.into(), vec![f(&[3, 5, 4]), x.clone(), i(&[2]), i(&[2]), i(&[2])]),
        (
            CachedAttention { heads: 2, kv_heads: 1, segments: true, scale: 1.0 }.into(),
            vec![f(&[2, 3, 8]), f(&[4, 5, 4]), f(&[4, 5, 4]), i(&[4, 5]), i(&[2]), i(&[2]), i(&[2])],
        ),
        (deformable.clone().into(), points.to_vec()),
        (DeformableAttentionGrad(deformable).into(), [&[f(&[2, 3, 4])], &points[..]].concat()),
        (Rope { head_dim: 4, theta: 10.0, inverse: false, sections: None }.into(), vec![f(&[2, 3, 8]), s]),
        (Embedding.into(), vec![f(&[5, 4]), i(&[2, 3])]),
        (EmbeddingGrad { vocab: 5 }.into(), vec![x.clone(), i(&[2, 3])]),
        (GatherRows.into(), vec![x.clone(), index.clone()]),
        (ScatterRows { mode: ScatterMode::Set }.into(), vec![x.clone(), index.clone(), f(&[2, 7, 4])]),
        (ScatterRows { mode: ScatterMode::Add }.into(), vec![x.clone(), index.clone(), f(&[2, 7, 4])]),
        (MixRows.into(), vec![f(&[3, 6, 4]), d.clone(), i(&[2, 5, 7]), f(&[2, 5, 7])]),
        (MixRowsGrad { rows: 6 }.into(), vec![f(&[3, 2, 5, 4]), i(&[2, 5, 7]), f(&[2, 5, 7])]),
        (CrossEntropy.into(), vec![f(&[3, 4]), i(&[3])]),
        (CrossEntropyGrad.into(), vec![f(&[]), f(&[3, 4]), i(&[3]), f(&[3])]),
        (AttnPool { scale: 1.0, masked: true }.into(), vec![x.clone(), f(&[5, 4]), f(&[2, 3])]),
        (AttnPoolGrad { scale: 1.0 }.into(), vec![f(&[2, 5, 4]), x.clone(), f(&[5, 4]), f(&[2, 5, 3])]),
        (
            amp.into(),
            vec![
                x.clone(),
                x.clone(),
                f(&[5, 4]),
                f(&[5]),
                f(&[7, 5]),
                f(&[7]),
                f(&[1, 4]),
                f(&[7, 1]),
                f(&[6, 4]),
                f(&[7, 6]),
            ],
        ),
        (
            gate.into(),
            vec![
                x.clone(),
                v.clone(),
                f(&[2, 3]),
                d.clone(),
                d.clone(),
                square.clone(),
                d.clone(),
                square.clone(),
                square.clone(),
                d.clone(),
                square,
                d.clone(),
                f(&[4, 8]),
                d.clone(),
            ],
        ),
        (
            AgfInject { convex: true, channel: false }.into(),
            vec![x.clone(), edge.clone(), v.clone(), index.clone()],
        ),
        (
            AgfInjectGrad { convex: true, channel: false }.into(),
            vec![x.clone(), edge.clone(), v.clone(), index.clone(), x.clone()],
        ),
        (
            AgfInjectNorm { inject, norm: NormKind::Layer, eps: 0.1 }.into(),
            vec![x.clone(), edge.clone(), v.clone(), index.clone(), d.clone(), d.clone()],
        ),
        (
            AgfInjectNormGrad { inject, norm: NormKind::Rms, residual: true }.into(),
            vec![x.clone(), x.clone(), d.clone(), f(&[2, 3]), x.clone(), edge, v, index, x.clone()],
        ),
        (
            LinearCrossEntropy { rounded: DType::F32, trained: true }.into(),
            vec![f(&[]), f(&[3, 4]), f(&[5, 4]), i(&[3])],
        ),
        (
            LowRankLinear { taps: 2, bias: true, act: None, scale: 2.0, rounded: DType::F32 }.into(),
            vec![f(&[6, 4]), f(&[5, 4]), f(&[5]), f(&[3, 2]), f(&[5, 2]), f(&[3, 1]), f(&[5, 1])],
        ),
        (
            AdamW { beta1: 0.9, beta2: 0.9, eps: 1e-8, weight_decay: 0.0 }.into(),
            vec![x.clone(), x.clone(), x.clone(), x.clone(), f(&[3]), f(&[])],
        ),
        (
            MultiAdamW { beta1: 0.9, beta2: 0.9, eps: 1e-8, weight_decay: vec![0.0] }.into(),
            vec![f(&[]), x.clone(), x.clone(), x.clone(), x.clone(), f(&[3])],
        ),
        (GlobalNorm.into(), vec![x.clone(), d]),
        (Linear { bias: true, act: None, residual: false }.into(), vec![x.clone(), f(&[5, 4]), f(&[5])]),
        (
            MatmulActGrad { product, act: Activation::Silu, rounded: DType::F32 }.into(),
            vec![x.clone(), x.clone(), f(&[2, 3, 3])],
        ),
        (WeightGrad.into(), vec![f(&[3, 4]), f(&[3, 5])]),
        (product.into(), vec![x.clone(), x]),
    ]
}

/// Elements that are legal in most places.
fn fill(ty: &TensorType) -> Tensor<f64> {
    let element =
        |i: usize| if ty.dtype == DType::I32 { [0.0, 1.0, -1.0][i % 3] } else { (i as f64 * 0.7).sin() };
    Tensor::from_fn(ty.shape.clone(), element)
}

/// Runs everything an op offers on operands of those types.
fn exercise(op: &Op, types: &[TensorType]) {
    let Ok(outputs) = op.infer(&types.iter().collect::<Vec<_>>()) else { return };
    let mut func = Func::new("one");
    let params: Vec<_> = types.iter().map(|ty| func.add_param("p", Role::Input, ty.clone())).collect();
    func.push(op.clone(), &params, &Scope::default()).unwrap();
    let inst = func.insts()[0].clone();
    op.cost(&types.iter().collect::<Vec<_>>(), &outputs.iter().collect::<Vec<_>>());
    for (input, output) in op.in_place() {
        assert_eq!(types[input].elements(), outputs[output].elements(), "{}", op.mnemonic());
    }
    let values: Vec<Tensor<f64>> = types.iter().map(fill).collect();
    if let Ok(results) = op.eval(&values.iter().collect::<Vec<_>>()) {
        assert_eq!(results.len(), outputs.len());
        for (result, ty) in results.iter().zip(&outputs) {
            assert_eq!(result.shape, ty.shape, "{}", op.mnemonic());
        }
    }
    // An expansion may refuse an empty axis (there is no largest element), but only as an error.
    let asked = func.dtypes(&inst.outputs);
    if let Err(error) = expand_inst(&mut func.builder(), &inst, &params, &asked) {
        assert!(error.to_string().contains("empty axis"), "{}: {error}", op.mnemonic());
    }
}

#[test]
fn the_samples_are_accepted() {
    for (op, types) in samples() {
        op.infer(&types.iter().collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{}: {e}", op.mnemonic()));
        exercise(&op, &types);
    }
}

#[test]
fn every_extent_may_become_another() {
    for (op, types) in samples() {
        let mut extents: Vec<usize> = types.iter().flat_map(|ty| ty.shape.clone()).collect();
        extents.sort_unstable();
        extents.dedup();
        for from in extents {
            for to in 0..4 {
                let mut changed = types.clone();
                for extent in
                    changed.iter_mut().flat_map(|ty| &mut ty.shape).filter(|extent| **extent == from)
                {
                    *extent = to;
                }
                exercise(&op, &changed);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Extent(usize, usize, usize),
    DropAxis(usize),
    AddAxis(usize),
    OtherType(usize),
    Drop(usize),
    Repeat(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0_usize..64;
    prop_oneof![
        (at.clone(), 0_usize..4, 0_usize..6).prop_map(|(at, axis, to)| Damage::Extent(at, axis, to)),
        at.clone().prop_map(Damage::DropAxis),
        at.clone().prop_map(Damage::AddAxis),
        at.clone().prop_map(Damage::OtherType),
        at.clone().prop_map(Damage::Drop),
        at.prop_map(Damage::Repeat),
    ]
}

fn apply(damage: &Damage, types: &mut Vec<TensorType>) {
    let count = types.len();
    if count == 0 {
        return;
    }
    match *damage {
        Damage::Extent(at, axis, to) => {
            let shape = &mut types[at % count].shape;
            if let Some(extent) = shape.get_mut(axis) {
                *extent = to;
            }
        }
        Damage::DropAxis(at) => {
            types[at % count].shape.pop();
        }
        Damage::AddAxis(at) => types[at % count].shape.push(2),
        Damage::OtherType(at) => {
            let ty = &mut types[at % count];
            ty.dtype = if ty.dtype == DType::F32 { DType::I32 } else { DType::F32 };
        }
        Damage::Drop(at) => {
            types.remove(at % count);
        }
        Damage::Repeat(at) => types.push(types[at % count].clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_operands_are_no_panic(damages in prop::collection::vec(damage(), 1..4)) {
        for (op, mut types) in samples() {
            for damage in &damages {
                apply(damage, &mut types);
            }
            exercise(&op, &types);
        }
    }
}
