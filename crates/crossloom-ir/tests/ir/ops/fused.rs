//! Fused element-wise regions.

use crossloom_ir::TensorType;
use crossloom_ir::attrs::{Attr, Attrs};
use crossloom_ir::op::{Activation, BinaryKind, FusedElementwise, Load, Op, OpSpec, Step, UnaryKind};
use proptest::prelude::*;

use super::support::{Arg, assert_close, assert_complains, check, given, outputs, random};

/// `silu(x * row + column) * 0.5 + scalar`, and the product inside.
fn region() -> FusedElementwise {
    FusedElementwise {
        shape: vec![2, 3, 4],
        loads: vec![Load::Full, Load::Row, Load::Column, Load::Scalar],
        body: vec![
            Step::Binary(BinaryKind::Mul, 0, 1),
            Step::Binary(BinaryKind::Add, 4, 2),
            Step::Unary(UnaryKind::Act(Activation::Silu), 5),
            Step::Affine(6, 0.5, 0.0),
            Step::Binary(BinaryKind::Add, 7, 3),
        ],
        stores: vec![8, 4],
    }
}

fn operand(shape: &[usize], load: Load, seed: u64) -> Arg {
    let shape: Vec<usize> = load.axes(shape.len()).into_iter().map(|axis| shape[axis]).collect();
    random(&shape, seed)
}

fn operands(op: &FusedElementwise) -> Vec<Arg> {
    op.loads.iter().zip(1..).map(|(&load, seed)| operand(&op.shape, load, seed)).collect()
}

#[test]
fn a_region_with_every_load() {
    check(region(), &operands(&region()));
}

#[test]
fn regions_of_few_axes() {
    let double = |shape: Vec<usize>, load| FusedElementwise {
        shape,
        loads: vec![load],
        body: vec![Step::Binary(BinaryKind::Add, 0, 0)],
        stores: vec![1],
    };
    check(double(vec![], Load::Scalar), &[random(&[], 1)]);
    check(double(vec![3], Load::Row), &[random(&[3], 1)]);
    check(double(vec![3], Load::Column), &[random(&[], 1)]);
    check(double(vec![3, 2], Load::Column), &[random(&[3], 1)]);
}

#[test]
fn a_region_may_pass_an_operand_on() {
    let op = FusedElementwise { shape: vec![2, 2], loads: vec![Load::Row], body: vec![], stores: vec![0, 0] };
    check(op.clone(), &[random(&[2], 1)]);
    let y = outputs(op, &[given(&[2], &[1.0, 2.0])]);
    assert_close(&y[1], &[1.0, 2.0, 1.0, 2.0], 0.0);
}

#[test]
fn the_program_is_readable() {
    let printed = region().attrs().to_string();
    assert_eq!(
        printed,
        " {shape = [2, 3, 4], loads = [full, row, column, scalar], body = [[mul, 0, 1], [add, 4, 2], [silu, 5], \
         [affine, 6, 0.5, 0.0], [add, 7, 3]], stores = [8, 4]}"
    );
}

fn with_body(step: Attr) -> Result<Op, String> {
    let mut attrs = Attrs::new().ints("shape", &[2]);
    attrs.push("loads", Attr::List(vec![Attr::Word("full".to_owned())]));
    attrs.push("body", Attr::List(vec![step]));
    Op::from_text("fused_elementwise", attrs.ints("stores", &[1]))
}

