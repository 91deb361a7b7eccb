//! Attention over points of grids.

use crossloom_ir::TensorType;
use crossloom_ir::op::{DeformableAttention, DeformableAttentionGrad};

use super::support::{Arg, assert_close, assert_complains, between, check, given, outputs, random};

fn op(heads: usize, sides: &[usize]) -> DeformableAttention {
    DeformableAttention { heads, sides: sides.to_vec() }
}

/// Values, locations in and around the grids, and weights.
fn operands(op: &DeformableAttention, [samples, queries, head_dim, points]: [usize; 4]) -> [Arg; 3] {
    let (rows, levels) = (op.rows().unwrap(), op.sides.len());
    let of_points = [samples, queries, op.heads, levels, points];
    [
        random(&[samples, rows, op.heads * head_dim], 1),
        between(&[&of_points[..], &[2]].concat(), -0.3, 1.3, 2),
        random(&of_points, 3),
    ]
}

#[test]
fn points_of_grids() {
    for (heads, sides, extents) in [
        (1, &[1][..], [1, 1, 1, 1]),
        (2, &[3, 1], [2, 3, 2, 2]),
        (1, &[2, 4, 1], [1, 2, 3, 1]),
        (3, &[2], [2, 1, 1, 4]),
    ] {
        let op = op(heads, sides);
        let [values, locations, weights] = operands(&op, extents);
        let y = outputs(op.clone(), &[values.clone(), locations.clone(), weights.clone()]).remove(0);
        check(op.clone(), &[values.clone(), locations.clone(), weights.clone()]);
        check(DeformableAttentionGrad(op), &[random(&y.shape, 4), values, locations, weights]);
    }
}

/// What one query of one head reads of a grid of two by two cells, 1 2 / 3 4, at some places with weight 1.
fn read(places: &[[f64; 2]]) -> f64 {
    let points = places.len();
    let values = given(&[1, 4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let locations = given(&[1, 1, 1, 1, points, 2], places.as_flattened());
    let weights = given(&[1, 1, 1, 1, points], &vec![1.0; points]);
    outputs(op(1, &[2]), &[values, locations, weights])[0].data[0]
}

#[test]
fn places_are_x_and_y_from_edge_to_edge() {
    let near = |given: f64, expected: f64| assert!((given - expected).abs() < 1e-12, "{given} {expected}");
    // The centres of cells, row by row; x goes along a row.
    near(read(&[[0.25, 0.25]]), 1.0);
    near(read(&[[0.75, 0.25]]), 2.0);
    near(read(&[[0.25, 0.75]]), 3.0);
    near(read(&[[0.75, 0.75]]), 4.0);
    // Between them.
    near(read(&[[0.5, 0.25]]), 1.5);
    near(read(&[[0.5, 0.5]]), 2.5);
    near(read(&[[0.4, 0.25]]), 1.3);
    // The edge of the grid is half a cell beyond the centre, its corner both ways; a whole cell beyond there is nothing left.
    near(read(&[[0.0, 0.25]]), 0.5);
    near(read(&[[1.0, 1.0]]), 1.0);
    near(read(&[[1.25, 0.75]]), 0.0);
    near(read(&[[-7.0, 0.5]]), 0.0);
    // Points are added.
    near(read(&[[0.25, 0.25], [0.75, 0.75], [9.0, 9.0]]), 5.0);
    assert!(read(&[[f64::NAN, 0.5]]).is_nan());
    assert!(read(&[[0.5, f64::INFINITY], [0.5, 0.5]]).is_nan());
}

#[test]
fn grids_are_one_behind_the_other_and_heads_read_their_own_columns() {
    // A grid of one cell, 10 and 20, then one of four, 1 2 / 3 4 and ten times that.
    let values = given(&[1, 5, 2], &[100.0, 200.0, 1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]);
    let centre = [0.5, 0.5];
    let locations = [centre, [0.25, 0.75], centre, [0.75, 0.25]];
    let locations = given(&[1, 1, 2, 2, 1, 2], locations.as_flattened());
    let weights = given(&[1, 1, 2, 2, 1], &[0.5, 1.0, 0.25, 2.0]);
    let y = outputs(op(2, &[1, 2]), &[values, locations, weights]);
    assert_close(&y[0], &[0.5 * 100.0 + 3.0, 0.25 * 200.0 + 2.0 * 20.0], 1e-12);
}

#[test]
fn a_centre_has_the_slope_behind_it() {
    let locations = given(&[1, 1, 1, 1, 1, 2], &[0.25, 0.25]);
    let (values, weight) = (given(&[1, 4, 1], &[1.0, 2.0, 4.0, 9.0]), given(&[1, 1, 1, 1, 1], &[3.0]));
    let grads = outputs(
        DeformableAttentionGrad(op(1, &[2])),
        &[given(&[1, 1, 1], &[1.0]), values, locations, weight],
    );
    // Over half the grid, the width of a cell, the value grows by 1 along x and by 3 along y.
    assert_close(&grads[1], &[3.0 * 2.0, 3.0 * 6.0], 1e-12);
    assert_close(&grads[0], &[3.0, 0.0, 0.0, 0.0], 1e-12);
    assert_close(&grads[2], &[1.0], 1e-12);
}

#[test]
fn wrong_operands_are_named() {
    let f32 = |shape: &[usize]| TensorType::f32(shape);
    let good = [f32(&[2, 5, 4]), f32(&[2, 3, 2, 2, 1, 2]), f32(&[2, 3, 2, 2, 1])];
    let with = |at: usize, ty: TensorType| {
        let mut types = good.clone();
        types[at] = ty;
        types
    };
    let right = op(2, &[2, 1]);
    assert_complains(
        right.clone(),
        &good[1..],
        "takes 3 operands (values, locations, weights), 2 were given",
    );
    assert_complains(
        right.clone(),
        &with(0, f32(&[2, 6, 4])),
        "values is f32[2, 6, 4], its 6 rows are not the cells of grids with sides [2, 1]",
    );
    assert_complains(
        right.clone(),
        &with(1, f32(&[2, 3, 2, 2, 1, 3])),
        "locations is f32[2, 3, 2, 2, 1, 3], must be f32[2, 3, 2, 2, 1, 2]",
    );
    assert_complains(right.clone(), &with(1, f32(&[2, 3, 2, 2, 0, 2])), "has no points");
    assert_complains(
        right.clone(),
        &with(2, f32(&[2, 3, 2, 2])),
        "weights is f32[2, 3, 2, 2], must be f32[2, 3, 2, 2, 1]",
    );
    assert_complains(op(3, &[2, 1]), &good, "width 4 does not divide into 3 heads");
    assert_complains(op(0, &[2, 1]), &good, "width 4 does not divide into 0 heads");
    for sides in [&[][..], &[2, 0, 1]] {
        assert_complains(op(2, sides), &good, "must list sides of grids that are not empty");
    }
    assert_complains(op(2, &[usize::MAX, 1]), &good, "are not the cells of grids");
    let grad = [&[f32(&[2, 3, 5])], &good[..]].concat();
    assert_complains(DeformableAttentionGrad(right), &grad, "do is f32[2, 3, 5], must be f32[2, 3, 4]");
}
