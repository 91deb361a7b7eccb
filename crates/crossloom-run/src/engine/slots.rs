//! What the engine's thread does: prompts into slots, one token of every slot, and again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossloom_data::conversations::{Conversation, PromptLayer};
use crossloom_data::packing::{PADDING_SEGMENT, PackedBatch, PackingPlan};
use crossloom_model::inputs;
use crossloom_runtime::{RunError, Session};

use super::live::Live;
use super::queue::{Asked, Queue};
use super::{Card, GateValue};
use crate::ExperimentError;
use crate::batch::{Laid, Pools, load_text_segments};
use crate::gates::GateMoments;
use crate::model::Model;
use crate::prefill::{Reading, place};
use crate::question_vectors::Vectors;
use crate::states::Encoding;

/// A model with its slots.
pub(super) struct Slots {
    of: Parts,
    queue: Arc<Queue>,
    /// Slots that nobody has, the next one last.
    free: Vec<usize>,
    /// Requests that have a slot, and whose prompts are not read yet.
    admitted: VecDeque<Live>,
    reading: Option<Group>,
    live: Vec<Live>,
}

/// Requests whose prompts are read in the same calls.
struct Group {
    rows: Vec<Live>,
    /// Once their pictures have been looked at.
    laid: Option<(PackedBatch, Reading)>,
    /// By row: its gates, where it asked for them.
    gates: Vec<Option<Vec<GateValue>>>,
    /// By row: its first token and the logits of it, once its prompt was read to its end.
    first: Vec<Option<(i32, Option<Vec<f32>>)>>,
}

/// What a model with slots is made of.
pub(super) struct Parts {
    pub(super) model: Model,
    pub(super) card: Arc<Card>,
    pub(super) pools: Pools,
    pub(super) encoding: Encoding,
    pub(super) layer: PromptLayer,
    /// Shapes of batches of prompts, from those of the fewest views.
    pub(super) plans: Vec<PackingPlan>,
    /// What makes vectors of questions, where something depends on them.
    pub(super) vectors: Option<Vectors>,
}

impl Slots {
    pub(super) fn new(of: Parts, queue: Arc<Queue>) -> Self {
        let free = (0..of.model.phases.slots()).rev().collect();
        let (admitted, live) = (VecDeque::new(), Vec::new());
        Self { of, queue, free, admitted, reading: None, live }
    }

