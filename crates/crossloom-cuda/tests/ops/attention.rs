//! Attention, forwards and backwards: head widths, groups, masks, tiles that are not full.

use crossloom_ir::op::{Attention, AttentionGrad};

use crate::support::{Operand, agree, case, floats, ints};

/// Log-sum-exps that make weights of a reasonable size.
fn lse(shape: &[usize]) -> Operand {
    floats(shape, 7).map(|x| x + 4.0)
}

#[test]
fn attention_and_its_gradient() {
    let mut cases = Vec::new();
    for (samples, queries, keys, heads, kv_heads, width, causal, segments) in [
        (1, 1, 1, 1, 1, 1, false, false),
        (2, 5, 37, 4, 2, 8, false, false),
        (1, 37, 5, 1, 1, 40, false, false),
        (1, 40, 40, 2, 1, 64, true, false),
        (1, 3, 70, 2, 2, 33, true, false),
        (2, 45, 45, 2, 1, 16, true, true),
        (1, 33, 33, 1, 1, 128, false, true),
    ] {
        let op = Attention { heads, kv_heads, causal, segments, scale: 1.0 / (width as f64).sqrt() };
        let name = format!("{samples} {queries} {keys} {heads} {kv_heads} {width} {causal} {segments}");
        let q = || floats(&[samples, queries, heads * width], 1);
        let [k, v] = [2, 3].map(|seed| floats(&[samples, keys, kv_heads * width], seed));
        // The shared prefix, two segments, padding.
        let number = |i: usize| match i % keys * 5 / keys {
            0 => 0,
            1 | 2 => 1,
            3 => 2,
            _ => -1,
        };
        let numbers = segments.then(|| ints(&[samples, keys], (0..samples * keys).map(number)));
        let mut operands = vec![q(), k.clone(), v.clone()];
        operands.extend(numbers.clone());
        cases.push(case(name.clone(), op, operands).within(1e-5));
        let (grad, o) =
            (floats(&[samples, queries, heads * width], 5), floats(&[samples, queries, heads * width], 6));
        let mut operands = vec![grad, q(), k, v, o, lse(&[samples, heads, queries])];
        operands.extend(numbers);
        cases.push(case(format!("{name} backwards"), AttentionGrad(op), operands).within(1e-5));
    }
    agree(&cases);
}
