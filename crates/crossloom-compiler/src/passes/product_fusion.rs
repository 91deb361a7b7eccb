//! Product fusion: a sum of products of two repeated operands is a matrix product.
//!
//! Before: any function without dead code, best before differentiation (the gradient of a product is two products).
//! After: no `reduce_sum` over the last axis stands over a `mul`, read by nothing else, of two broadcasts of which each
//! repeats along axes of the other: shared axes first, then those of one operand, then those of the other, then the one
//! that is summed over. It is a `matmul`, which never holds the products. An operand that is transposed for it is read as
//! it was. Graphs made of luminal's own primitives have all their products in this form.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{Binary, BinaryKind, Broadcast, Matmul, Op, Reduce, ReduceKind, Transpose};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, IrErrors, Value};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct ProductFusion;

/// A matrix product `[batch, m, k]` times `[batch, n, k]`, both operands rows by `k`.
struct Product {
    left: Value,
    right: Value,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl Pass for ProductFusion {
    fn name(&self) -> &'static str {
        "product_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let uses = func.use_counts();
        let mut rewriter = Rewriter::new(func);
        let mut found = false;
        for inst in func.insts() {
            match product(func, inst, &uses) {
                Some(product) => {
                    emit(&mut rewriter, inst, &product)?;
                    found = true;
                }
                None => rewriter.copy(inst)?,
            }
        }
        let new = rewriter.finish()?;
        // The products and the repeated operands.
        if found { super::dce::Dce.run(&new, cx) } else { Ok(new) }
    }
}

/// The matrix product that a sum is.
fn product(func: &Func, sum: &InstData, uses: &[usize]) -> Option<Product> {
    let Op::Reduce(Reduce { kind: ReduceKind::Sum, axes }) = &sum.op else { return None };
    let products = sum.inputs[0];
    let shape = func.shape(products);
    let (_, inst) = func.def_inst(products)?;
    let last = shape.len().checked_sub(1)?;
    if *axes != [last]
        || uses[products.index()] != 1
        || !matches!(inst.op, Op::Binary(Binary(BinaryKind::Mul)))
        // Products that are rounded one by one are another sum.
        || func.dtype(products) != DType::F32
    {
        return None;
    }
    let (x, x_axes) = repeated(func, inst.inputs[0])?;
    let (y, y_axes) = repeated(func, inst.inputs[1])?;
    if !x_axes.contains(&last) || !y_axes.contains(&last) {
        return None;
    }
    // How many leading axes belong to both, and to whom the others belong, in order.
    let both = (0..last).take_while(|axis| x_axes.contains(axis) && y_axes.contains(axis)).count();
    let rest = both..last;
    let first_is_x = x_axes.contains(&both);
    let (left, left_axes, right, right_axes) =
        if first_is_x { (x, x_axes, y, y_axes) } else { (y, y_axes, x, x_axes) };
    let middle = rest.clone().take_while(|axis| left_axes.contains(axis)).count() + both;
    let split = rest.clone().all(|axis| {
        left_axes.contains(&axis) == (axis < middle) && right_axes.contains(&axis) == (axis >= middle)
    });
    // Without rows or columns of its own an operand is not repeated, and its product is no larger than the other.
    let extent = |range: std::ops::Range<usize>| shape[range].iter().product::<usize>();
    (split && both < middle && middle < last).then(|| Product {
        left,
        right,
        batch: extent(0..both),
        m: extent(both..middle),
        n: extent(middle..last),
        k: shape[last],
    })
}

/// What a broadcast repeats, and the axes of the result that are its own.
fn repeated(func: &Func, value: Value) -> Option<(Value, &[usize])> {
    match func.def_inst(value)?.1 {
        InstData { op: Op::Broadcast(Broadcast { axes, .. }), inputs, .. } => Some((inputs[0], axes)),
        _ => None,
    }
}

/// What a transpose of the two last axes swaps.
fn swapped(func: &Func, value: Value) -> Option<Value> {
    match func.def_inst(value)?.1 {
        InstData { op: Op::Transpose(Transpose { perm }), inputs, .. } => {
            let last = perm.len().checked_sub(2)?;
            let lead = perm[..last].iter().copied().eq(0..last);
            (lead && perm[last..] == [last + 1, last]).then_some(inputs[0])
        }
        _ => None,
    }
}

fn emit(rewriter: &mut Rewriter<'_>, sum: &InstData, product: &Product) -> Result<(), IrError> {
    let func = rewriter.old();
    let Product { left, right, batch, m, n, k } = *product;
    let mut operands = Vec::with_capacity(2);
    let mut transposed = Vec::with_capacity(2);
    for (value, rows) in [(left, m), (right, n)] {
        // The rows must be one axis, or swapping two would not be swapping rows and width.
        let source = swapped(func, value).filter(|_| func.shape(value).iter().rev().nth(1) == Some(&rows));
        let stored = rewriter.get(source.unwrap_or(value))?;
        let mut shape = if source.is_some() { vec![k, rows] } else { vec![rows, k] };
        if batch != 1 {
            shape.insert(0, batch);
        }
        operands.push(rewriter.builder(&sum.scope).reshape(stored, &shape)?);
        transposed.push(source.is_some());
    }
    let shape = func.shape(sum.outputs[0]).to_vec();
    let mut b = rewriter.builder(&sum.scope);
    // The right operand is rows by width, which is transposed to a product.
    let op = Matmul { transpose_a: transposed[0], transpose_b: !transposed[1] };
    let y = b.one_as(op, &operands, func.dtype(sum.outputs[0]))?;
    let y = b.reshape(y, &shape)?;
    rewriter.set(sum.outputs[0], y);
    Ok(())
}
