//! Vision towers.

mod embeddings;
mod positions;
mod states;
mod tower;

pub(crate) use states::States;
use tower::Tower;
pub(crate) use tower::activation;
