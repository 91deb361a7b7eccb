//! Softmax, argmax, embedding, gather and scatter.

use crossloom_ir::TensorType;
use crossloom_ir::op::{
    Argmax, Embedding, EmbeddingGrad, GatherRows, MixRows, MixRowsGrad, ScatterMode, ScatterRows, Softmax,
};
use proptest::prelude::*;

use super::support::{
    Arg, assert_close, assert_complains, between, check, given, outputs, random, random_whole, refusal, whole,
};

#[test]
fn softmax_of_rows() {
    for shape in [&[5][..], &[1], &[3, 4], &[2, 1, 3]] {
        check(Softmax, &[between(shape, -4.0, 4.0, 1)]);
    }
    // exp(0) : exp(ln 2) : exp(ln 5), and the same far from zero.
    let x = [0.0, 2.0_f64.ln(), 5.0_f64.ln()];
    let far: Vec<f64> =
        x.iter().chain(&x).enumerate().map(|(i, x)| if i < 3 { *x } else { x + 1e3 }).collect();
    let y = outputs(Softmax, &[given(&[2, 3], &far)]);
    assert_close(&y[0], &[0.125, 0.25, 0.625, 0.125, 0.25, 0.625], 1e-12);
}

#[test]
fn argmax_takes_the_first_of_equals() {
    let x = given(&[4, 3], &[1.0, 3.0, 3.0, -5.0, -5.0, -5.0, 0.0, -1.0, 2.0, 9.0, 8.0, 7.0]);
    check(Argmax, &[x.clone().fixed()]);
    assert_eq!(outputs(Argmax, &[x])[0].data, [1.0, 0.0, 2.0, 0.0]);
    check(Argmax, &[random(&[2, 2, 7], 2).fixed()]);
    check(Argmax, &[random(&[4], 2).fixed()]);
}

