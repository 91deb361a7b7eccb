//! The phases of a model as sessions over its weights. Sizes are bucketed, and a bucket is compiled when it is first used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crossloom_compiler::{Plan, Target};
use crossloom_data::packing::PackedBatch;
use crossloom_model::{
    BatchShape, CacheShape, ModelGraph, ParamSpec, Span, StepShape, chunking, decode, encode_and_connect,
    inputs, prefill,
};
use crossloom_recipe::{PointAddress, Recipe, Topology, VisionAddress};
use crossloom_runtime::{Arena, Executable, RunError, Session};

use crate::ExperimentError;
use crate::features::{Features, Key, Picture, Weights};
use crate::graph::policy;
use crate::programs::compiled;

/// Positions of a prompt are rounded up to a multiple of this.
const POSITIONS: usize = 16;
/// Bytes of pictures that are kept: 64 MiB.
const FEATURES: usize = 64 << 20;

/// `encode` and `connect` for pictures, `prefill` for prompts, `decode` for what follows them; one cache of keys and values
/// of which every row of a batch has a slot.
#[derive(Debug)]
pub struct Phases {
    graphs: Graphs,
    arena: Arena,
    features: Features,
    /// How many pictures were encoded.
    encoded: usize,
    /// By pictures.
    encode: BTreeMap<usize, Session>,
    /// By positions and questions of a row, and whether a picture is among them.
    prefill: BTreeMap<(usize, usize, bool), Session>,
    /// By questions of a row.
    decode: BTreeMap<usize, Session>,
}

/// The graphs of the phases, of any size up to the largest.
#[derive(Clone, Debug)]
pub(crate) struct Graphs {
    recipe: Recipe,
    edges: Vec<(VisionAddress, PointAddress)>,
    /// The largest batch; its targets are the most questions of a row.
    shape: BatchShape,
    vocab: usize,
    /// Positions of a prompt that are read at once, where that is less than all.
    chunk: Option<usize>,
}

/// The largest bucket of every phase, compiled.
pub struct PhasePrograms {
    graphs: Graphs,
    encode: Plan,
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
        let BatchShape { batch, targets, .. } = shape;
        let (seen, read) = (graphs.encode(batch)?, graphs.prefill(graphs.at_once(), targets, true)?);
        let (encode, prefill) = (graphs.plan(&seen, target)?, graphs.plan(&read, target)?);
        let decode = graphs.plan(&graphs.decode(targets)?, target)?;
        let mut params = seen.params;
        for param in read.params {
            if !params.iter().any(|known| known.name == param.name) {
                params.push(param);
            }
        }
        Ok((Self { graphs, encode, prefill, decode }, Described { params, gates: read.gates }))
    }

    /// All plans.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        [&self.encode, &self.prefill, &self.decode].into_iter()
    }

    /// Bytes of features that are held once so many pictures were seen.
    pub(crate) fn feature_bytes(&self, pictures: usize) -> u64 {
        let func = &self.encode.func;
        let of = |name: &str| func.result(name).map_or(0, |value| func.ty(value).bytes());
        let each = (of(inputs::VISUAL) + of(inputs::FEATURES)) / self.graphs.shape.batch.max(1);
        each.saturating_mul(pictures).min(FEATURES) as u64
    }
}

/// What a model has besides its sessions.
pub(crate) struct Described {
    /// Every weight.
    pub(crate) params: Vec<ParamSpec>,
    /// Every gated point with its taps.
    pub(crate) gates: Vec<(PointAddress, Vec<VisionAddress>)>,
}

/// What the rows of a batch see.
pub(crate) struct Seen {
    /// `[B, N, D]`; zeros in rows without a question.
    pub(crate) visual: Vec<f32>,
    /// `[K, B, N, D]`; empty where nothing is injected.
    pub(crate) features: Vec<f32>,
}

