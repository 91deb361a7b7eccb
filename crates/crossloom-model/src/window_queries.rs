//! Learned queries that read windows of patches, one square of tokens per window (a Q-Former of one layer, as in Granite 4.1 Vision).
//!
//! All windows are samples of one batch: their queries see each other and the patches of their own window only.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Attention, LayerNorm, Unary, UnaryKind};
use crossloom_recipe::{Model, Part, Windows};

use crate::params::Params;
use crate::vision::activation;
use crate::{Init, ModelError};

/// A projector of that kind under construction.
pub(crate) struct WindowQueries<'m> {
    /// The part that its weights belong to.
    pub(crate) part: Part,
    /// What their names begin with.
    pub(crate) prefix: &'m str,
    /// Its dimensions.
    pub(crate) windows: Windows,
    /// The corner of two by two patches, row by row, as which queries begin; none where they begin as the mean of theirs.
    pub(crate) corner: Option<usize>,
    /// The model whose projector it is.
    pub(crate) model: &'m Model,
}

impl WindowQueries<'_> {
    /// Patches `[B, patches, Dv]` to tokens `[B, N, D]`.
    pub(crate) fn apply(&self, p: &mut Params, x: Tensor) -> Result<Tensor, ModelError> {
        let Windows { window, queries, .. } = self.windows;
        let (grid, width) = (self.model.vision.grid(), self.model.vision.hidden);
        let [batch, per_side] = [p.graph.shape(x)[0], grid / window];
        let begun = self.begin(p, x)?;
        let begun = cut(p, begun, per_side, queries)?;
        let patches = cut(p, x, per_side, window)?;
        let h = self.with(p, begun, "query", queries * queries)?;
        let patches = self.with(p, patches, "image_positions", window * window)?;

        let h = self.norm(p, h, "qformer.layernorm")?;
        let layer = "qformer.encoder.layer.0";
        let h = self.attend(p, h, h, &format!("{layer}.attention"))?;
        let h = self.attend(p, h, patches, &format!("{layer}.crossattention"))?;
        let inner = self.model.projector.hidden;
        let hidden = self.linear(p, &format!("{layer}.intermediate_query.dense"), [inner, width], h)?;
        let act = activation(self.model.projector.activation);
        let hidden = p.graph.one(Unary(UnaryKind::Act(act)), &[hidden])?;
        let update = self.linear(p, &format!("{layer}.output_query.dense"), [width, inner], hidden)?;
        let h = p.graph.add(update, h)?;
        let h = self.norm(p, h, &format!("{layer}.output_query.LayerNorm"))?;

        let h = p.graph.reshape(h, &[batch, per_side, per_side, queries, queries, width])?;
        let h = p.graph.transpose(h, &[0, 1, 3, 2, 4, 5])?;
        let side = per_side * queries;
        let h = p.graph.reshape(h, &[batch, side * side, width])?;
        self.linear(p, "out_linear", [self.model.language.hidden, width], h)
    }

    /// What the queries begin as, a square of tokens `[B, N, Dv]`: the mean of the patches that each stands for, or one of them.
    fn begin(&self, p: &mut Params, x: Tensor) -> Result<Tensor, ModelError> {
        let Windows { window, queries, .. } = self.windows;
        let (per_query, width) = (window / queries, self.model.vision.hidden);
        let side = self.model.vision.grid() / per_query;
        let batch = p.graph.shape(x)[0];
        let mut x = p.graph.reshape(x, &[batch, side, per_query, side, per_query, width])?;
        match self.corner {
            Some(corner) => {
                for (axis, at) in [(2, corner / 2), (4, corner % 2)] {
                    x = p.graph.slice(x, axis, at, 1)?;
                }
            }
            None => {
                x = p.graph.reduce_sum(x, &[2, 4])?;
                x = p.graph.affine(x, ((per_query * per_query) as f64).recip(), 0.0)?;
            }
        }
        Ok(p.graph.reshape(x, &[batch, side * side, width])?)
    }

    /// Rows of every window `[B', S, Dv]` plus learned ones `[1, S, Dv]`.
    fn with(&self, p: &mut Params, x: Tensor, name: &str, rows: usize) -> Result<Tensor, ModelError> {
        let width = self.model.vision.hidden;
        let init = Init::Uniform { std: (width as f64).sqrt().recip() };
        let learned = p.param(self.part, &format!("{}.{name}", self.prefix), &[1, rows, width], init);
        let learned = p.graph.reshape(learned, &[rows, width])?;
        let shape = p.graph.shape(x).to_vec();
        let learned = p.graph.broadcast(learned, &shape, &[1, 2])?;
        Ok(p.graph.add(x, learned)?)
    }

    /// `h` with what its rows read of `from` in their window, and a norm behind.
    fn attend(&self, p: &mut Params, h: Tensor, from: Tensor, name: &str) -> Result<Tensor, ModelError> {
        let (width, heads) = (self.model.vision.hidden, self.windows.heads);
        let sides = [width, width];
        let q = self.linear(p, &format!("{name}.attention.query"), sides, h)?;
        let k = self.linear(p, &format!("{name}.attention.key"), sides, from)?;
        let v = self.linear(p, &format!("{name}.attention.value"), sides, from)?;
        let scale = ((width / heads) as f64).sqrt().recip();
        let op = Attention { heads, kv_heads: heads, causal: false, segments: false, scale };
        let mixed = p.graph.one(op, &[q, k, v])?;
        let update = self.linear(p, &format!("{name}.output.dense"), sides, mixed)?;
        let h = p.graph.add(update, h)?;
        self.norm(p, h, &format!("{name}.output.LayerNorm"))
    }

    fn linear(
        &self,
        p: &mut Params,
        name: &str,
        [out, fan_in]: [usize; 2],
        x: Tensor,
    ) -> Result<Tensor, ModelError> {
        let name = format!("{}.{name}", self.prefix);
        p.linear(self.part, &name, out, fan_in, self.model.projector.bias).apply(p, x)
    }

    fn norm(&self, p: &mut Params, x: Tensor, name: &str) -> Result<Tensor, ModelError> {
        let name = format!("{}.{name}", self.prefix);
        let [gain, offset] = p.layer_norm(self.part, &name, self.model.vision.hidden);
        let eps = self.model.projector.norm_eps.unwrap_or(self.model.vision.norm_eps);
        Ok(p.graph.one(LayerNorm { eps }, &[x, gain, offset])?)
    }
}

/// Rows of a square `[B, S, D]` to windows of `size` by `size` of them, `[B per_side², size², D]`.
fn cut(p: &mut Params, x: Tensor, per_side: usize, size: usize) -> Result<Tensor, ModelError> {
    let [batch, width] = [p.graph.shape(x)[0], p.graph.ty(x).last()];
    let x = p.graph.reshape(x, &[batch, per_side, size, per_side, size, width])?;
    let x = p.graph.transpose(x, &[0, 1, 3, 2, 4, 5])?;
    Ok(p.graph.reshape(x, &[batch * per_side * per_side, size * size, width])?)
}
