//! Products that are written as sums of products.

use crossloom_compiler::Context;
use crossloom_compiler::passes::{BEFORE_AUTODIFF, run_all};
use crossloom_ir::expand::to_primitives;
use crossloom_ir::op::{Attention, Matmul, Op};
use crossloom_ir::{Func, Role, TensorType};

use crate::support::{apply, assert_same, check_pass, insts, only, random_args};

fn func_of(op: impl Into<Op>, shapes: &[&[usize]]) -> Func {
    let mut func = Func::new("one");
    let operands: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| func.add_param(format!("p{i}"), Role::Input, TensorType::f32(*shape)))
        .collect();
    let y = func.builder().one(op, &operands).unwrap();
    func.add_result("y", y);
    func
}

/// The definition of a matrix product gives back the product, without transposes and without anything else.
#[test]
fn the_definition_of_a_product_is_recognised() {
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        for lead in [&[][..], &[1], &[2], &[2, 3], &[0], &[2, 0]] {
            let turn = |turned: bool, [x, y]: [usize; 2]| if turned { [y, x] } else { [x, y] };
            let a = [lead, &turn(transpose_a, [5, 4])].concat();
            let b = [lead, &turn(transpose_b, [4, 3])].concat();
            let op = Matmul { transpose_a, transpose_b };
            let func = func_of(op, &[&a, &b]);
            let fused = apply("product_fusion", &to_primitives(&func).unwrap());
            assert_same(&fused, &func, &random_args(&func, 6));
            assert_eq!(only(&fused, "matmul").op, Op::Matmul(op));
            let others = fused.insts().len() - 1 - insts(&fused, "reshape").len();
            // A product has one batch axis or none.
            let whole = lead.is_empty() || (lead.len() == 1 && lead != [1]);
            assert_eq!((others, insts(&fused, "reshape").is_empty()), (0, whole));
        }
    }
}

/// Whatever is made of luminal's primitives, attention is found in it: products first, then what they are part of.
#[test]
fn attention_in_primitives_is_attention() {
    for causal in [false, true] {
        for (heads, kv_heads) in [(2, 2), (4, 2), (1, 1)] {
            let wanted = Attention { heads, kv_heads, causal, segments: false, scale: 0.7 };
            let (q, k) = ([2, 3, heads * 4], [2, 5, kv_heads * 4]);
            let func = func_of(wanted, &[&q, &k, &k]);
            let primitives = to_primitives(&func).unwrap();
            let fused = run_all(primitives, &BEFORE_AUTODIFF, &Context::default()).unwrap();
            assert_same(&fused, &func, &random_args(&func, 8));
            let Op::Attention(op) = only(&fused, "attention").op else { panic!() };
            assert!((op.scale - wanted.scale).abs() < 1e-12);
            assert_eq!(Attention { scale: wanted.scale, ..op }, wanted);
            assert_eq!(fused.insts().len(), 1);
        }
    }
}

#[test]
fn rows_that_are_transposed_among_several_axes_are_no_transposed_matrix() {
    // The two last axes of `w` are swapped, but its rows are two axes.
    let func = check_pass(
        "product_fusion",
        r#"func @f {
  input %x "x": f32[3, 4]
  input %w "w": f32[2, 4, 5]
  "":
    %1 = transpose %w {perm = [0, 2, 1]} : f32[2, 5, 4]
    %2 = broadcast %x {shape = [3, 2, 5, 4], axes = [0, 3]} : f32[3, 2, 5, 4]
    %3 = broadcast %1 {shape = [3, 2, 5, 4], axes = [1, 2, 3]} : f32[3, 2, 5, 4]
    %4 = mul %2, %3 : f32[3, 2, 5, 4]
    %5 = reduce_sum %4 {axes = [3]} : f32[3, 2, 5]
  return "y" = %5
}
"#,
    );
    assert_eq!(only(&func, "matmul").op, Op::Matmul(Matmul { transpose_a: false, transpose_b: true }));
    only(&func, "transpose");
}
