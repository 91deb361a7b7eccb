//! `low_rank_linear`: a linear layer over the rows of several taps, with a low-rank branch for every tap (AMP).

use super::amp_project::apply;
use crate::attrs::Attrs;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{Activation, UnaryKind, check};
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// `y = act(x W^T + b + scale branch)`, where the branch of the rows of tap `k` is `low_k up_k^T`. Operands: `x [K M, in]`, the rows of
/// K taps under one another, `w [out, in]`, `b [out]` if `bias`, then for every tap `low_k [M, r]` and `up_k [out, r]`. Outputs:
/// `y [K M, out]`, and with an activation also the sum before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRankLinear {
    /// Number of taps.
    pub taps: usize,
    /// A bias is given.
    pub bias: bool,
    /// Applied to the sum of all.
    pub act: Option<Activation>,
    /// Factor of the branches.
    pub scale: f64,
    /// The float type to which branches are rounded before they are scaled and added.
    pub rounded: DType,
}

impl LowRankLinear {
    /// Index of `low_0` among the operands.
    pub fn first_pair(&self) -> usize {
        2 + usize::from(self.bias)
    }
}

impl OpSpec for LowRankLinear {
    const MNEMONICS: &'static [&'static str] = &["low_rank_linear"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new().int("taps", self.taps).flag("bias", self.bias);
        let attrs = match self.act {
            Some(act) => attrs.word("act", act.name()),
            None => attrs,
        };
        attrs.float("scale", self.scale).word("rounded", self.rounded.name())
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let has_act = attrs.entries().iter().any(|(name, _)| name == "act");
        Ok(Self {
            taps: attrs.take_int("taps")?,
            bias: attrs.take_flag("bias")?,
            act: if has_act { Some(attrs.take_word("act", Activation::from_name)?) } else { None },
            scale: attrs.take_float("scale")?,
            rounded: attrs.take_word("rounded", DType::from_name)?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let count = self.taps.checked_mul(2).map(|pairs| pairs + self.first_pair());
        ensure(self.taps > 0 && count == Some(inputs.len()), || {
            format!(
                "takes a low-rank pair for each of {} taps, {} operands were given",
                self.taps,
                inputs.len()
            )
        })?;
        ensure(self.rounded.is_float(), || {
            format!("attribute `rounded` is {}, must be a float type", self.rounded)
        })?;
        ensure(self.scale.is_finite(), || format!("attribute `scale` is {}, must be finite", self.scale))?;
        let (x, w) = (inputs[0], inputs[1]);
        check::float_axes("x", x, 2)?;
        check::float_axes("w", w, 2)?;
        ensure(w.last() == x.last(), || format!("w {w} does not apply to rows of {x}"))?;
        ensure(x.shape[0].is_multiple_of(self.taps), || {
            format!("rows of x {x} do not divide among {} taps", self.taps)
        })?;
        let (rows, outer) = (x.shape[0] / self.taps, w.shape[0]);
        if self.bias {
            check::is_f32("b", inputs[2], &[outer])?;
        }
        for (k, pair) in inputs[self.first_pair()..].chunks_exact(2).enumerate() {
            check::float_axes(&format!("low_{k}"), pair[0], 2)?;
            let rank = pair[0].shape[1];
            check::is_f32(&format!("low_{k}"), pair[0], &[rows, rank])?;
            check::is_f32(&format!("up_{k}"), pair[1], &[outer, rank])?;
        }
        let y = TensorType::f32([x.shape[0], outer]);
        Ok(if self.act.is_some() { vec![y.clone(), y] } else { vec![y] })
    }

    fn dequantizes(&self, operand: usize) -> bool {
        operand == 1
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let bias = self.bias.then(|| inputs[2]);
        let rows = x.shape[0] / self.taps;
        let mut sums = Vec::with_capacity(x.shape[0] * w.shape[0]);
        for r in 0..x.shape[0] {
            let pair = &inputs[self.first_pair() + 2 * (r / rows)..][..2];
            let branch = apply(pair[1], None, &pair[0].row(r % rows));
            let shared = apply(w, bias, &x.row(r));
            sums.extend(shared.iter().zip(&branch).map(|(y, b)| y + self.scale * self.rounded.round(*b)));
        }
        let shape = [x.shape[0], w.shape[0]];
        let sum = Tensor::from_fn(shape, |i| sums[i]);
        Ok(match self.act {
            Some(act) => vec![Tensor::from_fn(shape, |i| act.value(sums[i])), sum],
            None => vec![sum],
        })
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let shared = b.linear(inputs[0], inputs[1], self.bias.then(|| inputs[2]))?;
        let mut branches = Vec::with_capacity(self.taps);
        for pair in inputs[self.first_pair()..].chunks_exact(2) {
            let branch = b.linear(pair[0], pair[1], None)?;
            let branch = b.convert(branch, self.rounded)?;
            branches.push(b.convert(branch, DType::F32)?);
        }
        let branches = if let [one] = branches[..] { one } else { b.concat(&branches, 0)? };
        let branches = b.affine(branches, self.scale, 0.0)?;
        let sum = b.add(shared, branches)?;
        Ok(Some(match self.act {
            Some(act) => vec![b.unary(UnaryKind::Act(act), sum)?, sum],
            None => vec![sum],
        }))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let [rows, d] = [0, 1].map(|axis| inputs[0].shape[axis] as u64);
        let outer = inputs[1].shape[0] as u64;
        let ups: u64 =
            inputs[self.first_pair()..].iter().skip(1).step_by(2).map(|up| up.elements() as u64).sum();
        let per_element = 2 + u64::from(self.bias) + u64::from(self.act.is_some());
        let flops = rows * outer * (2 * d + per_element) + 2 * (rows / self.taps as u64) * ups;
        Cost::new(flops, inputs, outputs)
    }
}
