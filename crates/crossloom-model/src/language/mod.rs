//! Language models.

mod decoder;
mod memory;

pub(crate) use decoder::{Sequence, decoder_layer, embed_tokens, predict};
pub(crate) use memory::{Cache, Memory};
