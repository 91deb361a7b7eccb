//! `scatter_rows`: writes or adds rows into every sample by index.

use super::sample_rows;
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{GatherRows, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// What happens to the row that is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScatterMode {
    /// It is replaced; the indices of one sample are distinct.
    Set,
    /// It is added to; an index may be given several times.
    Add,
}

impl ScatterMode {
    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Add => "add",
        }
    }

    /// The mode of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Set, Self::Add].into_iter().find(|mode| mode.name() == name)
    }
}

/// `h'[b, index[b, m]] = rows[b, m]` (or `+=`), other rows as in `h`. Operands: `h [B, T, D]`, `index [B, M]` (i32; -1
/// is skipped), `rows [B, M, D]`. Output: `h' [B, T, D]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScatterRows {
    /// Replace or add.
    pub mode: ScatterMode,
}

impl OpSpec for ScatterRows {
    const MNEMONICS: &'static [&'static str] = &["scatter_rows"];

    fn attrs(&self) -> Attrs {
        Attrs::new().word("mode", self.mode.name())
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { mode: attrs.take_word("mode", ScatterMode::from_name)? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["h", "index", "rows"])?;
        let (h, index) = (inputs[0], inputs[1]);
        check::float_axes("h", h, 3)?;
        check::whole_axes("index", index, 2)?;
        check::is("index", index, &TensorType::i32([h.shape[0], index.shape[1]]))?;
        check::is_f32("rows", inputs[2], &[h.shape[0], index.shape[1], h.shape[2]])?;
        Ok(vec![h.clone()])
    }

    fn moves(&self) -> bool {
        self.mode == ScatterMode::Set
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [h, index, rows] = [inputs[0], inputs[1], inputs[2]];
        let (t, d, m) = (h.shape[1], h.shape[2], index.last());
        let mut out: Vec<f64> = (0..h.data.len()).map(|i| h.at(i)).collect();
        for (i, row) in sample_rows(index, t, self.mode == ScatterMode::Set)?.into_iter().enumerate() {
            let Some(row) = row else { continue };
            for c in 0..d {
                let slot = &mut out[(i / m * t + row) * d + c];
                let written = rows.at(i * d + c);
                *slot = if self.mode == ScatterMode::Set { written } else { *slot + written };
            }
        }
        Ok(vec![Tensor::from_fn(h.shape.clone(), |i| out[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (index, rows) = (cx.input(1), cx.input(2));
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        match self.mode {
            ScatterMode::Add => cx.add(0, dy)?,
            ScatterMode::Set => cx.add_with(0, |b| {
                let zeros = b.zeros_like(rows)?;
                b.one(*self, &[dy, index, zeros])
            })?,
        }
        cx.add_with(2, |b| b.one(GatherRows, &[dy, index]))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let shape = b.func().shape(inputs[0]).to_vec();
        let one_hot = emit::one_hot(b, inputs[1], shape[1])?;
        let placed = b.matmul(one_hot, inputs[2], true, false)?;
        let kept = match self.mode {
            ScatterMode::Add => inputs[0],
            ScatterMode::Set => {
                let written = b.reduce_sum(one_hot, &[1])?;
                let kept = emit::complement(b, written)?;
                let kept = emit::spread_rows(b, kept, &shape)?;
                b.mul(inputs[0], kept)?
            }
        };
        Ok(Some(vec![b.add(kept, placed)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let flops = if self.mode == ScatterMode::Add { inputs[2].elements() as u64 } else { 0 };
        Cost::new(flops, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
