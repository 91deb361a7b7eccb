//! Vision towers.

mod embeddings;
mod positions;
mod rotary;
mod states;
mod taps;
mod tower;

pub(crate) use states::States;
pub use states::VisionState;
pub use taps::tapped;
pub(crate) use taps::{side_by_side, summary, tap};
use tower::Tower;
pub(crate) use tower::activation;
