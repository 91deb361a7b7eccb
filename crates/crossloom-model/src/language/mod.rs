//! Language models.

mod decoder;

pub(crate) use decoder::{Sequence, decoder_layer, embed_tokens, predict};
