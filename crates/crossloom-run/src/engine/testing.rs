//! An engine whose answers are made up: what asks engines is tested with one that is slow, fails, or has no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossloom_data::conversations::{PictureReader, Room};
use crossloom_data::tokenizer::QuestionTokenizer;

use super::card::{Card, Eyes};
use super::client::Client;
use super::queue::{Asked, Found, Queue};
use super::{Event, Request};
use crate::ExperimentError;

/// What the model is said to be.
#[derive(Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// What it reads and writes.
    pub tokenizer: QuestionTokenizer,
    /// Positions of a slot.
    pub positions: usize,
    /// What becomes of pictures, and the most of a prompt; none where it sees none.
    pub pictures: Option<(PictureReader, usize)>,
    /// Edges with a gate, as tap and point.
    pub edges: Vec<(String, String)>,
}

/// A step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Tells the client something.
    Tell(Event),
    /// Lets time pass, unless the client leaves.
    Wait(Duration),
    /// The engine's thread ends in the middle.
    Die,
}

/// An engine with one slot, which follows a script.
#[derive(Debug)]
pub struct Scripted {
    client: Client,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Starts it. The script says what is done for each request.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        model: Model,
        queue: usize,
        script: impl Fn(&Request) -> Vec<Act> + Send + 'static,
    ) -> Result<Self, ExperimentError> {
        let (eyes, most) = match model.pictures {
            None => (Eyes::Withheld { positions: 1 }, 0),
            Some((reader, most)) => (Eyes::Counted(reader), most),
        };
        let room = Room { text: model.positions, visual: model.positions, views: most.max(1) };
        let card = Card {
            name: model.name,
            positions: model.positions,
            max_new_tokens: model.positions,
            eyes,
            room,
            views: Vec::new(),
            pictures: most,
            vocabulary: model.tokenizer.vocab_size(),
            tokenizer: model.tokenizer,
            edges: model.edges,
            conditioned: false,
            together: 1,
            stretch: None,
        };
        let client = Client { card: Arc::new(card), queue: Arc::new(Queue::new(queue, 1)) };
        let requests = Arc::clone(&client.queue);
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let work = move || follow(&requests, &seen, script);
        let thread = std::thread::Builder::new().name("script".to_owned()).spawn(work);
        let thread = thread.map_err(|error| ExperimentError::Other(error.into()))?;
        Ok(Self { client, over, thread: Some(thread) })
    }

    /// A way to it.
    pub fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.client.queue.close(true);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("a script panicked");
        }
    }
}

fn follow(requests: &Queue, over: &AtomicBool, script: impl Fn(&Request) -> Vec<Act>) {
    loop {
        match requests.take(1, true) {
            Found::Some(all) => {
                for asked in all.into_iter().flatten() {
                    let acts = script(&asked.request);
                    requests.count(|stats| stats.live = 1);
                    let ended = answer(&asked, acts, over);
                    requests.count(|stats| {
                        stats.live = 0;
                        match ended {
                            Ended::Done => stats.done += 1,
                            Ended::Left => stats.cancelled += 1,
                            Ended::Died => stats.failed += 1,
                        }
                    });
                    if let Ended::Died = ended {
                        requests.clear();
                        return;
                    }
                }
            }
            Found::End | Found::Stop => return,
        }
    }
}

enum Ended {
    Done,
    Left,
    Died,
}

fn answer(asked: &Asked, acts: Vec<Act>, over: &AtomicBool) -> Ended {
    /// How soon a client that left is noticed.
    const GLANCE: Duration = Duration::from_millis(2);
    for act in acts {
        match act {
            Act::Tell(event) => {
                if asked.events.send(event).is_err() {
                    return Ended::Left;
                }
            }
            Act::Wait(time) => {
                let until = Instant::now() + time;
                while Instant::now() < until {
                    if asked.events.is_closed() || over.load(Ordering::Relaxed) {
                        return Ended::Left;
                    }
                    std::thread::sleep(GLANCE.min(time));
                }
            }
            Act::Die => return Ended::Died,
        }
    }
    Ended::Done
}
