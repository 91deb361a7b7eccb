//! MMFuser: a deep vision state is refined by what it reads of shallower ones, point by point.

use crossloom_graph::Tensor;
use crossloom_recipe::MmFuser;

use super::deformable::Deformable;
use super::{Of, layer_norm};
use crate::params::Params;
use crate::{Init, ModelError};

/// The epsilon of its norms.
const NORM_EPS: f64 = 1e-6;

/// A fuser under construction; its weights have the names of the published code's.
pub(crate) struct Fuser<'n> {
    /// Whose weights.
    pub(crate) of: Of<'n>,
    /// How it is set.
    pub(crate) spec: &'n MmFuser,
    /// Tokens of a side of the states.
    pub(crate) side: usize,
}

impl Fuser<'_> {
    /// A state `query` and those that it reads, all `[B, side², D]`, to one such state. Both gains are zero at first, so that it
    /// begins as the query.
    pub(crate) fn fuse(
        &self,
        p: &mut Params,
        query: Tensor,
        states: &[Tensor],
    ) -> Result<Tensor, ModelError> {
        let (part, prefix) = self.of;
        let MmFuser { heads, points, .. } = *self.spec;
        let attention = |p: &mut Params, name: &str, queries: Tensor, grids: Tensor| {
            let of = (part, &*format!("{prefix}.{name}"));
            Deformable { of, heads, points, side: self.side }.attend(p, queries, grids)
        };
        let norm = |p: &mut Params, name: &str, x: Tensor| {
            layer_norm(p, (part, &format!("{prefix}.{name}")), NORM_EPS, x)
        };
        let gained = |p: &mut Params, name: &str, x: Tensor| {
            let shape = p.graph.shape(x).to_vec();
            let gain = p.param(part, &format!("{prefix}.{name}"), &shape[2..], Init::ZEROS);
            let gain = p.graph.broadcast(gain, &shape, &[2])?;
            Ok::<_, ModelError>(p.graph.mul(gain, x)?)
        };
        let grids = p.graph.concat(states, 1)?;
        let (queries, grids) = (norm(p, "query_norm", query)?, norm(p, "feat_norm", grids)?);
        let read = attention(p, "cross_attn", queries, grids)?;
        let normed = norm(p, "norm1", read)?;
        let again = attention(p, "self_attn", normed, normed)?;
        let again = gained(p, "gamma2", again)?;
        let read = p.graph.add(read, again)?;
        let update = gained(p, "gamma1", read)?;
        Ok(p.graph.add(query, update)?)
    }
}
