//! What an engine does: prompts into slots, one token of every request, and again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossloom_data::packing::{PADDING_SEGMENT, PackedBatch};
use crossloom_model::inputs;
use crossloom_recipe::{PointAddress, Tap};
use crossloom_runtime::{RunError, Session};

use super::intake::Intake;
use super::live::{Live, Score, Sequence};
use super::queue::{Asked, Queue};
use super::{Card, GateValue};
use crate::ExperimentError;
use crate::batch::{Laid, load_text_segments};
use crate::gates::GateMoments;
use crate::phases::Phases;
use crate::prefill::{Reading, Scored, place};

/// A model with its slots.
pub(super) struct Slots<'m> {
    phases: &'m mut Phases,
    /// Its gated points with their taps.
    gates: &'m [(PointAddress, Vec<Tap>)],
    of: Intake,
    queue: Arc<Queue>,
    /// Slots that nobody has, the next one last.
    free: Vec<usize>,
    /// Slots in use whose prompts are not read yet.
    admitted: VecDeque<Sequence>,
    reading: Option<Group>,
    live: Vec<Sequence>,
}

/// Slots whose prompts are read in the same calls.
struct Group {
    rows: Vec<Sequence>,
    /// Once their pictures have been looked at.
    laid: Option<(PackedBatch, Reading)>,
    /// By row: its gates, where a request of it asked for them.
    gates: Vec<Option<Vec<GateValue>>>,
    /// By request, row after row.
    known: Vec<Known>,
}

/// What was read for a request.
#[derive(Default)]
struct Known {
    /// Of each token of the prompt and of what is given of the answer that is scored.
    scores: Vec<Score>,
    /// Its first token that is drawn and the logits of it, once its prompt was read to its end.
    first: Option<(i32, Option<Vec<f32>>)>,
}

impl<'m> Slots<'m> {
    pub(super) fn new(
        phases: &'m mut Phases,
        gates: &'m [(PointAddress, Vec<Tap>)],
        of: Intake,
        queue: Arc<Queue>,
    ) -> Self {
        let free = (0..phases.slots()).rev().collect();
        let (admitted, live) = (VecDeque::new(), Vec::new());
        Self { phases, gates, of, queue, free, admitted, reading: None, live }
    }

