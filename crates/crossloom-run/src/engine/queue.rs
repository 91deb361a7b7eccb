//! Requests on their way to the engine's thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Event, Refused, Request, Running, Stats};

/// A request with the way to who asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) events: UnboundedSender<Event>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that share a slot together.
    waiting: VecDeque<Vec<Asked>>,
    /// No more are taken; what waits is answered.
    closed: bool,
    /// Nothing more is answered.
    stopped: bool,
    stats: Stats,
}

/// Requests that wait, at most so many; and what is known of the engine.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// What the engine's thread finds.
#[derive(Debug)]
pub(super) enum Found {
    /// Requests that are taken, in their order, those of a slot together; perhaps none.
    Some(Vec<Vec<Asked>>),
    /// There is nothing, and there will be nothing.
    End,
    /// Whatever runs ends now.
    Stop,
}

impl Queue {
    pub(super) fn new(most: usize, slots: usize) -> Self {
        let stats = Stats { slots, queue: most, ..Stats::default() };
        Self { most, state: Mutex::new(State { stats, ..State::default() }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes requests that share a slot; all of them, or none.
    pub(super) fn put(&self, requests: Vec<Request>) -> Result<Vec<Running>, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let full = |state: &State| state.waiting() + requests.len() > self.most;
        if full(&state) {
            state.forget_cancelled();
        }
        if full(&state) {
            return Err(Refused::Full { waiting: state.waiting() });
        }
        let asked = requests.into_iter().map(|request| {
            let (events, heard) = unbounded_channel();
            (Asked { request, events }, Running::new(heard))
        });
        let (asked, running): (Vec<Asked>, Vec<Running>) = asked.unzip();
        state.waiting.push_back(asked);
        drop(state);
        self.changed.notify_one();
        Ok(running)
    }

    /// What shares at most so many slots and still has a client. Waits for one where `idle` says that nothing else is to be done.
    pub(super) fn take(&self, most: usize, idle: bool) -> Found {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Found::Stop;
            }
            state.forget_cancelled();
            if !state.waiting.is_empty() || !idle {
                let count = most.min(state.waiting.len());
                return Found::Some(state.waiting.drain(..count).collect());
            }
            if state.closed {
                return Found::End;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more are taken. With `now`, what runs and what waits ends too.
    pub(super) fn close(&self, now: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.stopped |= now;
        drop(state);
        self.changed.notify_all();
    }

    /// Forgets all that waits: its clients hear that nothing more comes.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.lock();
        Stats { waiting: state.waiting(), ..state.stats }
    }

    /// Adds to what is known.
    pub(super) fn count(&self, add: impl FnOnce(&mut Stats)) {
        add(&mut self.lock().stats);
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }

    fn forget_cancelled(&mut self) {
        let before = self.waiting();
        for asked in &mut self.waiting {
            asked.retain(|asked| !asked.events.is_closed());
        }
        self.waiting.retain(|asked| !asked.is_empty());
        self.stats.cancelled += (before - self.waiting()) as u64;
    }
}
