//! What `verify` says: nothing of all shipped recipes, and the edge of every bug that is planted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bugs;
mod layout;
mod planted;
mod scales;
mod settings;
mod shipped;
mod support;
