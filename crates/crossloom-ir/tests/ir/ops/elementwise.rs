//! Element-wise ops and conversions.

use std::slice::from_ref;

use crossloom_ir::TensorType;
use crossloom_ir::op::{Activation, Affine, Binary, BinaryKind, ToFloat, ToInt, Unary, UnaryKind};

use super::support::{
    ERF, EXACT, Tolerance, assert_close, assert_complains, between, check, check_within, given, outputs,
    random, refusal, whole,
};

fn tolerance(kind: UnaryKind) -> Tolerance {
    match kind {
        UnaryKind::Act(Activation::GeluErf) => ERF,
        // Its slope is that of the fitted polynomial.
        UnaryKind::ActGrad(Activation::GeluErf) => Tolerance { gradient: 1e-4, ..ERF },
        _ => EXACT,
    }
}

#[test]
fn every_unary_kind() {
    for kind in UnaryKind::all() {
        let x = match kind {
            UnaryKind::Log2 | UnaryKind::Log | UnaryKind::Sqrt | UnaryKind::Rsqrt | UnaryKind::Recip => {
                between(&[3, 5], 0.3, 3.0, 1)
            }
            _ => between(&[3, 5], -3.0, 3.0, 1),
        };
        check_within(Unary(kind), &[x], tolerance(kind));
    }
}

#[test]
fn every_binary_kind() {
    for kind in BinaryKind::all() {
        // No two elements are equal, so that minimum and comparison have a slope; no quotient is close to whole.
        let x = given(&[2, 3], &[0.3, -1.2, 2.7, -0.4, 1.6, 0.9]);
        let y = given(&[2, 3], &[0.8, 0.5, -1.1, -0.7, 0.45, 1.3]);
        check(Binary(kind), &[x, y]);
    }
}

#[test]
fn names_find_their_kinds() {
    assert!(UnaryKind::all().all(|kind| UnaryKind::from_name(kind.name()) == Some(kind)));
    assert!(BinaryKind::all().all(|kind| BinaryKind::from_name(kind.name()) == Some(kind)));
    assert_eq!(UnaryKind::from_name("mul"), None);
    assert_eq!(BinaryKind::from_name("exp"), None);
}

#[test]
fn affine_with_and_without_its_parts() {
    for (mul, add) in [(2.5, -0.5), (1.0, 0.25), (-3.0, 0.0), (1.0, 0.0)] {
        check(Affine { mul, add }, &[random(&[4], 2)]);
    }
}

#[test]
fn activations_have_their_published_values() {
    let x = given(&[3], &[-1.0, 0.0, 1.0]);
    let values = |act| outputs(Unary(UnaryKind::Act(act)), from_ref(&x)).remove(0);
    // x Phi(x) with Phi(1) = 0.841344746068543.
    assert_close(&values(Activation::GeluErf), &[-0.158_655_253_931_457, 0.0, 0.841_344_746_068_543], 1e-12);
    assert_close(&values(Activation::GeluTanh), &[-0.158_808_009, 0.0, 0.841_191_990], 1e-8);
    // x / (1 + e^-x) with 1 / (1 + 1/e) = 0.731058578630005.
    assert_close(&values(Activation::Silu), &[-0.268_941_421_369_995, 0.0, 0.731_058_578_630_005], 1e-12);
}

#[test]
fn whole_numbers_and_floats() {
    check(ToFloat, &[whole(&[2, 2], &[-7, 0, 3, 1 << 20])]);
    check(ToInt, &[given(&[4], &[-1.9, -0.2, 0.0, 41.99]).fixed()]);
    let cut = outputs(ToInt, &[given(&[3], &[-1.9, 0.2, 41.99])]);
    assert_eq!(cut[0].data, [-1.0, 0.0, 41.0]);
    let error = refusal(ToInt, &[given(&[2], &[1.0, 3e9])]);
    assert!(error.contains("3000000000 is not representable"), "{error}");
    let error = refusal(ToInt, &[given(&[1], &[f64::NAN])]);
    assert!(error.contains("NaN is not representable"), "{error}");
}

#[test]
fn wrong_operands_are_named() {
    let (x, ids) = (TensorType::f32([3]), TensorType::i32([3]));
    assert_complains(Unary(UnaryKind::Exp), from_ref(&ids), "needs a float operand, not i32[3]");
    assert_complains(Binary(BinaryKind::Add), &[x.clone(), TensorType::f32([4])], "two operands of one type");
    assert_complains(Binary(BinaryKind::Add), from_ref(&x), "takes 2 operands, 1 were given");
    assert_complains(Affine { mul: 1.0, add: 0.0 }, from_ref(&ids), "needs a float operand");
    assert_complains(ToFloat, &[x], "the operand is f32[3], must hold whole numbers");
    assert_complains(ToInt, &[ids], "the operand is i32[3], must hold floats");
}

/// The definition in primitives sums both operands, one of them times zero, so a NaN cannot be dropped.
#[test]
fn the_larger_and_the_smaller_of_a_number_and_nan_are_nan() {
    for kind in [BinaryKind::Min, BinaryKind::Max] {
        for (x, y) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::NAN, f64::NAN), (f64::NAN, f64::INFINITY)] {
            assert!(kind.value(x, y).is_nan(), "{kind:?} {x} {y}");
        }
    }
}