    /// Where its requests come from.
    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// How many slots are free.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.admitted.is_empty() && self.reading.is_none() && self.live.is_empty()
    }

    /// Gives requests a slot, those that share one together. What finds none is told so.
    pub(super) fn admit(&mut self, asked: Vec<Vec<Asked>>) {
        for asked in asked {
            match self.free.pop() {
                Some(slot) => self.admitted.push_back(Sequence::new(asked, slot)),
                // Never asked for: the thread takes as many as there are free slots.
                None => asked.into_iter().for_each(|asked| {
                    _ = asked.events.send(super::Event::Failed("no slot is free".to_owned()));
                }),
            }
        }
    }

    /// One call of prompts, one token of every request whose prompt is read.
    pub(super) fn round(&mut self) {
        let begun = Instant::now();
        self.leave_cancelled();
        self.guarded(Self::read, |slots, problem| {
            let rows = slots.reading.take().map(|group| group.rows).unwrap_or_default();
            if let [sequence] = &rows[..] {
                slots.fail(sequence, problem);
            }
            // Whose fault it was shows when each is read by itself; nothing was told of any.
            if rows.len() > 1 {
                let apart = rows.into_iter().map(|sequence| Sequence { apart: true, ..sequence });
                apart.rev().for_each(|sequence| slots.admitted.push_front(sequence));
            }
        });
        if !self.live.is_empty() {
            self.guarded(Self::decode, |slots, problem| {
                for sequence in std::mem::take(&mut slots.live) {
                    slots.fail(&sequence, problem);
                }
            });
        }
        let counts = self.phases.encoder.counts();
        let reading = self.reading.iter().flat_map(|group| &group.rows);
        let used = self.live.iter().chain(&self.admitted).chain(reading);
        let live = used.map(|sequence| sequence.open.len()).sum();
        self.queue.count(|stats| {
            stats.live = live;
            (stats.pictures_encoded, stats.pictures_held) = (counts.encoded, counts.from_memory);
            stats.busy_seconds += begun.elapsed().as_secs_f64();
        });
    }

    /// Tells all that are here that nothing more comes.
    pub(super) fn abandon(&mut self, problem: &str) {
        let reading = self.reading.take().map(|group| group.rows).unwrap_or_default();
        let live = std::mem::take(&mut self.live);
        for sequence in reading.into_iter().chain(live).chain(std::mem::take(&mut self.admitted)) {
            self.fail(&sequence, problem);
        }
    }

    /// Does a piece of work. Where it fails, or panics, those whose work it was are told, and others go on.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), ExperimentError>,
        failed: impl FnOnce(&mut Self, &str),
    ) {
        let Err(problem) = caught(|| work(self).map_err(|error| error.to_string())) else { return };
        tracing::error!(problem, "engine");
        failed(self, &problem);
    }

    /// Tells all requests of a slot what failed, and takes it back.
    fn fail(&mut self, sequence: &Sequence, problem: &str) {
        for live in &sequence.open {
            self.fail_one(live, problem);
        }
        self.free.push(sequence.slot);
    }

    fn fail_one(&self, live: &Live, problem: &str) {
        live.failed(problem);
        self.queue.count(|stats| stats.failed += 1);
    }

    /// Forgets requests whose client left, and takes back slots that have none any more.
    fn leave_cancelled(&mut self) {
        let mut left = 0;
        let free = &mut self.free;
        let mut stays = |sequence: &mut Sequence| {
            let before = sequence.open.len();
            sequence.open.retain(|live| !live.is_cancelled());
            left += (before - sequence.open.len()) as u64;
            let stays = !sequence.open.is_empty();
            if !stays {
                free.push(sequence.slot);
            }
            stays
        };
        self.live.retain_mut(&mut stays);
        self.admitted.retain_mut(&mut stays);
        if let Some(group) = &mut self.reading
            && group.rows.iter().flat_map(|row| &row.open).all(Live::is_cancelled)
        {
            group.rows.iter_mut().for_each(|row| _ = stays(row));
            self.reading = None;
        }
        if left > 0 {
            self.queue.count(|stats| stats.cancelled += left);
        }
    }

    /// Reads a call's worth of prompts. Those that are read to their end take their first token.
    fn read(&mut self) -> Result<(), ExperimentError> {
        let group = match &mut self.reading {
            Some(group) => group,
            none => {
                let rows = self.phases.rows();
                // A call costs as much for few prompts as for many: it waits for as many as it reads, unless nothing else is to be done.
                let waits = self.admitted.len() < rows && !self.live.is_empty();
                if self.admitted.is_empty() || waits {
                    return Ok(());
                }
                let count = self.of.at_once(self.phases, &self.admitted);
                none.insert(Group::of(self.admitted.drain(..count).collect()))
            }
        };
        let (batch, reading) = match &mut group.laid {
            Some(laid) => laid,
            none => none.insert(self.of.laid(self.phases, &group.rows)?),
        };
        if let Some(read) = reading.read(self.phases, batch, &self.of.pools)? {
            if read.gates {
                let asks = |row: &Sequence| row.open.iter().any(|live| live.request.gates);
                let asked: Vec<usize> =
                    group.rows.iter().enumerate().filter(|(_, row)| asks(row)).map(|(row, _)| row).collect();
                let of_rows = GateMoments::of_rows(read.session, self.gates, &asked)?;
                for (row, gates) in asked.into_iter().zip(of_rows) {
                    group.gates[row] = Some(told(&gates));
                }
            }
            let open: Vec<&Live> = group.rows.iter().flat_map(|row| &row.open).collect();
            match read.scored {
                None => first_tokens(read.session, &read.ended, &open, &mut group.known)?,
                Some(scored) => scores(self.phases, &scored, &open, &mut group.known)?,
            }
            self.queue.count(|stats| stats.prefills += 1);
        }
        if reading.is_done()
            && let Some(group) = self.reading.take()
        {
            self.start(group);
        }
        Ok(())
    }

    /// Requests whose prompts are read take their first tokens.
    fn start(&mut self, group: Group) {
        let Group { rows, laid: Some((batch, reading)), gates, known } = group else { return };
        let lengths = reading.lengths();
        let mut asked = batch.questions().iter().zip(known);
        for (((row, sequence), gates), held) in rows.into_iter().enumerate().zip(gates).zip(lengths) {
            let Sequence { slot, open, .. } = sequence;
            let mut goes_on = Vec::with_capacity(open.len());
            for (mut live, (question, Known { scores, first })) in open.into_iter().zip(asked.by_ref()) {
                let last = question.start + question.prompt_len - 1;
                let position = batch.positions_bt[row * batch.plan().sequence_len + last];
                // What is given is written first, each token one position further.
                let given = live.begun().given.len() as i32;
                live.next = (live.next.0, position - given, question.segment);
                let gates = gates.clone().filter(|_| live.request.gates);
                goes_on.extend(self.going(live, |live, card| {
                    if live.begin(gates, scores, card)? {
                        return Ok(true);
                    }
                    take(live, first.as_ref().map(|(best, logits)| (*best, logits.as_deref())), card)
                }));
            }
            self.queue.count(|stats| stats.tokens_in += held as u64);
            self.go_on(Sequence { slot, held, open: goes_on, apart: false });
        }
    }

    /// A slot goes on, or is free where all its requests have ended.
    fn go_on(&mut self, sequence: Sequence) {
        if sequence.open.is_empty() {
            self.free.push(sequence.slot);
        } else {
            self.live.push(sequence);
        }
    }

    /// Reads the last token of every live request, and takes the next one.
    fn decode(&mut self) -> Result<(), ExperimentError> {
        let pad = self.of.card.tokenizer.special().pad;
        let most = self.live.iter().map(|sequence| sequence.open.len()).max().unwrap_or_default();
        // Where prompts are read in rows of a batch, all slots end about together, and a call for each number of them would be compiled for
        // little.
        let rows = if self.phases.rows() > 1 { self.phases.slots() } else { self.live.len() };
        let ((rows, width), session) = self.phases.decode(rows, most)?;
        let filled = |of: fn(&Live) -> i32, rest: i32| {
            let mut values = vec![rest; rows * width];
            for (row, sequence) in values.chunks_mut(width).zip(&self.live) {
                row.iter_mut().zip(&sequence.open).for_each(|(value, live)| *value = of(live));
            }
            values
        };
        let segments = filled(|live| live.next.2, PADDING_SEGMENT);
        session.write(inputs::TOKENS, &filled(|live| live.next.0, pad))?;
        session.write(inputs::POSITIONS, &filled(|live| live.next.1, 0))?;
        session.write(inputs::SEGMENTS, &segments)?;
        let laid = Laid::new(&segments, rows, &[]);
        load_text_segments(session, &laid)?;
        if session.has_input(inputs::TEXT_MASK) {
            session.write(inputs::TEXT_MASK, &laid.text_mask())?;
        }
        let count = |of: fn(&Sequence) -> usize| {
            let mut counts: Vec<usize> = self.live.iter().map(of).collect();
            counts.resize(rows, 0);
            counts
        };
        let added = count(|sequence| sequence.open.len());
        place(session, &count(|sequence| sequence.slot), &count(|sequence| sequence.held), &added)?;
        session.run()?;
        let mut open = self.live.iter().flat_map(|sequence| &sequence.open);
        let next = Predicted::read(session, open.any(Live::reads_logits))?;
        self.queue.count(|stats| stats.rounds += 1);
        for (row, sequence) in std::mem::take(&mut self.live).into_iter().enumerate() {
            let Sequence { slot, held, open, .. } = sequence;
            let held = held + open.len();
            let mut goes_on = Vec::with_capacity(open.len());
            for (column, live) in open.into_iter().enumerate() {
                let next = next.of(row * width + column);
                goes_on.extend(self.going(live, |live, card| take(live, next, card)));
            }
            self.go_on(Sequence { slot, held, open: goes_on, apart: false });
        }
        Ok(())
    }

    /// A request does something, and goes on unless it says that it has ended, or this fails: that is nobody else's matter.
    fn going(
        &self,
        mut live: Live,
        does: impl FnOnce(&mut Live, &Card) -> Result<bool, ExperimentError>,
    ) -> Option<Live> {
        match caught(|| does(&mut live, &self.of.card).map_err(|error| error.to_string())) {
            Ok(false) => return Some(live),
            Ok(true) => {
                let written = live.written();
                self.queue.count(|stats| {
                    stats.done += 1;
                    stats.tokens_out += written;
                });
            }
            Err(problem) => self.fail_one(&live, &problem),
        }
        None
    }
}

