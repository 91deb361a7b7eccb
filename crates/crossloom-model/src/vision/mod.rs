//! Vision towers.

mod embeddings;
mod positions;
mod rotary;
mod states;
mod tower;

pub(crate) use states::States;
pub use states::tapped;
use tower::Tower;
pub(crate) use tower::activation;
