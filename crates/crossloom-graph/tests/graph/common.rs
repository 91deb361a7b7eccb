//! A small transformer-like graph, seeded data, and comparison.

use crossloom_graph::{GraphBuilder, GraphError, LuminalGraph, Tensor};
use crossloom_ir::op::{Activation, Linear, UnaryKind};
use crossloom_ir::{DType, Func, Role, Tensor as Dense, TensorType, interp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Largest difference accepted between two ways to compute the same in `f32`.
pub(crate) const TOLERANCE: f32 = 1e-4;

pub(crate) type Built = Result<Tensor, GraphError>;

/// Values in -1..1, or ids in 0..5, the same for the same name.
pub(crate) fn data(name: &str, ty: &TensorType) -> Vec<f32> {
    let seed = name.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..ty.elements())
        .map(|_| match ty.dtype {
            DType::I32 => rng.random_range(0..5) as f32,
            _ => rng.random_range(-1.0..1.0),
        })
        .collect()
}

/// Sets every parameter of a graph to its seeded data.
pub(crate) fn fill(graph: &mut LuminalGraph) {
    let params: Vec<_> = graph.params().cloned().collect();
    for param in params {
        let values = data(&param.name, &param.ty);
        match param.ty.dtype {
            DType::I32 => {
                graph.set_ids(&param.name, &values.iter().map(|&id| id as i32).collect::<Vec<_>>()).unwrap();
            }
            _ => graph.set(&param.name, &values).unwrap(),
        }
    }
}

/// Runs a graph on seeded data and reads its results, ids as floats.
pub(crate) fn outputs(graph: &mut LuminalGraph) -> Vec<Vec<f32>> {
    fill(graph);
    graph.execute().unwrap();
    read(graph)
}

/// The results of the last run, ids as floats.
pub(crate) fn read(graph: &LuminalGraph) -> Vec<Vec<f32>> {
    let results = graph.results().filter(|result| result.updates.is_none());
    results
        .map(|result| match result.ty.dtype {
            DType::I32 => graph.get_ids(&result.name).unwrap().into_iter().map(|id| id as f32).collect(),
            _ => graph.get(&result.name).unwrap(),
        })
        .collect()
}

/// Runs the reference interpreter on the same data.
pub(crate) fn interpreted(func: &Func) -> Vec<Vec<f32>> {
    let args: Vec<Dense<f32>> = func
        .params()
        .iter()
        .map(|param| {
            let ty = func.ty(param.value);
            Dense::new(ty.shape.clone(), data(&param.name, ty)).unwrap()
        })
        .collect();
    let values = interp::run(func, &args).unwrap();
    let results = func.results().iter().zip(values).filter(|(result, _)| result.updates.is_none());
    results.map(|(_, tensor)| tensor.data).collect()
}

/// Asserts that two sets of results are close.
pub(crate) fn assert_close(what: &str, given: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(given.len(), expected.len(), "{what}: number of results");
    for (at, (given, expected)) in given.iter().zip(expected).enumerate() {
        assert_eq!(given.len(), expected.len(), "{what}: elements of result {at}");
        for (i, (x, y)) in given.iter().zip(expected).enumerate() {
            assert!(
                (x - y).abs() <= TOLERANCE * y.abs().max(1.0),
                "{what}: result {at}[{i}] is {x}, not {y}"
            );
        }
    }
}

/// Softmax over the last axis out of simple ops.
pub(crate) fn softmax(b: &mut GraphBuilder, x: Tensor) -> Built {
    let shape = b.shape(x).to_vec();
    let last = shape.len() - 1;
    let rows: Vec<usize> = (0..last).collect();
    let largest = b.reduce_max(x, &[last])?;
    let largest = b.broadcast(largest, &shape, &rows)?;
    let shifted = b.sub(x, largest)?;
    let powers = b.unary(UnaryKind::Exp, shifted)?;
    let sum = b.reduce_sum(powers, &[last])?;
    let sum = b.broadcast(sum, &shape, &rows)?;
    b.div(powers, sum)
}

