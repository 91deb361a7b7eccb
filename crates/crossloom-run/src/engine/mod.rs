//! The generation engine: one thread owns a model's sessions and answers requests, many at a time.
//!
//! ```text
//! Card::chat ─▶ Prompt ─▶ Request ─▶ Client::submit ─▶ Queue ─▶ engine's thread ─▶ Event, Event, … ─▶ Running
//! templates, tokens, pictures: the client's thread        one prefill chunk, one decode of all live slots, sampling
//! ```
//!
//! A request has a *slot*: keys and values of all positions that prompt and answer may take, and those of its picture where layers
//! read it by cross-attention. It is taken only where that fits, so nothing is ever thrown out. Each round reads at most one call of
//! prompts, of one or of several short ones, then decodes one token of every request that is read, then draws (*continuous batching*). A request's numbers have the
//! same bits whoever shares its rounds. Questions about the same pictures may share a slot, as an evaluation's do: these are read once.
//! An engine has a thread of its own, or runs in place (`InPlace`) where its model belongs to a training.

mod card;
mod client;
mod in_place;
mod intake;
mod live;
mod load;
mod queue;
mod request;
mod sampler;
mod sampling;
mod served;
mod slots;
mod stops;
#[cfg(feature = "testing")]
pub mod testing;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

pub use card::{Card, Prompt, PromptError};
pub use client::{Answer, Client, Refused, Running, Stats};
pub use request::{Event, GateValue, Reason, Request, Token, Usage};
pub use sampling::{BadSampling, Sampling};
pub use served::Served;

pub(crate) use card::Question;
pub(crate) use in_place::InPlace;
pub(crate) use intake::Intake;

use crate::ExperimentError;
use crate::backends::Resources;
use load::Parts;
use queue::{Found, Queue};
use slots::Slots;

/// How much an engine does at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that are answered at once (default 4).
    pub slots: usize,
    /// Positions of a slot: prompt, pictures and answer. By default 2048, or what the language model has if that is less.
    pub positions: Option<usize>,
    /// The most pictures of a prompt, where a model reads several (default 4).
    pub pictures: usize,
    /// Requests that wait for a slot, at most (default 64).
    pub queue: usize,
    /// Where it runs, how much memory it may take, and how much of pictures' features is held.
    pub resources: Resources,
}

impl Default for Limits {
    fn default() -> Self {
        Self { slots: 4, positions: None, pictures: 4, queue: 64, resources: Resources::default() }
    }
}

/// A model that answers. Dropping it ends what runs; its clients are told.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Compiles a model, takes the memory of its slots, and waits for requests.
    ///
    /// # Errors
    /// A model that cannot be loaded or compiled, or limits that it cannot have; memory that does not suffice, before any is taken.
    pub fn start(served: Served, limits: Limits) -> Result<Self, ExperimentError> {
        Self::over(load::load(served, &limits)?, limits.queue)
    }

    /// Over a model that is loaded.
    fn over(parts: Parts, queue: usize) -> Result<Self, ExperimentError> {
        let Parts { model, intake } = parts;
        let queue = Arc::new(Queue::new(queue, model.phases.slots()));
        let client = Client { card: Arc::clone(&intake.card), queue: Arc::clone(&queue) };
        let work = move || {
            let mut model = model;
            answer(Slots::new(&mut model.phases, &model.gates, intake, queue));
        };
        let thread = Builder::new().name("engine".to_owned()).spawn(work);
        let thread = thread.map_err(|error| {
            ExperimentError::request(format!("no thread can be started: {error}"), "end other programs")
        })?;
        Ok(Self { client, thread: Some(thread) })
    }

    /// A way to it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Takes no new requests, answers those that it has, and ends.
    ///
    /// # Errors
    /// Its thread ended by itself before.
    pub fn finish(mut self) -> Result<(), ExperimentError> {
        self.client.queue.close(false);
        self.end()
    }

    fn end(&mut self) -> Result<(), ExperimentError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| {
            ExperimentError::request(
                "the engine's thread ended by itself",
                "this is a bug: its log says where",
            )
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.client.queue.close(true);
        if let Err(error) = self.end() {
            tracing::error!(%error, "engine");
        }
    }
}

/// What the engine's thread does until nothing more is asked.
fn answer(mut slots: Slots<'_>) {
    let queue = Leaving(slots.queue());
    loop {
        match queue.0.take(slots.free(), slots.is_idle()) {
            Found::End => break,
            Found::Stop => {
                slots.abandon("the engine was stopped");
                break;
            }
            Found::Some(asked) => slots.admit(asked),
        }
        // Inside the pool, so that kernels do not wait for it at every step.
        rayon::scope(|_| slots.round());
    }
}

/// Tells those who wait that nothing more comes, however the thread ends.
struct Leaving(Arc<Queue>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests;
