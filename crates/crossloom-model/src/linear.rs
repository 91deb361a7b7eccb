//! Linear layers, and the low-rank pairs that may stand beside them.

use crossloom_graph::Tensor;
use crossloom_recipe::Part;

use crate::params::Params;
use crate::{Init, ModelError};

/// A linear layer that is declared.
#[derive(Clone, Copy)]
pub(crate) struct Linear {
    /// `[out, in]`.
    pub(crate) weight: Tensor,
    /// `[out]`.
    pub(crate) bias: Option<Tensor>,
    /// What is trained beside a frozen weight.
    pub(crate) pair: Option<LowRank>,
}

impl Linear {
    /// `[.., in]` to `[.., out]`.
    pub(crate) fn apply(self, p: &mut Params, x: Tensor) -> Result<Tensor, ModelError> {
        let y = p.graph.linear(x, self.weight, self.bias)?;
        match self.pair {
            None => Ok(y),
            Some(pair) => {
                let update = pair.apply(p, x)?;
                Ok(p.graph.add(y, update)?)
            }
        }
    }
}

/// A product of two thin matrices, `scale B A`, that is added to a linear layer or to a row of them: LoRA's pairs and the
/// branches of AMP.
#[derive(Clone, Copy)]
pub(crate) struct LowRank {
    /// `[rank, in]`.
    a: Tensor,
    /// `[out, rank]`.
    b: Tensor,
    scale: f64,
}

impl LowRank {
    /// Declares `{prefix}lora_A.weight`, which starts as a linear layer does, and `{prefix}lora_B.weight`, which starts at zero, so
    /// that the pair adds nothing at first.
    pub(crate) fn declare(
        p: &mut Params,
        part: Part,
        prefix: &str,
        [out, fan_in]: [usize; 2],
        rank: usize,
        scale: f64,
    ) -> Self {
        let a = p.param(part, &format!("{prefix}lora_A.weight"), &[rank, fan_in], Init::linear(fan_in));
        let b = p.param(part, &format!("{prefix}lora_B.weight"), &[out, rank], Init::ZEROS);
        Self { a, b, scale }
    }

    /// `[.., in]` to what is added, `[.., out]`.
    pub(crate) fn apply(self, p: &mut Params, x: Tensor) -> Result<Tensor, ModelError> {
        let mut inner = p.graph.linear(x, self.a, None)?;
        if self.scale != 1.0 {
            inner = p.graph.affine(inner, self.scale, 0.0)?;
        }
        Ok(p.graph.linear(inner, self.b, None)?)
    }

    /// The factor of the product.
    pub(crate) fn scale(self) -> f64 {
        self.scale
    }

    /// A and B, for an op that multiplies and scales them itself.
    pub(crate) fn matrices(self) -> [Tensor; 2] {
        [self.a, self.b]
    }
}
