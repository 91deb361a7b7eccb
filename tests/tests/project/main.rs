//! What holds of the project's own files.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod snapshots;
mod targets;
