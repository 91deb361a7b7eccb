//! Requests in their slots.

use crossloom_data::conversations::Begun;
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
    /// Whether its prompt is read by calls of its own, as reading it with others failed.
    pub(super) apart: bool,
}

impl Sequence {
    pub(super) fn new(asked: Vec<Asked>, slot: usize) -> Self {
        Self { slot, held: 0, open: asked.into_iter().map(Live::new).collect(), apart: false }
    }

    /// Whether known tokens of a request of it have their log-probabilities told.
    pub(super) fn is_scored(&self) -> bool {
        self.open.iter().any(Live::is_scored)
    }
}

/// What is known of a token that was predicted.
#[derive(Debug)]
pub(super) struct Score {
    /// Its natural log-probability.
    logprob: f32,
    /// The likeliest tokens with theirs.
    top: Vec<(i32, f32)>,
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

    /// Whether the logits of the next token that is drawn are looked at.
    pub(super) fn reads_logits(&self) -> bool {
        self.request.logprobs.is_some() || !self.sampler.takes_the_best()
    }

    /// The prompt with what is given of the answer and read with it: all but a last token that nothing follows.
    pub(super) fn begun(&self) -> Begun<'_> {
        let Request { prompt, given, max_new_tokens, .. } = &self.request;
        let unread = usize::from(*max_new_tokens == 0);
        Begun { prompt: &prompt.conversation, given: &given[..given.len().saturating_sub(unread)] }
    }

    /// Whether tokens that are known have their log-probabilities told.
    pub(super) fn is_scored(&self) -> bool {
        let Request { given, echo, logprobs, .. } = &self.request;
        logprobs.is_some() && (*echo || !given.is_empty())
    }

    /// What is predicted behind the tokens of the prompt and those that are read with it: the place of each token in front of one that is
    /// wanted, and which that is; none where it will be drawn.
    pub(super) fn targets(&self) -> Vec<(usize, Option<i32>)> {
        let Request { prompt, given, max_new_tokens, .. } = &self.request;
        let (scored, read) = (self.is_scored(), prompt.positions() + self.begun().given.len());
        let of_prompt = self.told().filter(|_| scored).filter(|(place, _)| *place > 0);
        let of_answer = given.iter().filter(|_| scored).zip(prompt.positions()..).map(|(&id, at)| (at, id));
        let known = of_prompt.chain(of_answer).map(|(place, id)| (place - 1, Some(id)));
        let drawn = (*max_new_tokens > 0).then(|| (read - 1, None));
        known.chain(drawn).collect()
    }

    /// The prompt's own tokens that are told, with their places.
    fn told(&self) -> impl Iterator<Item = (usize, i32)> {
        let Request { prompt, echo, .. } = &self.request;
        let conversation = &prompt.conversation;
        let visual = |place: usize| {
            conversation.pictures.iter().any(|picture| (picture.start..picture.end()).contains(&place))
        };
        let told = conversation.tokens.iter().copied().enumerate().filter(|_| *echo);
        told.filter(move |(place, _)| !visual(*place))
    }

    /// Says that the prompt was read, and tells what was given of the answer, with the scores of all that is known. Says whether the answer
    /// has ended with it.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub(super) fn begin(
        &mut self,
        gates: Option<Vec<GateValue>>,
        scores: Vec<Score>,
        card: &Card,
    ) -> Result<bool, TokenizerError> {
        let mut scores = scores.into_iter();
        let mut text = TextStream::default();
        let mut prompt = Vec::new();
        for (place, id) in self.told() {
            let score = if place > 0 { scores.next() } else { None };
            let mut piece = text.push(&card.tokenizer, id)?;
            // A special token is no text of an answer, but it may be of a prompt.
            if piece.is_empty() && card.tokenizer.decode(&[id])?.is_empty() {
                piece = card.tokenizer.spelled(&[id])?;
            }
            prompt.push(token(id, piece, score));
        }
        if let Some(last) = prompt.last_mut() {
            last.text += &text.rest(&card.tokenizer)?;
        }
        let prompt_tokens = self.request.prompt.positions();
        self.tell(Event::Started { prompt_tokens, prompt, gates });
        for id in self.request.given.clone() {
            if self.write(id, scores.next(), card)? {
                return Ok(true);
            }
        }
        if self.request.max_new_tokens == 0 && self.request.given.is_empty() {
            self.done(String::new(), Reason::Length, None);
            return Ok(true);
        }
        Ok(false)
    }

    /// Draws the next token: `best` is the model's, out of `logits`, which are there where [`Live::reads_logits`] asks for them. Says
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
        #[cfg(test)]
        super::tests::may_panic(&self.request);
        let drawn = self.written.saturating_sub(self.request.given.len());
        let id = match logits {
            Some(logits) if !self.sampler.takes_the_best() => self.sampler.draw(logits, drawn as u64),
            _ => best,
        };
        let score = logits.and_then(|logits| self.score(id, logits));
        if id == card.tokenizer.special().eos {
            let rest = self.text.rest(&card.tokenizer)?;
            self.written += 1;
            let end = score.map(|score| token(id, String::new(), Some(score)));
            self.end(&rest, Reason::Stop, end);
            return Ok(true);
        }
        self.write(id, score, card)
    }

    /// What is told of a token that is predicted by these logits.
    pub(super) fn score(&self, id: i32, logits: &[f32]) -> Option<Score> {
        let (logprob, top) = log_probabilities(logits, id, self.request.logprobs?);
        Some(Score { logprob, top })
    }

    /// Writes the next token of the answer. Says whether that has ended.
    fn write(&mut self, id: i32, score: Option<Score>, card: &Card) -> Result<bool, TokenizerError> {
        let most = self.request.given.len() + self.request.max_new_tokens;
        self.sampler.note(id);
        self.written += 1;
        let (text, ended) = match self.stops.push(&self.text.push(&card.tokenizer, id)?) {
            Told::Some(text) => (text, false),
            Told::Last(text) => (text, true),
        };
        self.tell(Event::Token(token(id, text, score)));
        if ended {
            self.done(String::new(), Reason::Stop, None);
        } else if self.written >= most {
            let rest = self.text.rest(&card.tokenizer)?;
            self.end(&rest, Reason::Length, None);
        }
        self.next = (id, self.next.1 + 1, self.next.2);
        Ok(ended || self.written >= most)
    }

    /// Ends with the text that a stream held back.
    fn end(&mut self, rest: &str, reason: Reason, end: Option<Token>) {
        match self.stops.push(rest) {
            Told::Last(text) => self.done(text, Reason::Stop, end),
            Told::Some(text) => {
                let text = text + &self.stops.rest();
                self.done(text, reason, end);
            }
        }
    }

    fn done(&self, text: String, reason: Reason, end: Option<Token>) {
        let prompt_tokens = self.request.prompt.positions();
        let usage = Usage { prompt_tokens, completion_tokens: self.written };
        self.tell(Event::Done { text, reason, end, usage });
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

fn token(id: i32, text: String, score: Option<Score>) -> Token {
    let (logprob, top) = score.map_or((None, Vec::new()), |Score { logprob, top }| (Some(logprob), top));
    Token { id, text, logprob, top }
}
