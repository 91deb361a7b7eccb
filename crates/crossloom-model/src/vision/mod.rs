//! Vision towers.

mod embeddings;
mod positions;
mod rotary;
mod states;
mod taps;
mod tower;
mod views;

pub(crate) use states::States;
pub use states::VisionState;
pub(crate) use taps::{side_by_side, summary, tap};
pub use taps::{states_of, tapped};
use tower::Tower;
pub(crate) use tower::activation;
