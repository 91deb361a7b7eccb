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
    waiting: VecDeque<Asked>,
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
    /// Requests that are taken, in their order; perhaps none.
    Some(Vec<Asked>),
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

    pub(super) fn put(&self, request: Request) -> Result<Running, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.most {
            state.forget_cancelled();
        }
        let waiting = state.waiting.len();
        if waiting >= self.most {
            return Err(Refused::Full { waiting });
        }
        let (sender, events) = unbounded_channel();
        state.waiting.push_back(Asked { request, events: sender });
        drop(state);
        self.changed.notify_one();
        Ok(Running { events })
    }

    /// At most so many requests that still have a client. Waits for one where `idle` says that nothing else is to be done.
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
        Stats { waiting: state.waiting.len(), ..state.stats }
    }

    /// Adds to what is known.
    pub(super) fn count(&self, add: impl FnOnce(&mut Stats)) {
        add(&mut self.lock().stats);
    }
}

impl State {
    fn forget_cancelled(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|asked| !asked.events.is_closed());
        self.stats.cancelled += (before - self.waiting.len()) as u64;
    }
}
