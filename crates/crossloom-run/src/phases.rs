//! The phases of a model as sessions over its weights. Sizes are bucketed, and a bucket is compiled when it is first used.

use std::collections::BTreeMap;
use std::ops::Range;

use crossloom_compiler::{Plan, Target};
use crossloom_data::packing::PackedBatch;
use crossloom_model::{
    BatchShape, CacheShape, ModelGraph, ParamSpec, Span, StepShape, ViewShape, chunking, connect, decode,
    inputs, predict_next, prefill, prefill_hidden,
};
use crossloom_recipe::{PointAddress, Recipe, Tap};
use crossloom_runtime::{Arena, Executable, RunError, Session};

use crate::ExperimentError;
use crate::batch::{load_layout, question_mask};
use crate::encoder::{Encoder, EncoderProgram};
use crate::graph::{edges, policy};
use crate::programs::compiled;
use crate::states::{Encoding, PictureBudget, States};

/// Positions of a prompt are rounded up to a multiple of this at least.
const POSITIONS: usize = 16;
/// Positions of longer prompts are rounded up to a multiple of this part of the power of two above them.
const STEPS: usize = 8;

/// Bytes of the logits that are read at once where many positions are.
const LOGITS: usize = 16 << 20;
/// Positions whose logits are read at once, at the most.
const PREDICTED: usize = 64;

/// Views that are encoded at once, at the most: a batch may have a hundred and more.
const VIEWS_AT_ONCE: usize = 16;

/// `encode` and `connect` for pictures, `prefill` for prompts, `decode` for what follows them; one cache of keys and values
/// of which every sequence has a slot. Where the logits of many positions are wanted, `prefill` ends in their states, and `predict` makes
/// logits of as many at once as there is room for.
#[derive(Debug)]
pub struct Phases {
    graphs: Graphs,
    arena: Arena,
    pub(crate) encoder: Encoder,
    /// Of a whole batch, by its rows and views.
    connect: BTreeMap<(usize, Option<ViewShape>), Session>,
    prefill: BTreeMap<Prompts, Session>,
    /// By rows, and tokens of a row.
    decode: BTreeMap<(usize, usize), Session>,
    /// By positions.
    predict: BTreeMap<usize, Session>,
}

/// What prompts a prefill session reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prompts {
    /// Views and visual tokens, where they are counted.
    views: Option<ViewShape>,
    /// Positions of a row.
    tokens: usize,
    rows: usize,
    /// Of a row, each with the logits of one position; none where the states of all positions are the result.
    questions: Option<usize>,
    /// Whether a picture is among the positions.
    picture: bool,
}

/// The most that the phases of a model have room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhaseSizes {
    /// The largest batch that is read; its targets are the most questions of a row.
    pub(crate) shape: BatchShape,
    /// The most short prompts that are read instead of one: rows are a power of two. None where all batches have the same rows.
    pub(crate) short: Option<BatchShape>,
    /// What is decoded at once.
    pub(crate) decoding: Decoding,
    /// Tokens of the tokenizer's vocabulary.
    pub(crate) vocab: usize,
    /// Positions of a prompt that are read at once, where that is less than all.
    pub(crate) chunk: Option<usize>,
    /// Whether prompts and continuations are scored, so that the memory of it is counted before any is taken.
    pub(crate) scores: bool,
}

/// How many tokens are decoded at once, at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoding {
    /// Sequences that live between calls, each with room for as many positions as a row has.
    pub(crate) slots: usize,
    /// Tokens of a row: one, or one of every question of a packed row.
    pub(crate) tokens: usize,
}

impl Decoding {
    /// Every row of a batch has a slot, and every question of a row a token.
    pub(crate) fn packed(shape: BatchShape) -> Self {
        Self { slots: shape.batch, tokens: shape.targets }
    }
}

/// The graphs of the phases, of any size up to the largest.
#[derive(Clone, Debug)]
pub(crate) struct Graphs {
    recipe: Recipe,
    edges: Vec<(Tap, PointAddress)>,
    sizes: PhaseSizes,
}

/// The largest bucket of every phase, compiled.
pub struct PhasePrograms {
    graphs: Graphs,
    pub(crate) encoder: EncoderProgram,
    connect: Plan,
    prefill: Plan,
    decode: Plan,
    scoring: Option<Scoring>,
    short: Option<Short>,
}

/// What reads several short prompts at once.
struct Short {
    connect: Plan,
    prefill: Plan,
}

/// What scores prompts and continuations.
struct Scoring {
    prefill: Plan,
    predict: Plan,
}

