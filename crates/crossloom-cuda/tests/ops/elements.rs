//! Element-wise ops, movements, reductions and products.

use crossloom_ir::DType;
use crossloom_ir::op::{
    Activation, Affine, Binary, BinaryKind, Broadcast, Concat, Constant, Convert, FusedElementwise, Iota,
    Linear, Load, Matmul, MatmulActGrad, Pad, Reduce, ReduceKind, Reshape, Slice, Step, ToFloat, ToInt,
    Transpose, Unary, UnaryKind, WeightGrad,
};

use crate::support::{agree, case, floats, given, ints, refused};

#[test]
fn elements() {
    let mut cases = Vec::new();
    for kind in UnaryKind::all() {
        for shape in [&[][..], &[7], &[3, 8]] {
            let positive =
                matches!(kind, UnaryKind::Log | UnaryKind::Log2 | UnaryKind::Sqrt | UnaryKind::Rsqrt);
            let x = floats(shape, 1).map(|x| if positive { x.abs() + 0.1 } else { x + 0.01 });
            cases.push(case(kind.name(), Unary(kind), vec![x]));
        }
    }
    for kind in BinaryKind::all() {
        let (x, y) = (floats(&[5, 12], 2), floats(&[5, 12], 3).map(|y| if y.abs() < 0.1 { 0.5 } else { y }));
        cases.push(case(kind.name(), Binary(kind), vec![x, y]));
    }
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for kind in [BinaryKind::Min, BinaryKind::Max, BinaryKind::LessThan] {
        let operands = vec![given(&[4], &[nan, 1.0, inf, 2.0]), given(&[4], &[1.0, nan, 3.0, 2.0])];
        cases.push(case(format!("{} of what is no number", kind.name()), Binary(kind), operands));
    }
    cases.push(case("affine", Affine { mul: -0.3, add: 1e-7 }, vec![floats(&[257], 4)]));
    cases.push(case(
        "affine to infinity",
        Affine { mul: f64::INFINITY, add: 0.0 },
        vec![given(&[2], &[1.0, -2.0])],
    ));
    cases.push(case("convert", Convert, vec![floats(&[9], 5)]));
    cases.push(case("constant", Constant { value: 2.5, shape: vec![300] }, vec![]));
    cases.push(case("constant scalar", Constant { value: f64::NEG_INFINITY, shape: vec![] }, vec![]));
    for cols in [8, 5, 1] {
        let shape = vec![2, 3, cols];
        let loads = vec![Load::Full, Load::Row, Load::Column, Load::Scalar];
        let body = vec![
            Step::Binary(BinaryKind::Mul, 0, 1),
            Step::Unary(UnaryKind::Tanh, 4),
            Step::Binary(BinaryKind::Add, 5, 2),
            Step::Affine(6, 2.0, -1.0),
            Step::Binary(BinaryKind::Mul, 7, 3),
        ];
        let operands = vec![floats(&shape, 6), floats(&[cols], 7), floats(&[2, 3], 8), floats(&[], 9)];
        let op = FusedElementwise { shape, loads, body, stores: vec![8, 5, 0] };
        cases.push(case(format!("fused, {cols} columns"), op, operands));
    }
    agree(&cases);
}

