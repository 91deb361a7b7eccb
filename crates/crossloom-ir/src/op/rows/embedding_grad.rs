//! `embedding_grad`: the gradient of a table from the gradients of the rows taken out of it.

use super::table_rows;
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{Embedding, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Sums the rows of each id. Operands: `dy [.., D]`, `ids [..]` (i32, each in `0..vocab`). Output:
/// `dtable [vocab, D]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingGrad {
    /// Rows of the table.
    pub vocab: usize,
}

impl OpSpec for EmbeddingGrad {
    const MNEMONICS: &'static [&'static str] = &["embedding_grad"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("vocab", self.vocab)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { vocab: attrs.take_int("vocab")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["dy", "ids"])?;
        check::float_rows("dy", inputs[0])?;
        check::is("ids", inputs[1], &TensorType::i32(check::lead(inputs[0])))?;
        Ok(vec![TensorType::f32([self.vocab, inputs[0].last()])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [dy, ids] = [inputs[0], inputs[1]];
        let d = dy.last();
        let mut table = vec![0.0; self.vocab * d];
        for (i, row) in table_rows(ids, self.vocab)?.into_iter().enumerate() {
            for c in 0..d {
                table[row * d + c] += dy.at(i * d + c);
            }
        }
        Ok(vec![Tensor::from_fn([self.vocab, d], |i| table[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let ids = cx.input(1);
        let Some(table) = cx.out_grad(0) else { return Ok(()) };
        cx.add_with(0, |b| b.one(Embedding, &[table, ids]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let ty = b.func().ty(inputs[0]).clone();
        let dy = b.reshape(inputs[0], &[ty.rows(), ty.last()])?;
        let ids = b.reshape(inputs[1], &[ty.rows()])?;
        let one_hot = emit::one_hot(b, ids, self.vocab)?;
        Ok(Some(vec![b.matmul(one_hot, dy, true, false)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(inputs[0].elements() as u64, inputs, outputs)
    }
}
