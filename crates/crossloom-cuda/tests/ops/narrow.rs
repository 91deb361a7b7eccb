//! Operands and results of 16 bits: conversions, movements, element-wise programs, and products on tensor cores.

use crossloom_ir::DType;
use crossloom_ir::op::{
    Activation, Binary, BinaryKind, Concat, Convert, FusedElementwise, Linear, Load, Matmul, MatmulActGrad,
    Pad, Slice, Step, Transpose, Unary, UnaryKind, WeightGrad,
};

use crate::support::{Operand, agree, case, floats, given};

#[test]
fn elements_and_movements() {
    let mut cases = Vec::new();
    for cols in [1, 5, 8, 300] {
        let x = || floats(&[3, cols], 1);
        cases.push(case(format!("to 16 bits, {cols} columns"), Convert, vec![x()]).narrow());
        cases.push(case(format!("from 16 bits, {cols} columns"), Convert, vec![x().narrow()]));
        let both = vec![x().narrow(), floats(&[3, cols], 2)];
        cases.push(case(format!("both widths, {cols} columns"), Binary(BinaryKind::Mul), both.clone()));
        cases.push(
            case(format!("both widths to 16 bits, {cols} columns"), Binary(BinaryKind::Mul), both).narrow(),
        );
        let gelu = Unary(UnaryKind::Act(Activation::GeluTanh));
        cases.push(case(format!("activation, {cols} columns"), gelu, vec![x().narrow()]).narrow());
        let op = FusedElementwise {
            shape: vec![3, cols],
            loads: vec![Load::Full, Load::Row, Load::Column],
            body: vec![Step::Binary(BinaryKind::Add, 0, 1), Step::Binary(BinaryKind::Mul, 3, 2)],
            stores: vec![4, 3],
        };
        let operands = vec![x().narrow(), floats(&[cols], 3).narrow(), floats(&[3], 4)];
        cases.push(case(format!("fused, {cols} columns"), op, operands).narrow());
    }
    // What is no number or not finite stays so, zero keeps its sign, and neighbours are within half a unit.
    let edges = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -1e-30, 3.3, f32::INFINITY, f32::NAN, -0.0];
    cases.push(case("edges", Convert, vec![given(&[8], &edges)]).narrow());
    let x = || floats(&[3, 5, 4], 5).narrow();
    cases.push(case("transpose", Transpose { perm: vec![2, 0, 1] }, vec![x()]).narrow());
    cases.push(case("slice", Slice { axis: 1, start: 1, len: 3 }, vec![x()]).narrow());
    cases.push(case("pad", Pad { axis: 1, before: 1, after: 2 }, vec![x()]).narrow());
    cases.push(case("concat", Concat { axis: 2 }, vec![x(), floats(&[3, 5, 7], 6).narrow()]).narrow());
    agree(&cases);
}

/// Less than a tile, a tile, more in every direction, and widths that no piece of eight divides.
const EXTENTS: [[usize; 3]; 5] = [[1, 1, 1], [64, 64, 32], [65, 72, 40], [7, 130, 33], [70, 9, 128]];

#[test]
fn products() {
    let mut cases = Vec::new();
    for [m, n, k] in EXTENTS {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if transpose_a { [2, k, m] } else { [2, m, k] };
            let b = if transpose_b { [2, n, k] } else { [2, k, n] };
            let operands = vec![floats(&a, 1).narrow(), floats(&b, 2).narrow()];
            let name = format!("{m} x {n} x {k}, {transpose_a}, {transpose_b}");
            let product = Matmul { transpose_a, transpose_b };
            cases.push(case(name.clone(), product, operands.clone()));
            // A product that is rounded may be the neighbour, a part in 256 away.
            for (rounded, tolerance) in [(DType::F32, 1e-5), (DType::Bf16, 4e-3)] {
                let op = MatmulActGrad { product, act: Activation::GeluTanh, rounded };
                let operands = [operands.clone(), vec![floats(&[2, m, n], 3).narrow()]].concat();
                cases.push(case(format!("{name}, slope"), op, operands).within(tolerance).narrow());
            }
        }
        let operands = vec![floats(&[k, m], 7).narrow(), floats(&[k, n], 8).narrow()];
        cases.push(case(format!("weight of {m} x {n} x {k}"), WeightGrad, operands).within(1e-5));
        for (bias, act, residual) in [
            (false, None, false),
            (true, None, true),
            (true, Some(Activation::GeluTanh), false),
            (false, Some(Activation::Silu), true),
        ] {
            let op = Linear { bias, act, residual };
            let mut operands = vec![floats(&[m, k], 3).narrow(), floats(&[n, k], 4).narrow()];
            operands.extend(bias.then(|| floats(&[n], 5)));
            let rest = residual.then(|| floats(&[m, n], 6));
            let name = format!("linear {m} x {n} x {k}, {bias}, {act:?}, {residual}");
            let wide: Vec<_> = operands.iter().cloned().chain(rest.clone()).collect();
            cases.push(case(name.clone(), op, wide));
            let narrow = operands.into_iter().chain(rest.map(Operand::narrow)).collect();
            cases.push(case(format!("{name}, to 16 bits"), op, narrow).narrow());
        }
    }
    agree(&cases);
}
