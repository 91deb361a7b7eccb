//! Functions as text: filetests, random ones, and that all text reads back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod filetests;
mod random_programs;
mod text_corpus;
