//! Cross-entropy.

use crossloom_ir::op::{CrossEntropy, CrossEntropyGrad, LinearCrossEntropy};
use crossloom_ir::{DType, TensorType};

use super::support::{
    assert_close, assert_complains, between, check, check_rounding, given, outputs, random, refusal, whole,
};

#[test]
fn cross_entropy_and_its_gradient() {
    for targets in [[2, -1, 0, 4], [1, 1, 1, 1], [-1, -1, -1, 3], [-1, -1, -1, -1]] {
        let (logits, targets) = (between(&[4, 5], -3.0, 3.0, 1), whole(&[4], &targets));
        check(CrossEntropy, &[logits.clone(), targets.clone()]);
        check(CrossEntropyGrad, &[random(&[], 2), logits, targets, between(&[4], 1.0, 3.0, 3)]);
    }
    check(CrossEntropy, &[random(&[1, 1], 4), whole(&[1], &[0])]);
}

#[test]
fn by_hand() {
    // Probabilities 1/8, 2/8, 5/8 in every row; the last row is ignored.
    let row = [0.0, 2.0_f64.ln(), 5.0_f64.ln()];
    let logits = given(&[3, 3], &[row, row, row].concat());
    let targets = whole(&[3], &[1, 2, -1]);
    let y = outputs(CrossEntropy, &[logits.clone(), targets.clone()]);
    let ln8 = 8.0_f64.ln();
    let loss = f64::midpoint(4.0_f64.ln(), 1.6_f64.ln());
    assert_close(&y[0], &[loss], 1e-12);
    assert_close(&y[1], &[ln8, ln8, ln8], 1e-12);
    let grad = outputs(CrossEntropyGrad, &[given(&[], &[2.0]), logits, targets, given(&[3], &[ln8; 3])]);
    assert_close(&grad[0], &[0.125, -0.75, 0.625, 0.125, 0.25, -0.375, 0.0, 0.0, 0.0], 1e-12);
}

#[test]
fn a_batch_without_targets_has_loss_zero() {
    let args = [random(&[2, 3], 5), whole(&[2], &[-1, -1])];
    assert_eq!(outputs(CrossEntropy, &args)[0].data, [0.0]);
}

#[test]
fn targets_outside_the_classes_are_refused() {
    let error = refusal(CrossEntropy, &[random(&[2, 3], 6), whole(&[2], &[0, 3])]);
    assert!(error.contains("target 3 of row 1 is outside the 3 classes"), "{error}");
    let args = [random(&[], 1), random(&[2, 3], 6), whole(&[2], &[-2, 0]), random(&[2], 7)];
    let error = refusal(CrossEntropyGrad, &args);
    assert!(error.contains("target -2 of row 0"), "{error}");
}

#[test]
fn the_output_projection_with_its_loss_and_gradients() {
    for targets in [[2, -1, 0, 4], [-1, -1, -1, -1]] {
        let (h, w) = (between(&[4, 3], -2.0, 2.0, 1), between(&[5, 3], -2.0, 2.0, 2));
        let operands = [random(&[], 3), h, w, whole(&[4], &targets)];
        for trained in [false, true] {
            check(LinearCrossEntropy { rounded: DType::F32, trained }, &operands);
            // Rounding has no derivative.
            let rounded = LinearCrossEntropy { rounded: DType::Bf16, trained };
            check_rounding(rounded, &operands);
        }
    }
    let f = |shape: &[usize]| TensorType::f32(shape);
    let op = LinearCrossEntropy { rounded: DType::F32, trained: true };
    let operands = [f(&[]), f(&[4, 3]), f(&[5, 2]), TensorType::i32([4])];
    assert_complains(op, &operands, "does not apply to rows");
    let op = LinearCrossEntropy { rounded: DType::I32, trained: true };
    let operands = [f(&[]), f(&[4, 3]), f(&[5, 3]), TensorType::i32([4])];
    assert_complains(op, &operands, "must be a float type");
}

#[test]
fn wrong_operands_are_named() {
    let (logits, targets) = (TensorType::f32([2, 3]), TensorType::i32([2]));
    assert_complains(
        CrossEntropy,
        &[logits.clone(), TensorType::i32([3])],
        "targets is i32[3], must be i32[2]",
    );
    assert_complains(
        CrossEntropy,
        &[TensorType::f32([2, 0]), targets.clone()],
        "a last axis that is not empty",
    );
    assert_complains(CrossEntropy, &[TensorType::f32([6]), targets.clone()], "must hold floats under 2 axes");
    let lse = TensorType::f32([2]);
    let wrong = [lse.clone(), logits.clone(), targets.clone(), lse];
    assert_complains(CrossEntropyGrad, &wrong, "dloss is f32[2], must be f32[]");
    let wrong = [TensorType::f32([]), logits, targets, TensorType::f32([3])];
    assert_complains(CrossEntropyGrad, &wrong, "lse is f32[3], must be f32[2]");
}
