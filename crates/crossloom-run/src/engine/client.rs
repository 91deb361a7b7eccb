//! The way to an engine, from any thread.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::queue::Queue;
use super::{BadSampling, Card, Event, GateValue, Reason, Request, Token, Usage};
use crate::ExperimentError;

/// What an engine was asked and did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Requests that it can answer at once.
    pub slots: usize,
    /// Requests that are being answered.
    pub live: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// The most that may wait.
    pub queue: usize,
    /// Requests that were answered.
    pub done: u64,
    /// Requests whose client left.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Positions of prompts that were read.
    pub tokens_in: u64,
    /// Tokens that were told.
    pub tokens_out: u64,
    /// Calls that read prompts, or chunks of them.
    pub prefills: u64,
    /// Decodes of all live requests.
    pub rounds: u64,
    /// Pictures that the vision encoder saw.
    pub pictures_encoded: u64,
    /// Pictures whose features were still held.
    pub pictures_held: u64,
    /// Seconds in which something was computed.
    pub busy_seconds: f64,
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Too many wait. It may be tried again.
    #[error("{waiting} requests wait already")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// The engine takes no more.
    #[error("the engine is stopping")]
    Closed,
    /// Prompt and answer have no room in a slot, and never will.
    #[error("the prompt has {prompt} tokens and the answer may have {answer}; there is room for {room}")]
    TooLong {
        /// Positions of the prompt, pictures included.
        prompt: usize,
        /// Tokens of the answer.
        answer: usize,
        /// Positions of a slot.
        room: usize,
    },
    /// Another number of pictures than the model reads.
    #[error("{given} pictures are given; the model reads {least} at least and {most} at most")]
    Pictures {
        /// How many.
        given: usize,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Pictures that lie too far apart for the chunks in which prompts are read: a gate pools the hidden state over all of them.
    #[error(
        "the pictures take {positions} positions with what stands between them; {most} are read at once, and a gate pools all of \
         them"
    )]
    Stretch {
        /// From the first visual token to the last.
        positions: usize,
        /// Positions of a chunk.
        most: usize,
    },
    /// A token that no row of the embedding has.
    #[error("token {id} is outside the vocabulary of {size}")]
    Vocabulary {
        /// The token.
        id: i32,
        /// How many there are.
        size: usize,
    },
    /// Requests that are to share a slot, and cannot: they do not begin alike, or they are too many.
    #[error(
        "{given} requests are to share a slot, which at most {most} may that begin with the same pictures"
    )]
    Apart {
        /// How many.
        given: usize,
        /// The most.
        most: usize,
    },
    /// There is nothing to read, or to answer.
    #[error("{0}")]
    Empty(&'static str),
    /// Sampling that cannot be followed.
    #[error(transparent)]
    Sampling(#[from] BadSampling),
    /// Texts that end an answer: an empty one, or too many of them.
    #[error("{0}")]
    Stop(String),
    /// More log-probabilities than are told.
    #[error("{asked} log-probabilities are asked for; {most} are the most")]
    Logprobs {
        /// How many.
        asked: usize,
        /// The most.
        most: usize,
    },
}

impl From<Refused> for ExperimentError {
    fn from(refused: Refused) -> Self {
        let help = match refused {
            Refused::Full { .. } => "ask again when others have their answers",
            Refused::Closed => "start the engine again",
            Refused::TooLong { .. } => "ask for a shorter answer, or with a shorter prompt",
            Refused::Stretch { .. } => "read prompts at once, or in longer chunks (--prefill-chunk)",
            _ => "change the request",
        };
        Self::request(refused.to_string(), help)
    }
}

/// The way to an engine.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) card: Arc<Card>,
    pub(super) queue: Arc<Queue>,
}

impl Client {
    /// What the model reads and is.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Asks. Never waits: what has no free slot waits in the engine's queue.
    ///
    /// # Errors
    /// What can never be answered, a full queue, or an engine that stops. [`Refused::Full`] alone may be tried again.
    pub fn submit(&self, request: Request) -> Result<Running, Refused> {
        let running = self.submit_together(vec![request])?;
        running.into_iter().next().ok_or(Refused::Empty("nothing is asked"))
    }

    /// Asks several questions about the same pictures, which share a slot: what their prompts begin with is read once, and none sees another.
    /// Their answers are those of questions that are asked alone, but for the rounding of sums, whose terms lie at other places.
    ///
    /// # Errors
    /// As [`Client::submit`], of any of them; prompts that do not begin alike up to the end of their last picture.
    pub fn submit_together(&self, requests: Vec<Request>) -> Result<Vec<Running>, Refused> {
        self.card.admits_together(&requests)?;
        self.queue.put(requests)
    }

    /// What the engine did.
    pub fn stats(&self) -> Stats {
        self.queue.stats()
    }
}

/// A request that was taken. Dropping it cancels it.
#[derive(Debug)]
pub struct Running {
    events: UnboundedReceiver<Event>,
    /// What [`Running::try_answer`] has heard so far.
    heard: Heard,
}

/// An answer as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its tokens, without its end.
    pub ids: Vec<i32>,
    /// The prompt's own tokens, where these were asked for.
    pub prompt: Vec<Token>,
    /// Its text, without a text that ended it.
    pub text: String,
    /// The log-probability of every token, where they were asked for.
    pub logprobs: Vec<f32>,
    /// The gates, where they were asked for.
    pub gates: Option<Vec<GateValue>>,
    /// Why it ended.
    pub reason: Reason,
    /// What it took.
    pub usage: Usage,
}

/// What was told of an answer so far.
#[derive(Debug, Default)]
struct Heard {
    ids: Vec<i32>,
    prompt: Vec<Token>,
    text: String,
    logprobs: Vec<f32>,
    gates: Option<Vec<GateValue>>,
}

impl Heard {
    /// Takes one more event; the answer, where it was the last.
    fn add(&mut self, event: Event) -> Option<Result<Answer, String>> {
        match event {
            Event::Started { prompt, gates, .. } => (self.prompt, self.gates) = (prompt, gates),
            Event::Token(token) => {
                self.ids.push(token.id);
                self.text.push_str(&token.text);
                self.logprobs.extend(token.logprob);
            }
            Event::Done { text: rest, reason, usage, .. } => {
                let Self { ids, prompt, mut text, logprobs, gates } = std::mem::take(self);
                text.push_str(&rest);
                return Some(Ok(Answer { ids, prompt, text, logprobs, gates, reason, usage }));
            }
            Event::Failed(problem) => return Some(Err(problem)),
        }
        None
    }
}

/// What is said where no more events come.
const GONE: &str = "the engine stopped before the answer was there";

impl Running {
    pub(super) fn new(events: UnboundedReceiver<Event>) -> Self {
        Self { events, heard: Heard::default() }
    }

    /// The next event; none behind the last, or where the engine is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, for those that write their own futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }

    /// Waits for the next event on this thread, which must not be one of an asynchronous runtime.
    pub fn wait(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }

    /// Waits for the whole answer on this thread, as [`Running::wait`] does.
    ///
    /// # Errors
    /// What failed.
    pub fn answer(mut self) -> Result<Answer, String> {
        while let Some(event) = self.wait() {
            if let Some(answer) = self.heard.add(event) {
                return answer;
            }
        }
        Err(GONE.to_owned())
    }

    /// The whole answer, or what failed, where it is there by now; never waits.
    pub fn try_answer(&mut self) -> Option<Result<Answer, String>> {
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    if let Some(answer) = self.heard.add(event) {
                        return Some(answer);
                    }
                }
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(Err(GONE.to_owned())),
            }
        }
    }
}
