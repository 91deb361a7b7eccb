//! Cases on a driver are judged as through the shim; on a GPU all of this program's are (`CROSSLOOM_TEST_GPU=1`).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossloom_cuda::FakeDriver;
use crossloom_cuda::shim::Order;
use crossloom_ir::op::{AgfInject, AttnPool, Convert, Linear, MultiAdamW, RmsNorm};

use crate::compiler::has_compiler;
use crate::on_gpu;
use crate::support::{Case, case, driven, floats, given, ints};

fn cases() -> Vec<Case> {
    let norm = vec![floats(&[5, 300], 1), floats(&[300], 2)];
    let linear = Linear { bias: true, residual: true, ..Linear::default() };
    let operands = vec![floats(&[5, 24], 3), floats(&[16, 24], 4), floats(&[16], 5), floats(&[5, 16], 6)];
    vec![
        case("to 16 bits", Convert, vec![floats(&[3, 7], 7)]).narrow(),
        case("norm", RmsNorm { eps: 1e-5 }, norm).within(2e-5),
        case("product over its residual", linear, operands),
    ]
}

#[test]
fn a_driver_without_a_gpu_gives_what_the_reference_gives() {
    if has_compiler() && !on_gpu::is_asked_for() {
        driven::agree(&FakeDriver::new(Order::Backwards), &cases());
    }
}

#[test]
fn a_result_that_is_not_exact_enough_is_told() {
    if !has_compiler() || on_gpu::is_asked_for() {
        return;
    }
    let cases: Vec<Case> = cases().into_iter().skip(1).take(1).map(|case| case.within(0.0)).collect();
    let judged = catch_unwind(AssertUnwindSafe(|| driven::agree(&FakeDriver::new(Order::Forwards), &cases)));
    let message = judged.unwrap_err().downcast_ref::<String>().unwrap().clone();
    assert!(message.starts_with("norm, result 0: element"), "{message}");
}

/// Sizes of OneVision-7B: a prompt of 3,000 tokens of width 3,584 with 2,916 visual ones (a picture in two rows and columns), whose
/// features come from four taps.
const TOKENS: usize = 3000;
const VISUAL: usize = 2916;
const WIDTH: usize = 3584;
const TAPS: usize = 4;

/// What is timed, with its bytes: each operand read once and each result written once.
#[test]
#[ignore = "prints times of a GPU as JSON, one line each"]
fn speed() {
    let driver = on_gpu::driver().expect("CROSSLOOM_TEST_GPU=1 asks for a GPU");
    let index = ints(&[1, VISUAL], (0..VISUAL as i32).map(|i| i + 14));
    let inject = vec![
        floats(&[1, TOKENS, WIDTH], 1),
        floats(&[1, TAPS], 2),
        floats(&[TAPS, 1, VISUAL, WIDTH], 3),
        index,
    ];
    let pool = vec![floats(&[TAPS, VISUAL, WIDTH], 1), floats(&[1, WIDTH], 2)];
    // Two matrices of an MLP: what is stepped at once is as large as the model, of which this is enough to be bound by memory.
    let mut parameters = vec![given(&[], &[0.5])];
    for seed in [10, 20] {
        let shape = [WIDTH, 4096];
        parameters.extend([1, 2, 3].map(|n| floats(&shape, seed + n)));
        parameters.extend([floats(&shape, seed + 4).map(f64::abs), given(&[3], &[1e-3, 10.0, 1000.0])]);
    }
    let adamw = MultiAdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: vec![0.1, 0.1] };
    let norm = vec![floats(&[TOKENS, WIDTH], 4), floats(&[WIDTH], 5)];
    let copy = crossloom_ir::op::Affine { mul: 1.0, add: 0.0 };
    for case in [
        case("copy", copy, vec![floats(&[64 << 20], 6)]),
        case("AGF injection", AgfInject::default(), inject),
        case("AGF pooling", AttnPool { scale: 0.02, masked: false }, pool),
        case("RMS norm", RmsNorm { eps: 1e-5 }, norm),
        case("AdamW", adamw, parameters),
    ] {
        let (seconds, bytes) = (driven::seconds(&*driver, &case, 20), driven::bytes(&case));
        println!("{{\"what\": \"{}\", \"seconds\": {seconds:e}, \"bytes\": {bytes}}}", case.name());
    }
}
