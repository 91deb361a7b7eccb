//! Texts to vectors: a pretrained sentence encoder that stands still, and the texts that it has encoded.
//!
//! A vector depends on its text, the weights and the tokenizer alone: not on what is encoded beside it, nor on the number of threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crossloom_compiler::Policy;
use crossloom_data::tokenizer::{PublishedTokenizer, Spelled};
use crossloom_ir::{DType, TensorType};
use crossloom_model::{SENTENCE, encode_texts, inputs};
use crossloom_recipe::TextEncoder;
use crossloom_runtime::{Arena, Device, Session, Store};
use crossloom_weights::Pretrained;
use crossloom_weights::export::Values;

use crate::ExperimentError;
use crate::backends::Backend;
use crate::phases::{bucket, found as session_of, session};
use crate::programs::compiled;
use crate::start::{Start, found};
use crate::states::{Encoding, Key, Picture, State, States};

/// The most texts that are encoded at once.
const ROWS: usize = 8;
/// Tokens of a text are rounded up to a multiple of this.
const TOKENS: usize = 16;
/// Bytes of vectors that are held.
const BUDGET: u64 = 64 << 20;

/// A sentence encoder with its weights and its tokenizer.
#[derive(Debug)]
pub struct SentenceEncoder {
    encoder: TextEncoder,
    tokenizer: PublishedTokenizer,
    arena: Arena,
    /// By texts and tokens of each.
    sessions: BTreeMap<(usize, usize), Session>,
    encoding: Encoding,
    held: States,
}

/// The tokenizer of an encoder's folder.
///
/// # Errors
/// It cannot be read, or is none of word pieces.
pub(crate) fn tokenizer(folder: &Path) -> Result<PublishedTokenizer, ExperimentError> {
    let tokenizer = PublishedTokenizer::load(&folder.join("tokenizer.json"), Spelled::Letters);
    tokenizer.map_err(|error| ExperimentError::File { path: folder.to_owned(), message: error.to_string() })
}

impl SentenceEncoder {
    /// Opens a folder with a `config.json`, safetensors files and a `tokenizer.json`, or `asset:NAME`, on the best device of this machine. What
    /// sentence-transformers writes beside them is heeded.
    ///
    /// # Errors
    /// As [`found`]; the folder is no sentence encoder, or a damaged one; tensors that do not fit its configuration, all of them; a tokenizer with
    /// more ids than the encoder has words; a value that is not finite.
    pub fn open(folder: &Path) -> Result<Self, ExperimentError> {
        Self::on(folder, &Backend::default().running()?)
    }

    /// The same on a device.
    ///
    /// # Errors
    /// As [`SentenceEncoder::open`].
    pub fn on(folder: &Path, device: &Arc<dyn Device>) -> Result<Self, ExperimentError> {
        let folder = &found(folder)?;
        let misfit = |message: String| ExperimentError::File { path: folder.to_owned(), message };
        let model = Pretrained::open(folder)?;
        let encoder = model.architecture().text_encoder.clone();
        let encoder = encoder.ok_or_else(|| misfit("holds no sentence encoder".to_owned()))?;
        let tokenizer = tokenizer(folder)?;
        if tokenizer.vocab_size() > encoder.vocab_size {
            return Err(misfit(format!(
                "its tokenizer has ids up to {}, its encoder {} words",
                tokenizer.vocab_size() - 1,
                encoder.vocab_size
            )));
        }
        let one = encode_texts(&encoder, 1, TOKENS.min(encoder.max_positions))?;
        let start = Start::frozen_from(&Arc::new(model), &one.params)?;
        let func = one.graph.lift()?;
        let program = format!("{}{}", crossloom_ir::text::print(&func), tokenizer.content_hash());
        let store = Store::new(device)?;
        let wanted = one.params.iter();
        let wanted = wanted.map(|param| (param.name.clone(), TensorType::f32(&param.shape[..])));
        start.lay(&store, &wanted.collect())?;
        let arena = Arena::new(&store);
        let first = session(compiled(&func, device.target(), &Policy::default())?, &arena)?;
        let encoding = Encoding::of(&program, &first)?;
        let sessions = BTreeMap::from([((1, TOKENS.min(encoder.max_positions)), first)]);
        Ok(Self { encoder, tokenizer, arena, sessions, encoding, held: States::new(BUDGET, None) })
    }

    /// Width of a vector.
    pub fn width(&self) -> usize {
        self.encoder.hidden
    }

    /// What identifies the vectors, as 64 hexadecimal digits: encoder, weights and tokenizer.
    pub fn content_hash(&self) -> String {
        self.encoding.to_hex()
    }

    /// How many texts were encoded since it was opened; the others were held.
    pub fn encoded(&self) -> u64 {
        self.held.counts.encoded
    }

