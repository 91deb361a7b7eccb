//! AdamW and the gradient norm.

use crossloom_ir::TensorType;
use crossloom_ir::op::{AdamW, GlobalNorm, MultiAdamW, Op};

use super::support::{
    EXACT, assert_close, assert_complains, between, check, check_expansion, check_round_trip, given, outputs,
    random,
};

const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };

#[test]
fn adamw_expands() {
    for shape in [&[][..], &[5], &[2, 3]] {
        let hyper = given(&[3], &[1e-2, 1.0 / (1.0 - 0.9), 1.0 / (1.0 - 0.95)]);
        let moments = [random(shape, 1), random(shape, 2), random(shape, 3), between(shape, 0.1, 1.0, 4)];
        let args: Vec<_> = moments.into_iter().chain([hyper, given(&[], &[0.5])]).collect();
        let op = Op::from(ADAMW);
        check_round_trip(&op);
        check_expansion(&op, &args, EXACT);
    }
}

#[test]
fn several_parameters_step_as_each_alone() {
    let op = MultiAdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: vec![0.1, 0.0] };
    check_round_trip(&op.clone().into());
    let parameter = |shape: &[usize], seed: u64| {
        let hyper = between(&[3], 0.1, 1.0, seed + 4);
        [
            random(shape, seed),
            random(shape, seed + 1),
            random(shape, seed + 2),
            between(shape, 0.1, 1.0, seed + 3),
            hyper,
        ]
    };
    let (first, second) = (parameter(&[2, 3], 10), parameter(&[5], 20));
    let scale = given(&[], &[0.5]);
    let args: Vec<_> = [scale.clone()].into_iter().chain(first.clone()).chain(second.clone()).collect();
    check_expansion(&op.clone().into(), &args, EXACT);
    let together = outputs(op.clone(), &args);
    let alone = [(first, 0.1), (second, 0.0)].map(|(parameter, weight_decay)| {
        let args: Vec<_> = parameter.into_iter().chain([scale.clone()]).collect();
        outputs(AdamW { weight_decay, ..ADAMW }, &args)
    });
    assert_eq!(together, alone.concat());
    for (input, output) in Op::from(op).in_place() {
        assert_eq!(args[input].value.shape, together[output].shape);
    }
}

#[test]
fn the_first_step_moves_by_the_learning_rate() {
    // From zero moments, m' c1 = g and v' c2 = g^2, so each parameter moves by lr against the sign of its gradient,
    // and decays by lr * weight_decay of itself.
    let hyper = given(&[3], &[0.01, 1.0 / (1.0 - 0.9), 1.0 / (1.0 - 0.95)]);
    let zeros = given(&[2], &[0.0, 0.0]);
    let args = [
        given(&[2], &[1.0, -2.0]),
        given(&[2], &[4.0, -0.5]),
        zeros.clone(),
        zeros,
        hyper,
        given(&[], &[0.25]),
    ];
    let y = outputs(ADAMW, &args);
    assert_close(&y[0], &[1.0 - 0.01 - 0.001, -2.0 + 0.01 + 0.002], 1e-9);
    assert_close(&y[1], &[0.1, -0.0125], 1e-12);
    assert_close(&y[2], &[0.05, 0.05 * 0.015_625], 1e-12);
}

#[test]
fn nothing_is_differentiated_through_the_optimizer() {
    use crossloom_ir::grad::GradCx;
    use crossloom_ir::{Func, Role, Scope};
    let mut func = Func::new("step");
    let shapes: [&[usize]; 6] = [&[2], &[2], &[2], &[2], &[3], &[]];
    let params: Vec<_> =
        shapes.iter().map(|s| func.add_param("p", Role::Input, TensorType::f32(*s))).collect();
    let outputs = func.push(ADAMW, &params, &Scope::default()).unwrap();
    let grads = vec![Some(params[0]), None, None];
    let mut cx = GradCx::new(func.builder(), params.clone(), outputs, grads, vec![true; 6]);
    let error = Op::from(ADAMW).gradient(&mut cx).unwrap_err();
    assert!(error.to_string().contains("has no gradient"), "{error}");
}

#[test]
fn global_norm_of_any_tensors() {
    check(GlobalNorm, &[random(&[2, 3], 5), random(&[], 6), random(&[4], 7)]);
    check(GlobalNorm, &[random(&[1], 8)]);
    let y = outputs(GlobalNorm, &[given(&[2], &[2.0, 4.0]), given(&[], &[-4.0])]);
    assert_close(&y[0], &[6.0], 1e-15);
}

#[test]
fn wrong_operands_are_named() {
    let (p, hyper, scale) = (TensorType::f32([2]), TensorType::f32([3]), TensorType::f32([]));
    let types = |m: TensorType| [p.clone(), p.clone(), m, p.clone(), hyper.clone(), scale.clone()];
    assert_complains(ADAMW, &types(hyper.clone()), "m is f32[3], must be f32[2]");
    let beta = AdamW { beta2: 1.0, ..ADAMW };
    assert_complains(beta, &types(p.clone()), "`beta2` is 1, must be at least 0 and below 1");
    let decay = AdamW { weight_decay: -0.1, ..ADAMW };
    assert_complains(decay, &types(p.clone()), "`weight_decay` is -0.1, must not be negative");
    let several =
        |decays: &[f64]| MultiAdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: decays.to_vec() };
    assert_complains(several(&[]), std::slice::from_ref(&scale), "takes at least one parameter");
    let two = [&scale, &p, &p, &p, &p, &hyper, &p, &p, &hyper, &p, &hyper].map(Clone::clone);
    assert_complains(several(&[0.0; 3]), &two, "of 3 parameters, not 11 operands");
    assert_complains(several(&[0.0; 2]), &two, "parameter 1: m is f32[3], must be f32[2]");
    assert_complains(GlobalNorm, &[], "takes at least one operand");
    assert_complains(GlobalNorm, &[p, TensorType::i32([2])], "operand 1 is i32[2], must hold floats");
}
