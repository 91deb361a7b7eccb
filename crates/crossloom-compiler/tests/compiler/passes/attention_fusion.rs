//! Attention that somebody wrote out of products and a softmax.

use crossloom_compiler::passes::{BEFORE_AUTODIFF, run_all};
use crossloom_compiler::{Context, Mode, NullTarget, compile};
use crossloom_ir::expand::{expand_where, to_primitives};
use crossloom_ir::op::{Attention, Op, Softmax};
use crossloom_ir::{Builder, Func, Role, TensorType};

use crate::support::{apply, assert_same, check_pass, insts, mnemonics, only, random_args};

/// Attention on parameters of its own.
fn attention(op: Attention, samples: usize, queries: usize, keys: usize, width: usize) -> Func {
    let mut func = Func::new("attention");
    let q = func.add_param("q", Role::Input, TensorType::f32([samples, queries, op.heads * width]));
    let [k, v] = ["k", "v"]
        .map(|name| func.add_param(name, Role::Input, TensorType::f32([samples, keys, op.kv_heads * width])));
    let o = func.builder().one(op, &[q, k, v]).unwrap();
    func.add_result("o", o);
    func
}

fn op_of(func: &Func) -> Attention {
    match only(func, "attention").op {
        Op::Attention(op) => op,
        _ => unreachable!(),
    }
}

/// The definition of the op, products aside, gives back the op: heads, sharing, scale and mask are all recognised.
#[test]
fn the_definition_of_attention_is_recognised() {
    for (heads, kv_heads) in [(1, 1), (2, 2), (4, 2), (3, 1)] {
        for causal in [false, true] {
            for (samples, queries, keys, width) in [(2, 3, 5, 4), (1, 4, 4, 2), (3, 2, 2, 1), (2, 1, 3, 2)] {
                let wanted = Attention { heads, kv_heads, causal, segments: false, scale: 0.7 };
                let func = attention(wanted, samples, queries, keys, width);
                let expanded = expand_where(&func, |op| matches!(op, Op::Attention(_)));
                let plain = run_all(expanded.unwrap(), &BEFORE_AUTODIFF[..3], &Context::default()).unwrap();
                assert_eq!(insts(&plain, "attention").len(), 0);
                let fused = apply("attention_fusion", &plain);
                assert_same(&fused, &func, &random_args(&func, 5));
                let (op, shapes) = (op_of(&fused), (samples, queries, keys, width));
                // One head of many samples is many heads of one sample, and with a single query all masks are open.
                assert_eq!((op.causal, op.scale), (causal, 0.7), "{shapes:?}");
                if queries > 1 && width > 1 {
                    assert_eq!(op, wanted, "{shapes:?}");
                    assert_eq!(mnemonics(&fused), ["attention"], "{shapes:?}");
                }
            }
        }
    }
}

#[test]
fn scores_are_never_held() {
    let wanted = Attention { heads: 2, kv_heads: 1, causal: true, segments: false, scale: 0.5 };
    let func = attention(wanted, 2, 16, 16, 4);
    let written = expand_where(&func, |op| matches!(op, Op::Attention(_))).unwrap();
    let plan = compile(&written, &Context::new(&NullTarget, Mode::Forward)).unwrap().main.plan;
    // The op has a result of one number per query besides its output; scores would be 2 * 2 * 16 * 16.
    assert!(plan.arena <= 4 * (2 * 16 * 8 + 2 * 2 * 16), "{plan}");
}

/// A layout that is none of the op's own: heads outermost, and values given as columns.
#[test]
fn heads_that_lie_otherwise_are_samples_of_their_own() {
    let func = check_pass(
        "attention_fusion",
        r#"func @f {
  input %q "q": f32[3, 2, 4]
  input %k "k": f32[3, 4, 5]
  input %v "v": f32[3, 4, 5]
  "":
    %1 = matmul %q, %k : f32[3, 2, 5]
    %2 = softmax %1 : f32[3, 2, 5]
    %3 = matmul %2, %v {transpose_b = true} : f32[3, 2, 4]
  return "o" = %3
}
"#,
    );
    assert_eq!(mnemonics(&func), ["transpose", "transpose", "attention"]);
    assert_eq!((op_of(&func).heads, op_of(&func).scale), (1, 1.0));
}

