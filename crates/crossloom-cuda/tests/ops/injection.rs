//! The injection: pooling by attention, the gated update, and both backwards, in all forms.

use crossloom_ir::op::{AgfInject, AgfInjectGrad, AttnPool, AttnPoolGrad};

use crate::support::{agree, case, floats, given, ints, refused};

#[test]
fn pooling() {
    let mut cases = Vec::new();
    for (groups, rows, width, heads) in [(1, 1, 1, 1), (3, 37, 40, 2), (2, 5, 130, 11), (1, 2050, 3, 1)] {
        let scale = 0.4;
        let name = format!("{groups} {rows} {width} {heads}");
        let (x, w) = (floats(&[groups, rows, width], 1), floats(&[heads, width], 2));
        cases.push(case(name.clone(), AttnPool { scale, masked: false }, vec![x.clone(), w.clone()]));
        // Of the first group nothing is kept.
        let mask: Vec<f32> =
            (0..groups * rows).map(|i| f32::from(u8::from(i >= rows && i % 3 != 0))).collect();
        let operands = vec![x.clone(), w.clone(), given(&[groups, rows], &mask)];
        cases.push(case(format!("{name} masked"), AttnPool { scale, masked: true }, operands));
        let probs = floats(&[groups, heads, rows], 3).map(|p| p.abs() / rows as f64);
        let operands = vec![floats(&[groups, heads, width], 4), x, w, probs];
        cases.push(case(format!("{name} backwards"), AttnPoolGrad { scale }, operands).within(1e-5));
    }
    agree(&cases);
}

#[test]
fn the_gated_update() {
    let mut cases = Vec::new();
    for (convex, channel) in [(false, false), (true, false), (false, true), (true, true)] {
        for (taps, samples, tokens, rows, cols) in [(1, 1, 1, 1, 1), (3, 2, 40, 60, 36)] {
            let name = format!("{convex} {channel} {taps} {samples} {tokens} {rows} {cols}");
            let h = floats(&[samples, rows, cols], 1);
            let gate = if channel { vec![samples, taps, cols] } else { vec![samples, taps] };
            let (gate, v) = (floats(&gate, 2), floats(&[taps, samples, tokens, cols], 3));
            let slot = |i: usize| if i % tokens % 5 == 4 { -1 } else { (i % tokens * 7 % rows) as i32 };
            let index = ints(&[samples, tokens], (0..samples * tokens).map(slot));
            let operands = vec![h.clone(), gate.clone(), v.clone(), index.clone()];
            cases.push(case(name.clone(), AgfInject { convex, channel }, operands));
            let mut operands = vec![floats(&[samples, rows, cols], 4), gate, v, index];
            operands.extend(convex.then_some(h));
            cases.push(case(format!("{name} backwards"), AgfInjectGrad { convex, channel }, operands));
        }
    }
    agree(&cases);
    let with = |index: [i32; 4]| {
        let operands =
            vec![floats(&[2, 4, 3], 5), floats(&[2, 1], 6), floats(&[1, 2, 2, 3], 7), ints(&[2, 2], index)];
        case("agf_inject", AgfInject::default(), operands)
    };
    refused(vec![(with([0, 4, 1, -2]), 1, 4), (with([0, 1, 3, 3]), 3, 3)]);
}
