//! The stream of batches: drawn, read ahead, laid out, handed out.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use super::lay::Layer;
use super::rows::{Full, Rows};
use super::{
    Bucket, Conversation, ConversationError, ConversationReader, Drawn, MixtureSampler, MixtureState, Source,
};
use crate::image::PixelTable;
use crate::packing::{ImageMode, PackedBatch};

/// Reasons that are kept of samples that were left out or cut.
const TOLD: usize = 5;

/// How a stream is drawn.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// The seed of the order.
    pub seed: u64,
    /// At most so many conversations share a row.
    pub samples_per_row: usize,
    /// So many samples that cannot be learned from are left out; one more is an error. A sample counts once, however often it is drawn.
    pub skip: u64,
    /// So many samples may lose turns at their end; one more is an error.
    pub truncate: u64,
    /// What pixels become.
    pub table: PixelTable,
    /// Whether the pictures are shown.
    pub image_mode: ImageMode,
    /// Threads that read ahead.
    pub threads: usize,
    /// Samples that are read ahead at the most.
    pub ahead: usize,
}

/// What became of samples so far; each counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Samples that cannot be learned from and were left out.
    pub left_out: u64,
    /// Samples that lost turns at their end.
    pub truncated: u64,
}

/// Where a stream stands after a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    /// Where the mixture stands.
    pub mixture: MixtureState,
    /// Samples that were drawn and wait for the rest of their batch, in the order in which they were drawn.
    pub waiting: Vec<Drawn>,
    /// What became of samples.
    pub counts: Counts,
}

/// A batch of conversations.
#[derive(Debug)]
pub struct ConversationBatch {
    /// Its arrays.
    pub batch: PackedBatch,
    /// The bucket whose plan it has.
    pub bucket: usize,
    /// The samples in it, each by file and line, row by row.
    pub samples: Vec<String>,
    /// Row and segment of each of them.
    pub places: Vec<(usize, i32)>,
    /// What is to be said of samples that were drawn since the batch before: the first that were left out or lost turns.
    pub notes: Vec<String>,
    /// Where the stream stands behind it.
    pub state: StreamState,
}

type Handed = Result<ConversationBatch, ConversationError>;

/// An endless stream of batches. Two of one seed give the same batches, bit for bit, whatever the number of threads and of samples ahead.
pub struct ConversationStream {
    sources: Arc<Vec<Source>>,
    reader: Arc<ConversationReader>,
    buckets: Arc<Vec<Bucket>>,
    options: StreamOptions,
    state: StreamState,
    running: Option<Running>,
}

/// The thread that packs, one batch ahead.
struct Running {
    batches: Option<Receiver<Handed>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // It ends at the next batch that nobody takes; one that panicked was told of by `next_batch`.
            _ = thread.join();
        }
    }
}

impl std::fmt::Debug for ConversationStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConversationStream").field("state", &self.state).finish_non_exhaustive()
    }
}

impl ConversationStream {
    /// A stream at its first batch. Nothing is read before the first one is asked for.
    ///
    /// # Errors
    /// No source, a weight that is none, or no bucket.
    pub fn new(
        sources: Arc<Vec<Source>>,
        reader: Arc<ConversationReader>,
        buckets: Vec<Bucket>,
        options: StreamOptions,
    ) -> Result<Self, ConversationError> {
        if buckets.is_empty() {
            return Err(ConversationError::Views { problem: "there is no bucket".to_owned() });
        }
        let mixture = sampler(&sources, options.seed)?.state();
        let state = StreamState { mixture, waiting: Vec::new(), counts: Counts::default() };
        Ok(Self { sources, reader, buckets: Arc::new(buckets), options, state, running: None })
    }

    /// The lengths that its batches have.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// What became of samples up to the last batch.
    pub fn counts(&self) -> Counts {
        self.state.counts
    }

