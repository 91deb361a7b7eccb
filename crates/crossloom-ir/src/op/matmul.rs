//! `matmul`: batched matrix product.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// `C = op(A) op(B)` over the last two axes, where `op` transposes them if asked to. All leading axes are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matmul {
    /// `A` is given as its transpose.
    pub transpose_a: bool,
    /// `B` is given as its transpose.
    pub transpose_b: bool,
}

/// Extents of a product: batch, rows, columns, contracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductShape {
    /// Number of independent products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Contracted extent.
    pub k: usize,
}

impl Matmul {
    /// The extents of this product of tensors of those shapes (which must have passed the type rule).
    pub fn extents(&self, a: &[usize], b: &[usize]) -> ProductShape {
        let (lead, last) = (a.len() - 2, a.len() - 1);
        let (m, k) = if self.transpose_a { (a[last], a[lead]) } else { (a[lead], a[last]) };
        let n = if self.transpose_b { b[lead] } else { b[last] };
        ProductShape { batch: a[..lead].iter().product(), m, n, k }
    }
}

impl OpSpec for Matmul {
    const MNEMONICS: &'static [&'static str] = &["matmul"];

    fn attrs(&self) -> Attrs {
        Attrs::new().flag("transpose_a", self.transpose_a).flag("transpose_b", self.transpose_b)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            transpose_a: attrs.take_flag("transpose_a")?,
            transpose_b: attrs.take_flag("transpose_b")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [a, b] = operands(inputs)?;
        ensure(a.dtype == DType::F32 && b.dtype == DType::F32, || "needs float operands".to_owned())?;
        ensure(a.rank() >= 2 && a.rank() == b.rank(), || {
            "needs two operands of one rank of at least 2".to_owned()
        })?;
        let lead = a.rank() - 2;
        let contracted_b = if self.transpose_b { b.shape[lead + 1] } else { b.shape[lead] };
        let p = self.extents(&a.shape, &b.shape);
        ensure(a.shape[..lead] == b.shape[..lead] && p.k == contracted_b, || {
            format!(
                "contracts {} with {contracted_b} over batches {:?} and {:?}",
                p.k,
                &a.shape[..lead],
                &b.shape[..lead]
            )
        })?;
        let mut shape = a.shape[..lead].to_vec();
        shape.extend([p.m, p.n]);
        Ok(vec![TensorType::f32(shape)])
    }

    fn dequantizes(&self, operand: usize) -> bool {
        operand == 1
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [a, b] = [inputs[0], inputs[1]];
        let p = self.extents(&a.shape, &b.shape);
        let mut shape = a.shape[..a.shape.len() - 2].to_vec();
        shape.extend([p.m, p.n]);
        let element = |i: usize| {
            let (batch, row, col) = (i / (p.m * p.n), i / p.n % p.m, i % p.n);
            let (at_a, at_b) = (batch * p.m * p.k, batch * p.k * p.n);
            (0..p.k)
                .map(|c| {
                    let x = a.at(at_a + if self.transpose_a { c * p.m + row } else { row * p.k + c });
                    let y = b.at(at_b + if self.transpose_b { col * p.k + c } else { c * p.n + col });
                    x * y
                })
                .sum()
        };
        Ok(vec![Tensor::from_fn(shape, element)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (a, b) = (cx.input(0), cx.input(1));
        let Some(dc) = cx.out_grad(0) else { return Ok(()) };
        // With A' = op(A), B' = op(B): dA' = dC B'^T, dB' = A'^T dC; transposed when the operand was.
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        cx.add_with(0, |e| if ta { e.matmul(b, dc, tb, true) } else { e.matmul(dc, b, false, !tb) })?;
        cx.add_with(1, |e| if tb { e.matmul(dc, a, true, ta) } else { e.matmul(a, dc, !ta, false) })
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (x, y) = (inputs[0], inputs[1]);
        let p = self.extents(b.func().shape(x), b.func().shape(y));
        let lead: Vec<usize> = b.func().shape(x)[..b.func().shape(x).len() - 2].to_vec();
        let rank = lead.len();
        // [.., m, n, k]: both operands broadcast, multiplied, summed over k.
        let mut full = lead.clone();
        full.extend([p.m, p.n, p.k]);
        let mut axes_a: Vec<usize> = (0..rank).collect();
        let mut axes_b = axes_a.clone();
        axes_a.extend([rank, rank + 2]);
        axes_b.extend([rank + 1, rank + 2]);
        let mut swap: Vec<usize> = (0..rank).collect();
        swap.extend([rank + 1, rank]);
        let x = if self.transpose_a { b.transpose(x, &swap)? } else { x };
        let y = if self.transpose_b { y } else { b.transpose(y, &swap)? };
        let x = b.broadcast(x, &full, &axes_a)?;
        let y = b.broadcast(y, &full, &axes_b)?;
        let products = b.mul(x, y)?;
        Ok(Some(vec![b.reduce_sum(products, &[rank + 2])?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let p = self.extents(&inputs[0].shape, &inputs[1].shape);
        Cost::new(2 * (p.batch * p.m * p.n * p.k) as u64, inputs, outputs)
    }
}
