//! A vector of what is asked, for what depends on the question.

use crossloom_graph::Tensor;
use crossloom_ir::op::BinaryKind;
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Conditioning, Recipe};

use crate::build::vocabulary;
use crate::language::embed_tokens;
use crate::params::Params;
use crate::{ModelError, inputs};

/// The question's vector `[B, E]` of every row; none where nothing asks for one. `ids [B, T]` are the row's tokens, if the graph has
/// them already.
pub(crate) fn question(
    p: &mut Params,
    recipe: &Recipe,
    ids: Option<Tensor>,
    [batch, tokens]: [usize; 2],
    vocab: usize,
) -> Result<Option<Tensor>, ModelError> {
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    match recipe.topology.conditioning {
        Conditioning::None {} => Ok(None),
        Conditioning::Sentence { width, .. } | Conditioning::Precomputed { width, .. } => {
            Ok(Some(input(inputs::QUESTION_VECTOR, TensorType::f32([batch, width]))))
        }
        Conditioning::Embeddings {} => {
            let vocab = vocabulary(recipe, vocab)?;
            let ids = ids.unwrap_or_else(|| input(inputs::TOKENS, TensorType::i32([batch, tokens])));
            let mask = input(inputs::QUESTION_MASK, TensorType::f32([batch, tokens]));
            p.enter_at("language.question");
            let mean = mean_embedding(p, recipe, ids, mask, vocab)?;
            p.leave();
            Ok(Some(mean))
        }
    }
}

/// The mean of the token embeddings `[B, D]` where the mask `[B, T]` is 1.
fn mean_embedding(
    p: &mut Params,
    recipe: &Recipe,
    ids: Tensor,
    mask: Tensor,
    vocab: usize,
) -> Result<Tensor, ModelError> {
    let embedded = embed_tokens(p, ids, &recipe.model.language, vocab)?;
    let shape = p.graph.shape(embedded).to_vec();
    let spread = p.graph.broadcast(mask, &shape, &[0, 1])?;
    let kept = p.graph.mul(spread, embedded)?;
    let sum = p.graph.reduce_sum(kept, &[1])?;
    let count = p.graph.reduce_sum(mask, &[1])?;
    // A row without a question has the sum of nothing, and not its mean.
    let one = p.graph.constant(1.0, &shape[..1])?;
    let none = p.graph.binary(BinaryKind::LessThan, count, one)?;
    let count = p.graph.add(count, none)?;
    let count = p.graph.broadcast(count, &[shape[0], shape[2]], &[0])?;
    Ok(p.graph.div(sum, count)?)
}
