//! A trained model behind an HTTP interface that OpenAI's clients speak.
//!
//! [`router`] is the interface, over the client of an engine, which batches what all connections ask.
//! [`serve`] lets connections in, bounds them, and ends them; [`run`] is both for a program that is not asynchronous. Everything that a request may make the process hold is bounded by
//! [`Limits`]; no address that a request names is fetched, and nothing of its body is logged.
//!
//! Reading order: `request` (from bytes to what an engine is asked) → `answer` (from what it tells to a response) → `http` (paths,
//! access, connections). `error` is everything that a client can be told instead.

mod answer;
mod error;
mod http;
mod request;
mod settings;

pub use error::{ApiError, Problem};
pub use http::{Stop, Stopped, router, run, serve, stop};
pub use settings::{Access, Limits};