/// Layer norm over the last axis out of simple ops.
pub(crate) fn norm(b: &mut GraphBuilder, name: &str, x_btd: Tensor) -> Built {
    b.scoped(name, |b| {
        let shape = b.shape(x_btd).to_vec();
        let (last, width) = (shape.len() - 1, shape[shape.len() - 1]);
        let rows: Vec<usize> = (0..last).collect();
        let gamma = b.param(&format!("{name}.weight"), Role::Weight, TensorType::f32([width]));
        let sum = b.reduce_sum(x_btd, &[last])?;
        let mean = b.affine(sum, 1.0 / width as f64, 0.0)?;
        let mean = b.broadcast(mean, &shape, &rows)?;
        let centered = b.sub(x_btd, mean)?;
        let squares = b.mul(centered, centered)?;
        let squares = b.reduce_sum(squares, &[last])?;
        let variance = b.affine(squares, 1.0 / width as f64, 1e-5)?;
        let rstd = b.unary(UnaryKind::Rsqrt, variance)?;
        let rstd = b.broadcast(rstd, &shape, &rows)?;
        let normed = b.mul(centered, rstd)?;
        let gamma = b.broadcast(gamma, &shape, &[last])?;
        b.mul(normed, gamma)
    })
}

/// A linear layer with bias and named weights.
pub(crate) fn linear(
    b: &mut GraphBuilder,
    name: &str,
    x: Tensor,
    out: usize,
    act: Option<Activation>,
) -> Built {
    let width = b.ty(x).last();
    let w = b.param(&format!("{name}.weight"), Role::Weight, TensorType::f32([out, width]));
    let bias = b.param(&format!("{name}.bias"), Role::Weight, TensorType::f32([out]));
    b.one(Linear { bias: true, act, residual: false }, &[x, w, bias])
}

/// Two heads of full attention.
pub(crate) fn attention(b: &mut GraphBuilder, name: &str, x_btd: Tensor) -> Built {
    let [batch, time, width] = b.shape(x_btd).try_into().unwrap();
    let (heads, head) = (2, width / 2);
    b.scoped(name, |b| {
        let split = |b: &mut GraphBuilder, part: &str| {
            let y = linear(b, &format!("{name}.{part}"), x_btd, width, None)?;
            let y = b.reshape(y, &[batch, time, heads, head])?;
            b.transpose(y, &[0, 2, 1, 3])
        };
        let (q, k, v) = (split(b, "q")?, split(b, "k")?, split(b, "v")?);
        let scores = b.matmul(q, k, false, true)?;
        let scores = b.affine(scores, 1.0 / (head as f64).sqrt(), 0.0)?;
        let probs_bhts = softmax(b, scores)?;
        let mixed = b.matmul(probs_bhts, v, false, false)?;
        let mixed = b.transpose(mixed, &[0, 2, 1, 3])?;
        let mixed = b.reshape(mixed, &[batch, time, width])?;
        linear(b, &format!("{name}.o"), mixed, width, None)
    })
}

/// A pre-norm block with attention and a gelu MLP, and a head on part of the positions.
pub(crate) fn transformer() -> LuminalGraph {
    let mut b = GraphBuilder::new("tiny");
    build_transformer(&mut b).unwrap();
    b.finish()
}

fn build_transformer(b: &mut GraphBuilder) -> Result<(), GraphError> {
    let (batch, time, width) = (2, 3, 4);
    let x_btd = b.param("x", Role::Input, TensorType::f32([batch, time, width]));
    let y = b.scoped("block.0", |b| -> Built {
        let h = norm(b, "norm1", x_btd)?;
        let h = attention(b, "attn", h)?;
        let h = b.add(x_btd, h)?;
        let n = norm(b, "norm2", h)?;
        b.scoped("mlp", |b| {
            let up = linear(b, "up", n, 6, Some(Activation::GeluTanh))?;
            let down = linear(b, "down", up, width, None)?;
            b.add(h, down)
        })
    })?;
    let (first, rest) = (b.slice(y, 1, 0, 1)?, b.slice(y, 1, 1, time - 1)?);
    let turned = b.concat(&[rest, first], 1)?;
    b.result("hidden", y);
    let logits = b.scoped("head", |b| linear(b, "head", turned, 5, None))?;
    b.result("logits", logits);
    Ok(())
}