    /// Where its requests come from.
    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// How many requests may be admitted.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.admitted.is_empty() && self.reading.is_none() && self.live.is_empty()
    }

    /// Gives requests a slot each. What finds none is told so.
    pub(super) fn admit(&mut self, asked: Vec<Asked>) {
        for asked in asked {
            match self.free.pop() {
                Some(slot) => self.admitted.push_back(Live::new(asked, slot)),
                // Never asked for: the thread takes as many as there are free slots.
                None => _ = asked.events.send(super::Event::Failed("no slot is free".to_owned())),
            }
        }
    }

    /// One call of prompts, one token of every slot whose prompt is read.
    pub(super) fn round(&mut self) {
        let begun = Instant::now();
        self.leave_cancelled();
        self.guarded(Self::read, |slots, problem| {
            for live in slots.reading.take().map(|group| group.rows).unwrap_or_default() {
                slots.fail(&live, problem);
            }
        });
        if !self.live.is_empty() {
            self.guarded(Self::decode, |slots, problem| {
                for live in std::mem::take(&mut slots.live) {
                    slots.fail(&live, problem);
                }
            });
        }
        let counts = self.of.model.phases.encoder.counts();
        let live = self.live.len() + self.admitted.len();
        let live = live + self.reading.as_ref().map_or(0, |group| group.rows.len());
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
        for live in reading.into_iter().chain(live).chain(std::mem::take(&mut self.admitted)) {
            self.fail(&live, problem);
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

    fn fail(&mut self, live: &Live, problem: &str) {
        live.failed(problem);
        self.free.push(live.slot);
        self.queue.count(|stats| stats.failed += 1);
    }

    /// Gives the slots of those back whose client left.
    fn leave_cancelled(&mut self) {
        let mut left = 0;
        let free = &mut self.free;
        let mut stays = |live: &Live| {
            let stays = !live.is_cancelled();
            if !stays {
                free.push(live.slot);
                left += 1;
            }
            stays
        };
        self.live.retain(&mut stays);
        self.admitted.retain(&mut stays);
        if let Some(group) = &self.reading
            && group.rows.iter().all(Live::is_cancelled)
        {
            group.rows.iter().for_each(|live| _ = stays(live));
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
                let count = self.admitted.len().min(self.of.model.phases.rows());
                if count == 0 {
                    return Ok(());
                }
                none.insert(Group::of(self.admitted.drain(..count).collect()))
            }
        };
        let (batch, reading) = match &mut group.laid {
            Some(laid) => laid,
            none => none.insert(self.of.laid(&group.rows)?),
        };
        if let Some(read) = reading.read(&mut self.of.model.phases, batch, &self.of.pools)? {
            if read.gates {
                let wanted = (0..group.rows.len()).filter(|&row| group.rows[row].request.gates);
                for row in wanted {
                    let mut gates = GateMoments::default();
                    gates.add(read.session, &self.of.model.gates, &[row])?;
                    group.gates[row] = Some(told(&gates));
                }
            }
            let ended = group.rows.iter().zip(&read.ended).enumerate();
            let ended = ended.filter_map(|(row, (live, at))| Some((row, live, (*at)?)));
            let ended: Vec<(usize, &Live, usize)> = ended.collect();
            let wanted = ended.iter().any(|(_, live, _)| live.reads_logits());
            let next = Predicted::read(read.session, wanted)?;
            for (row, _, at) in ended {
                group.first[row] = next.of(at).map(|(best, logits)| (best, logits.map(<[f32]>::to_vec)));
            }
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
        let Group { rows, laid: Some((batch, reading)), gates, first } = group else { return };
        let lengths = reading.lengths();
        for (((row, mut live), gates), first) in rows.into_iter().enumerate().zip(gates).zip(first) {
            let (held, segment) = (lengths[row], batch.questions()[row].segment);
            let position = batch.positions_bt[row * batch.plan().sequence_len + held - 1];
            (live.held, live.next) = (held, (live.next.0, position, segment));
            live.started(gates);
            self.queue.count(|stats| stats.tokens_in += held as u64);
            let first = first.as_ref().map(|(best, logits)| (*best, logits.as_deref()));
            self.take(live, first);
        }
    }

    /// Reads the last token of every live request, and takes the next one.
    fn decode(&mut self) -> Result<(), ExperimentError> {
        let pad = self.of.card.tokenizer.special().pad;
        let ((rows, _), session) = self.of.model.phases.decode(self.live.len(), 1)?;
        let filled = |of: fn(&Live) -> i32, rest: i32| {
            let mut values: Vec<i32> = self.live.iter().map(of).collect();
            values.resize(rows, rest);
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
        let count = |of: fn(&Live) -> usize| {
            let mut counts: Vec<usize> = self.live.iter().map(of).collect();
            counts.resize(rows, 0);
            counts
        };
        place(session, &count(|live| live.slot), &count(|live| live.held), &count(|_| 1))?;
        session.run()?;
        let next = Predicted::read(session, self.live.iter().any(Live::reads_logits))?;
        self.queue.count(|stats| stats.rounds += 1);
        for (row, mut live) in std::mem::take(&mut self.live).into_iter().enumerate() {
            live.held += 1;
            self.take(live, next.of(row));
        }
        Ok(())
    }

    /// A request takes what its slot predicts. It goes on, or gives its slot back where it has ended or where this fails: that is
    /// nobody else's matter.
    fn take(&mut self, mut live: Live, predicted: Option<(i32, Option<&[f32]>)>) {
        let card = &self.of.card;
        let taken = caught(|| {
            let (best, logits) = predicted.ok_or("nothing is predicted behind its prompt")?;
            live.take(best, logits, card).map_err(|error| error.to_string())
        });
        match taken {
            Ok(false) => self.live.push(live),
            Ok(true) => {
                self.free.push(live.slot);
                let written = live.written();
                self.queue.count(|stats| {
                    stats.done += 1;
                    stats.tokens_out += written;
                });
            }
            Err(problem) => self.fail(&live, &problem),
        }
    }
}

impl Group {
    fn of(rows: Vec<Live>) -> Self {
        let (gates, first) = (vec![None; rows.len()], vec![None; rows.len()]);
        Self { rows, laid: None, gates, first }
    }
}

impl Parts {
    /// The prompts of requests as a batch whose pictures have been looked at.
    fn laid(&mut self, rows: &[Live]) -> Result<(PackedBatch, Reading), ExperimentError> {
        let prompts: Vec<&Conversation> =
            rows.iter().map(|live| &*live.request.prompt.conversation).collect();
        let views: usize = prompts.iter().map(|prompt| prompt.needs.views).sum();
        let visual = prompts.iter().map(|prompt| prompt.needs.visual).max().unwrap_or_default();
        let holds =
            |plan: &&PackingPlan| plan.views.is_none_or(|most| views <= most && visual <= plan.visual_tokens);
        let plan = self.plans.iter().find(holds).or(self.plans.last());
        let plan = plan.ok_or_else(|| ExperimentError::request("there are no prompts", "this is a bug"))?;
        let mut batch = PackedBatch::new(plan);
        self.layer.lay(&prompts, &mut batch)?;
        if let Some(vectors) = &mut self.vectors {
            let asked: Vec<&str> =
                rows.iter().map(|live| live.request.prompt.question.as_deref().unwrap_or_default()).collect();
            let (made, width) = (vectors.of(&asked)?, vectors.width());
            batch.lay_vectors(|question| made.chunks(width).nth(question.row))?;
        }
        let mut slots: Vec<usize> = rows.iter().map(|live| live.slot).collect();
        slots.resize(self.model.phases.rows(), 0);
        let reading = Reading::begin(&mut self.model.phases, &batch, self.encoding, slots)?;
        Ok((batch, reading))
    }
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
