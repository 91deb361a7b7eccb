//! What an engine tells of all answers to one request, in one stream.

use crossloom_run::engine::{Client, Event, Refused, Request};
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;

/// Events of all answers, each with the answer's index, until a time. Dropping it cancels all of them.
pub(crate) struct Events {
    all: SelectAll<BoxStream<'static, (usize, Event)>>,
    /// Answers that are not done.
    open: usize,
    deadline: Instant,
}

impl Events {
    /// Asks for all answers, or for none where one is refused.
    ///
    /// # Errors
    /// Why one is refused.
    pub(crate) fn ask(client: &Client, requests: Vec<Request>, deadline: Instant) -> Result<Self, Refused> {
        let mut all = SelectAll::new();
        let open = requests.len();
        for (index, request) in requests.into_iter().enumerate() {
            let mut running = client.submit(request)?;
            let events = stream::poll_fn(move |cx| running.poll_next(cx));
            all.push(events.map(move |event| (index, event)).boxed());
        }
        Ok(Self { all, open, deadline })
    }

    /// The next event; none once all answers are done.
    ///
    /// # Errors
    /// An answer failed, the engine is gone, or the time is over. Nothing is to be asked for after that.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Event)>, ApiError> {
        if self.open == 0 {
            return Ok(None);
        }
        match timeout_at(self.deadline, self.all.next()).await {
            Err(_) => Err(ApiError::Time("the answer was not ready")),
            Ok(None) => Err(ApiError::Stopping),
            Ok(Some((_, Event::Failed(why)))) => Err(ApiError::Failed(why)),
            Ok(Some((index, event))) => {
                self.open -= usize::from(matches!(event, Event::Done { .. }));
                Ok(Some((index, event)))
            }
        }
    }
}
