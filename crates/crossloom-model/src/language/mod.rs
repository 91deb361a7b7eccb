//! Language models.

mod decoder;
mod memory;
mod positions;

pub(crate) use decoder::{Sequence, decoder_layer, embed_tokens, predict, scaled};
pub(crate) use memory::{Cache, Memory};
pub(crate) use positions::turned_by;
