//! Requests in their slots.

use crossloom_data::tokenizer::{TextStream, TokenizerError};
use tokio::sync::mpsc::UnboundedSender;

use super::queue::Asked;
use super::sampler::{Sampler, log_probabilities};
use super::stops::{Stops, Told};
use super::{Card, Event, GateValue, Reason, Request, Token, Usage};

/// A slot in use: a sequence of the cache.
#[derive(Debug)]
pub(super) struct Sequence {
    /// Which.
    pub(super) slot: usize,
    /// Positions that it holds.
    pub(super) held: usize,
    /// The requests that share it and are not answered yet.
    pub(super) open: Vec<Live>,
}

impl Sequence {
    pub(super) fn new(asked: Vec<Asked>, slot: usize) -> Self {
        Self { slot, held: 0, open: asked.into_iter().map(Live::new).collect() }
    }
}

/// A request that has a slot, or a share of one.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) request: Request,
    events: UnboundedSender<Event>,
    /// The token that is read next, its rotary position and its segment.
    pub(super) next: (i32, i32, i32),
    sampler: Sampler,
    text: TextStream,
    stops: Stops,
    /// Tokens of the answer so far, without its end.
    written: usize,
}

impl Live {
    fn new(asked: Asked) -> Self {
        let Asked { request, events } = asked;
        let sampler = Sampler::new(request.sampling, request.prompt.tokens());
        let stops = Stops::new(&request.stop);
        let text = TextStream::default();
        Self { request, events, next: (0, 0, 0), sampler, text, stops, written: 0 }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether the logits of its next token are looked at.
    pub(super) fn reads_logits(&self) -> bool {
        let given = self.written < self.request.given.len();
        self.request.logprobs.is_some() || !given && !self.sampler.takes_the_best()
    }

    /// Says that the prompt was read.
    pub(super) fn started(&self, gates: Option<Vec<GateValue>>) {
        let prompt_tokens = self.request.prompt.positions();
        self.tell(Event::Started { prompt_tokens, gates });
    }

    /// Takes the next token: `best` is the model's, out of `logits`, which are there where [`Live::reads_logits`] asks for them. Says
    /// whether the answer has ended.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub(super) fn take(
        &mut self,
        best: i32,
        logits: Option<&[f32]>,
        card: &Card,
    ) -> Result<bool, TokenizerError> {
        let Request { given, max_new_tokens, logprobs, .. } = &self.request;
        let drawn = self.written.checked_sub(given.len());
        let id = match (drawn, logits) {
            (None, _) => given.get(self.written).copied().unwrap_or(best),
            (Some(n), Some(logits)) if !self.sampler.takes_the_best() => self.sampler.draw(logits, n as u64),
            (Some(_), _) => best,
        };
        if drawn.is_some() && id == card.tokenizer.special().eos {
            let rest = self.text.rest(&card.tokenizer)?;
            self.written += 1;
            self.end(&rest, Reason::Stop);
            return Ok(true);
        }
        let (logprob, top) = match (logprobs, logits) {
            (Some(n), Some(logits)) => {
                let (own, top) = log_probabilities(logits, id, *n);
                (Some(own), top)
            }
            _ => (None, Vec::new()),
        };
        let most = given.len() + max_new_tokens;
        self.sampler.note(id);
        self.written += 1;
        let told = self.stops.push(&self.text.push(&card.tokenizer, id)?);
        let (text, ended) = match told {
            Told::Some(text) => (text, false),
            Told::Last(text) => (text, true),
        };
        self.tell(Event::Token(Token { id, text, logprob, top }));
        if ended {
            self.done(String::new(), Reason::Stop);
        } else if self.written >= most {
            let rest = self.text.rest(&card.tokenizer)?;
            self.end(&rest, Reason::Length);
        }
        self.next = (id, self.next.1 + 1, self.next.2);
        Ok(ended || self.written >= most)
    }

    /// Ends with the text that a stream held back.
    fn end(&mut self, rest: &str, reason: Reason) {
        match self.stops.push(rest) {
            Told::Last(text) => self.done(text, Reason::Stop),
            Told::Some(text) => {
                let text = text + &self.stops.rest();
                self.done(text, reason);
            }
        }
    }

    fn done(&self, text: String, reason: Reason) {
        let prompt_tokens = self.request.prompt.positions();
        let usage = Usage { prompt_tokens, completion_tokens: self.written };
        self.tell(Event::Done { text, reason, usage });
    }

    /// Says that nothing more comes.
    pub(super) fn failed(&self, problem: &str) {
        self.tell(Event::Failed(problem.to_owned()));
    }

    /// Tokens that were told.
    pub(super) fn written(&self) -> u64 {
        self.written as u64
    }

    fn tell(&self, event: Event) {
        // Whoever left hears nothing.
        _ = self.events.send(event);
    }
}
