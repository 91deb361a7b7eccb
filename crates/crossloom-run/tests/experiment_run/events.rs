//! What a run tells a subscriber of `tracing`, and in which order.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{Entry, finish, recipe};

/// Writes down every event of a run on one thread, with the variant, step or state it is about.
#[derive(Clone)]
struct Heard {
    thread: ThreadId,
    told: Arc<Mutex<Vec<String>>>,
}

#[derive(Default)]
struct Fields {
    message: String,
    of: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "variant" | "step" | "status" => self.of = format!(" {value:?}").replace('"', ""),
            _ => {}
        }
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = thread::current().id() == self.thread && metadata.target().starts_with("crossloom");
        ours && *metadata.level() <= Level::INFO
    }

    /// Other tests run at the same time, so that no place is always or never heard.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.told.lock().unwrap().push(format!("{}{}", fields.message, fields.of));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn every_station_is_told_once_and_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&["train.steps=2", "train.warmup=1", "train.checkpoint_every=1"]);
    let heard = Heard { thread: thread::current().id(), told: Arc::default() };
    // A subscriber of this thread alone is not asked about places that other threads come to first.
    tracing::subscriber::set_global_default(heard.clone()).unwrap();
    finish(&recipe, &["projector", "question_only"], folder.path(), Entry::New);
    let told = heard.told.lock().unwrap().clone();
    let mut expected: Vec<String> =
        ["experiment", "data read", "compiled projector", "compiled question_only", "folder entered"]
            .map(str::to_owned)
            .to_vec();
    for (variant, steps) in [("projector", 2), ("question_only", 4)] {
        expected.push(format!("training begins {variant}"));
        expected.extend((1..=steps).map(|step| format!("checkpoint saved {step}")));
        expected.push(format!("training ended {variant}"));
        expected.push(format!("evaluated {variant}"));
    }
    expected.extend(["compared", "report written", "experiment ended finished"].map(str::to_owned));
    assert_eq!(told, expected);
}
