//! From what an engine tells to a response.

mod events;
mod form;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use crossloom_run::engine::Event;
use futures_util::stream;
use serde_json::Value;

pub(crate) use events::Events;
pub(crate) use form::{Form, now};

use crate::error::ApiError;
use crate::http::Json;
use form::{Piece, Spent};

/// How often a stream says something while there is nothing to say, so that a client that left is noticed.
const ALIVE: Duration = Duration::from_secs(10);

/// Waits for all answers and tells them at once.
///
/// # Errors
/// One of them fails, or the time is over.
pub(crate) async fn whole(mut events: Events, form: &Form, count: usize) -> Result<Response, ApiError> {
    let mut answers: Vec<Piece> = std::iter::repeat_with(Piece::default).take(count).collect();
    let mut spent = Spent::default();
    while let Some((index, event)) = events.next().await? {
        let Some(answer) = answers.get_mut(index) else { continue };
        match event {
            Event::Started { prompt, gates, .. } => {
                answer.gates = gates;
                answer.add(prompt);
            }
            Event::Token(token) => answer.add([token]),
            Event::Done { text, reason, end, usage } => {
                answer.text.push_str(&text);
                answer.add(form.told_end(end));
                answer.reason = Some(reason);
                form.spend(&mut spent, index, usage);
            }
            Event::Failed(why) => return Err(ApiError::Failed(why)),
        }
    }
    Ok(Json(form.whole(answers, spent)).into_response())
}

/// Tells all answers while they are made. What `held` stands for is held until the last word, or until the client leaves.
pub(crate) fn streamed(
    events: Events,
    form: Form,
    count: usize,
    include_usage: bool,
    held: impl Send + 'static,
) -> Response {
    let telling = Telling {
        events,
        form,
        lengths: vec![0; count],
        spent: Spent::default(),
        include_usage,
        ready: VecDeque::new(),
        ended: false,
        held,
    };
    let pieces = stream::unfold(telling, |mut telling| async move {
        let piece = telling.next().await?;
        Some((Ok::<_, Infallible>(piece), telling))
    });
    Sse::new(pieces).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// A stream on its way.
struct Telling<H> {
    events: Events,
    form: Form,
    /// Letters of every answer so far.
    lengths: Vec<usize>,
    spent: Spent,
    include_usage: bool,
    /// Pieces that wait to be sent.
    ready: VecDeque<sse::Event>,
    ended: bool,
    #[expect(dead_code, reason = "held until the stream is dropped")]
    held: H,
}

impl<H> Telling<H> {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.ended {
                return None;
            }
            match self.events.next().await {
                Ok(Some((index, event))) => self.tell(index, event),
                Ok(None) => {
                    if self.include_usage {
                        self.push(&self.form.usage(self.spent));
                    }
                    self.ready.push_back(sse::Event::default().data("[DONE]"));
                    self.ended = true;
                }
                // The status went out with the first piece: an error is a piece, and the last.
                Err(error) => {
                    self.push(&error.body());
                    self.ended = true;
                }
            }
        }
    }

    fn tell(&mut self, index: usize, event: Event) {
        let Some(length) = self.lengths.get_mut(index) else { return };
        let mut piece = Piece { offset: *length, ..Piece::default() };
        let mut first = false;
        match event {
            Event::Started { prompt, gates, .. } => {
                first = true;
                piece.gates = gates;
                piece.add(prompt);
            }
            Event::Token(token) => piece.add([token]),
            Event::Done { text, reason, end, usage } => {
                piece.text = text;
                piece.add(self.form.told_end(end));
                piece.reason = Some(reason);
                self.form.spend(&mut self.spent, index, usage);
            }
            Event::Failed(_) => return,
        }
        *length += piece.text.chars().count();
        if first || piece.reason.is_some() || !piece.text.is_empty() || self.form.tells_tokens() {
            let chunk = self.form.chunk(index, first, piece, self.include_usage);
            self.push(&chunk);
        }
    }

    fn push(&mut self, value: &Value) {
        // JSON has no line breaks of its own.
        self.ready.push_back(sse::Event::default().data(value.to_string()));
    }
}
