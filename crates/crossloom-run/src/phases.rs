//! The phases of a model as sessions over its weights. Sizes are bucketed, and a bucket is compiled when it is first used.

use std::collections::BTreeMap;
use std::ops::Range;

use crossloom_compiler::{Plan, Target};
use crossloom_data::packing::PackedBatch;
use crossloom_model::{
    BatchShape, CacheShape, ModelGraph, ParamSpec, Span, StepShape, chunking, connect, decode, inputs,
    prefill,
};
use crossloom_recipe::{PointAddress, Recipe, Tap};
use crossloom_runtime::{Arena, Executable, RunError, Session};

use crate::ExperimentError;
use crate::batch::{load_layout, question_mask};
use crate::encoder::{Encoder, EncoderProgram};
use crate::graph::{edges, policy};
use crate::programs::compiled;
use crate::states::{Encoding, PictureBudget, States};

/// Positions of a prompt are rounded up to a multiple of this.
const POSITIONS: usize = 16;

/// Views that are encoded at once, at the most: a batch may have a hundred and more.
const VIEWS_AT_ONCE: usize = 16;

/// `encode` and `connect` for pictures, `prefill` for prompts, `decode` for what follows them; one cache of keys and values
/// of which every row of a batch has a slot.
#[derive(Debug)]
pub struct Phases {
    graphs: Graphs,
    arena: Arena,
    pub(crate) encoder: Encoder,
    /// Of a whole batch.
    connect: Session,
    /// By positions and questions of a row, and whether a picture is among them.
    prefill: BTreeMap<(usize, usize, bool), Session>,
    /// By questions of a row.
    decode: BTreeMap<usize, Session>,
}

/// The graphs of the phases, of any size up to the largest.
#[derive(Clone, Debug)]
pub(crate) struct Graphs {
    recipe: Recipe,
    edges: Vec<(Tap, PointAddress)>,
    /// The largest batch; its targets are the most questions of a row.
    shape: BatchShape,
    vocab: usize,
    /// Positions of a prompt that are read at once, where that is less than all.
    chunk: Option<usize>,
}

/// The largest bucket of every phase, compiled.
pub struct PhasePrograms {
    graphs: Graphs,
    pub(crate) encoder: EncoderProgram,
    connect: Plan,
    prefill: Plan,
    decode: Plan,
}

impl PhasePrograms {
    /// The phases of a recipe for batches of at most that shape, with what the model has besides. Prompts are read `chunk`
    /// positions at a time, or at once.
    pub(crate) fn new(
        recipe: &Recipe,
        shape: BatchShape,
        vocab: usize,
        chunk: Option<usize>,
        target: &dyn Target,
    ) -> Result<(Self, Described), ExperimentError> {
        let graphs = Graphs::new(recipe, shape, vocab)?.in_chunks(chunk)?;
        let targets = shape.targets;
        let at_once = shape.views.map_or(shape.batch, |of| of.views.min(VIEWS_AT_ONCE));
        let (encoder, mut params) = EncoderProgram::new(recipe, at_once, target)?;
        let (seen, read) = (graphs.connect()?, graphs.prefill(graphs.at_once(), targets, true)?);
        let (connect, prefill) = (graphs.plan(&seen, target)?, graphs.plan(&read, target)?);
        let encoder = encoder.read_by(&connect);
        let decode = graphs.plan(&graphs.decode(targets)?, target)?;
        for param in seen.params.into_iter().chain(read.params) {
            if !params.iter().any(|known| known.name == param.name) {
                params.push(param);
            }
        }
        Ok((Self { graphs, encoder, connect, prefill, decode }, Described { params, gates: read.gates }))
    }

    /// All plans.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.reading().into_iter().chain([self.decoding()])
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
pub(crate) struct Seen {
    /// `[B, N, D]`; of no picture in rows without a question.
    pub(crate) visual: Vec<f32>,
    /// `[K, B, N, D]` of every injection, by the name of the input.
    pub(crate) features: Vec<(String, Vec<f32>)>,
}

impl Phases {
    /// The compiled phases as sessions; the store then has all weights and the arena its size.
    pub(crate) fn new(programs: PhasePrograms, arena: &Arena) -> Result<Self, ExperimentError> {
        let PhasePrograms { graphs, encoder, connect, prefill, decode } = programs;
        let BatchShape { targets, .. } = graphs.shape;
        let session = |plan| session(plan, arena);
        Ok(Self {
            encoder: Encoder::new(encoder, arena, States::new(PictureBudget::default().memory(false), None))?,
            connect: session(connect)?,
            prefill: BTreeMap::from([((graphs.at_once(), targets, true), session(prefill)?)]),
            decode: BTreeMap::from([(targets, session(decode)?)]),
            graphs,
            arena: arena.clone(),
        })
    }

