//! Products that the library computes: the rule by which they are chosen.
//!
//! - Operands are both `f32` or both `bf16`; everything else is of one type, which is `bf16` only if they are.
//! - A bias, or a residual, or both; or the GELU by `tanh` of a product with a bias or without, which the library gives together with
//!   what it is applied to. Other activations, and one with a residual behind it, are kernels of this crate.
//! - In `bf16`, and where there is an activation, rows are whole pieces of eight numbers.

use crossloom_ir::op::{Activation, Linear, Matmul};
use crossloom_ir::{DType, Op, TensorType};

use crate::launch::{Argument, Lowered};
use crate::product::{Multiply, Operands, Product};
use Argument::{Input, Output, Scratch};

/// Numbers of a piece.
const PIECE: usize = 8;

/// The product of the library that an op is, if the rule gives it one.
pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType], tf32: bool) -> Option<Lowered> {
    let (product, operands, name) = match op {
        Op::Matmul(op) => matmul(*op, inputs, outputs),
        Op::Linear(op) => linear(*op, inputs, outputs)?,
        _ => return None,
    };
    let product = Product { tf32: tf32 && product.operands == DType::F32, ..product };
    fits(&product, inputs, outputs).then(|| {
        let in_place = match operands.residual {
            Some(Input(at)) => vec![(at, 0)],
            _ => Vec::new(),
        };
        let scratch = product.workspace();
        Lowered::product(name, Multiply { product, operands }).with_scratch(scratch).in_place(in_place)
    })
}

fn plain(inputs: &[&TensorType], outputs: &[&TensorType]) -> (Product, Operands<Argument>) {
    let product = Product {
        batch: 1,
        m: 0,
        n: 0,
        k: 0,
        transpose_a: false,
        transpose_b: false,
        operands: inputs[0].dtype,
        result: outputs[0].dtype,
        bias: false,
        gelu: false,
        residual: false,
        tf32: false,
    };
    let (bias, residual, before) = (None, None, None);
    let (a, b, result, workspace) = (Input(0), Input(1), Output(0), Scratch(0));
    (product, Operands { a, b, bias, residual, result, before, workspace })
}

fn matmul(
    op: Matmul,
    inputs: &[&TensorType],
    outputs: &[&TensorType],
) -> (Product, Operands<Argument>, &'static str) {
    let (product, operands) = plain(inputs, outputs);
    let p = op.extents(&inputs[0].shape, &inputs[1].shape);
    let (transpose_a, transpose_b) = (op.transpose_a, op.transpose_b);
    let product = Product { batch: p.batch, m: p.m, n: p.n, k: p.k, transpose_a, transpose_b, ..product };
    (product, operands, "cublaslt")
}

fn linear(
    op: Linear,
    inputs: &[&TensorType],
    outputs: &[&TensorType],
) -> Option<(Product, Operands<Argument>, &'static str)> {
    let (product, mut operands) = plain(inputs, outputs);
    let name = match (op.act, op.residual) {
        (Some(Activation::GeluTanh), false) => "cublaslt_gelu",
        (None, true) => "cublaslt_residual",
        (None, false) if op.bias => "cublaslt_bias",
        (None, false) => "cublaslt",
        _ => return None,
    };
    let (n, k) = (inputs[1].shape[0], inputs[1].shape[1]);
    let (m, gelu) = (inputs[0].rows(), op.act.is_some());
    operands.bias = op.bias.then_some(Input(2));
    operands.residual = op.residual_index().map(Input);
    operands.before = gelu.then_some(Output(1));
    let (bias, residual) = (op.bias, op.residual);
    let product = Product { m, n, k, transpose_b: true, bias, gelu, residual, ..product };
    Some((product, operands, name))
}

fn fits(product: &Product, inputs: &[&TensorType], outputs: &[&TensorType]) -> bool {
    let Product { batch, m, n, k, operands, result, .. } = *product;
    let typed = |types: &[&TensorType], of: DType| types.iter().all(|ty| ty.dtype == of);
    let types = match (operands, result) {
        (DType::F32, DType::F32) | (DType::Bf16, DType::F32 | DType::Bf16) => {
            typed(&inputs[..2], operands) && typed(&inputs[2..], result) && typed(outputs, result)
        }
        _ => false,
    };
    let row_a = if product.transpose_a { m } else { k };
    let row_b = if product.transpose_b { k } else { n };
    let pieces = match operands {
        DType::F32 => !product.gelu || n.is_multiple_of(PIECE),
        _ => [row_a, row_b, n].iter().all(|row| row.is_multiple_of(PIECE)),
    };
    let sizes = [batch, m, n, k].iter().all(|&extent| extent > 0 && i32::try_from(extent).is_ok());
    types && pieces && sizes
}