impl PhasePrograms {
    /// The phases of a recipe, with what the model has besides.
    pub(crate) fn new(
        recipe: &Recipe,
        sizes: PhaseSizes,
        target: &dyn Target,
    ) -> Result<(Self, Described), ExperimentError> {
        let PhaseSizes { shape, decoding, .. } = sizes;
        let graphs = Graphs { recipe: recipe.clone(), edges: edges(recipe)?, sizes };
        graphs.check_chunks()?;
        let at_once = shape.views.map_or(shape.batch, |of| of.views.min(VIEWS_AT_ONCE));
        let (encoder, mut params) = EncoderProgram::new(recipe, at_once, target)?;
        let (seen, read) = (graphs.connect(shape.batch, shape.views)?, graphs.prefill(graphs.largest())?);
        let (connect, prefill) = (graphs.plan(&seen, target)?, graphs.plan(&read, target)?);
        let encoder = encoder.read_by(&connect);
        let decode = graphs.plan(&graphs.decode(decoding.slots, decoding.tokens)?, target)?;
        let scoring = sizes.scores.then(|| {
            let prefill = graphs.plan(&graphs.prefill(graphs.largest_scored())?, target)?;
            let predict = graphs.plan(&graphs.predict(graphs.predicted())?, target)?;
            Ok::<_, ExperimentError>(Scoring { prefill, predict })
        });
        let scoring = scoring.transpose()?;
        let short = graphs.short().map(|prompts| {
            let connect = graphs.plan(&graphs.connect(prompts.rows, prompts.views)?, target)?;
            let prefill = graphs.plan(&graphs.prefill(prompts)?, target)?;
            Ok::<_, ExperimentError>(Short { connect, prefill })
        });
        let short = short.transpose()?;
        for param in seen.params.into_iter().chain(read.params) {
            if !params.iter().any(|known| known.name == param.name) {
                params.push(param);
            }
        }
        let programs = Self { graphs, encoder, connect, prefill, decode, scoring, short };
        Ok((programs, Described { params, gates: read.gates }))
    }

    /// All plans.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        let scoring = self.scoring.iter().flat_map(|scoring| [&scoring.prefill, &scoring.predict]);
        let short = self.short.iter().flat_map(|short| [&short.connect, &short.prefill]);
        self.reading().into_iter().chain([self.decoding()]).chain(scoring).chain(short)
    }

    /// Bytes that scoring holds beside its sessions: the states of a call's positions, and logits that are looked at.
    pub(crate) fn scored_bytes(&self) -> u64 {
        let results = self
            .scoring
            .iter()
            .flat_map(|Scoring { prefill, predict }| [(prefill, inputs::HIDDEN), (predict, "logits")]);
        let bytes = results.filter_map(|(plan, name)| {
            let result = plan.func.results().iter().find(|result| result.name == name)?;
            Some(4 * plan.func.ty(result.value).elements() as u64)
        });
        bytes.sum()
    }

    /// Those that read a batch of prompts with their pictures, in the order in which they run.
    pub(crate) fn reading(&self) -> [&Plan; 3] {
        [self.encoder.plan(), &self.connect, &self.prefill]
    }

    /// That which reads one token of every open question.
    pub(crate) fn decoding(&self) -> &Plan {
        &self.decode
    }
}

/// What a model has besides its sessions.
pub(crate) struct Described {
    /// Every weight.
    pub(crate) params: Vec<ParamSpec>,
    /// Every gated point with its taps.
    pub(crate) gates: Vec<(PointAddress, Vec<Tap>)>,
}

/// What the rows of a batch see.
#[derive(Debug)]
pub(crate) struct Seen {
    /// `[B, N, D]`; of no picture in rows without a question.
    pub(crate) visual: Vec<f32>,
    /// `[K, B, N, D]` of every injection, by the name of the input.
    pub(crate) features: Vec<(String, Vec<f32>)>,
}

impl Phases {
    /// The compiled phases as sessions; the store then has all weights and the arena its size.
    pub(crate) fn new(programs: PhasePrograms, arena: &Arena) -> Result<Self, ExperimentError> {
        let PhasePrograms { graphs, encoder, connect, prefill, decode, scoring, short } = programs;
        let Decoding { slots, tokens } = graphs.sizes.decoding;
        let session = |plan| session(plan, arena);
        let shape = graphs.sizes.shape;
        let mut connect = BTreeMap::from([((shape.batch, shape.views), session(connect)?)]);
        let mut prompts = BTreeMap::from([(graphs.largest(), session(prefill)?)]);
        let mut predict = BTreeMap::new();
        if let Some(scoring) = scoring {
            prompts.insert(graphs.largest_scored(), session(scoring.prefill)?);
            predict.insert(graphs.predicted(), session(scoring.predict)?);
        }
        if let Some((prompts_of, short)) = graphs.short().zip(short) {
            connect.insert((prompts_of.rows, prompts_of.views), session(short.connect)?);
            prompts.insert(prompts_of, session(short.prefill)?);
        }
        Ok(Self {
            encoder: Encoder::new(encoder, arena, States::new(PictureBudget::default().memory(false), None))?,
            connect,
            prefill: prompts,
            decode: BTreeMap::from([((slots, tokens), session(decode)?)]),
            predict,
            graphs,
            arena: arena.clone(),
        })
    }