    /// Rows of a call, each with a slot of the cache.
    pub(crate) fn rows(&self) -> usize {
        self.graphs.shape.batch
    }

    /// How many pictures were encoded since the model was built.
    pub fn encoded(&self) -> u64 {
        self.encoder.counts().encoded
    }

    /// The largest session of every phase, by its name.
    pub(crate) fn largest(&self) -> impl Iterator<Item = (&'static str, &Session)> {
        let last = [
            ("encode", self.encoder.largest()),
            ("connect", Some(&self.connect)),
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
        let session = &mut self.connect;
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

    /// The session that reads so many positions and questions of prompts, with its own sizes; `picture` says whether any of
    /// the positions shows one.
    pub(crate) fn prefill(
        &mut self,
        positions: usize,
        questions: usize,
        picture: bool,
    ) -> Result<((usize, usize), &mut Session), ExperimentError> {
        let tokens = positions.next_multiple_of(POSITIONS).min(self.graphs.at_once());
        let questions = bucket(questions, self.graphs.shape.targets);
        let size = (tokens, questions, picture);
        if !self.prefill.contains_key(&size) {
            let session = self.session(&self.graphs.prefill(tokens, questions, picture)?)?;
            self.prefill.insert(size, session);
        }
        Ok(((tokens, questions), found(&mut self.prefill, &size)?))
    }

    /// The session that reads a token of so many questions of every row, with its own number.
    pub(crate) fn decode(&mut self, questions: usize) -> Result<(usize, &mut Session), ExperimentError> {
        let tokens = bucket(questions, self.graphs.shape.targets);
        if !self.decode.contains_key(&tokens) {
            let session = self.session(&self.graphs.decode(tokens)?)?;
            self.decode.insert(tokens, session);
        }
        Ok((tokens, found(&mut self.decode, &tokens)?))
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
    /// Those of a recipe, for batches of at most that shape.
    pub(crate) fn new(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        Ok(Self { recipe: recipe.clone(), edges: edges(recipe)?, shape, vocab, chunk: None })
    }

    /// The same, with prompts that are read in chunks of so many positions.
    fn in_chunks(self, chunk: Option<usize>) -> Result<Self, ExperimentError> {
        let chunk = chunk.filter(|&chunk| chunk < self.shape.tokens);
        if chunk.is_some() && self.shape.views.is_some() {
            return Err(ExperimentError::request(
                "prompts with several pictures, or none, are read at once",
                "leave out the size of chunks",
            ));
        }
        if let Some(chunk) = chunk {
            // What would be refused for the longest prompt is refused before there is one.
            let picture = 0..self.recipe.visual_positions();
            chunking(&self.recipe).cut(&self.recipe, self.shape.tokens, picture, chunk)?;
        }
        Ok(Self { chunk, ..self })
    }

    /// The most positions of a prompt that are read at once.
    fn at_once(&self) -> usize {
        self.chunk.unwrap_or(self.shape.tokens)
    }

    /// Vision states of a whole batch to what the language model reads.
    pub(crate) fn connect(&self) -> Result<ModelGraph, ExperimentError> {
        Ok(connect(&self.recipe, &self.edges, self.shape, self.vocab)?)
    }

    /// Reads so many positions and questions of prompts, with a picture or without.
    pub(crate) fn prefill(
        &self,
        tokens: usize,
        questions: usize,
        picture: bool,
    ) -> Result<ModelGraph, ExperimentError> {
        let span = match (self.chunk, picture) {
            (None, _) => Span::Whole,
            (Some(_), true) => Span::Chunk,
            (Some(_), false) => Span::Text,
        };
        Ok(prefill(&self.recipe, &self.edges, self.step(tokens), questions, self.vocab, span)?)
    }

    /// Reads a token of so many questions of every row.
    pub(crate) fn decode(&self, questions: usize) -> Result<ModelGraph, ExperimentError> {
        Ok(decode(&self.recipe, &self.edges, self.step(questions), self.vocab)?)
    }

    fn plan(&self, graph: &ModelGraph, target: &dyn Target) -> Result<Plan, ExperimentError> {
        compiled(&graph.graph.lift()?, target, &policy(&self.recipe, &graph.params)?)
    }

    fn step(&self, tokens: usize) -> StepShape {
        let BatchShape { batch: rows, tokens: capacity, .. } = self.shape;
        let visual = self.shape.views.map(|of| of.tokens);
        StepShape { rows, tokens, cache: CacheShape { slots: rows, capacity }, visual }
    }
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
