//! A server on real sockets, as its clients meet it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
#[expect(dead_code, reason = "a report is also drawn, and opened from a file")]
#[path = "../../../crossloom-report/tests/support/browser.rs"]
mod browser;
mod connections;
mod fuzz;
mod page;
mod refusals;
mod streams;
mod support;
mod trials;
