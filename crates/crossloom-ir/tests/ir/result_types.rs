//! Element types: which operands an op takes, which types its results may have, and where numbers are rounded.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_ir::expand::to_primitives;
use crossloom_ir::{DType, Func, Scope, Tensor, interp, op, text, verify};

fn parsed(text: &str) -> Func {
    let func = text::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    verify::verify(&func).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(text::parse(&text::print(&func)).unwrap(), func);
    func
}

fn errors(text: &str) -> String {
    text::parse(text).unwrap_err().to_string()
}

const LAYER: &str = r#"func @layer {
    input  %x "x": bf16[2, 3]
    weight %w "w": f32[4, 3]
    weight %b "b": f16[4]

    %y = linear %x, %w, %b {bias = true} : bf16[2, 4]
    %t = transpose %y {perm = [1, 0]} : bf16[4, 2]
    %z = exp %t : f32[4, 2]
    %h = convert %z : f16[4, 2]

    return "y" = %y
    return "z" = %z
    return "h" = %h
}"#;

fn layer_args<T: crossloom_ir::Real>() -> Vec<Tensor<T>> {
    let at =
        |shape: &[usize], scale: f64| Tensor::from_fn(shape.to_vec(), |i| scale * (i as f64 + 0.37).sin());
    vec![at(&[2, 3], 1.1), at(&[4, 3], 0.9), at(&[4], 0.7)]
}

#[test]
fn an_instruction_says_which_float_its_results_are() {
    let mut func = parsed(LAYER);
    let x = func.param("x").unwrap().value;
    let scope = Scope::default();
    let plain = func.push(op::Convert, &[x], &scope).unwrap()[0];
    assert_eq!(func.dtype(plain), DType::F32);
    let moved = func.push(op::Reshape { shape: vec![6] }, &[x], &scope).unwrap()[0];
    assert_eq!(func.dtype(moved), DType::Bf16);
    let refused = func.push_as(op::Reshape { shape: vec![6] }, &[x], &[DType::F32], &scope).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "reshape: output 0 is bf16[6]: it moves data, so the result is of its operand's type, not f32 \
         (operands: bf16[2, 3])"
    );
    let refused = func.push_as(op::Convert, &[x], &[DType::Q8_0], &scope).unwrap_err();
    assert!(refused.to_string().contains("no result is q8_0, which is a type of weights"), "{refused}");
    let refused = func.push_as(op::Argmax, &[x], &[DType::F32], &scope).unwrap_err();
    assert!(refused.to_string().contains("it cannot be f32"), "{refused}");
}

#[test]
fn what_moves_data_takes_one_type() {
    let text = |dtype: &str| {
        format!(
            "func @f {{\n  input %a \"a\": f32[2]\n  input %b \"b\": {dtype}[2]\n  \
             %c = concat %a, %b {{axis = 0}} : f32[4]\n  return \"c\" = %c\n}}"
        )
    };
    parsed(&text("f32"));
    assert_eq!(
        errors(&text("bf16")),
        "line 4: concat: moves data, so its operands must be of one float type (operands: f32[2], bf16[2])"
    );
}

