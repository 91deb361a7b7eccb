//! `amp_project`: one shared projector over several taps, with a low-rank branch of its own for every tap (AMP).

use crate::attrs::Attrs;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{Activation, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Where the low-rank branches attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attach {
    /// There are none.
    None,
    /// Beside the whole projector: `B A x` is added to its output.
    Parallel,
    /// Beside each of its two linear layers.
    PerLinear,
}

impl Attach {
    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Parallel => "parallel",
            Self::PerLinear => "per_linear",
        }
    }

    /// The kind of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Parallel, Self::PerLinear].into_iter().find(|attach| attach.name() == name)
    }

    /// Number of matrices of one tap.
    pub const fn matrices(self) -> usize {
        match self {
            Self::None => 0,
            Self::Parallel => 2,
            Self::PerLinear => 4,
        }
    }
}

/// Operands: `x_k [B, N, Dv]` for every tap; `w1 [D1, Dv]`, `b1 [D1]` if `bias`, `w2 [D, D1]`, `b2 [D]` if `bias`; then
/// for every tap, if parallel, `A [r, Dv]`, `B [D, r]`, and if per linear, `A1 [r, Dv]`, `B1 [D1, r]`, `A2 [r, D1]`,
/// `B2 [D, r]`. Output: `v [K, B, N, D]` with `v_k = w2 act(w1 x_k + b1) + b2 + scale B A x_k`; per linear, `scale B A`
/// is added to `w1` and to `w2` instead. Ranks may differ between taps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AmpProject {
    /// Number of taps.
    pub taps: usize,
    /// Between the two linear layers.
    pub act: Activation,
    /// Factor of the low-rank branches.
    pub scale: f64,
    /// Both linear layers have a bias.
    pub bias: bool,
    /// Where the low-rank branches attach.
    pub attach: Attach,
}

impl AmpProject {
    /// Index of `w1` and `w2` among the operands.
    pub fn weight_indices(&self) -> (usize, usize) {
        (self.taps, self.taps + 1 + usize::from(self.bias))
    }

    /// Index of the first low-rank matrix of a tap among the operands.
    pub fn branch_index(&self, tap: usize) -> usize {
        self.weight_indices().1 + 1 + usize::from(self.bias) + tap * self.attach.matrices()
    }
}