    /// The vectors of texts, `[N, D]`.
    ///
    /// # Errors
    /// A text of more tokens than the encoder is meant for, all of them; a session that does not run.
    pub fn encode(&mut self, texts: &[&str]) -> Result<Values, ExperimentError> {
        let layout = [(DType::F32, self.width())];
        let keys: Vec<Key> = texts.iter().map(|text| Key::of_text(self.encoding, text)).collect();
        let mut vectors: BTreeMap<Key, Arc<Picture>> = BTreeMap::new();
        let mut missing: BTreeMap<Key, &str> = BTreeMap::new();
        for (&key, &text) in keys.iter().zip(texts) {
            match self.held.get(key, &layout) {
                Some(vector) => drop(vectors.insert(key, vector)),
                None => drop(missing.insert(key, text)),
            }
        }
        // Those of as many tokens, rounded up, run together.
        let mut together: BTreeMap<usize, Vec<(Key, Vec<i32>)>> = BTreeMap::new();
        for (key, ids) in self.tokenized(missing)? {
            let tokens = ids.len().next_multiple_of(TOKENS).min(self.encoder.max_positions);
            together.entry(tokens).or_default().push((key, ids));
        }
        for (tokens, group) in together {
            for group in group.chunks(ROWS) {
                let ids: Vec<&[i32]> = group.iter().map(|(_, ids)| ids.as_slice()).collect();
                for (&(key, _), vector) in group.iter().zip(self.run(&ids, tokens)?) {
                    let vector = Arc::new(Picture(vec![State::F32(vector)]));
                    self.held.put(key, &vector);
                    vectors.insert(key, vector);
                }
            }
        }
        let mut values = Vec::with_capacity(texts.len() * self.width());
        for vector in keys.iter().filter_map(|key| vectors.get(key)) {
            if let [State::F32(vector)] = &vector.0[..] {
                values.extend_from_slice(vector);
            }
        }
        Ok(Values { shape: vec![texts.len(), self.width()], values })
    }

    /// The ids of texts, each of which the encoder can read.
    fn tokenized(&self, texts: BTreeMap<Key, &str>) -> Result<Vec<(Key, Vec<i32>)>, ExperimentError> {
        let (mut ids, mut problems) = (Vec::with_capacity(texts.len()), BTreeSet::new());
        for (key, text) in texts {
            match self.tokenizer.encode(text, true) {
                Err(error) => drop(problems.insert(error.to_string())),
                Ok(own) if own.len() > self.encoder.max_tokens => drop(problems.insert(format!(
                    "\"{}\" has {} tokens; the encoder reads {} at most",
                    text.chars().take(40).collect::<String>(),
                    own.len(),
                    self.encoder.max_tokens
                ))),
                Ok(own) => ids.push((key, own)),
            }
        }
        if problems.is_empty() {
            return Ok(ids);
        }
        let problems: Vec<String> = problems.into_iter().collect();
        Err(ExperimentError::request(problems.join("\n"), "give shorter texts"))
    }

    /// The vectors of at most [`ROWS`] texts of at most so many tokens.
    fn run(&mut self, texts: &[&[i32]], tokens: usize) -> Result<Vec<Vec<f32>>, ExperimentError> {
        let rows = bucket(texts.len(), ROWS);
        let (mut ids, mut segments, mut mask) =
            (vec![0; rows * tokens], vec![-1; rows * tokens], vec![0.0; rows * tokens]);
        for (row, text) in texts.iter().enumerate() {
            let at = row * tokens..row * tokens + text.len();
            ids[at.clone()].copy_from_slice(text);
            segments[at.clone()].fill(0);
            mask[at].fill(1.0);
        }
        let session = self.session(rows, tokens)?;
        session.write(inputs::TOKENS, &ids)?;
        session.write(inputs::SEGMENTS, &segments)?;
        session.write(inputs::POOL_MASK, &mask)?;
        session.run()?;
        let vectors: Vec<f32> = session.read(SENTENCE)?;
        Ok(vectors.chunks(self.width()).take(texts.len()).map(<[f32]>::to_vec).collect())
    }

    fn session(&mut self, rows: usize, tokens: usize) -> Result<&mut Session, ExperimentError> {
        if !self.sessions.contains_key(&(rows, tokens)) {
            let graph = encode_texts(&self.encoder, rows, tokens)?;
            let target = self.arena.store().device().target();
            let plan = compiled(&graph.graph.lift()?, target, &Policy::default())?;
            let session = session(plan, &self.arena)?;
            self.sessions.insert((rows, tokens), session);
        }
        Ok(session_of(&mut self.sessions, &(rows, tokens))?)
    }
}