#[test]
fn broken_programs_are_refused_when_read() {
    let word = |w: &str| Attr::Word(w.to_owned());
    for (step, shown) in [
        (Attr::List(vec![word("exp"), Attr::Int(0), Attr::Int(0)]), "[exp, 0, 0]"),
        (Attr::List(vec![word("mul"), Attr::Int(0)]), "[mul, 0]"),
        (Attr::List(vec![word("exp"), Attr::Int(-1)]), "[exp, -1]"),
        (Attr::List(vec![word("softmax"), Attr::Int(0)]), "[softmax, 0]"),
        (Attr::List(vec![word("affine"), Attr::Int(0), word("x"), Attr::Int(1)]), "[affine, 0, x, 1]"),
        (Attr::List(vec![]), "[]"),
        (Attr::Int(3), "3"),
    ] {
        assert_eq!(with_body(step).unwrap_err(), format!("attribute `body` cannot hold the step {shown}"));
    }
    assert!(with_body(Attr::List(vec![word("affine"), Attr::Int(0), Attr::Int(2), Attr::Int(1)])).is_ok());
    let mut attrs = Attrs::new().ints("shape", &[2]);
    attrs.push("loads", Attr::List(vec![word("diagonal")]));
    assert_eq!(
        Op::from_text("fused_elementwise", attrs).unwrap_err(),
        "attribute `loads` cannot hold `diagonal`"
    );
}

#[test]
fn wrong_operands_are_named() {
    let types = |op: &FusedElementwise| operands(op).into_iter().map(|arg| arg.ty).collect::<Vec<_>>();
    let op = region();
    let good = types(&op);
    assert_complains(op.clone(), &good[..3], "loads 4 operands, 3 were given");
    let mut wrong = good.clone();
    wrong[2] = TensorType::f32([4]);
    assert_complains(op.clone(), &wrong, "operand 2, loaded as column, is f32[4], must be f32[2, 3]");
    let mut ahead = op.clone();
    ahead.body[0] = Step::Binary(BinaryKind::Mul, 0, 4);
    assert_complains(ahead, &good, "step 4 reads 4, which is not computed before it");
    assert_complains(
        FusedElementwise { stores: vec![9], ..op.clone() },
        &good,
        "stores 9, there are only 9 values",
    );
    assert_complains(FusedElementwise { stores: vec![], ..op.clone() }, &good, "stores nothing");
    let row = FusedElementwise { shape: vec![], loads: vec![Load::Row], body: vec![], stores: vec![0] };
    assert_complains(row, &[TensorType::f32([])], "operand 0 cannot be loaded as a row of a scalar region");
}

#[test]
fn cost_counts_the_steps_and_every_operand_once() {
    let (op, args) = (region(), operands(&region()));
    let inputs: Vec<_> = args.iter().map(|arg| &arg.ty).collect();
    let types = op.infer(&inputs).unwrap();
    let cost = op.cost(&inputs, &types.iter().collect::<Vec<_>>());
    assert_eq!(cost.flops, 24 * 6);
    assert_eq!(cost.bytes, 4 * (24 + 4 + 6 + 1 + 24 + 24));
    assert_eq!(op.in_place(), [(0, 0), (0, 1)]);
}

/// A random step: which kind, and what it reads among the values before it.
fn step(kind: usize, x: usize, y: usize, count: usize) -> Step {
    let (x, y) = (x % count, y % count);
    match kind {
        0 => Step::Unary(UnaryKind::Tanh, x),
        1 => Step::Unary(UnaryKind::Sigmoid, x),
        2 => Step::Binary(BinaryKind::Mul, x, y),
        3 => Step::Binary(BinaryKind::Sub, x, y),
        4 => Step::Unary(UnaryKind::Sin, x),
        _ => Step::Affine(x, 0.5, 0.25),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_program(
        shape in prop::collection::vec(1_usize..4, 1..4),
        loads in prop::collection::vec(prop::sample::select(vec![Load::Full, Load::Row, Load::Column, Load::Scalar]), 1..4),
        steps in prop::collection::vec((0_usize..6, 0_usize..100, 0_usize..100), 1..6),
    ) {
        let count = loads.len();
        let body: Vec<Step> = steps.iter().enumerate().map(|(i, &(kind, x, y))| step(kind, x, y, count + i)).collect();
        let stores = vec![count + body.len() - 1, 0];
        let op = FusedElementwise { shape, loads, body, stores };
        let args = operands(&op);
        check(op, &args);
    }
}
