//! Conversations as a stream: what is in a batch, in which order batches come, and what becomes of samples that cannot be used.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod buckets;
mod layout;
mod order;
mod support;