    /// Rows of a batch that is read, where all batches have as many.
    pub(crate) fn rows(&self) -> usize {
        self.graphs.sizes.shape.batch
    }

    /// How many prompts of these lengths, from the first one on, are read by one call: a power of two, so that no row is read for nothing.
    pub(crate) fn rows_at_once(&self, lengths: &[usize]) -> usize {
        let mut rows = 1;
        let fit = |rows: usize| {
            let longest = lengths[..rows].iter().copied().max().unwrap_or_default();
            rows * padded(longest) <= self.graphs.at_once()
        };
        let most = self.graphs.sizes.short.map_or(1, |of| of.batch);
        while 2 * rows <= lengths.len().min(most) && fit(2 * rows) {
            rows *= 2;
        }
        rows
    }

    /// Sequences that live between calls.
    pub(crate) fn slots(&self) -> usize {
        self.graphs.sizes.decoding.slots
    }

    /// How many pictures were encoded since the model was built.
    pub fn encoded(&self) -> u64 {
        self.encoder.counts().encoded
    }

    /// The largest session of every phase, by its name.
    pub(crate) fn largest(&self) -> impl Iterator<Item = (&'static str, &Session)> {
        let last = [
            ("encode", self.encoder.largest()),
            ("connect", self.connect.values().next_back()),
            ("prefill", self.prefill.values().next_back()),
            ("decode", self.decode.values().next_back()),
        ];
        last.into_iter().filter_map(|(name, session)| Some((name, session?)))
    }

    /// How pictures are encoded now.
    pub(crate) fn encoding(&mut self) -> Result<Encoding, ExperimentError> {
        self.encoder.encoding()
    }

    /// Encodes the pictures of a batch, each once, but for those that were encoded in the same way and are still held, and
    /// connects them.
    pub(crate) fn see(&mut self, batch: &PackedBatch, encoding: Encoding) -> Result<Seen, ExperimentError> {
        let mut asked: Vec<usize> = batch.questions().iter().map(|question| question.row).collect();
        asked.dedup();
        let views = batch.plan().views.map(|views| ViewShape { views, tokens: batch.plan().visual_tokens });
        let size = (batch.plan().batch_size, views);
        if !self.connect.contains_key(&size) {
            let session = self.session(&self.graphs.connect(size.0, views)?)?;
            self.connect.insert(size, session);
        }
        let session = found(&mut self.connect, &size)?;
        self.encoder.load(session, batch, &asked, encoding)?;
        load_layout(session, batch)?;
        if session.has_input(inputs::QUESTION_MASK) {
            session.write(inputs::TOKENS, &batch.tokens_bt)?;
            session.write(inputs::QUESTION_MASK, &question_mask(batch))?;
        }
        if session.has_input(inputs::QUESTION_VECTOR) {
            session.write(inputs::QUESTION_VECTOR, &batch.vectors_be)?;
        }
        session.run()?;
        let injections = self.graphs.recipe.topology.injections();
        let features = injections.map(|injection| {
            let name = injection.under(inputs::FEATURES);
            let values = session.read::<f32>(&name)?;
            Ok((name, values))
        });
        let features = features.collect::<Result<_, RunError>>()?;
        Ok(Seen { visual: session.read::<f32>(inputs::VISUAL)?, features })
    }

    /// In how many calls, and which positions of every row in each, prompts of these lengths are read, whose visual tokens stand at
    /// `pictures`. A row that is read to its end before the others has empty ranges.
    pub(crate) fn calls(
        &self,
        lengths: &[usize],
        pictures: &[Range<usize>],
    ) -> Result<Vec<Vec<Range<usize>>>, ExperimentError> {
        let Graphs { recipe, .. } = &self.graphs;
        let chunking = chunking(recipe);
        let cut = |(&length, picture): (&usize, &Range<usize>)| {
            chunking.cut(recipe, length, picture.clone(), self.graphs.at_once())
        };
        let rows: Vec<Vec<Range<usize>>> = lengths.iter().zip(pictures).map(cut).collect::<Result<_, _>>()?;
        let calls = rows.iter().map(Vec::len).max().unwrap_or_default();
        let of_call = |call: usize| {
            let of_row = |(row, &length): (&Vec<Range<usize>>, &usize)| {
                row.get(call).cloned().unwrap_or(length..length)
            };
            rows.iter().zip(lengths).map(of_row).collect()
        };
        Ok((0..calls).map(of_call).collect())
    }