impl Group {
    fn of(rows: Vec<Sequence>) -> Self {
        let requests = rows.iter().map(|row| row.open.len()).sum();
        let known = std::iter::repeat_with(Known::default).take(requests).collect();
        Self { gates: vec![None; rows.len()], rows, laid: None, known }
    }
}

/// Notes the first tokens of the requests whose prompts a call has read to their ends, of which `ended` says the rows of its results.
fn first_tokens(
    session: &Session,
    ended: &[Option<usize>],
    open: &[&Live],
    known: &mut [Known],
) -> Result<(), RunError> {
    let wanted = open.iter().zip(ended).any(|(live, at)| at.is_some() && live.reads_logits());
    let next = Predicted::read(session, wanted)?;
    for ((live, known), at) in open.iter().zip(known).zip(ended) {
        if let Some(at) = *at {
            known.first = next.of(at).map(|predicted| kept(live, predicted));
        }
    }
    Ok(())
}

/// Notes what is predicted at the positions that a call has read the states of: scores of tokens that are known, and first tokens.
fn scores(
    phases: &mut Phases,
    scored: &Scored,
    open: &[&Live],
    known: &mut [Known],
) -> Result<(), ExperimentError> {
    let targets: Vec<Vec<(usize, Option<i32>)>> = open.iter().map(|live| live.targets()).collect();
    for (of, states) in scored.pieces(phases.predicted()) {
        let next = Predicted::read(phases.predict(states)?, true)?;
        for (row, &(request, target)) in of.iter().enumerate() {
            let (live, known) = (open[request], &mut known[request]);
            let (Some(predicted), (_, token)) = (next.of(row), targets[request][target]) else { continue };
            match (token, predicted.1) {
                (Some(token), Some(logits)) => known.scores.extend(live.score(token, logits)),
                _ => known.first = Some(kept(live, predicted)),
            }
        }
    }
    Ok(())
}

