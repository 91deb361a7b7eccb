//! `embedding`: rows of a table by id.

use super::table_rows;
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{EmbeddingGrad, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `table [V, D]`, `ids [..]` (i32, each in `0..V`). Output: `[.., D]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Embedding;

impl OpSpec for Embedding {
    const MNEMONICS: &'static [&'static str] = &["embedding"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["table", "ids"])?;
        check::float_axes("table", inputs[0], 2)?;
        check::whole("ids", inputs[1])?;
        let mut shape = inputs[1].shape.clone();
        shape.push(inputs[0].last());
        Ok(vec![TensorType::f32(shape)])
    }

    fn moves(&self) -> bool {
        true
    }

    fn dequantizes(&self, operand: usize) -> bool {
        operand == 0
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [table, ids] = [inputs[0], inputs[1]];
        let d = table.last();
        let rows = table_rows(ids, table.shape[0])?;
        let mut shape = ids.shape.clone();
        shape.push(d);
        Ok(vec![Tensor::from_fn(shape, |i| table.at(rows[i / d] * d + i % d))])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let (vocab, ids) = (cx.func().shape(cx.input(0))[0], cx.input(1));
        cx.add_with(0, |b| b.one(EmbeddingGrad { vocab }, &[dy, ids]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (table, ids) = (inputs[0], inputs[1]);
        let (vocab, d) = (b.func().shape(table)[0], b.func().shape(table)[1]);
        let mut shape = b.func().shape(ids).to_vec();
        let count = shape.iter().product();
        shape.push(d);
        let ids = b.reshape(ids, &[count])?;
        let one_hot = emit::one_hot(b, ids, vocab)?;
        let rows = b.matmul(one_hot, table, false, false)?;
        Ok(Some(vec![b.reshape(rows, &shape)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Only the rows that are named are read.
        Cost::new(0, &[outputs[0], inputs[1]], outputs)
    }
}
