//! Vision towers.

mod embeddings;
mod positions;
mod states;
mod tower;

pub(crate) use states::States;
pub use states::tapped;
use tower::Tower;
pub(crate) use tower::activation;
