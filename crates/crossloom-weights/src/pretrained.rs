//! A folder or a file with a model: configuration, files and names together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossloom_ir::{DType, TensorType};
use crossloom_recipe::Part;
use crossloom_runtime::{MappedFile, MappedTensor, RunError};
use serde::Serialize;

use crate::format::{gguf, onnx};
use crate::layout::{self, Dims, LAYOUTS, Match, Tensor, is_left_out};
use crate::shards::{Shards, list, open, table};
use crate::{Architecture, Layout, WeightsError, family};

/// A pretrained model whose files are mapped.
#[derive(Debug)]
pub struct Pretrained {
    path: PathBuf,
    architecture: Architecture,
    layout: &'static Layout,
    files: Shards,
    /// What every tensor is made of, by our name.
    made_of: BTreeMap<String, Source>,
    left_out: Vec<String>,
}

/// One of the tensors that are made of one row's tensors of the file.
#[derive(Clone, Debug)]
struct Source {
    row: Arc<Match>,
    /// Which one of them.
    place: usize,
    shape: Vec<usize>,
    /// None where it is none of ours.
    dtype: Option<DType>,
}

/// Where the bytes of a tensor are.
#[derive(Debug)]
pub enum WeightBytes {
    /// In the file, as they are needed.
    Mapped(MappedTensor),
    /// In memory, since the file has them in another order, or not where they can be used.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for WeightBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(tensor) => tensor.as_ref(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Tensors of one part and one element type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// How many.
    pub tensors: u64,
    /// Their elements.
    pub parameters: u64,
    /// Their bytes in the file.
    pub bytes: u64,
}

/// The part to which a tensor belongs, by our name. A sentence encoder, of which no recipe's model is made, counts as language.
pub fn part_of(name: &str) -> Part {
    if name.starts_with("vision_tower.") {
        Part::Vision
    } else if name.starts_with("language_model.") || name.starts_with("text_encoder.") {
        Part::Language
    } else if name.starts_with("injection.") {
        Part::Adapter
    } else {
        Part::Projector
    }
}