    /// The next batch; waits for it where it is not there yet.
    ///
    /// # Errors
    /// More samples than may be left out or lose turns; samples of which none can be learned from. The stream stays where it was, and asking
    /// again begins there.
    pub fn next_batch(&mut self) -> Handed {
        let running = match &mut self.running {
            Some(running) => running,
            empty => empty.insert(begin(
                &self.sources,
                &self.reader,
                &self.buckets,
                &self.options,
                self.state.clone(),
            )?),
        };
        let handed = running.batches.as_ref().and_then(|batches| batches.recv().ok());
        let handed = handed.unwrap_or_else(|| {
            Err(ConversationError::Thread { what: "has ended without a batch".to_owned() })
        });
        match &handed {
            Ok(batch) => self.state = batch.state.clone(),
            Err(_) => self.running = None,
        }
        handed
    }

    /// The position after the last batch that was handed out; what was read ahead does not count.
    pub fn state(&self) -> &StreamState {
        &self.state
    }

    /// Goes to where `state` was taken; the next batch is the one that followed then, bit for bit.
    ///
    /// # Errors
    /// A state of other sources or of another seed.
    pub fn restore(&mut self, state: StreamState) -> Result<(), ConversationError> {
        sampler(&self.sources, self.options.seed)?.resume(&state.mixture)?;
        let places = |drawn: &Drawn| {
            let source = self.sources.get(drawn.source as usize);
            source.is_some_and(|source| source.records.len() > drawn.sample as usize)
        };
        if !state.waiting.iter().all(places) {
            let current = self.sources.len();
            return Err(ConversationError::Sources { saved: state.mixture.sources.len(), current });
        }
        self.running = None;
        self.state = state;
        Ok(())
    }
}

fn sampler(sources: &[Source], seed: u64) -> Result<MixtureSampler, ConversationError> {
    let sizes: Vec<_> = sources.iter().map(|source| (source.records.len(), source.weight)).collect();
    MixtureSampler::new(&sizes, seed)
}

fn begin(
    sources: &Arc<Vec<Source>>,
    reader: &Arc<ConversationReader>,
    buckets: &Arc<Vec<Bucket>>,
    options: &StreamOptions,
    state: StreamState,
) -> Result<Running, ConversationError> {
    let mut mixture = sampler(sources, options.seed)?;
    mixture.resume(&state.mixture)?;
    let layer =
        Layer { table: options.table.clone(), mode: options.image_mode, tokens: reader.pictures().tokens() };
    let packing = Packing {
        sources: Arc::clone(sources),
        buckets: Arc::clone(buckets),
        options: options.clone(),
        rows: Rows::new(buckets.len(), options.samples_per_row),
        ahead: Ahead::new(options.threads, reader, sources)?,
        mixture,
        layer,
        counts: state.counts,
        position: state.mixture,
        replayed: state.waiting,
        failures: 0,
        told: Told::default(),
    };
    // One batch waits, and the next is being packed.
    let (to, batches) = sync_channel(1);
    let thread = Builder::new().name("batches".to_owned()).spawn(move || packing.run(&to));
    let thread =
        thread.map_err(|error| ConversationError::Thread { what: format!("cannot be started: {error}") })?;
    Ok(Running { batches: Some(batches), thread: Some(thread) })
}

/// What is remembered of samples that were not taken as they are.
#[derive(Default)]
struct Told {
    left_out: Vec<String>,
    truncated: Vec<String>,
    /// Since the batch before.
    new: Vec<String>,
}

/// What a sample was asked for as.
struct Asked {
    drawn: Drawn,
    /// Where the mixture stands behind it; none of a sample that waited already.
    position: Option<MixtureState>,
}

/// What the thread that packs works on.
struct Packing {
    sources: Arc<Vec<Source>>,
    buckets: Arc<Vec<Bucket>>,
    options: StreamOptions,
    mixture: MixtureSampler,
    layer: Layer,
    rows: Rows,
    ahead: Ahead<Asked>,
    counts: Counts,
    /// Where the mixture stands behind the last sample that was taken.
    position: MixtureState,
    /// Samples that waited at the start.
    replayed: Vec<Drawn>,
    /// Samples in a row that could not be read.
    failures: usize,
    told: Told,
}

