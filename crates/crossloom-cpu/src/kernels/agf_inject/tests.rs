#![allow(clippy::unwrap_used)]

use half::bf16;

use super::*;
use crate::kernels::testing::{Buffer, assert_close, mixes, narrow, on_each_isa, on_threads, random};

#[test]
fn all_forms_match_the_definition() {
    for (convex, channel) in [(false, false), (false, true), (true, false), (true, true)] {
        let p = AgfInject { batch: 3, len: 11, tokens: 5, cols: 35, taps: 4, convex, channel };
        let index = [0, 1, 2, 3, 4, 10, -1, 8, 7, 0, 5, 3, 1, -1, -1];
        let h = random(1, 3 * 11 * 35);
        let gate = random(2, 3 * 4 * p.gate_width());
        let v = random(3, 4 * 3 * 5 * 35);
        let d_new = random(4, h.len());
        let mut new = h.clone();
        agf_inject(&p, &mut new, &gate[..], &v, &index).unwrap();
        let run = |threads| {
            let (mut dh, mut dv) = (d_new.clone(), vec![f32::NAN; v.len()]);
            let mut d_gate = vec![f32::NAN; gate.len()];
            on_threads(threads, || {
                let mut scratch = vec![f32::NAN; p.grad_scratch_len()];
                let (gate, d_gate) = (&gate[..], &mut d_gate[..]);
                agf_inject_grad(&p, &dh, Some(&h), gate, &v, &index, &mut dv, d_gate, &mut scratch).unwrap();
                agf_inject_state_grad(&p, &mut dh, gate, &index).unwrap();
            });
            (dh, dv, d_gate)
        };
        let (mut want, mut want_dh) = (h.clone(), d_new.clone());
        let (mut want_dv, mut want_dg) = (vec![0.0; v.len()], vec![0.0; gate.len()]);
        for slot in 0..15 {
            let (b, n) = (slot / 5, slot % 5);
            if index[slot] < 0 {
                continue;
            }
            for c in 0..35 {
                let at = (b * 11 + index[slot] as usize) * 35 + c;
                for k in 0..4 {
                    let vi = ((k * 3 + b) * 5 + n) * 35 + c;
                    let gi = (b * 4 + k) * p.gate_width() + if channel { c } else { 0 };
                    let towards = if convex { v[vi] - h[at] } else { v[vi] };
                    want[at] += gate[gi] * towards;
                    want_dv[vi] = gate[gi] * d_new[at];
                    want_dg[gi] += d_new[at] * towards;
                    if convex {
                        want_dh[at] -= gate[gi] * d_new[at];
                    }
                }
            }
        }
        assert_close(&new, &want, 1e-5);
        let (dh, dv, d_gate) = run(1);
        assert_close(&dh, &want_dh, 1e-5);
        assert_close(&dv, &want_dv, 1e-5);
        assert_close(&d_gate, &want_dg, 1e-5);
        assert_eq!(run(1), run(3));
    }
}

#[test]
fn the_convex_gradient_needs_the_old_state() {
    let p = AgfInject { batch: 1, len: 1, tokens: 1, cols: 1, taps: 1, convex: true, channel: false };
    let (mut a, mut b, mut c, mut d) = ([0.0], [0.0], [0.0], [0.0]);
    let gate = &[0.5][..];
    assert!(agf_inject_grad(&p, &a, None, gate, &[1.0], &[0], &mut b, &mut c[..], &mut d).is_err());
    assert!(agf_inject(&p, &mut a, gate, &[1.0], &[1]).is_err());
}

#[test]
fn a_row_that_is_named_twice_is_refused() {
    let p = AgfInject { batch: 1, len: 3, tokens: 2, cols: 1, taps: 1, convex: false, channel: false };
    let (mut h, gate) = ([0.0; 3], &[0.5][..]);
    assert!(agf_inject(&p, &mut h, gate, &[1.0, 1.0], &[2, 2]).is_err());
    agf_inject(&p, &mut h, gate, &[1.0, 1.0], &[2, 0]).unwrap();
    assert_eq!(h, [0.5, 0.0, 0.5]);
}

