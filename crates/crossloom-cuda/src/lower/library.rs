//! Products that the library computes: the rule by which they are chosen.
//!
//! - Operands are both `f32` or both `bf16`; everything else is of one type, which is `bf16` only if they are.
//! - A bias, or a residual, or both; or the GELU by `tanh` of a product with a bias or without, which the library gives together with
//!   what it is applied to. Other activations, and one with a residual behind it, are kernels of this crate.
//! - In `bf16`, and where there is an activation, rows are whole pieces of eight numbers.

use crossloom_ir::op::{Activation, Linear, Matmul};
use crossloom_ir::{DType, Op, TensorType};

use super::product::KernelProduct;
use crate::launch::{Argument, Lowered, Types, Work};
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
        Lowered::of(name, vec![Work::Product(Multiply { product, operands })])
            .with_scratch(scratch)
            .in_place(in_place)
    })
}

/// A product among the steps of an op as one of the library, if the rule gives it one: of two operands alone, with what is added.
pub(super) fn of_kernel(
    own: &KernelProduct,
    types: Types<'_>,
    tf32: bool,
    workspace: Argument,
) -> Option<Multiply> {
    let result = own.c.1.or_else(|| types.of(own.c.0))?;
    let product = Product {
        batch: own.batch,
        m: own.m,
        n: own.n,
        k: own.k,
        transpose_a: own.a.transposed,
        transpose_b: own.b.transposed,
        operands: own.a.dtype,
        result,
        bias: false,
        gelu: false,
        residual: own.residual.is_some(),
        tf32: tf32 && own.a.dtype == DType::F32,
    };
    let plain = own.low_rank.is_none() && own.bias.is_none() && own.activation.is_none();
    let matrix = |dtype| TensorType { dtype, shape: Vec::new() };
    let fits = plain && fits(&product, &[&matrix(own.a.dtype), &matrix(own.b.dtype)], &[&matrix(result)]);
    let (bias, residual, before) = (None, own.residual, None);
    let operands = Operands { a: own.a.at, b: own.b.at, bias, residual, result: own.c.0, before, workspace };
    fits.then_some(Multiply { product, operands })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a linear layer of `[12, k]` to `[12, n]`, if it is the library's. The types are those of the rows, the weight, whatever is
    /// added, and the results.
    fn name(op: Linear, [n, k]: [usize; 2], [x, w, more, y]: [DType; 4]) -> Option<&'static str> {
        let of = |shape: &[usize], dtype| TensorType::f32(shape).with_dtype(dtype);
        let (bias, residual) = (of(&[n], more), of(&[12, n], more));
        let (x, w, y) = (of(&[12, k], x), of(&[n, k], w), of(&[12, n], y));
        let added = [op.bias.then_some(&bias), op.residual.then_some(&residual)];
        let inputs: Vec<&TensorType> = [&x, &w].into_iter().chain(added.into_iter().flatten()).collect();
        let outputs = if op.act.is_some() { vec![&y, &y] } else { vec![&y] };
        lower(&Op::Linear(op), &inputs, &outputs, false).map(|lowered| lowered.name)
    }

    #[test]
    fn the_rule_gives_the_library_what_it_can() {
        use DType::{Bf16, F16, F32};
        let plain = Linear::default();
        let bias = Linear { bias: true, ..plain };
        let gelu = Linear { act: Some(Activation::GeluTanh), ..bias };
        let residual = Linear { residual: true, ..bias };
        let (wide, narrow) = ([F32; 4], [Bf16; 4]);
        for (op, expected) in [
            (plain, Some("cublaslt")),
            (bias, Some("cublaslt_bias")),
            (gelu, Some("cublaslt_gelu")),
            (residual, Some("cublaslt_residual")),
            (Linear { residual: true, ..gelu }, None),
            (Linear { act: Some(Activation::Silu), ..bias }, None),
            (Linear { act: Some(Activation::GeluErf), ..bias }, None),
        ] {
            assert_eq!(name(op, [16, 24], wide), expected, "{op:?}");
            assert_eq!(name(op, [16, 24], narrow), expected, "{op:?} in 16 bits");
        }
        // Rows that are no whole pieces.
        assert_eq!(name(plain, [7, 5], wide), Some("cublaslt"));
        assert_eq!(name(gelu, [7, 8], wide), None);
        assert_eq!(name(plain, [8, 5], narrow), None);
        assert_eq!(name(plain, [7, 8], narrow), None);
        // Types that do not go together.
        assert_eq!(name(bias, [16, 24], [Bf16, Bf16, F32, F32]), Some("cublaslt_bias"));
        assert_eq!(name(bias, [16, 24], [Bf16, Bf16, F32, Bf16]), None);
        assert_eq!(name(bias, [16, 24], [Bf16, F32, F32, F32]), None);
        assert_eq!(name(bias, [16, 24], [F32, F32, F32, Bf16]), None);
        assert_eq!(name(bias, [16, 24], [F16; 4]), None);
    }
}