/// One whose result is the query of the next: what the first leaves out the second must not read.
#[test]
fn attention_on_attention() {
    let layer = |b: &mut Builder<'_>, x, y| {
        let split = |b: &mut Builder<'_>, x| {
            let x = b.reshape(x, &[2, 3, 2, 2]).unwrap();
            b.transpose(x, &[0, 2, 1, 3]).unwrap()
        };
        let (q, k) = (split(b, x), split(b, y));
        let scores = b.matmul(q, k, false, true).unwrap();
        let weights = b.one(Softmax, &[scores]).unwrap();
        let o = b.matmul(weights, k, false, false).unwrap();
        let o = b.transpose(o, &[0, 2, 1, 3]).unwrap();
        b.reshape(o, &[2, 3, 4]).unwrap()
    };
    let mut func = Func::new("twice");
    let x = func.add_param("x", Role::Input, TensorType::f32([2, 3, 4]));
    let y = func.add_param("y", Role::Input, TensorType::f32([2, 3, 4]));
    let b = &mut func.builder();
    let first = layer(b, x, y);
    let second = layer(b, first, y);
    func.add_result("o", second);
    let fused = apply("attention_fusion", &func);
    assert_same(&fused, &func, &random_args(&func, 2));
    assert_eq!(mnemonics(&fused), ["attention", "attention"]);
}

#[test]
fn what_is_no_attention_stays() {
    let head = "func @f {\n  input %q \"q\": f32[2, 3, 4]\n  input %c \"c\": f32[2, 3, 3]\n  \"\":\n";
    let bodies = [
        // Values of another width than the keys.
        "%1 = matmul %q, %q {transpose_b = true} : f32[2, 3, 3]
    %2 = softmax %1 : f32[2, 3, 3]
    %3 = matmul %2, %c : f32[2, 3, 3]
  return \"o\" = %3",
        // Scores that are no product.
        "%1 = softmax %c : f32[2, 3, 3]
    %2 = matmul %1, %q : f32[2, 3, 4]
  return \"o\" = %2",
        // Probabilities on both sides.
        "%1 = matmul %c, %c {transpose_b = true} : f32[2, 3, 3]
    %2 = softmax %1 : f32[2, 3, 3]
    %3 = matmul %2, %2 : f32[2, 3, 3]
  return \"o\" = %3",
        // Probabilities on their side.
        "%1 = matmul %q, %q {transpose_b = true} : f32[2, 3, 3]
    %2 = softmax %1 : f32[2, 3, 3]
    %3 = matmul %2, %q {transpose_a = true} : f32[2, 3, 4]
  return \"o\" = %3",
        // A sum of scores and a number is as good as scores, but not exactly so.
        "%1 = matmul %q, %q {transpose_b = true} : f32[2, 3, 3]
    %2 = affine %1 {mul = 1.0, add = 3.0} : f32[2, 3, 3]
    %3 = softmax %2 : f32[2, 3, 3]
    %4 = matmul %3, %q : f32[2, 3, 4]
  return \"o\" = %4",
    ];
    for body in bodies {
        let func = check_pass("attention_fusion", &format!("{head}    {body}\n}}\n"));
        assert_eq!(insts(&func, "attention").len(), 0, "{body}");
    }
    // Products that are broadcasts, multiplied and summed, are found by the pass before this one.
    let wanted = Attention { heads: 2, kv_heads: 2, causal: false, segments: false, scale: 1.0 };
    let primitives = to_primitives(&attention(wanted, 1, 2, 2, 2)).unwrap();
    assert_eq!(insts(&apply("attention_fusion", &primitives), "attention").len(), 0);
}
