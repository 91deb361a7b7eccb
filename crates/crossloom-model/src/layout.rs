//! From the tokens of views, one list of a batch, to those of its rows.
//!
//! A view is an image that the encoder reads: a whole picture, or a tile of one. Rows of a batch have as many as their pictures need,
//! so what the encoder, the projector and the adapters compute, they compute view by view. Where the tokens then stand, which of them
//! show nothing and are left out, and which are made of several, is linear in them and the same for the input and for every tap: it
//! is data, two inputs `[B, N, P]`.

use crossloom_graph::Tensor;
use crossloom_ir::op::{BinaryKind, MixRows, ToFloat};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Part, Recipe};

use crate::params::Params;
use crate::{BatchShape, Init, ModelError, inputs};

/// The learned token at the end of a row of tiles' tokens.
const ROW_END: &str = "image_newline";

/// What the visual tokens of a batch's rows are made of.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// `[B, N, P]` i32.
    rows: Tensor,
    /// `[B, N, P]`.
    weights: Tensor,
}

impl Layout {
    /// That of a batch whose views are counted; none where row `b` has the tokens of view `b`.
    ///
    /// # Errors
    /// A topology that reads one whole picture of every row.
    pub(crate) fn declare(
        p: &mut Params,
        recipe: &Recipe,
        shape: BatchShape,
    ) -> Result<Option<Self>, ModelError> {
        let Some(views) = shape.views else { return Ok(None) };
        if let Some((path, why)) = recipe.topology.needs_one_picture().first() {
            return Err(ModelError::Incomplete(format!(
                "rows with several pictures, or none, do not fit `{path}`: {why}"
            )));
        }
        let parts = [shape.batch, views.tokens, inputs::VISUAL_PARTS];
        let rows = p.graph.param(inputs::VISUAL_ROWS, Role::Input, TensorType::i32(parts));
        let weights = p.graph.param(inputs::VISUAL_WEIGHTS, Role::Input, TensorType::f32(parts));
        Ok(Some(Self { rows, weights }))
    }

    /// The visual tokens of views `[V, n, D]` as those of rows, `[B, N, D]`.
    pub(crate) fn visual(
        &self,
        p: &mut Params,
        visual: Tensor,
        recipe: &Recipe,
    ) -> Result<Tensor, ModelError> {
        let shape = p.graph.shape(visual).to_vec();
        p.enter("projector.layout");
        let end = if recipe.model.vision.anyres.is_some() {
            let std = (shape[2] as f64).sqrt().recip();
            p.param(Part::Projector, ROW_END, &[shape[2]], Init::Uniform { std })
        } else {
            p.graph.constant(0.0, &[shape[2]])?
        };
        let list = p.graph.reshape(visual, &[1, shape[0] * shape[1], shape[2]])?;
        let mixed = p.graph.one(MixRows, &[list, end, self.rows, self.weights])?;
        let shape = p.graph.shape(mixed)[1..].to_vec();
        let visual = p.graph.reshape(mixed, &shape)?;
        p.leave();
        Ok(visual)
    }

    /// The features of taps of views `[K, V, n, D]` as those of rows, `[K, B, N, D]`; zeros at the ends of rows.
    pub(crate) fn features(&self, p: &mut Params, features: Tensor) -> Result<Tensor, ModelError> {
        let shape = p.graph.shape(features).to_vec();
        p.enter("layout");
        let end = p.graph.constant(0.0, &[shape[3]])?;
        let list = p.graph.reshape(features, &[shape[0], shape[1] * shape[2], shape[3]])?;
        let mixed = p.graph.one(MixRows, &[list, end, self.rows, self.weights])?;
        p.leave();
        Ok(mixed)
    }
}

/// 1 for every token that has a position in `index [B, N]`, where -1 says that one has none.
pub(crate) fn placed(p: &mut Params, index: Tensor) -> Result<Tensor, ModelError> {
    let shape = p.graph.shape(index).to_vec();
    let index = p.graph.one(ToFloat, &[index])?;
    let none = p.graph.constant(-0.5, &shape)?;
    Ok(p.graph.binary(BinaryKind::LessThan, none, index)?)
}