#[test]
fn quantized_weights_stand_in_products_and_gathers() {
    let func = parsed(
        r#"func @f {
    input  %x "x": bf16[2, 64]
    input  %i "i": i32[3]
    weight %w "w": q4_0[5, 64]
    weight %t "t": q6_k[7, 256]

    %y = linear %x, %w : bf16[2, 5]
    %e = embedding %t, %i : f32[3, 256]
    %g = embedding %t, %i : bf16[3, 256]

    return "y" = %y
    return "e" = %e
    return "g" = %g
}"#,
    );
    assert_eq!(func.ty(func.param("w").unwrap().value).bytes(), 5 * 2 * 18);
    assert_eq!(func.ty(func.param("t").unwrap().value).bytes(), 7 * 210);
    let refused = errors(
        "func @f {\n  weight %w \"w\": q8_0[2, 32]\n  %y = exp %w : f32[2, 32]\n  \
         %r = reshape %w {shape = [64]} : q8_0[64]\n}",
    );
    assert_eq!(
        refused,
        "line 3: exp: operand 0 is q8_0[2, 32]; only weights of products and tables of gathers are quantized \
         (operands: q8_0[2, 32])\n\
         line 4: reshape: operand 0 is q8_0[2, 32]; only weights of products and tables of gathers are quantized \
         (operands: q8_0[2, 32])"
    );
    let cut = text::parse(
        "func @f {\n  weight %w \"w\": q8_0[2, 33]\n  state %s \"s\": q4_1[32]\n  return \"w\" = %w\n  \
         update %s = %s\n}",
    )
    .unwrap();
    assert_eq!(
        verify::verify(&cut).unwrap_err().to_string(),
        "the last axis of q8_0[2, 33] is no whole number of blocks of 32 elements [value %0]\n\
         `s` is q4_1[32], a type of weights, but no weight [value %1]\n\
         `w` is q8_0[2, 33], a type of weights, which are no results [value %0]\n\
         `s` is q4_1[32], a type of weights, which are no results [value %1]"
    );
}

/// Every 16-bit value is a number of its type in both interpreters, and arguments are rounded as storing them rounds.
#[test]
fn results_are_rounded_to_their_types() {
    let func = parsed(LAYER);
    let wide = interp::run_all::<f64>(&func, &layer_args()).unwrap();
    let narrow = interp::run_all::<f32>(&func, &layer_args()).unwrap();
    let mut differs = false;
    for (index, value) in wide.iter().enumerate() {
        let value = value.as_ref().unwrap();
        let other = narrow[index].as_ref().unwrap();
        let dtype = func.dtype(crossloom_ir::Value(index as u32));
        for i in 0..value.data.len() {
            assert_eq!(dtype.round(value.at(i)), value.at(i));
            assert_eq!(dtype.round(other.at(i)), other.at(i));
            differs |= dtype == DType::F32 && f64::from(value.at(i) as f32) != value.at(i);
        }
    }
    assert!(differs, "f32 values of the oracle are not rounded");
}

/// The expansion of an op rounds where the op does, and nowhere else.
#[test]
fn an_expansion_rounds_only_its_results() {
    let func = parsed(
        r#"func @f {
    input  %x "x": bf16[5, 8]
    weight %s "s": bf16[8]

    %y, %r = rms_norm %x, %s {eps = 1e-6} : bf16[5, 8], f32[5]
    %p = softmax %y : f16[5, 8]
    %a = silu %p : bf16[5, 8]
    %c = concat %a, %y {axis = 0} : bf16[10, 8]

    return "y" = %y
    return "r" = %r
    return "p" = %p
    return "c" = %c
}"#,
    );
    let primitive = to_primitives(&func).unwrap();
    verify::verify(&primitive).unwrap();
    let low = primitive.insts().iter().filter(|inst| primitive.dtype(inst.outputs[0]) != DType::F32);
    let names: Vec<&str> = low.map(|inst| inst.op.mnemonic()).collect();
    assert!(names.iter().all(|name| ["convert", "broadcast", "pad", "reshape"].contains(name)), "{names:?}");
    let args = [
        Tensor::from_fn([5, 8], |i| (i as f64 * 0.7).sin()),
        Tensor::from_fn([8], |i| 1.0 + (i as f64).cos() / 3.0),
    ];
    let (whole, parts) =
        (interp::run::<f64>(&func, &args).unwrap(), interp::run::<f64>(&primitive, &args).unwrap());
    for (whole, parts) in whole.iter().zip(&parts) {
        for i in 0..whole.data.len() {
            // In double precision both round nearly the same number: a tie apart, to the same.
            assert!((whole.at(i) - parts.at(i)).abs() <= 1e-9, "{} {}", whole.at(i), parts.at(i));
        }
    }
}
