//! Writing gated features into the hidden state at a point.

use crossloom_graph::Tensor;
use crossloom_ir::op::{AgfInject, GatherRows, ScatterMode, ScatterRows};
use crossloom_recipe::{Adapter, Fusion, FusionOrder, Gate, NamedInjection, Part, PointAddress, Recipe, Tap};

use super::adapter::Features;
use super::cross_attention::{CrossLayer, PictureCache};
use super::gate::{PoolMasks, weights};
use crate::ModelError;
use crate::connector::WindowReader;
use crate::params::Params;

/// Everything an injection needs at every one of its points.
pub(crate) struct Injector<'r> {
    pub(crate) recipe: &'r Recipe,
    pub(crate) injection: NamedInjection<'r>,
    /// Those of the batch's pictures; none where an earlier call has read them.
    pub(crate) features: Option<Features>,
    /// Every point with the taps that feed it.
    pub(crate) points: Vec<(PointAddress, Vec<Tap>)>,
    /// `[B, N]` positions of the visual tokens that are changed, where there are any.
    pub(crate) image_index: Option<Tensor>,
    /// `[B, T]` positions AGF pools over, where there is such a gate.
    pub(crate) pool_mask: Option<Tensor>,
    /// `[B, N]` 1 for visual tokens that are there and are patches, where some are not.
    pub(crate) token_mask: Option<Tensor>,
    /// `[B, T]` 1 at positions of text, where only those are changed.
    pub(crate) text_mask: Option<Tensor>,
    /// Where what was read of a picture is between calls.
    pub(crate) cache: PictureCache,
}

/// The gate values at one point, in the order of its taps: `[B, K]` or `[B, K, D]`.
pub(crate) struct PointGates {
    pub(crate) point: PointAddress,
    pub(crate) taps: Vec<Tap>,
    pub(crate) gates: Tensor,
}

/// The hidden state after what is injected at `point`; unchanged where nothing is wired to it. Adds the point's gate
/// values to `seen`.
pub(crate) fn inject(
    injectors: &[Injector<'_>],
    p: &mut Params,
    h_btd: Tensor,
    point: PointAddress,
    seen: &mut Vec<PointGates>,
) -> Result<Tensor, ModelError> {
    // A point belongs to one injection.
    match injectors.iter().find(|injector| injector.points.iter().any(|(at, _)| *at == point)) {
        Some(injector) => injector.inject(p, h_btd, point, seen),
        None => Ok(h_btd),
    }
}

impl Injector<'_> {
    fn inject(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        seen: &mut Vec<PointGates>,
    ) -> Result<Tensor, ModelError> {
        let Some((_, taps)) = self.points.iter().find(|(at, taps)| *at == point && !taps.is_empty()) else {
            return Ok(h_btd);
        };
        p.enter_at(&format!("inject.{}", point.name()));
        let h = match &self.injection.of.fusion {
            Fusion::CrossAttention(_) => self.read(p, h_btd, point, taps)?,
            Fusion::Windows(of) => self.read_windows(p, h_btd, point, taps, of.heads)?,
            Fusion::Add { order } | Fusion::GatedAdd { order } | Fusion::Convex { order } => {
                self.add(p, h_btd, point, taps, *order, seen)?
            }
        };
        p.leave();
        Ok(h)
    }

    /// Features are added row by row.
    fn add(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        taps: &[Tap],
        order: FusionOrder,
        seen: &mut Vec<PointGates>,
    ) -> Result<Tensor, ModelError> {
        let (h, gates) = match order {
            FusionOrder::Parallel => self.update(p, h_btd, point, taps)?,
            FusionOrder::Sequential => {
                let (mut h, mut gates) = (h_btd, Vec::with_capacity(taps.len()));
                for tap in taps {
                    let (next, gate) = self.update(p, h, point, std::slice::from_ref(tap))?;
                    h = next;
                    gates.push(gate);
                }
                (h, p.graph.concat(&gates, 1)?)
            }
        };
        if !matches!(self.injection.of.gate, Gate::None {}) {
            seen.push(PointGates { point, taps: taps.to_vec(), gates });
        }
        Ok(h)
    }

    /// One update by some taps at once: the new hidden state and the gate values.
    fn update(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        taps: &[Tap],
    ) -> Result<(Tensor, Tensor), ModelError> {
        let v_kbnd = self.features(point)?.select(p, point, taps)?;
        let norm_eps = self.recipe.model.language.norm_eps;
        let masks = PoolMasks { hidden: self.pool_mask, visual: self.token_mask };
        let gates = weights(p, self.injection, h_btd, v_kbnd, masks, (point, taps), norm_eps)?;
        let channel = p.graph.shape(gates).len() == 3;
        let convex = matches!(self.injection.of.fusion, Fusion::Convex { .. });
        let index = self.image_index.ok_or_else(|| missing(point, "visual tokens"))?;
        let h = p.graph.one(AgfInject { convex, channel }, &[h_btd, gates, v_kbnd, index])?;
        Ok((h, gates))
    }

    /// Positions read the features of all taps, one tap after the other.
    fn read(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        taps: &[Tap],
    ) -> Result<Tensor, ModelError> {
        let model = &self.recipe.model;
        let Fusion::CrossAttention(of) = &self.injection.of.fusion else { return Ok(h_btd) };
        let rows = taps.len() * model.visual_tokens();
        let features = match &self.features {
            None => None,
            Some(features) => {
                let v_kbnd = features.select(p, point, taps)?;
                let [batch, width] = [p.graph.shape(v_kbnd)[1], p.graph.ty(v_kbnd).last()];
                let v_bknd = p.graph.transpose(v_kbnd, &[1, 0, 2, 3])?;
                Some(p.graph.reshape(v_bknd, &[batch, rows, width])?)
            }
        };
        let layer = CrossLayer {
            of,
            prefix: self.injection.prefix(),
            point,
            rows,
            norm_eps: model.language.norm_eps,
            cache: self.cache,
        };
        layer.apply(p, h_btd, features, self.text_mask)
    }

    /// Visual tokens read the patches of their own windows, of all taps.
    fn read_windows(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        taps: &[Tap],
        heads: usize,
    ) -> Result<Tensor, ModelError> {
        let Adapter::Windows { hidden } = self.injection.of.adapter else {
            return Err(missing(point, "windows"));
        };
        let v_kbnd = self.features(point)?.select(p, point, taps)?;
        let index = self.image_index.ok_or_else(|| missing(point, "visual tokens"))?;
        let tokens = p.graph.one(GatherRows, &[h_btd, index])?;
        let shape = p.graph.shape(v_kbnd).to_vec();
        let mut windows = Vec::with_capacity(taps.len());
        for tap in 0..taps.len() {
            let own = p.graph.slice(v_kbnd, 0, tap, 1)?;
            windows.push(p.graph.reshape(own, &shape[1..])?);
        }
        let reader = WindowReader { part: Part::Fusion, hidden, heads };
        let tokens = reader.layer(
            p,
            &format!("{}.fusion.{}", self.injection.prefix(), point.name()),
            tokens,
            &windows,
        )?;
        Ok(p.graph.one(ScatterRows { mode: ScatterMode::Set }, &[h_btd, index, tokens])?)
    }

    fn features(&self, point: PointAddress) -> Result<&Features, ModelError> {
        self.features.as_ref().ok_or_else(|| missing(point, "features"))
    }
}

fn missing(point: PointAddress, what: &str) -> ModelError {
    ModelError::Incomplete(format!("an injection at `{point}` has no {what}"))
}