#[test]
fn embedding_and_back() {
    for shape in [&[][..], &[3], &[2, 4]] {
        let ids = random_whole(shape, 0, 5, 3);
        check(Embedding, &[random(&[5, 3], 4), ids.clone()]);
        let mut rows = shape.to_vec();
        rows.push(3);
        check(EmbeddingGrad { vocab: 5 }, &[random(&rows, 5), ids]);
    }
    let table = given(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(outputs(Embedding, &[table, whole(&[3], &[1, 0, 1])])[0].data, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn ids_outside_the_table_are_refused() {
    let table = random(&[5, 2], 6);
    let error = refusal(Embedding, &[table.clone(), whole(&[2], &[0, 5])]);
    assert!(error.contains("id 5 at position 1 is outside the table of 5 rows"), "{error}");
    let error = refusal(Embedding, &[table, whole(&[2], &[-1, 0])]);
    assert!(error.contains("id -1 at position 0"), "{error}");
    let error = refusal(EmbeddingGrad { vocab: 3 }, &[random(&[1, 2], 7), whole(&[1], &[3])]);
    assert!(error.contains("id 3 at position 0 is outside the table of 3 rows"), "{error}");
}

/// Two samples of five rows; slots that are left out, and the first sample's row 4 at an end.
fn index() -> Arg {
    whole(&[2, 3], &[4, -1, 0, 2, 1, -1])
}

#[test]
fn gather_and_scatter() {
    let (h, rows) = (random(&[2, 5, 3], 8), random(&[2, 3, 3], 9));
    check(GatherRows, &[h.clone(), index()]);
    for mode in [ScatterMode::Set, ScatterMode::Add] {
        check(ScatterRows { mode }, &[h.clone(), index(), rows.clone()]);
    }
    let twice = whole(&[2, 3], &[4, 4, 0, 2, 2, 2]);
    check(GatherRows, &[h.clone(), twice.clone()]);
    check(ScatterRows { mode: ScatterMode::Add }, &[h.clone(), twice.clone(), rows.clone()]);
    let error = refusal(ScatterRows { mode: ScatterMode::Set }, &[h.clone(), twice, rows.clone()]);
    assert!(error.contains("index 4 is given twice in sample 0"), "{error}");
    let outside = whole(&[2, 3], &[0, 1, 2, 0, 5, 1]);
    let error = refusal(GatherRows, &[h.clone(), outside]);
    assert!(error.contains("index 5 of sample 1 is outside its 5 rows"), "{error}");
    let negative = whole(&[2, 3], &[0, 1, -2, 0, 4, 1]);
    let error = refusal(ScatterRows { mode: ScatterMode::Add }, &[h, negative, rows]);
    assert!(error.contains("index -2 of sample 0"), "{error}");
}

#[test]
fn gather_and_scatter_by_hand() {
    let h = given(&[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let index = whole(&[1, 3], &[2, -1, 0]);
    let rows = given(&[1, 3, 2], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let gathered = outputs(GatherRows, &[h.clone(), index.clone()]);
    assert_eq!(gathered[0].data, [5.0, 6.0, 0.0, 0.0, 1.0, 2.0]);
    let set = outputs(ScatterRows { mode: ScatterMode::Set }, &[h.clone(), index.clone(), rows.clone()]);
    assert_eq!(set[0].data, [50.0, 60.0, 3.0, 4.0, 10.0, 20.0]);
    let added = outputs(ScatterRows { mode: ScatterMode::Add }, &[h, index, rows]);
    assert_eq!(added[0].data, [51.0, 62.0, 3.0, 4.0, 15.0, 26.0]);
}

#[test]
fn wrong_operands_are_named() {
    let f32 = |shape: &[usize]| TensorType::f32(shape);
    let i32 = |shape: &[usize]| TensorType::i32(shape);
    assert_complains(
        Softmax,
        &[f32(&[])],
        "x is f32[], must hold floats under a last axis that is not empty",
    );
    assert_complains(Argmax, &[i32(&[3])], "x is i32[3], must hold floats");
    assert_complains(Embedding, &[f32(&[5]), i32(&[2])], "table is f32[5], must hold floats under 2 axes");
    assert_complains(Embedding, &[f32(&[5, 2]), f32(&[2])], "ids is f32[2], must hold whole numbers (i32)");
    assert_complains(EmbeddingGrad { vocab: 5 }, &[f32(&[4, 2]), i32(&[3])], "ids is i32[3], must be i32[4]");
    assert_complains(GatherRows, &[f32(&[2, 5, 3]), i32(&[3, 3])], "index is i32[3, 3], must be i32[2, 3]");
    assert_complains(
        GatherRows,
        &[f32(&[5, 3]), i32(&[1, 3])],
        "h is f32[5, 3], must hold floats under 3 axes",
    );
    let scatter = ScatterRows { mode: ScatterMode::Add };
    let rows = [f32(&[2, 5, 3]), i32(&[2, 4]), f32(&[2, 4, 2])];
    assert_complains(scatter, &rows, "rows is f32[2, 4, 2], must be f32[2, 4, 3]");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_index(b in 1_usize..3, t in 1_usize..5, m in 1_usize..4, d in 1_usize..4, seed in 0_u64..1000) {
        let index = random_whole(&[b, m], -1, t as i32, seed);
        check(GatherRows, &[random(&[b, t, d], seed + 1), index.clone()]);
        let args = [random(&[b, t, d], seed + 1), index, random(&[b, m, d], seed + 2)];
        check(ScatterRows { mode: ScatterMode::Add }, &args);
    }
}

/// Three rows and an end in two taps, two samples of three tokens of two parts: a row alone, two of one weight each, the end; the
/// middle between two, nothing, a row twice.
fn mixed() -> [Arg; 2] {
    let rows = whole(&[2, 3, 2], &[2, 0, 0, 1, 3, 0, 1, 2, 0, 0, 1, 1]);
    let weights = [1.0, 0.0, 0.25, 0.75, 1.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, -2.0];
    [rows, given(&[2, 3, 2], &weights).fixed()]
}

#[test]
fn tokens_are_mixed_of_rows_of_all_samples() {
    let [rows, weights] = mixed();
    let (features, end) = (random(&[2, 3, 4], 8), random(&[4], 9));
    check(MixRows, &[features, end, rows.clone(), weights.clone()]);
    check(MixRowsGrad { rows: 3 }, &[random(&[2, 2, 3, 4], 10), rows.clone(), weights.clone()]);
    let features = given(&[1, 3, 1], &[1.0, 10.0, 100.0]);
    let y = outputs(MixRows, &[features, given(&[1], &[7.0]), rows.clone(), weights.clone()]);
    assert_eq!(y[0].shape, [1, 2, 3, 1]);
    assert_close(&y[0], &[100.0, 7.75, 7.0, 55.0, 0.0, -15.0], 1e-12);
    let dy = given(&[1, 2, 3, 1], &[1.0, 10.0, 100.0, 1000.0, 1e4, 1e5]);
    let back = outputs(MixRowsGrad { rows: 3 }, &[dy, rows, weights]);
    assert_close(&back[0], &[2.5, 7.5 + 500.0 - 1.5e5, 501.0], 1e-9);
    assert_close(&back[1], &[100.0], 1e-12);
}

#[test]
fn a_part_without_a_weight_is_not_read() {
    let [rows, weights] = mixed();
    let features = given(&[1, 3, 1], &[f64::NAN, 1.0, 2.0]);
    let y = outputs(MixRows, &[features, given(&[1], &[3.0]), rows, weights]);
    let read: Vec<bool> = y[0].data.iter().map(|value| value.is_nan()).collect();
    assert_eq!(read, [false, true, false, false, false, false]);
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let operands = |row: i32| {
        let parts = [whole(&[1, 1, 2], &[0, row]), random(&[1, 1, 2], 3).fixed()];
        [&[random(&[2, 3, 4], 1), random(&[4], 2)], &parts[..]].concat()
    };
    let error = refusal(MixRows, &operands(4));
    assert!(error.contains("row 4 at position 1 is outside of 0 to 3"), "{error}");
    let error = refusal(MixRows, &operands(-1));
    assert!(error.contains("row -1 at position 1"), "{error}");
    let f32 = |shape: &[usize]| TensorType::f32(shape);
    let i32 = |shape: &[usize]| TensorType::i32(shape);
    let end = "end is f32[3], must be f32[4]";
    assert_complains(MixRows, &[f32(&[2, 3, 4]), f32(&[3]), i32(&[1, 1, 2]), f32(&[1, 1, 2])], end);
    let rows = [f32(&[2, 1, 5, 4]), i32(&[1, 1, 2]), f32(&[1, 1, 2])];
    assert_complains(MixRowsGrad { rows: 3 }, &rows, "dy is f32[2, 1, 5, 4], must be f32[2, 1, 1, 4]");
}