/// A request takes what is predicted for it. Says whether it has ended.
fn take(
    live: &mut Live,
    predicted: Option<(i32, Option<&[f32]>)>,
    card: &Card,
) -> Result<bool, ExperimentError> {
    let (best, logits) = predicted
        .ok_or_else(|| ExperimentError::request("nothing is predicted behind a prompt", "this is a bug"))?;
    Ok(live.take(best, logits, card)?)
}

/// What is predicted for a request, with logits where it looks at them.
fn kept(live: &Live, (best, logits): (i32, Option<&[f32]>)) -> (i32, Option<Vec<f32>>) {
    (best, logits.filter(|_| live.reads_logits()).map(<[f32]>::to_vec))
}

/// Does a piece of work; a panic is an error like any other.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What a panic leaves half done is a call's inputs and results, which the next call writes anew, or belongs to a request that ends.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a panic in the engine: {}", text.unwrap_or("without a message")))
    })
}

/// What a call predicts.
struct Predicted {
    best: Vec<i32>,
    /// `[rows, V]`, where they are looked at.
    logits: Vec<f32>,
    vocabulary: usize,
}

impl Predicted {
    fn read(session: &Session, logits: bool) -> Result<Self, RunError> {
        let best = session.read::<i32>("predictions")?;
        let vocabulary = session.result_type("logits")?.last();
        let logits = if logits { session.read::<f32>("logits")? } else { Vec::new() };
        Ok(Self { best, logits, vocabulary })
    }

    /// The best token of a row of the results, and its logits.
    fn of(&self, row: usize) -> Option<(i32, Option<&[f32]>)> {
        let logits = self.logits.chunks_exact(self.vocabulary.max(1)).nth(row);
        Some((*self.best.get(row)?, logits))
    }
}

/// The gate of every edge.
fn told(gates: &GateMoments) -> Vec<GateValue> {
    let value = |(edge, value): (String, f32)| {
        let (tap, point) = edge.split_once("->")?;
        Some(GateValue { tap: tap.to_owned(), point: point.to_owned(), value })
    };
    gates.means().into_iter().filter_map(value).collect()
}