    /// The session that reads so many positions and questions of so many prompts, or the states of all positions, with its own sizes; `picture` says
    /// whether any of the positions shows one, and `views` what pictures these rows have room for, where that is counted.
    pub(crate) fn prefill(
        &mut self,
        rows: usize,
        positions: usize,
        questions: Option<usize>,
        picture: bool,
        views: Option<ViewShape>,
    ) -> Result<((usize, Option<usize>), &mut Session), ExperimentError> {
        let tokens = padded(positions).min(self.graphs.at_once());
        let questions = questions.map(|questions| bucket(questions, self.graphs.sizes.shape.targets));
        // A chunk without a picture is the same whatever room there is for them.
        let size = Prompts { views: views.filter(|_| picture), tokens, rows, questions, picture };
        if !self.prefill.contains_key(&size) {
            let session = self.session(&self.graphs.prefill(size)?)?;
            self.prefill.insert(size, session);
        }
        Ok(((tokens, questions), found(&mut self.prefill, &size)?))
    }

    /// The session that reads so many tokens of every one of so many rows, with its own numbers.
    pub(crate) fn decode(
        &mut self,
        rows: usize,
        tokens: usize,
    ) -> Result<((usize, usize), &mut Session), ExperimentError> {
        let Decoding { slots, tokens: most } = self.graphs.sizes.decoding;
        let size = (bucket(rows, slots), bucket(tokens, most));
        if !self.decode.contains_key(&size) {
            let session = self.session(&self.graphs.decode(size.0, size.1)?)?;
            self.decode.insert(size, session);
        }
        Ok((size, found(&mut self.decode, &size)?))
    }

    /// How many positions have their logits read at once, at the most.
    pub(crate) fn predicted(&self) -> usize {
        self.graphs.predicted()
    }

    /// What follows positions with these states `[n, D]`, of which there are at most [`Phases::predicted`]: the session that has predicted
    /// it, in its first rows.
    pub(crate) fn predict(&mut self, states: &[f32]) -> Result<&mut Session, ExperimentError> {
        let width = self.graphs.recipe.model.language.hidden;
        let positions = bucket(states.len() / width, self.graphs.predicted());
        if !self.predict.contains_key(&positions) {
            let session = self.session(&self.graphs.predict(positions)?)?;
            self.predict.insert(positions, session);
        }
        let session = found(&mut self.predict, &positions)?;
        let mut rows = vec![0.0; positions * width];
        rows.iter_mut().zip(states).for_each(|(row, state)| *row = *state);
        session.write(inputs::HIDDEN, &rows)?;
        session.run()?;
        Ok(session)
    }

    /// A bucket that was not used yet.
    fn session(&self, graph: &ModelGraph) -> Result<Session, ExperimentError> {
        let target = self.arena.store().device().target();
        Ok(session(self.graphs.plan(graph, target)?, &self.arena)?)
    }
}

pub(crate) fn session(plan: Plan, arena: &Arena) -> Result<Session, RunError> {
    Session::new(&Executable::new(arena.store().device(), plan)?, arena)
}

impl Graphs {
    /// Those of a recipe, for batches of at most that shape, whose questions all have a token in every call.
    pub(crate) fn new(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let decoding = Decoding::packed(shape);
        let sizes = PhaseSizes { shape, short: None, decoding, vocab, chunk: None, scores: false };
        Ok(Self { recipe: recipe.clone(), edges: edges(recipe)?, sizes })
    }

    /// Refuses chunks in which the longest prompt with the largest picture could not be read, before there is one.
    fn check_chunks(&self) -> Result<(), ExperimentError> {
        let PhaseSizes { shape, chunk, .. } = self.sizes;
        if let Some(chunk) = chunk.filter(|&chunk| chunk < shape.tokens) {
            let visual = shape.views.map_or(self.recipe.visual_positions(), |of| of.tokens);
            chunking(&self.recipe).cut(&self.recipe, shape.tokens, 0..visual, chunk)?;
        }
        Ok(())
    }