impl Phases {
    /// The compiled phases as sessions; the store then has all weights and the arena its size.
    pub(crate) fn new(programs: PhasePrograms, arena: &Arena) -> Result<Self, ExperimentError> {
        let PhasePrograms { graphs, encode, prefill, decode } = programs;
        let BatchShape { batch, targets, .. } = graphs.shape;
        let session = |plan| session(plan, arena);
        Ok(Self {
            encode: BTreeMap::from([(batch, session(encode)?)]),
            prefill: BTreeMap::from([((graphs.at_once(), targets, true), session(prefill)?)]),
            decode: BTreeMap::from([(targets, session(decode)?)]),
            graphs,
            arena: arena.clone(),
            features: Features::new(FEATURES),
            encoded: 0,
        })
    }

    /// Rows of a call, each with a slot of the cache.
    pub(crate) fn rows(&self) -> usize {
        self.graphs.shape.batch
    }

    /// How many pictures were encoded since the model was built.
    pub fn encoded(&self) -> usize {
        self.encoded
    }

    /// The largest session of every phase, by its name.
    pub(crate) fn largest(&self) -> impl Iterator<Item = (&'static str, &Session)> {
        let last = [
            ("encode", self.encode.values().next_back()),
            ("prefill", self.prefill.values().next_back()),
            ("decode", self.decode.values().next_back()),
        ];
        last.into_iter().filter_map(|(name, session)| Some((name, session?)))
    }

    /// The weights that pictures are encoded with now.
    pub(crate) fn weights(&mut self) -> Result<Weights, ExperimentError> {
        Ok(Weights::of(self.encode(1)?.1)?)
    }

    /// Encodes and connects the pictures of a batch, each once, but for those that were seen with the same weights and are
    /// still held.
    pub(crate) fn see(&mut self, batch: &PackedBatch, weights: Weights) -> Result<Seen, ExperimentError> {
        let rows = self.rows();
        let size = batch.pixels_bchw.len() / rows.max(1);
        let pixels = |row: usize| &batch.pixels_bchw[row * size..(row + 1) * size];
        let mut asked: Vec<usize> = batch.questions().iter().map(|question| question.row).collect();
        asked.dedup();
        let mut seen: BTreeMap<Key, Arc<Picture>> = BTreeMap::new();
        let mut missing: Vec<(Key, usize)> = Vec::new();
        let mut keys: Vec<(usize, Key)> = Vec::new();
        for row in asked {
            let key = Key::of(weights, pixels(row));
            keys.push((row, key));
            if seen.contains_key(&key) || missing.iter().any(|&(known, _)| known == key) {
                continue;
            }
            match self.features.get(key) {
                Some(picture) => _ = seen.insert(key, picture),
                None => missing.push((key, row)),
            }
        }
        if !missing.is_empty() {
            let given: Vec<&[f32]> = missing.iter().map(|&(_, row)| pixels(row)).collect();
            for (&(key, _), picture) in missing.iter().zip(self.encode_pictures(&given)?) {
                let picture = Arc::new(picture);
                self.features.put(key, &picture);
                seen.insert(key, picture);
            }
        }
        Ok(in_rows(rows, &keys, &seen))
    }

    /// Encodes at most as many pictures as a batch has rows.
    fn encode_pictures(&mut self, pictures: &[&[f32]]) -> Result<Vec<Picture>, ExperimentError> {
        let (room, session) = self.encode(pictures.len())?;
        let mut pixels = pictures.concat();
        pixels.resize(session.input_type(inputs::PIXELS)?.elements(), 0.0);
        session.write(inputs::PIXELS, &pixels)?;
        session.run()?;
        let visual = session.read::<f32>(inputs::VISUAL)?;
        let width = visual.len() / room;
        let features = match session.result_type(inputs::FEATURES) {
            Ok(_) => session.read::<f32>(inputs::FEATURES)?,
            Err(_) => Vec::new(),
        };
        self.encoded += pictures.len();
        let picture = |i: usize| Picture {
            visual: visual[i * width..(i + 1) * width].to_vec(),
            features: features
                .chunks(room * width)
                .flat_map(|tap| tap[i * width..(i + 1) * width].to_vec())
                .collect(),
        };
        Ok((0..pictures.len()).map(picture).collect())
    }