impl OpSpec for AmpProject {
    const MNEMONICS: &'static [&'static str] = &["amp_project"];

    fn attrs(&self) -> Attrs {
        let attrs =
            Attrs::new().int("taps", self.taps).word("act", self.act.name()).float("scale", self.scale);
        attrs.flag("bias", self.bias).word("attach", self.attach.name())
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            taps: attrs.take_int("taps")?,
            act: attrs.take_word("act", Activation::from_name)?,
            scale: attrs.take_float("scale")?,
            bias: attrs.take_flag("bias")?,
            attach: attrs.take_word("attach", Attach::from_name)?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        ensure(self.taps > 0, || "needs at least one tap".to_owned())?;
        let count =
            self.taps.checked_mul(1 + self.attach.matrices()).map(|n| n + 2 + 2 * usize::from(self.bias));
        ensure(count == Some(inputs.len()), || {
            let expected = count.map_or_else(|| "too many".to_owned(), |count| count.to_string());
            let (taps, attach) = (self.taps, self.attach.name());
            format!(
                "takes {expected} operands for {taps} taps and attach = {attach}, {} were given",
                inputs.len()
            )
        })?;
        let x = inputs[0];
        check::float_axes("x_0", x, 3)?;
        for (k, other) in inputs[1..self.taps].iter().enumerate() {
            check::is(&format!("x_{}", k + 1), other, x)?;
        }
        let (at1, at2) = self.weight_indices();
        let (w1, w2) = (inputs[at1], inputs[at2]);
        check::float_axes("w1", w1, 2)?;
        check::float_axes("w2", w2, 2)?;
        let (inner, outer) = (w1.shape[0], w2.shape[0]);
        check::is_f32("w1", w1, &[inner, x.last()])?;
        check::is_f32("w2", w2, &[outer, inner])?;
        if self.bias {
            check::is_f32("b1", inputs[at1 + 1], &[inner])?;
            check::is_f32("b2", inputs[at2 + 1], &[outer])?;
        }
        for k in 0..self.taps {
            let branch = &inputs[self.branch_index(k)..][..self.attach.matrices()];
            let widths: &[(&str, usize, usize)] = match self.attach {
                Attach::None => &[],
                Attach::Parallel => &[("", x.last(), outer)],
                Attach::PerLinear => &[("1", x.last(), inner), ("2", inner, outer)],
            };
            for (pair, (part, from, to)) in branch.chunks(2).zip(widths) {
                let (down, up) = (format!("A{part}_{k}"), format!("B{part}_{k}"));
                check::float_axes(&down, pair[0], 2)?;
                check::is_f32(&down, pair[0], &[pair[0].shape[0], *from])?;
                check::is_f32(&up, pair[1], &[*to, pair[0].shape[0]])?;
            }
        }
        ensure(self.scale.is_finite(), || format!("attribute `scale` is {}, must be finite", self.scale))?;
        Ok(vec![TensorType::f32([self.taps, x.shape[0], x.shape[1], outer])])
    }

    fn dequantizes(&self, operand: usize) -> bool {
        let (w1, w2) = self.weight_indices();
        operand == w1 || operand == w2
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let (at1, at2) = self.weight_indices();
        let (b1, b2) = (self.bias.then(|| inputs[at1 + 1]), self.bias.then(|| inputs[at2 + 1]));
        let mut out = Vec::new();
        for k in 0..self.taps {
            let branch = &inputs[self.branch_index(k)..][..self.attach.matrices()];
            let low_rank = |pair: usize, row: &[f64]| {
                apply(branch[2 * pair + 1], None, &apply(branch[2 * pair], None, row))
            };
            let add = |to: &mut [f64], branch: &[f64]| {
                to.iter_mut().zip(branch).for_each(|(to, branch)| *to += self.scale * branch);
            };
            for r in 0..inputs[k].rows() {
                let row = inputs[k].row(r);
                let mut hidden = apply(inputs[at1], b1, &row);
                if self.attach == Attach::PerLinear {
                    add(&mut hidden, &low_rank(0, &row));
                }
                let hidden: Vec<f64> = hidden.into_iter().map(|h| self.act.value(h)).collect();
                let mut v = apply(inputs[at2], b2, &hidden);
                match self.attach {
                    Attach::None => {}
                    Attach::Parallel => add(&mut v, &low_rank(0, &row)),
                    Attach::PerLinear => add(&mut v, &low_rank(1, &hidden)),
                }
                out.extend(v);
            }
        }
        let (x, outer) = (inputs[0], inputs[at2].shape[0]);
        Ok(vec![Tensor::from_fn([self.taps, x.shape[0], x.shape[1], outer], |i| out[i])])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        super::amp_project_expand::expand(self, b, inputs).map(|v| Some(vec![v]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let (at1, at2) = self.weight_indices();
        let rows = inputs[0].rows() as u64;
        let all_rows = self.taps as u64 * rows;
        let (inner, outer) = (inputs[at1].shape[0] as u64, inputs[at2].shape[0] as u64);
        let shared = 2 * (inputs[at1].elements() + inputs[at2].elements()) as u64;
        let biases = if self.bias { inner + outer } else { 0 };
        // Adding a branch is a factor and a sum per element.
        let joined = match self.attach {
            Attach::None => 0,
            Attach::Parallel => 2 * outer,
            Attach::PerLinear => 2 * (inner + outer),
        };
        let branches: usize = inputs[self.branch_index(0)..].iter().map(|ty| ty.elements()).sum();
        let flops = all_rows * (shared + biases + inner + joined) + rows * 2 * branches as u64;
        Cost::new(flops, inputs, outputs)
    }
}

/// `w row + bias` for a weight `[out, in]`.
pub(super) fn apply<T: Real>(w: &Tensor<T>, bias: Option<&Tensor<T>>, row: &[f64]) -> Vec<f64> {
    let out = |o: usize| -> f64 {
        let product: f64 = row.iter().enumerate().map(|(i, x)| w.at(o * row.len() + i) * x).sum();
        product + bias.map_or(0.0, |bias| bias.at(o))
    };
    (0..w.shape[0]).map(out).collect()
}