/// Results of all three kernels.
fn run<H: Element, V: Element, D: Element>(
    p: &AgfInject,
    (h, dh, v): (&[H], &[H], &[V]),
    gate: &Buffer,
    index: &[i32],
    [skips_dv, skips_gate, is_gate_narrow]: [bool; 3],
) -> (Vec<H>, Vec<H>, Vec<D>, Buffer) {
    let (mut new, mut d_old) = (h.to_vec(), dh.to_vec());
    let mut dv = vec![D::round(f32::NAN); if skips_dv { 0 } else { v.len() }];
    let mut d_gate = Buffer::room(if skips_gate { 0 } else { p.batch * p.gates() }, is_gate_narrow);
    let mut scratch = vec![f32::NAN; p.grad_scratch_len()];
    let to = d_gate.floats_mut();
    agf_inject(p, &mut new, gate.floats(), v, index).unwrap();
    agf_inject_grad(p, dh, Some(h), gate.floats(), v, index, &mut dv, to, &mut scratch).unwrap();
    agf_inject_state_grad(p, &mut d_old, gate.floats(), index).unwrap();
    (new, d_old, dv, d_gate)
}

/// One sample whose tokens are several tasks, and a few small ones.
fn shapes() -> Vec<AgfInject> {
    let forms = [(false, false), (true, false), (true, true)];
    let of = |(convex, channel)| {
        let long = AgfInject { batch: 1, len: 170, tokens: 150, cols: 70, taps: 3, convex, channel };
        assert!(long.tasks() > 1);
        [long, AgfInject { batch: 3, len: 11, tokens: 5, cols: 35, ..long }]
    };
    forms.into_iter().flat_map(of).collect()
}

fn numbers(p: &AgfInject) -> ([Vec<f32>; 3], Vec<f32>, Vec<i32>) {
    let (state, features) = (p.batch * p.len * p.cols, p.taps * p.batch * p.tokens * p.cols);
    let index = |i: usize| if i % 7 == 3 { -1 } else { (p.len - 1 - i % p.tokens) as i32 };
    (
        [random(1, state), random(2, state), random(3, features)],
        random(4, p.batch * p.gates()),
        (0..p.batch * p.tokens).map(index).collect(),
    )
}

#[test]
fn the_number_of_threads_does_not_show() {
    for p in shapes() {
        let ([h, dh, v], gate, index) = numbers(&p);
        let gate = Buffer::F32(gate);
        let one = on_threads(1, || run::<_, _, f32>(&p, (&h, &dh, &v), &gate, &index, [false; 3]));
        for threads in [2, 3] {
            let more = on_threads(threads, || run::<_, _, f32>(&p, (&h, &dh, &v), &gate, &index, [false; 3]));
            assert_eq!(one, more);
        }
        let v = narrow(&v);
        let run = || run::<_, _, bf16>(&p, (&h, &dh, &v), &gate, &index, [false; 3]);
        assert_eq!(on_threads(1, run), on_threads(3, run));
    }
}

/// What the kernels give for states, features and gradients in memory of those types is what they give for the same
/// numbers in `f32`, rounded.
fn check_types<H: Element, V: Element, D: Element>() {
    for p in shapes() {
        let ([h, dh, v], gate, index) = numbers(&p);
        let round = |x: &[f32]| x.iter().map(|x| H::round(*x)).collect::<Vec<H>>();
        let (h, dh) = (round(&h), round(&dh));
        let v: Vec<V> = v.iter().map(|x| V::round(*x)).collect();
        let wide = |x: &[H]| x.iter().map(|x| x.widen()).collect::<Vec<f32>>();
        let (h32, dh32): (Vec<f32>, Vec<f32>) = (wide(&h), wide(&dh));
        let v32: Vec<f32> = v.iter().map(|x| x.widen()).collect();
        for [is_gate_narrow, to_narrow, skips_dv, skips_gate] in mixes() {
            let gate = Buffer::new(&gate, is_gate_narrow);
            let gate32 = Buffer::F32(gate.wide());
            let exact = run::<_, _, f32>(&p, (&h32, &dh32, &v32), &gate32, &index, [false; 3]);
            let given = run::<_, _, D>(&p, (&h, &dh, &v), &gate, &index, [skips_dv, skips_gate, to_narrow]);
            assert_eq!(given.0, round(&exact.0));
            assert_eq!(given.1, round(&exact.1));
            let dv: Vec<D> = exact.2.iter().map(|x| D::round(*x)).collect();
            assert_eq!(given.2, if skips_dv { Vec::new() } else { dv });
            let d_gate = if skips_gate { Vec::new() } else { exact.3.wide() };
            assert_eq!(given.3, Buffer::new(&d_gate, to_narrow));
        }
    }
}

#[test]
fn narrow_types_round_and_results_left_out_change_no_other() {
    on_each_isa(|| {
        check_types::<f32, f32, f32>();
        check_types::<f32, bf16, bf16>();
        check_types::<f32, bf16, f32>();
        check_types::<bf16, f32, bf16>();
        check_types::<bf16, bf16, f32>();
    });
}