impl Packing {
    /// Hands out batches until nobody takes one, or one cannot be made.
    fn run(mut self, to: &SyncSender<Handed>) {
        loop {
            let batch = self.next();
            let ends = batch.is_err();
            if to.send(batch).is_err() || ends {
                return;
            }
        }
    }

    fn next(&mut self) -> Handed {
        loop {
            for drawn in std::mem::take(&mut self.replayed) {
                self.ahead.ask(drawn, Asked { drawn, position: None })?;
            }
            while self.ahead.len() < self.options.ahead.max(1) {
                let drawn = self.mixture.draw();
                self.ahead.ask(drawn, Asked { drawn, position: Some(self.mixture.state()) })?;
            }
            let Some((Asked { drawn, position }, read)) = self.ahead.take() else { continue };
            let first = position.is_some() && drawn.epoch == 0;
            if let Some(position) = position {
                self.position = position;
            }
            let full = match read {
                Ok(conversation) => {
                    self.failures = 0;
                    self.cut(drawn, &conversation, first)?;
                    self.rows.put(&self.buckets, drawn, conversation)
                }
                Err(error) => {
                    self.left_out(error, first)?;
                    None
                }
            };
            if let Some(full) = full {
                return self.batch(&full);
            }
        }
    }

    /// Counts a sample that was cut.
    fn cut(
        &mut self,
        drawn: Drawn,
        conversation: &Conversation,
        first: bool,
    ) -> Result<(), ConversationError> {
        if !first || conversation.dropped == 0 {
            return Ok(());
        }
        self.counts.truncated += 1;
        let told = conversation.cut(&name(&self.sources, drawn));
        note(&mut self.told.truncated, &mut self.told.new, told);
        if self.counts.truncated > self.options.truncate {
            let (count, allowed) = (self.counts.truncated, self.options.truncate);
            return Err(ConversationError::Truncated { count, allowed, told: self.told.truncated.clone() });
        }
        Ok(())
    }

    /// Counts a sample that cannot be read.
    fn left_out(&mut self, error: ConversationError, first: bool) -> Result<(), ConversationError> {
        let ConversationError::Record(reason) = error else { return Err(error) };
        self.failures += 1;
        let samples: usize = self.sources.iter().map(|source| source.records.len()).sum();
        if self.failures > 2 * samples {
            return Err(ConversationError::Nothing { samples, last: reason.to_string() });
        }
        if first {
            self.counts.left_out += 1;
            note(&mut self.told.left_out, &mut self.told.new, reason.to_string());
            if self.counts.left_out > self.options.skip {
                let (count, allowed) = (self.counts.left_out, self.options.skip);
                return Err(ConversationError::LeftOut { count, allowed, told: self.told.left_out.clone() });
            }
        }
        Ok(())
    }

    fn batch(&mut self, full: &Full) -> Handed {
        let bucket = self.buckets.get(full.bucket);
        let bucket =
            bucket.ok_or_else(|| ConversationError::Views { problem: "no such bucket".to_owned() })?;
        let mut batch = PackedBatch::new(&bucket.plan);
        self.layer.lay(&full.rows, &mut batch)?;
        let sources = &self.sources;
        let placed = full.rows.iter().enumerate().flat_map(|(row, of)| {
            (1..).zip(&of.samples).map(move |(segment, sample)| (name(sources, sample.drawn), (row, segment)))
        });
        let (samples, places) = placed.unzip();
        let state =
            StreamState { mixture: self.position.clone(), waiting: self.rows.waiting(), counts: self.counts };
        let notes = std::mem::take(&mut self.told.new);
        Ok(ConversationBatch { batch, bucket: full.bucket, samples, places, notes, state })
    }
}

fn note(all: &mut Vec<String>, new: &mut Vec<String>, told: String) {
    if all.len() < TOLD {
        new.push(told.clone());
        all.push(told);
    }
}

/// File and line of a sample.
fn name(sources: &[Source], drawn: Drawn) -> String {
    let source = sources.get(drawn.source as usize);
    source.map_or_else(String::new, |source| source.name(drawn.sample as usize))
}
