//! Keys and values of earlier positions: where decoder layers find what they attend to.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Attention, CacheWrite, CachedAttention};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::LanguageModel;

use crate::params::Params;
use crate::{CacheShape, ModelError, StepShape, caches, inputs};

/// What the attention of a decoder layer runs over.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    /// The sequence of the graph itself, with a segment `[B, T]` per position.
    Sequence { segments: Tensor },
    /// A cache, to which the positions of the graph are appended.
    Cache(Cache),
}

/// A cache under construction: where the graph's positions go, and the segments of all that it holds then.
#[derive(Clone, Copy)]
pub(crate) struct Cache {
    shape: CacheShape,
    /// Slot, start and count, each `[B]`.
    place: [Tensor; 3],
    /// `[S, C]`, with those of the graph's positions.
    segments: Tensor,
}

impl Cache {
    /// Declares the inputs that say where, and appends the segments `[B, T]`.
    pub(crate) fn declare(p: &mut Params, step: StepShape, segments: Tensor) -> Result<Self, ModelError> {
        let row = || TensorType::i32([step.rows]);
        let place =
            [inputs::SLOT, inputs::START, inputs::COUNT].map(|name| p.graph.param(name, Role::Input, row()));
        Self { shape: step.cache, place, segments }.with(p, caches::SEGMENTS, segments)
    }

    /// The same places with other segments `[B, T]`, appended to those of that name.
    pub(crate) fn with(self, p: &mut Params, name: &str, segments: Tensor) -> Result<Self, ModelError> {
        let CacheShape { slots, capacity } = self.shape;
        let held = p.graph.param(name, Role::State, TensorType::i32([slots, capacity]));
        p.enter("language.cache");
        let segments = append(p, held, segments, self.place)?;
        p.leave();
        Ok(Self { segments, ..self })
    }

    /// `[B]`: the sequence of the cache that a row goes on with.
    pub(crate) fn slot(&self) -> Tensor {
        self.place[0]
    }

    /// Appends rows `[B, T, W]` to the cache of that name.
    fn extend(&self, p: &mut Params, name: &str, rows: Tensor) -> Result<Tensor, ModelError> {
        let width = p.graph.ty(rows).last();
        let ty = TensorType::f32([self.shape.slots, self.shape.capacity, width]);
        let held = p.graph.param(name, Role::State, ty);
        append(p, held, rows, self.place)
    }
}

/// The cache with the rows; it is updated with it.
fn append(
    p: &mut Params,
    held: Tensor,
    rows: Tensor,
    [slot, start, count]: [Tensor; 3],
) -> Result<Tensor, ModelError> {
    let new = p.graph.one(CacheWrite, &[held, rows, slot, start, count])?;
    p.graph.update(held, new);
    Ok(new)
}

impl Memory {
    /// Attention of `q [B, T, heads hd]` over the keys and values `[B, T, kv_heads hd]` of the same positions and, with a
    /// cache, those before them.
    pub(crate) fn attend(
        &self,
        p: &mut Params,
        [q, k, v]: [Tensor; 3],
        model: &LanguageModel,
        layer: usize,
    ) -> Result<Tensor, ModelError> {
        let (heads, kv_heads) = (model.heads, model.kv_heads);
        let scale = model.attention_scale();
        match self {
            Self::Sequence { segments } => {
                let op = Attention { heads, kv_heads, causal: true, segments: true, scale };
                Ok(p.graph.one(op, &[q, k, v, *segments])?)
            }
            Self::Cache(cache) => {
                let keys = cache.extend(p, &caches::key(layer), k)?;
                let values = cache.extend(p, &caches::value(layer), v)?;
                let op = CachedAttention { heads, kv_heads, segments: true, scale };
                let [slot, start, count] = cache.place;
                Ok(p.graph.one(op, &[q, keys, values, cache.segments, slot, start, count])?)
            }
        }
    }
}
