//! Vision towers.

mod embeddings;
mod tower;

pub(crate) use tower::{Tower, activation};