impl Pretrained {
    /// Opens a folder with a `config.json`, a GGUF file, or an encoder in ONNX. No tensor is read.
    ///
    /// # Errors
    /// All that is wrong: with the configuration; with the files; with both together, where the dimensions of one are not those
    /// of the other.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        if path.is_dir() {
            return Self::folder(path);
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gguf") => Self::gguf(path),
            Some("onnx") => Self::onnx(path),
            _ if !path.exists() => Err(WeightsError::one(path, "there is no such file or folder")),
            _ => Err(WeightsError::one(
                path,
                "is no folder with a `config.json`, no `.gguf` and no `.onnx` file",
            )),
        }
    }

    fn gguf(path: &Path) -> Result<Self, WeightsError> {
        let mut metadata = gguf::Metadata::new();
        let file = MappedFile::open_as(path, |bytes| {
            let (header, read) = gguf::header(bytes)?;
            metadata = read;
            Ok(header)
        });
        let file = file.map_err(|error| opened(path, error))?;
        let has_head = file.header().contains_key(layout::GGUF_HEAD);
        let architecture =
            family::of_gguf(&metadata, has_head).map_err(|problems| WeightsError::new(path, problems))?;
        let layout = layout::of_gguf(&architecture);
        Self::of(path, architecture, Shards::of(&file), layout)
    }

    fn onnx(path: &Path) -> Result<Self, WeightsError> {
        let file = MappedFile::open_as(path, onnx::header).map_err(|error| opened(path, error))?;
        let architecture =
            family::of_onnx(file.header()).map_err(|problems| WeightsError::new(path, problems))?;
        Self::of(path, architecture, Shards::of(&file), &layout::ONNX)
    }

    fn folder(folder: &Path) -> Result<Self, WeightsError> {
        let config = folder.join("config.json");
        let mut architecture = family::architecture(&table(&config)?)
            .map_err(|problems| WeightsError::new(&config, problems))?;
        let processor = folder.join("preprocessor_config.json");
        if let (Some(vision), true) = (&mut architecture.vision, processor.exists()) {
            crate::processor::read(vision, &table(&processor)?)
                .map_err(|problems| WeightsError::new(&processor, problems))?;
        }
        if let Some(encoder) = &mut architecture.text_encoder {
            sentences(folder)?.complete(encoder).map_err(|problems| WeightsError::new(folder, problems))?;
        }
        let files = open(folder)?;
        let layout = layout(&architecture, &files).map_err(|problem| WeightsError::one(folder, problem))?;
        Self::of(folder, architecture, files, layout)
    }

    /// Brings configuration and files together.
    fn of(
        path: &Path,
        architecture: Architecture,
        files: Shards,
        layout: &'static Layout,
    ) -> Result<Self, WeightsError> {
        let dims = Dims::of(&architecture);
        let (mut made_of, mut left_out, mut problems) = (BTreeMap::new(), Vec::new(), Vec::new());
        for in_file in files.names() {
            let row = match layout.of_file(in_file, &dims) {
                Some(row) if !row.ours.is_empty() && !is_left_out(in_file) => row,
                None if !is_left_out(in_file) => {
                    problems.push(format!("holds `{in_file}`, which is no tensor of such a model"));
                    continue;
                }
                _ => {
                    left_out.push(in_file.to_owned());
                    continue;
                }
            };
            // A row of several tensors of the file is seen with the first of them that is there.
            if made_of.contains_key(&row.ours[0]) {
                continue;
            }
            match shapes(&files, &row, &dims) {
                Ok(shapes) => {
                    let row = Arc::new(row);
                    made_of.extend(shapes.into_iter().enumerate().map(|(place, (dtype, shape))| {
                        (row.ours[place].clone(), Source { row: Arc::clone(&row), place, shape, dtype })
                    }));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let mut model = Self { path: path.to_owned(), architecture, layout, files, made_of, left_out };
        model.check_dimensions(&mut problems);
        if problems.is_empty() { Ok(model) } else { Err(WeightsError::new(path, problems)) }
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Families and dimensions. The vocabulary is that of the files.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// How its files name tensors.
    pub fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Our names of all its tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.made_of.keys().map(String::as_str)
    }

    /// Tensors of the files that are no weights of ours.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// A tensor by our name: where it lies in its file, or in memory if the file has it in another order.
    ///
    /// # Errors
    /// There is none; its element type is not supported; the file has changed.
    pub fn tensor(&self, name: &str) -> Result<(TensorType, WeightBytes), RunError> {
        let failed = |message: String| RunError::File { path: self.path.clone(), message };
        let read = |in_file: &str| {
            self.files.read(in_file).unwrap_or_else(|| Err(failed(format!("has no tensor `{in_file}`"))))
        };
        let source = self.made_of.get(name).ok_or_else(|| failed(format!("has no tensor `{name}`")))?;
        if let ([only], true) = (source.row.file.as_slice(), source.row.is_as_it_lies()) {
            return read(only).map(|(ty, tensor)| (ty, WeightBytes::Mapped(tensor)));
        }
        let file: Vec<_> = source.row.file.iter().map(|name| read(name)).collect::<Result<_, _>>()?;
        let given = (file.iter())
            .map(|(ty, bytes)| Tensor { ty: ty.clone(), bytes: Cow::Borrowed(bytes.as_ref()) })
            .collect();
        let ours = source.row.load(given, &Dims::of(&self.architecture));
        let made = ours.map_err(|e| failed(format!("`{}` {e}", source.row.file.join("`, `"))))?;
        let made = made.into_iter().nth(source.place);
        let Tensor { ty, bytes } = made.ok_or_else(|| failed(format!("has no tensor `{name}`")))?;
        Ok((ty, WeightBytes::Owned(bytes.into_owned())))
    }

    /// BLAKE3 of all its tensors, as 64 hexadecimal digits: of our names, types, shapes and bytes, so that neither the names nor the
    /// number of the files count. All bytes are read.
    ///
    /// # Errors
    /// As [`Pretrained::tensor`].
    pub fn content_hash(&self) -> Result<String, RunError> {
        let mut hasher = blake3::Hasher::new();
        for name in self.names() {
            let (ty, bytes) = self.tensor(name)?;
            let bytes = bytes.as_ref();
            hasher.update(format!("{name} {ty} {}\n", bytes.len()).as_bytes());
            hasher.update_rayon(bytes);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Our names of the tensors of a part.
    pub fn names_of(&self, part: Part) -> impl Iterator<Item = &str> {
        self.names().filter(move |name| part_of(name) == part)
    }

    /// What the files hold, by part and by the element type that they name.
    pub fn held(&self) -> BTreeMap<(Part, String), Held> {
        let mut held: BTreeMap<(Part, String), Held> = BTreeMap::new();
        for (ours, source) in &self.made_of {
            let all = source.row.file.iter().filter_map(|in_file| self.files.located(in_file));
            let all: Vec<_> = all.collect();
            let Some(first) = all.first() else { continue };
            let entry = held.entry((part_of(ours), first.dtype_name().to_owned())).or_default();
            entry.tensors += 1;
            entry.parameters += source.shape.iter().product::<usize>() as u64;
            if source.place == 0 {
                entry.bytes += all.iter().map(|located| located.range.len() as u64).sum::<u64>();
            }
        }
        held
    }

    /// The element type of a tensor by our name; none if there is none, or its type is none of ours.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.made_of.get(name)?.dtype
    }

    /// The shape of a tensor by our name; none if there is none.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.made_of.get(name)?.shape)
    }

    /// Compares the configuration with the tensors that show every dimension, and takes the vocabulary from the files.
    fn check_dimensions(&mut self, problems: &mut Vec<String>) {
        let mut expect = |name: &str, shape: &[usize]| match self.shape(name) {
            None => problems.push(format!("holds no `{name}`")),
            Some(found) if found != shape => problems
                .push(format!("holds `{name}` of shape {found:?}; by its configuration that is {shape:?}")),
            Some(_) => {}
        };
        if let Some(vision) = &self.architecture.vision {
            let tower = "vision_tower.vision_model";
            let (d, patch) = (vision.hidden, vision.patch_size);
            let mut kernel = vec![d, vision.channels, patch, patch];
            if vision.temporal_patch > 1 {
                kernel.insert(2, vision.temporal_patch);
            }
            expect(&format!("{tower}.embeddings.patch_embedding.weight"), &kernel);
            expect(&format!("{tower}.embeddings.position_embedding.weight"), &[vision.positions(), d]);
            for layer in [0, vision.layers - 1] {
                expect(&format!("{tower}.encoder.layers.{layer}.mlp.fc1.weight"), &[vision.mlp, d]);
                expect(&format!("{tower}.encoder.layers.{layer}.self_attn.q_proj.weight"), &[d, d]);
            }
        }
        let Architecture { vision, language, projector, .. } = &self.architecture;
        if let (Some(vision), Some(language), Some(projector)) = (vision, language, projector)
            && projector.windows().is_none()
        {
            // It reads the states, and the patches of a block, side by side.
            let width = vision.hidden * projector.merge.pow(2) * self.architecture.taps.len().max(1);
            expect("multi_modal_projector.linear_1.weight", &[projector.hidden, width]);
            expect("multi_modal_projector.linear_2.weight", &[language.hidden, projector.hidden]);
        }
        if let Some(text) = &self.architecture.text_encoder {
            let (d, encoder) = (text.hidden, "text_encoder");
            expect(&format!("{encoder}.embeddings.word_embeddings.weight"), &[text.vocab_size, d]);
            expect(&format!("{encoder}.embeddings.position_embeddings.weight"), &[text.max_positions, d]);
            expect(&format!("{encoder}.embeddings.token_type_embeddings.weight"), &[text.types, d]);
            for layer in [0, text.layers - 1] {
                let layer = format!("{encoder}.encoder.layer.{layer}");
                expect(&format!("{layer}.attention.self.query.weight"), &[d, d]);
                expect(&format!("{layer}.intermediate.dense.weight"), &[text.mlp, d]);
            }
        }
        if let Some(language) = &self.architecture.language {
            let (d, dim) = (language.hidden, language.head_dim);
            for layer in [0, language.layers - 1] {
                let layer = format!("language_model.model.layers.{layer}");
                expect(&format!("{layer}.self_attn.q_proj.weight"), &[language.heads * dim, d]);
                expect(&format!("{layer}.self_attn.k_proj.weight"), &[language.kv_heads * dim, d]);
                expect(&format!("{layer}.mlp.gate_proj.weight"), &[language.mlp, d]);
            }
            expect("language_model.model.norm.weight", &[d]);
            match self.shape("language_model.model.embed_tokens.weight") {
                Some(&[vocab, width]) if width == d => {
                    if !language.tie_embeddings {
                        expect("language_model.lm_head.weight", &[vocab, d]);
                    }
                }
                found => problems.push(format!(
                    "holds word embeddings of shape {found:?}; by its configuration their width is {d}"
                )),
            }
        }
        problems.extend(self.beyond());
        let embedding =
            self.shape("language_model.model.embed_tokens.weight").and_then(|shape| shape.first().copied());
        if let (Some(vocab), Some(language)) = (embedding, &mut self.architecture.language) {
            language.vocab_size = Some(vocab);
        }
    }

    /// Blocks that files hold and the configuration does not have.
    fn beyond(&self) -> Vec<String> {
        let Architecture { vision, language, text_encoder, .. } = &self.architecture;
        let towers = [
            ("vision_tower.vision_model.encoder.layers.", vision.as_ref().map(|vision| vision.layers)),
            ("language_model.model.layers.", language.as_ref().map(|language| language.layers)),
            ("text_encoder.encoder.layer.", text_encoder.as_ref().map(|text| text.layers)),
        ];
        let mut beyond = BTreeSet::new();
        for (prefix, layers) in towers {
            let Some(layers) = layers else { continue };
            for name in self.names().filter_map(|name| name.strip_prefix(prefix)) {
                let layer = name.split('.').next().and_then(|number| number.parse::<usize>().ok());
                if let Some(layer) = layer.filter(|&layer| layer >= layers) {
                    beyond.insert(format!(
                        "holds `{prefix}{layer}`; by its configuration there are {layers} layers"
                    ));
                }
            }
        }
        beyond.into_iter().collect()
    }
}

/// What a folder says of sentences.
fn sentences(folder: &Path) -> Result<family::Sentences, WeightsError> {
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let read = |name: &str| there(name).map(|path| table(&path)).transpose();
    Ok(family::Sentences {
        modules: there("modules.json").map(|path| list(&path)).transpose()?,
        pooling: read("1_Pooling/config.json")?,
        limits: read("sentence_bert_config.json")?,
    })
}

/// Why a file does not open, once by its name.
pub(crate) fn opened(path: &Path, error: RunError) -> WeightsError {
    match error {
        RunError::File { message, .. } => WeightsError::one(path, message),
        error => WeightsError::one(path, error),
    }
}

/// Element type, if it is one of ours, and extents.
type Shape = (Option<DType>, Vec<usize>);

/// The element types and shapes of our tensors that a row is about.
fn shapes(files: &Shards, row: &Match, dims: &Dims) -> Result<Vec<Shape>, String> {
    let absent = row.file.iter().filter(|name| files.located(name).is_none());
    let absent: Vec<String> = absent.map(|name| format!("`{name}`")).collect();
    if !absent.is_empty() {
        return Err(format!("holds no {}, without which `{}` is not whole", absent.join(", "), row.ours[0]));
    }
    let located: Vec<_> = row.file.iter().filter_map(|name| files.located(name)).collect();
    if row.is_as_it_lies() {
        let as_they_lie =
            located.into_iter().map(|located| (located.dtype.clone().ok(), located.shape.clone()));
        return Ok(as_they_lie.collect());
    }
    let typed = located.iter().map(|located| {
        located
            .ty()
            .ok_or_else(|| format!("has elements of type {}, which is not supported", located.dtype_name()))
    });
    let ours = typed.collect::<Result<Vec<_>, _>>().and_then(|types| row.types(&types, dims));
    let named = |problem: String| format!("holds `{}`, which {problem}", row.file.join("`, `"));
    ours.map_err(named).map(|types| types.into_iter().map(|ty| (Some(ty.dtype), ty.shape)).collect())
}

/// The layout under which a folder holds the first tensor of each of its parts.
fn layout(architecture: &Architecture, files: &Shards) -> Result<&'static Layout, String> {
    let marks = [
        architecture.vision.as_ref().map(|_| "vision_tower.vision_model.embeddings.patch_embedding.weight"),
        architecture.language.as_ref().map(|_| "language_model.model.embed_tokens.weight"),
        architecture.text_encoder.as_ref().map(|_| "text_encoder.embeddings.word_embeddings.weight"),
    ];
    let whole = architecture.vision.is_some() && architecture.language.is_some();
    let candidates = || LAYOUTS.iter().filter(|layout| layout.whole == whole);
    let fits = |layout: &&Layout| {
        let mut marks = marks.iter().flatten();
        marks.all(|mark| layout.to_file(mark).is_some_and(|name| files.located(&name).is_some()))
    };
    candidates().find(fits).ok_or_else(|| {
        let known = candidates().flat_map(|layout| marks.iter().flatten().filter_map(|m| layout.to_file(m)));
        let mut known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
        known.dedup();
        format!("holds tensors by names that are not known: one of {} is expected", known.join(", "))
    })
}

#[cfg(test)]
mod tests;
