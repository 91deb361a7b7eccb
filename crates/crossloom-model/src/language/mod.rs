//! Language models.

mod decoder;
mod memory;
mod positions;

pub(crate) use decoder::{
    Sequence, Sublayer, decoder_layer, embed_tokens, head_norm, predict, scaled, swiglu,
};
pub(crate) use memory::{Cache, Memory};
pub(crate) use positions::turned_by;
