//! The training loop and its checkpoints, driven through a tiny model that obeys the traits exactly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corruption;
mod crash;
mod fake;
mod resume;
mod trainer;
