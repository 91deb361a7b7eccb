//! A sentence encoder: word pieces to one vector per text, by a post-norm transformer as BERT is.
//!
//! It is a model of its own, which no recipe's model holds: its vectors are what such a model is given. Parameters have the names that
//! BERT's files have for them, behind `text_encoder.`.

mod block;
mod pool;

use crossloom_graph::Tensor;
use crossloom_ir::op::{Embedding, LayerNorm};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Part, TextEncoder};

use crate::build::finish;
use crate::params::Params;
use crate::{Init, ModelError, ModelGraph, inputs};
use block::block;
use pool::pool;

/// The name of the result.
pub const SENTENCE: &str = "sentence";
/// What the names of all parameters begin with.
const PREFIX: &str = "text_encoder";

/// `rows` texts of at most `tokens` pieces to their vectors. Inputs: `tokens` `[B, T]`, each text's from the first position on, with
/// the pieces that begin and end it; `segments` `[B, T]`, 0 where there is a piece and -1 behind the last; `pool_mask` `[B, T]`, 1
/// where there is a piece and 0 behind the last. Result: [`SENTENCE`] `[B, D]`, zeros in a row without a piece.
///
/// # Errors
/// More tokens than the encoder has positions; heads that do not divide its width.
pub fn encode_texts(encoder: &TextEncoder, rows: usize, tokens: usize) -> Result<ModelGraph, ModelError> {
    if tokens > encoder.max_positions {
        let problem =
            format!("a text of {tokens} tokens has no positions: there are {}", encoder.max_positions);
        return Err(ModelError::Incomplete(problem));
    }
    let mut p = Params::named("text encoder");
    let mut input = |name: &str, ty: TensorType| p.graph.param(name, Role::Input, ty);
    let ids = input(inputs::TOKENS, TensorType::i32([rows, tokens]));
    let segments = input(inputs::SEGMENTS, TensorType::i32([rows, tokens]));
    let mask = input(inputs::POOL_MASK, TensorType::f32([rows, tokens]));
    p.enter("text");
    p.enter("embed");
    let mut x = embed(&mut p, ids, encoder)?;
    p.leave();
    for layer in 0..encoder.layers {
        p.enter(&format!("block.{}", layer + 1));
        x = block(&mut p, x, segments, encoder, layer)?;
        p.leave();
    }
    p.enter("pool");
    let sentence = pool(&mut p, x, mask, encoder.normalized)?;
    p.leave();
    p.leave();
    p.graph.result(SENTENCE, sentence);
    Ok(finish(p, Vec::new()))
}

/// What enters the first block, `[B, T, D]`: piece, place and type, and the norm over them.
fn embed(p: &mut Params, ids: Tensor, encoder: &TextEncoder) -> Result<Tensor, ModelError> {
    let (prefix, width) = (format!("{PREFIX}.embeddings"), encoder.hidden);
    let (rows, tokens) = (p.graph.shape(ids)[0], p.graph.shape(ids)[1]);
    let mut table = |name: &str, extent: usize| {
        let name = format!("{prefix}.{name}.weight");
        p.param(Part::Language, &name, &[extent, width], Init::Uniform { std: 0.02 })
    };
    let words = table("word_embeddings", encoder.vocab_size);
    let places = table("position_embeddings", encoder.max_positions);
    let types = table("token_type_embeddings", encoder.types);
    let mut x = p.graph.one(Embedding, &[words, ids])?;
    // A text alone is of the first type, and begins at the first place.
    for (table, extent) in [(types, 1), (places, tokens)] {
        let own = p.graph.slice(table, 0, 0, extent)?;
        let shape = [rows, tokens, width];
        let own = if extent == 1 {
            let own = p.graph.reshape(own, &[width])?;
            p.graph.broadcast(own, &shape, &[2])?
        } else {
            p.graph.broadcast(own, &shape, &[1, 2])?
        };
        x = p.graph.add(x, own)?;
    }
    norm(p, x, &format!("{prefix}.LayerNorm"), encoder)
}

fn norm(p: &mut Params, x: Tensor, prefix: &str, encoder: &TextEncoder) -> Result<Tensor, ModelError> {
    let [gain, offset] = p.layer_norm(Part::Language, prefix, encoder.hidden);
    Ok(p.graph.one(LayerNorm { eps: encoder.norm_eps }, &[x, gain, offset])?)
}