    /// The session that encodes so many pictures, and how many it has room for.
    fn encode(&mut self, pictures: usize) -> Result<(usize, &mut Session), ExperimentError> {
        let room = bucket(pictures, self.graphs.shape.batch);
        if !self.encode.contains_key(&room) {
            let session = self.session(&self.graphs.encode(room)?)?;
            self.encode.insert(room, session);
        }
        Ok((room, found(&mut self.encode, &room)?))
    }

    /// In how many calls, and which positions of every row in each, prompts of these lengths are read. A prompt begins with
    /// the visual tokens of its picture. A row that is read to its end before the others has empty ranges.
    pub(crate) fn calls(&self, lengths: &[usize]) -> Result<Vec<Vec<Range<usize>>>, ExperimentError> {
        let Graphs { recipe, .. } = &self.graphs;
        let (chunking, picture) = (chunking(recipe), 0..recipe.model.vision.tokens());
        let cut = |&length: &usize| chunking.cut(recipe, length, picture.clone(), self.graphs.at_once());
        let rows: Vec<Vec<Range<usize>>> = lengths.iter().map(cut).collect::<Result<_, _>>()?;
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

fn session(plan: Plan, arena: &Arena) -> Result<Session, RunError> {
    Session::new(&Executable::new(arena.store().device(), plan)?, arena)
}

impl Graphs {
    /// Those of a recipe, for batches of at most that shape.
    pub(crate) fn new(recipe: &Recipe, shape: BatchShape, vocab: usize) -> Result<Self, ExperimentError> {
        let edges = Topology::new(recipe)?.injections().map(|edge| (edge.tap, edge.point)).collect();
        Ok(Self { recipe: recipe.clone(), edges, shape, vocab, chunk: None })
    }

    /// The same, with prompts that are read in chunks of so many positions.
    fn in_chunks(self, chunk: Option<usize>) -> Result<Self, ExperimentError> {
        let chunk = chunk.filter(|&chunk| chunk < self.shape.tokens);
        if let Some(chunk) = chunk {
            // What would be refused for the longest prompt is refused before there is one.
            let picture = 0..self.recipe.model.vision.tokens();
            chunking(&self.recipe).cut(&self.recipe, self.shape.tokens, picture, chunk)?;
        }
        Ok(Self { chunk, ..self })
    }

    /// The most positions of a prompt that are read at once.
    fn at_once(&self) -> usize {
        self.chunk.unwrap_or(self.shape.tokens)
    }

    /// The edges of the injection.
    pub(crate) fn edges(&self) -> &[(VisionAddress, PointAddress)] {
        &self.edges
    }

    fn encode(&self, pictures: usize) -> Result<ModelGraph, ExperimentError> {
        Ok(encode_and_connect(&self.recipe, &self.edges, pictures)?)
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
        StepShape { rows, tokens, cache: CacheShape { slots: rows, capacity } }
    }
}

/// The smallest power of two that holds so many, or the most there can be.
fn bucket(count: usize, most: usize) -> usize {
    count.max(1).next_power_of_two().min(most)
}

fn found<'m, K: Ord>(sessions: &'m mut BTreeMap<K, Session>, size: &K) -> Result<&'m mut Session, RunError> {
    sessions.get_mut(size).ok_or(RunError::Unknown { kind: "session", name: "of a phase".to_owned() })
}

/// The pictures at the places of their rows.
fn in_rows(rows: usize, keys: &[(usize, Key)], seen: &BTreeMap<Key, Arc<Picture>>) -> Seen {
    let first = seen.values().next();
    let width = first.map_or(0, |picture| picture.visual.len());
    let taps = first.map_or(0, |picture| picture.features.len() / width.max(1));
    let mut all = Seen { visual: vec![0.0; rows * width], features: vec![0.0; taps * rows * width] };
    for (row, key) in keys {
        let Some(picture) = seen.get(key) else { continue };
        all.visual[row * width..(row + 1) * width].copy_from_slice(&picture.visual);
        for (tap, features) in picture.features.chunks(width.max(1)).enumerate() {
            all.features[(tap * rows + row) * width..][..width].copy_from_slice(features);
        }
    }
    all
}
