//! Samples that are read ahead by threads, and taken in the order in which they were asked for.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{Conversation, ConversationError, ConversationReader, Drawn, Source};

type Read = Result<Conversation, ConversationError>;

/// A sample to be read, and where what was read goes.
struct Order {
    drawn: Drawn,
    to: SyncSender<Read>,
}

/// Threads that read, and the samples that they were asked for, with something to be remembered of each.
pub(super) struct Ahead<T> {
    orders: Option<Sender<Order>>,
    asked: VecDeque<(T, Receiver<Read>)>,
    threads: Vec<JoinHandle<()>>,
}

impl<T> Ahead<T> {
    /// So many threads, one at least.
    pub(super) fn new(
        threads: usize,
        reader: &Arc<ConversationReader>,
        sources: &Arc<Vec<Source>>,
    ) -> Result<Self, ConversationError> {
        let (orders, taken) = channel::<Order>();
        let taken = Arc::new(Mutex::new(taken));
        let mut ahead = Self { orders: Some(orders), asked: VecDeque::new(), threads: Vec::new() };
        for number in 0..threads.max(1) {
            let (taken, reader, sources) = (Arc::clone(&taken), Arc::clone(reader), Arc::clone(sources));
            let work = move || {
                loop {
                    // The lock is held while a thread waits, and not while it reads.
                    let order = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Order { drawn, to }) = order else { return };
                    let read = match sources.get(drawn.source as usize) {
                        Some(source) => reader.read(source, drawn.sample as usize),
                        None => Err(ConversationError::Sources {
                            saved: drawn.source as usize + 1,
                            current: sources.len(),
                        }),
                    };
                    // Nobody waits for it where the stream ends.
                    _ = to.send(read);
                }
            };
            let thread = Builder::new().name(format!("samples-{number}")).spawn(work);
            ahead.threads.push(thread.map_err(|error| gone(format!("cannot be started: {error}")))?);
        }
        Ok(ahead)
    }

    /// How many samples were asked for and not taken.
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    /// Asks for a sample.
    pub(super) fn ask(&mut self, drawn: Drawn, remembered: T) -> Result<(), ConversationError> {
        let (to, read) = sync_channel(1);
        let sent = self.orders.as_ref().map(|orders| orders.send(Order { drawn, to }));
        if !matches!(sent, Some(Ok(()))) {
            return Err(gone("has ended".to_owned()));
        }
        self.asked.push_back((remembered, read));
        Ok(())
    }

    /// The sample that was asked for first, once it is read; none where none was asked for.
    pub(super) fn take(&mut self) -> Option<(T, Read)> {
        let (remembered, read) = self.asked.pop_front()?;
        let read = read.recv().unwrap_or_else(|_| Err(gone("has ended in the middle of one".to_owned())));
        Some((remembered, read))
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.orders = None;
        for thread in self.threads.drain(..) {
            // One that panicked was told of where its sample was taken.
            _ = thread.join();
        }
    }
}

fn gone(what: String) -> ConversationError {
    ConversationError::Thread { what }
}