    /// The most positions of a prompt that are read at once.
    fn at_once(&self) -> usize {
        let PhaseSizes { shape, chunk, .. } = self.sizes;
        chunk.map_or(shape.tokens, |chunk| chunk.min(shape.tokens))
    }

    /// Whether prompts are read in chunks.
    fn is_cut(&self) -> bool {
        self.at_once() < self.sizes.shape.tokens
    }

    /// The most of prompts that is read at once.
    fn largest(&self) -> Prompts {
        let PhaseSizes { shape, .. } = self.sizes;
        let (tokens, questions) = (self.at_once(), Some(shape.targets));
        Prompts { views: shape.views, tokens, rows: shape.batch, questions, picture: true }
    }

    /// The most short prompts that are read at once.
    fn short(&self) -> Option<Prompts> {
        let BatchShape { batch: rows, tokens, views, .. } = self.sizes.short?;
        Some(Prompts { views, tokens, rows, ..self.largest() })
    }

    /// The most of prompts that is scored at once.
    fn largest_scored(&self) -> Prompts {
        Prompts { questions: None, ..self.largest() }
    }

    /// How many positions have their logits read at once, at the most.
    fn predicted(&self) -> usize {
        let vocab = self.recipe.model.language.vocab_size.unwrap_or(self.sizes.vocab);
        (LOGITS / (4 * vocab.max(1))).clamp(1, PREDICTED)
    }

    /// Vision states of a whole batch to what the language model reads.
    pub(crate) fn connect(
        &self,
        rows: usize,
        views: Option<ViewShape>,
    ) -> Result<ModelGraph, ExperimentError> {
        let PhaseSizes { shape, vocab, .. } = self.sizes;
        Ok(connect(&self.recipe, &self.edges, BatchShape { batch: rows, views, ..shape }, vocab)?)
    }

    fn prefill(&self, prompts: Prompts) -> Result<ModelGraph, ExperimentError> {
        let Prompts { views, tokens, rows, questions, picture } = prompts;
        let span = match (self.is_cut(), picture) {
            (false, _) => Span::Whole,
            (true, true) => Span::Chunk,
            (true, false) => Span::Text,
        };
        let (recipe, edges, vocab) = (&self.recipe, &self.edges, self.sizes.vocab);
        let step = self.step(rows, tokens, views);
        Ok(match questions {
            Some(questions) => prefill(recipe, edges, step, questions, vocab, span)?,
            None => prefill_hidden(recipe, edges, step, vocab, span)?,
        })
    }

    /// Reads the longest prompts, all questions of a row.
    pub(crate) fn largest_prefill(&self) -> Result<ModelGraph, ExperimentError> {
        self.prefill(self.largest())
    }

    /// Reads so many tokens of every one of so many rows.
    pub(crate) fn decode(&self, rows: usize, tokens: usize) -> Result<ModelGraph, ExperimentError> {
        let PhaseSizes { shape, vocab, .. } = self.sizes;
        Ok(decode(&self.recipe, &self.edges, self.step(rows, tokens, shape.views), vocab)?)
    }

    /// Reads the logits of so many positions out of their states.
    fn predict(&self, positions: usize) -> Result<ModelGraph, ExperimentError> {
        Ok(predict_next(&self.recipe, positions, self.sizes.vocab)?)
    }

    fn plan(&self, graph: &ModelGraph, target: &dyn Target) -> Result<Plan, ExperimentError> {
        compiled(&graph.graph.lift()?, target, &policy(&self.recipe, &graph.params)?)
    }

    fn step(&self, rows: usize, tokens: usize, views: Option<ViewShape>) -> StepShape {
        let PhaseSizes { shape, decoding, .. } = self.sizes;
        let cache = CacheShape { slots: decoding.slots, capacity: shape.tokens };
        StepShape { rows, tokens, cache, visual: views.map(|of| of.tokens) }
    }
}

/// The positions of a prompt with those that are read for nothing, so that there are not too many sizes.
fn padded(positions: usize) -> usize {
    let step = (positions.next_power_of_two() / STEPS).max(POSITIONS);
    positions.next_multiple_of(step)
}

/// The smallest power of two that holds so many, or the most there can be.
pub(crate) fn bucket(count: usize, most: usize) -> usize {
    count.max(1).next_power_of_two().min(most)
}

pub(crate) fn found<'m, K: Ord>(
    sessions: &'m mut BTreeMap<K, Session>,
    size: &K,
) -> Result<&'m mut Session, RunError> {
    sessions.get_mut(size).ok_or(RunError::Unknown { kind: "session", name: "of a phase".to_owned() })
}
