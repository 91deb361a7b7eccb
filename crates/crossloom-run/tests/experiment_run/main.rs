//! Whole experiments on generated data, through the library: files, resume, stops, failures, learning.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adapters;
mod bad_input;
#[path = "../../../crossloom-report/tests/support/browser.rs"]
mod browser;
mod conversations;
mod engine;
mod events;
mod export;
mod finished;
mod leaks;
mod learning;
mod methods;
mod metric;
mod models;
mod page;
mod parts;
mod pictures;
mod pretrained;
mod questions;
mod sentences;
mod stages;
mod stops;
mod streamed;
mod support;
mod tokens;
mod verified;
