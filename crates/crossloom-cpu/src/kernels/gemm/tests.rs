#![allow(clippy::unwrap_used)]

use half::bf16;
use proptest::prelude::*;

use crossloom_ir::DType;
use crossloom_ir::op::Activation;

use super::*;
use crate::kernels::activation;
use crate::kernels::testing::{assert_close, narrow, on_each_isa, on_threads, random, random_blocks};

/// The product in `f64`, without any blocking.
fn reference(p: &Gemm, a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
    let mut out = c.to_vec();
    for batch in 0..p.batch {
        for i in 0..p.m {
            for j in 0..p.n {
                let sum: f64 = (0..p.k)
                    .map(|q| {
                        let at = batch * p.stride_a + if p.trans_a { q * p.lda + i } else { i * p.lda + q };
                        let bt = batch * p.stride_b + if p.trans_b { j * p.ldb + q } else { q * p.ldb + j };
                        f64::from(a[at]) * f64::from(b[bt])
                    })
                    .sum();
                let at = batch * p.stride_c + i * p.ldc + j;
                let old = if p.beta == 0.0 { 0.0 } else { f64::from(p.beta) * f64::from(c[at]) };
                out[at] = (f64::from(p.alpha) * sum + old) as f32;
            }
        }
    }
    out
}

/// The product with other leading dimensions.
fn leading(p: Gemm, lda: usize, ldb: usize, ldc: usize) -> Gemm {
    Gemm { lda, ldb, ldc, ..p }
}

/// Runs the kernel on seeded operands and compares it with the reference.
fn check(p: &Gemm) {
    let rows = |t: bool, x: usize, y: usize| if t { y } else { x };
    let a = random(1, p.batch * p.stride_a.max(rows(p.trans_a, p.m, p.k) * p.lda));
    let b = random(2, p.batch * p.stride_b.max(rows(p.trans_b, p.k, p.n) * p.ldb));
    let mut c = random(3, p.batch * p.stride_c.max(p.m * p.ldc));
    if p.beta == 0.0 {
        c.fill(f32::NAN);
    }
    let want = reference(p, &a, &b, &c);
    let mut scratch = vec![f32::NAN; p.scratch_len()];
    gemm(p, &a, &b, &mut c, Epilogue::None, &mut scratch).unwrap();
    let same: Vec<(f32, f32)> = c.iter().copied().zip(want).filter(|(_, w)| !w.is_nan()).collect();
    let (got, want): (Vec<f32>, Vec<f32>) = same.into_iter().unzip();
    assert_close(&got, &want, 1e-6 * (p.k as f32).max(8.0).sqrt());
    assert!(got.len() >= p.m * p.n);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn odd_sizes_match_the_reference(
        m in 0_usize..70, n in 0_usize..90, k in 0_usize..70,
        trans_a: bool, trans_b: bool, pad in 0_usize..4, beta in prop::sample::select(vec![0.0_f32, 1.0, -0.5]),
        alpha in prop::sample::select(vec![1.0_f32, 0.25]), batch in 1_usize..3,
    ) {
        let base = match (trans_a, trans_b) {
            (false, true) => Gemm::nt(m, n, k),
            (true, false) => Gemm::tn(m, n, k),
            (false, false) => Gemm::nn(m, n, k),
            (true, true) => Gemm { trans_b: true, ldb: k, ..Gemm::tn(m, n, k) },
        };
        let p = leading(base, base.lda + pad, base.ldb + pad, base.ldc + pad).scaled(alpha, beta).batched(
            batch, (m + k + 1) * (m + k + pad + 1), 0, m * (n + pad));
        check(&p);
    }
}

#[test]
fn deep_sums_are_blocked_without_a_seam() {
    check(&Gemm::tn(25, 33, 1300));
    check(&Gemm::tn(25, 33, 1300).scaled(1.0, 1.0));
}

#[test]
fn wide_operands_are_packed_in_blocks() {
    check(&Gemm::nn(13, 1500, 1100).scaled(0.5, 2.0));
    check(&Gemm::nt(13, 1500, 1100));
}

#[test]
fn few_rows_use_dot_products() {
    check(&Gemm::nt(1, 130, 77));
    check(&Gemm::nt(4, 65, 16).scaled(0.5, 1.0));
}

