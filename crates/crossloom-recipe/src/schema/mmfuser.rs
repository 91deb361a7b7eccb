//! A vision state that is refined by others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VisionAddress;

/// `q ← q + γ₁ ⊙ (a + γ₂ ⊙ DA(norm a))` with `a = DA(norm q, norm [states])`, of MMFuser: deformable attention DA reads a few points
/// around each patch, places and shares of which the patch itself says. Both γ begin at zero, so that a fused state begins as `query`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MmFuser {
    /// The state that is refined.
    pub query: VisionAddress,
    /// The states that it reads.
    #[schemars(with = "super::address::VisionSet")]
    pub of: Vec<VisionAddress>,
    /// Heads of both attentions; they must divide the encoder's width. Default: the encoder's.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Points that a head reads of one state.
    #[schemars(range(min = 1, max = 64), extend("default" = 4))]
    pub points: usize,
}