#[test]
fn movements() {
    let mut cases = vec![
        case("to_float", ToFloat, vec![ints(&[5], [-7, 0, 3, 16_777_215, -1])]),
        case("to_int", ToInt, vec![given(&[5], &[-2.9, 2.9, 0.0, -2_147_483_648.0, 2_147_483_520.0])]),
        case("iota", Iota { shape: vec![3, 5, 2], axis: 1 }, vec![]),
        case("reshape", Reshape { shape: vec![6, 2] }, vec![floats(&[3, 4], 1)]),
        case("ints move too", Slice { axis: 0, start: 1, len: 2 }, vec![ints(&[4], [1, -2, 3, 4])]),
        case("broadcast", Broadcast { shape: vec![3, 2, 5, 4], axes: vec![1, 3] }, vec![floats(&[2, 4], 2)]),
        case("broadcast scalar", Broadcast { shape: vec![3, 2], axes: vec![] }, vec![floats(&[], 3)]),
        case("broadcast of one", Broadcast { shape: vec![1, 4], axes: vec![0] }, vec![floats(&[1], 3)]),
    ];
    for perm in [vec![1, 0, 2], vec![2, 1, 0], vec![0, 2, 1], vec![0, 1, 2]] {
        cases.push(case(format!("transpose {perm:?}"), Transpose { perm }, vec![floats(&[3, 5, 7], 4)]));
    }
    for axis in 0..3 {
        cases.push(case(
            format!("slice {axis}"),
            Slice { axis, start: 1, len: 2 },
            vec![floats(&[3, 4, 5], 5)],
        ));
        for (before, after) in [(0, 2), (3, 0), (1, 1)] {
            let name = format!("pad {axis} by {before} and {after}");
            cases.push(case(name, Pad { axis, before, after }, vec![floats(&[2, 1, 5], 6)]));
        }
        let mut shapes = vec![vec![2, 3, 4]; 3];
        shapes[1][axis] = 1;
        shapes[2][axis] = 7;
        let operands = shapes.iter().zip(7..).map(|(shape, seed)| floats(shape, seed)).collect();
        cases.push(case(format!("concat {axis}"), Concat { axis }, operands));
    }
    agree(&cases);
    let bits = |x: f32| x.to_bits() as i32;
    refused(vec![
        (case("to_int", ToInt, vec![given(&[3], &[1.0, 3e9, -3e9])]), 1, bits(3e9)),
        (case("to_int", ToInt, vec![given(&[2], &[0.0, f32::NEG_INFINITY])]), 1, bits(f32::NEG_INFINITY)),
    ]);
}

#[test]
fn reductions() {
    let mut cases = Vec::new();
    for kind in [ReduceKind::Sum, ReduceKind::Max] {
        for (shape, axes) in [
            (vec![3, 5], vec![1]),
            (vec![3, 5], vec![0]),
            (vec![4, 3, 5], vec![1]),
            (vec![4, 3, 5], vec![0, 1]),
            (vec![4, 3, 5], vec![0, 1, 2]),
            (vec![300, 33], vec![0]),
            (vec![2, 2100], vec![1]),
            (vec![1, 1], vec![1]),
        ] {
            let name = format!("{kind:?} over {axes:?} of {shape:?}");
            let x = floats(&shape, 1);
            cases.push(case(name, Reduce { kind, axes }, vec![x]));
        }
    }
    let max = Reduce { kind: ReduceKind::Max, axes: vec![0] };
    cases.push(case("max of what is no number", max, vec![given(&[3], &[1.0, f32::NAN, 2.0])]));
    agree(&cases);
}

#[test]
fn products() {
    let mut cases = Vec::new();
    for (m, n, k) in [(1, 1, 1), (5, 7, 3), (65, 66, 17), (64, 64, 32), (3, 130, 40)] {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if transpose_a { [2, k, m] } else { [2, m, k] };
            let b = if transpose_b { [2, n, k] } else { [2, k, n] };
            let op = Matmul { transpose_a, transpose_b };
            let name = format!("{m} x {n} x {k}, {transpose_a}, {transpose_b}");
            cases.push(case(name.clone(), op, vec![floats(&a, 1), floats(&b, 2)]));
            let op = MatmulActGrad { product: op, act: Activation::GeluErf, rounded: DType::F32 };
            let operands = vec![floats(&a, 1), floats(&b, 2), floats(&[2, m, n], 3)];
            cases.push(case(format!("{name}, slope"), op, operands).within(1e-5));
        }
    }
    for (rows, out, inner) in [(1, 1, 1), (5, 7, 3), (37, 66, 130)] {
        let operands = vec![floats(&[rows, out], 7), floats(&[rows, inner], 8)];
        cases.push(case(format!("weight of {rows} x {out} x {inner}"), WeightGrad, operands));
    }
    for (bias, act, residual) in [
        (false, None, false),
        (true, None, true),
        (false, None, true),
        (true, Some(Activation::GeluTanh), false),
        (true, Some(Activation::QuickGelu), true),
        (false, Some(Activation::Silu), false),
    ] {
        let mut operands = vec![floats(&[3, 25, 20], 3), floats(&[70, 20], 4)];
        operands.extend(bias.then(|| floats(&[70], 5)));
        operands.extend(residual.then(|| floats(&[3, 25, 70], 6)));
        cases.push(case(
            format!("linear {bias} {act:?} {residual}"),
            Linear { bias, act, residual },
            operands,
        ));
    }
    agree(&cases);
}
