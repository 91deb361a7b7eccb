//! Writing gated features into the hidden state at a point.

use crossloom_graph::Tensor;
use crossloom_ir::op::AgfInject;
use crossloom_recipe::{FusionKind, FusionOrder, Gate, PointAddress, TopologySpec, VisionAddress};

use super::adapter::Features;
use super::gate::weights;
use crate::ModelError;
use crate::params::Params;

/// Everything an injection needs at every point.
pub(crate) struct Injector<'r> {
    pub(crate) spec: &'r TopologySpec,
    pub(crate) features: Features,
    /// Every point with the taps that feed it.
    pub(crate) points: Vec<(PointAddress, Vec<VisionAddress>)>,
    /// `[B, N]` positions of the visual tokens.
    pub(crate) image_index: Tensor,
    /// `[B, T]` positions AGF pools over.
    pub(crate) pool_mask: Tensor,
}

/// The gate values at one point, in the order of its taps: `[B, K]` or `[B, K, D]`.
pub(crate) struct PointGates {
    pub(crate) point: PointAddress,
    pub(crate) taps: Vec<VisionAddress>,
    pub(crate) gates: Tensor,
}

impl Injector<'_> {
    /// The hidden state after the injection at `point`; unchanged where nothing is wired to it. Adds the point's gate
    /// values to `seen`.
    pub(crate) fn inject(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        seen: &mut Vec<PointGates>,
    ) -> Result<Tensor, ModelError> {
        let Some((_, taps)) = self.points.iter().find(|(at, taps)| *at == point && !taps.is_empty()) else {
            return Ok(h_btd);
        };
        p.enter(&format!("inject.{}", point.name()));
        let (h, gates) = match self.spec.fusion.order {
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
        p.leave();
        if !matches!(self.spec.gate, Gate::None {}) {
            seen.push(PointGates { point, taps: taps.clone(), gates });
        }
        Ok(h)
    }

    /// One update by some taps at once: the new hidden state and the gate values.
    fn update(
        &self,
        p: &mut Params,
        h_btd: Tensor,
        point: PointAddress,
        taps: &[VisionAddress],
    ) -> Result<(Tensor, Tensor), ModelError> {
        let v_kbnd = self.features.select(p, point, taps)?;
        let gates = weights(p, &self.spec.gate, h_btd, v_kbnd, self.pool_mask, point, taps)?;
        let channel = p.graph.shape(gates).len() == 3;
        let convex = self.spec.fusion.kind == FusionKind::Convex;
        let h = p.graph.one(AgfInject { convex, channel }, &[h_btd, gates, v_kbnd, self.image_index])?;
        Ok((h, gates))
    }
}