#[test]
fn epilogues_match_their_definition() {
    for (m, n, k) in [(29, 67, 19), (3, 67, 19), (40, 300, 8)] {
        let p = Gemm::nt(m, n, k);
        let (a, b, bias, r) = (random(1, m * k), random(2, n * k), random(3, n), random(4, m * n));
        let mut scratch = vec![0.0_f32; p.scratch_len()];
        let mut plain = vec![0.0_f32; m * n];
        gemm(&p, &a, &b, &mut plain, Epilogue::None, &mut scratch).unwrap();
        let biased: Vec<f32> = plain.iter().enumerate().map(|(i, c)| c + bias[i % n]).collect();
        let mut c = vec![0.0_f32; m * n];

        gemm(&p, &a, &b, &mut c, Epilogue::Bias(bias[..].into()), &mut scratch).unwrap();
        assert_close(&c, &biased, 1e-6);

        let residual = Epilogue::Residual { bias: Some(bias[..].into()), residual: r[..].into() };
        gemm(&p, &a, &b, &mut c, residual, &mut scratch).unwrap();
        let want: Vec<f32> = biased.iter().zip(&r).map(|(c, r)| c + r).collect();
        assert_close(&c, &want, 1e-6);

        for act in [Activation::GeluTanh, Activation::GeluErf, Activation::QuickGelu, Activation::Silu] {
            let mut pre = vec![0.0_f32; m * n];
            let fused = Epilogue::Activation {
                bias: Some(bias[..].into()),
                activation: act,
                pre: Some(pre[..].as_mut().into()),
            };
            gemm(&p, &a, &b, &mut c, fused, &mut scratch).unwrap();
            assert_close(&pre, &biased, 1e-6);
            let want: Vec<f32> =
                biased.iter().map(|x| activation::reference(act, f64::from(*x)) as f32).collect();
            assert_close(&c, &want, 1e-5);
        }
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    for p in [Gemm::nt(301, 96, 96), Gemm::tn(96, 288, 700), Gemm::nn(5, 700, 64)] {
        let (a, b) = (random(1, p.m * p.k), random(2, p.k * p.n));
        let run = |threads| {
            let mut c = vec![0.0_f32; p.m * p.n];
            let mut scratch = vec![0.0_f32; p.scratch_len()];
            on_threads(threads, || gemm(&p, &a, &b, &mut c, Epilogue::None, &mut scratch).unwrap());
            c
        };
        assert_eq!(run(1), run(3));
    }
}

#[test]
fn short_buffers_are_reported() {
    let p = Gemm::nn(4, 4, 4);
    let x = [0.0_f32; 16];
    let mut c = [0.0_f32; 16];
    let mut scratch = vec![0.0_f32; p.scratch_len()];
    assert!(gemm(&p, &x[..15], &x, &mut c, Epilogue::None, &mut scratch).is_err());
    assert!(gemm(&p, &x, &x[..15], &mut c, Epilogue::None, &mut scratch).is_err());
    assert!(gemm(&p, &x, &x, &mut c[..15], Epilogue::None, &mut scratch).is_err());
    assert!(gemm(&p, &x, &x, &mut c, Epilogue::None, &mut []).is_err());
    assert!(gemm(&p, &x, &x, &mut c, Epilogue::Bias(x[..3].into()), &mut scratch).is_err());
    assert!(gemm(&leading(p, 3, 4, 4), &x, &x, &mut c, Epilogue::None, &mut scratch).is_err());
}

/// Runs the kernel on operands of these types and compares it with the reference on what they hold.
fn check_types<A: Element, B: Element, C: Element>(p: &Gemm, form: Form) {
    let a: Vec<A> = random(1, p.m * p.k).into_iter().map(A::round).collect();
    let b: Vec<B> = random(2, p.k * p.n).into_iter().map(B::round).collect();
    let mut c: Vec<C> = random(3, p.m * p.n).into_iter().map(C::round).collect();
    let (bias, residual) = (narrow(&random(4, p.n)), random(5, p.m * p.n));
    let wide = |x: f32| f64::from(x);
    let (wide_a, wide_b): (Vec<f32>, Vec<f32>) =
        (a.iter().map(|x| x.widen()).collect(), b.iter().map(|x| x.widen()).collect());
    let old: Vec<f32> = c.iter().map(|x| x.widen()).collect();
    let want: Vec<f32> = reference(p, &wide_a, &wide_b, &old)
        .iter()
        .enumerate()
        .map(|(i, x)| (wide(*x) + wide(bias[i % p.n].to_f32()) + wide(residual[i])) as f32)
        .collect();
    let mut scratch = vec![f32::NAN; p.scratch_len()];
    let epilogue = Epilogue::Residual { bias: Some(bias[..].into()), residual: residual[..].into() };
    run(p, &a, Right::Floats(&b), &mut c, epilogue, &mut scratch, form).unwrap();
    let got: Vec<f32> = c.iter().map(|x| x.widen()).collect();
    // Half a unit in the last place of what `C` keeps, beside the sums' own error.
    let kept = if C::WIDE { 0.0 } else { 1.0 / 256.0 };
    assert_close(&got, &want, kept + 2e-6 * (p.k as f32).max(8.0).sqrt());
}

#[test]
fn every_mix_of_types_matches_the_reference() {
    crate::kernels::testing::on_each_isa(|| {
        for (m, n, k) in [
            (1, 33, 1030),
            (12, 70, 7),
            (13, 45, 1),
            (29, 300, 600),
            (130, 65, 1026),
            (5, 4, 0),
            (9, 112, 1056),
        ] {
            for p in [Gemm::nt(m, n, k), Gemm::nn(m, n, k), Gemm::tn(m, n, k)] {
                for p in [p, p.scaled(0.5, -1.0)] {
                    check_types::<f32, bf16, f32>(&p, Form::Numbers);
                    check_types::<bf16, f32, bf16>(&p, Form::Numbers);
                    check_types::<bf16, bf16, f32>(&p, Form::of::<bf16, bf16>());
                    check_types::<bf16, bf16, bf16>(&p, Form::Numbers);
                    // What surrounds the instruction for pairs, with a plain stand-in where the machine lacks it.
                    check_types::<bf16, bf16, bf16>(&p, Form::Pairs);
                }
            }
        }
    });
}

#[test]
fn a_deep_narrow_result_is_packed_whole() {
    check_types::<bf16, bf16, bf16>(&Gemm::nt(14, 700, 1600), Form::Numbers);
    check_types::<bf16, bf16, bf16>(&Gemm::nt(14, 700, 1600), Form::Pairs);
}

/// Rows alone have the bits that they have among others.
fn check_rows<A: Element, C: Element + Copy>(p: &Gemm, form: Form) {
    let a: Vec<A> = random(1, p.m * p.k).into_iter().map(A::round).collect();
    let b: Vec<A> = random(2, p.k * p.n).into_iter().map(A::round).collect();
    let product = |first: usize, m: usize| {
        let p = Gemm { m, ..*p };
        let mut c = vec![C::default(); m * p.n];
        let mut scratch = vec![f32::NAN; p.scratch_len()];
        let a = &a[first * p.k..(first + m) * p.k];
        run(&p, a, Right::Floats(&b), &mut c, Epilogue::None, &mut scratch, form).unwrap();
        c.iter().map(|x| x.widen().to_bits()).collect::<Vec<u32>>()
    };
    let all = product(0, p.m);
    for count in [1, 2, 3, 5, 7, 8, 12, 13, 25] {
        for first in [0, 1, p.m - count] {
            assert!(
                product(first, count) == all[first * p.n..(first + count) * p.n],
                "{count} rows from {first}"
            );
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    crate::kernels::testing::on_each_isa(|| {
        // Of the last one tiles are whole: few rows change places with what they are multiplied by.
        let whole = Gemm::nt(61, 80, 1088);
        for p in [Gemm::nt(61, 77, 1100), Gemm::nn(61, 40, 530), Gemm::nt(40, 1100, 1000), whole] {
            check_rows::<f32, f32>(&p, Form::Numbers);
            check_rows::<bf16, bf16>(&p, Form::Numbers);
            check_rows::<bf16, f32>(&p, Form::of_pairs().unwrap_or(Form::Pairs));
        }
    });
}

/// A product with blocks is, bit for bit, the product with the numbers that they stand for: with one row and many, with both
/// orders of the right operand, with short sums and long ones, on every instruction set.
#[test]
fn blocks_are_multiplied_as_the_numbers_they_stand_for() {
    for dtype in DType::ALL.into_iter().filter(|dtype| dtype.is_quantized()) {
        for (m, n, k) in [(1, 70, 512), (12, 33, 256), (29, 70, 768), (3, 5, 2304), (131, 37, 768)] {
            let block = dtype.block().0;
            let last = |extent: usize| extent.next_multiple_of(block);
            // An odd number of groups.
            let k = if block == 32 { k + 32 } else { k };
            for p in [Gemm::nt(m, n, k), Gemm::nn(m, last(n), k + 3), Gemm::nt(m, n, k).scaled(0.5, 1.0)] {
                let (rows, columns) = if p.trans_b { (p.n, p.k) } else { (p.k, p.n) };
                let bytes = random_blocks(dtype, rows, columns, 5);
                let blocks = Blocks { dtype, bytes: &bytes };
                let numbers = crossloom_ir::quantized::dequantize(dtype, &bytes);
                assert!(numbers.iter().all(|x| x.is_finite()) && numbers.iter().any(|x| *x != 0.0));
                let a = random(6, p.m * p.k);
                let old = random(7, p.m * p.n);
                on_each_isa(|| {
                    let mut scratch = vec![f32::NAN; p.scratch_len()];
                    let (mut given, mut wanted) = (old.clone(), old.clone());
                    gemm(&p, &a, &numbers, &mut wanted, Epilogue::None, &mut scratch).unwrap();
                    gemm_blocks(&p, &a, blocks, &mut given, Epilogue::None, &mut scratch).unwrap();
                    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                    assert_eq!(bits(&given), bits(&wanted), "{dtype} {p:?}");
                    // Rows have the bits that they have among others.
                    for (first, count) in
                        [(p.m - 1, 1), (0, 1), (0, 2), (p.m / 2, p.m - p.m / 2), (0, p.m.min(7))]
                    {
                        let some = Gemm { m: count.min(p.m - first), ..p };
                        let rows = first * p.n..(first + some.m) * p.n;
                        let mut alone = old[rows.clone()].to_vec();
                        gemm_blocks(
                            &some,
                            &a[first * p.k..],
                            blocks,
                            &mut alone,
                            Epilogue::None,
                            &mut scratch,
                        )
                        .unwrap();
                        assert_eq!(bits(&alone), bits(&given[rows]), "{dtype} {p:?}: {count} from {first}");
                    }
                    // Narrow rows and narrow results: what rows and sums hold is rounded, nothing else.
                    let a = narrow(&a);
                    let mut rounded = vec![bf16::ZERO; p.m * p.n];
                    if p.beta == 0.0 {
                        gemm_blocks(&p, &a, blocks, &mut rounded, Epilogue::None, &mut scratch).unwrap();
                        let a: Vec<f32> = a.iter().map(|x| x.to_f32()).collect();
                        gemm(&p, &a, &numbers, &mut wanted, Epilogue::None, &mut scratch).unwrap();
                        assert_eq!(rounded, narrow(&wanted));
                    }
                });
            }
        }
    }
}

/// Registers hold the numbers by which blocks are defined, on every instruction set.
#[test]
fn numbers_of_registers_are_those_of_the_definition() {
    for dtype in DType::ALL.into_iter().filter(|dtype| dtype.is_quantized()) {
        let bytes = random_blocks(dtype, 3, 1024, 8);
        let defined = crossloom_ir::quantized::dequantize(dtype, &bytes);
        on_each_isa(|| {
            let p = Gemm::nn(1, 1024, 3);
            for row in 0..p.k {
                // A row of the right operand, picked by a one.
                let a: Vec<f32> = (0..p.k).map(|k| f32::from(u8::from(k == row))).collect();
                let (mut c, mut scratch) = (vec![f32::NAN; p.n], vec![0.0; p.scratch_len()]);
                gemm_blocks(&p, &a, Blocks { dtype, bytes: &bytes }, &mut c, Epilogue::None, &mut scratch)
                    .unwrap();
                assert_eq!(c, defined[row * p.n..(row + 1) * p.n], "{dtype}");
            }
        });
    }
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let bytes = vec![0; 34 * 4];
    let blocks = |dtype| Blocks { dtype, bytes: &bytes };
    let run = |p: &Gemm, b| {
        let (a, mut c) = (vec![0.0_f32; p.m * p.k], vec![0.0_f32; p.m * p.n]);
        gemm_blocks(p, &a, b, &mut c, Epilogue::None, &mut vec![0.0; p.scratch_len()])
    };
    run(&Gemm::nt(1, 2, 64), blocks(DType::Q8_0)).unwrap();
    assert!(run(&Gemm::nt(1, 3, 64), blocks(DType::Q8_0)).is_err(), "too few");
    assert!(run(&Gemm::nt(1, 2, 48), blocks(DType::Q8_0)).is_err(), "half a block");
    assert!(run(&Gemm::nn(1, 40, 2), blocks(DType::Q8_0)).is_err(), "half a block");
    assert!(run(&Gemm::nt(1, 2, 64), blocks(DType::F32)).is_err(), "no blocks");
}
