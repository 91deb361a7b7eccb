//! What a model starts from: pretrained weights that its recipe names, or nothing but seeds.
//!
//! Weights are opened and compared with the model before anything is written. What stays frozen is then read where it lies, and
//! is no part of a checkpoint; what is trained is copied from there at step 0.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossloom_data::assets::AssetCache;
use crossloom_data::datasets::Files;
use crossloom_ir::{Role, TensorType};
use crossloom_model::ParamSpec;
use crossloom_recipe::{
    Architecture, Data, DataTokenizer, KeptIn, LoadedRecipe, Part, PretrainedWeights, Recipe, Selection,
    Source as DataSource,
};
use crossloom_runtime::{HostBytes, Store};
use crossloom_weights::export::Values;
use crossloom_weights::peft::{self, Adapter};
use crossloom_weights::pretrained::part_of;
use crossloom_weights::{Pretrained, WeightBytes, WeightsError, values};

use crate::data::language_weights;
use crate::fitting::Comparison;
use crate::graph::training_spec;
use crate::question_vectors::{hash_of_file, width_of_file};
use crate::sentences::tokenizer;
use crate::sources::{Source, sources};
use crate::{ExperimentError, ModelProcessor};

/// What the weights at a path, or the adapter there, are of: what [`crossloom_recipe::load_with`] asks.
///
/// # Errors
/// Everything that is wrong with them.
pub fn architecture(path: &Path) -> Result<Architecture, Vec<String>> {
    let path = &found(path).map_err(|error| vec![error.to_string()])?;
    if is_vectors(path) {
        let width = width_of_file(path).map_err(|error| vec![error.to_string()])?;
        return Ok(Architecture { vectors: Some(width), ..Architecture::default() });
    }
    let read = if peft::is_adapter(path) {
        let pairs = Adapter::open(path).and_then(|adapter| adapter.parts());
        pairs.map(|pairs| Architecture { pairs, ..Architecture::default() })
    } else {
        Pretrained::open(path).map(|model| model.architecture().clone())
    };
    read.map_err(|WeightsError { problems, .. }| problems)
}

/// Whether a path is that of vectors of questions, and of no model.
fn is_vectors(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension == "safetensors")
}

/// The file or folder that a path leads to: itself, or where the package lies that `asset:NAME` names.
///
/// # Errors
/// A package that is not known, holds no model or has not been fetched.
pub fn found(path: &Path) -> Result<PathBuf, ExperimentError> {
    match path.to_str().and_then(|path| path.strip_prefix(PretrainedWeights::ASSET)) {
        None => Ok(path.to_owned()),
        Some(name) => Ok(AssetCache::of_user()?.model(name)?),
    }
}

/// A recipe whose paths of weights and of files of samples are absolute. Of these only packages are looked for.
///
/// # Errors
/// There is no current folder for a recipe whose own path is relative; as [`found`].
pub fn located(mut loaded: LoadedRecipe) -> Result<LoadedRecipe, ExperimentError> {
    let folder = loaded.path.parent().unwrap_or(Path::new(".")).to_owned();
    for weights in named(&mut loaded) {
        let path = found(&PretrainedWeights::place(&folder, &weights.path))?;
        let absolute = std::path::absolute(&path)
            .map_err(|error| ExperimentError::File { path, message: error.to_string() })?;
        weights.path = absolute.display().to_string();
    }
    for path in data_of(&mut loaded).flat_map(|data| data.source.paths_mut()) {
        let place = folder.join(&*path);
        let absolute = std::path::absolute(&place)
            .map_err(|error| ExperimentError::File { path: place, message: error.to_string() })?;
        *path = absolute.display().to_string();
    }
    Ok(loaded)
}

/// A [located](located()) recipe whose weights have been found, and the tokenizer and chat template of a language model whose tokens the
/// data has, and files of samples: every hash is that of what lies there. All of it is read.
///
/// # Errors
/// Weights, a tokenizer or files of samples that cannot be read, or are not those whose hash the recipe names.
pub fn settled(loaded: LoadedRecipe) -> Result<LoadedRecipe, ExperimentError> {
    let mut loaded = weighed(loaded)?;
    tokenizers(&mut loaded)?;
    samples(&mut loaded)?;
    Ok(loaded)
}

/// A [located](located()) recipe whose weights have been found.
///
/// # Errors
/// Weights that cannot be read, or are not those whose hash the recipe names.
pub(crate) fn weighed(loaded: LoadedRecipe) -> Result<LoadedRecipe, ExperimentError> {
    let mut loaded = located(loaded)?;
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for weights in named(&mut loaded) {
        let hash = match known.get(&weights.path) {
            Some(hash) => hash.clone(),
            None => content_hash(Path::new(&weights.path))?,
        };
        known.insert(weights.path.clone(), hash.clone());
        if let Some(wanted) = weights.hash.as_ref().filter(|wanted| **wanted != hash) {
            return Err(ExperimentError::request(
                format!("the weights at {} have the hash {hash}, not {wanted}", weights.path),
                "put the former weights there, or say where they are with --set ….weights.path=…",
            ));
        }
        weights.hash = Some(hash);
    }
    Ok(loaded)
}

/// Finds the hashes of tokenizers and chat templates in whose tokens data is read.
fn tokenizers(loaded: &mut LoadedRecipe) -> Result<(), ExperimentError> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for recipe in recipes(loaded) {
        let Some(path) = language_weights(recipe).map(str::to_owned) else { continue };
        let stages = recipe.stages.iter_mut().map(|stage| &mut stage.data);
        for data in stages.chain([&mut recipe.data]) {
            if data.tokenizer != DataTokenizer::Model {
                continue;
            }
            let hash = match known.get(&path) {
                Some(hash) => hash.clone(),
                None => {
                    let path = Path::new(&path);
                    ModelProcessor::open(path)?.chat_tokenizer(path)?.content_hash()?
                }
            };
            known.insert(path.clone(), hash.clone());
            if let Some(wanted) = data.tokenizer_hash.as_ref().filter(|wanted| **wanted != hash) {
                return Err(ExperimentError::request(
                    format!("tokenizer and chat template at {path} have the hash {hash}, not {wanted}"),
                    "put the former files there: with others a text becomes other tokens",
                ));
            }
            data.tokenizer_hash = Some(hash);
        }
    }
    Ok(())
}

/// Finds the hashes of files of samples.
fn samples(loaded: &mut LoadedRecipe) -> Result<(), ExperimentError> {
    let mut known: BTreeMap<(Vec<String>, Vec<String>), String> = BTreeMap::new();
    let mut settle = |train: &[String], test: &[String], hash: &mut Option<String>| {
        let files = (train.to_vec(), test.to_vec());
        let found = match known.get(&files) {
            Some(found) => found.clone(),
            None => Files::content_hash(train, test)?,
        };
        known.insert(files, found.clone());
        if let Some(wanted) = hash.as_ref().filter(|wanted| **wanted != found) {
            return Err(ExperimentError::request(
                format!("the files of samples {} have the hash {found}, not {wanted}", train.join(", ")),
                "put the former files there, or say where they are with --set data.source.train=…",
            ));
        }
        *hash = Some(found);
        Ok(())
    };
    for data in data_of(loaded) {
        match &mut data.source {
            DataSource::Files { train, test, hash, .. } => settle(train, test, hash)?,
            DataSource::Conversations { of, test, .. } => {
                for samples in of.iter_mut().chain(test) {
                    settle(&samples.files, &[], &mut samples.hash)?;
                }
            }
            DataSource::EasyVqa {} | DataSource::Synthetic { .. } => {}
        }
    }
    Ok(())
}

/// The data of a recipe, of its variants, and of all their stages.
fn data_of(loaded: &mut LoadedRecipe) -> impl Iterator<Item = &mut Data> {
    recipes(loaded).flat_map(|recipe| {
        let stages = recipe.stages.iter_mut().map(|stage| &mut stage.data);
        stages.chain([&mut recipe.data])
    })
}

/// A recipe and those of its variants.
fn recipes(loaded: &mut LoadedRecipe) -> impl Iterator<Item = &mut Recipe> {
    let variants = loaded.variants.iter_mut().map(|variant| &mut variant.recipe);
    std::iter::once(&mut loaded.base).chain(variants)
}

fn content_hash(path: &Path) -> Result<String, ExperimentError> {
    if peft::is_adapter(path) {
        return Ok(Adapter::open(path)?.content_hash());
    }
    if is_vectors(path) {
        return hash_of_file(path);
    }
    let model = Pretrained::open(path)?;
    let hash = model.content_hash()?;
    // What a text becomes depends on the tokenizer too.
    match model.architecture().text_encoder {
        None => Ok(hash),
        Some(_) => {
            Ok(blake3::hash(format!("{hash}{}", tokenizer(path)?.content_hash()).as_bytes()).to_string())
        }
    }
}

/// All weights that a recipe and its variants name.
fn named(loaded: &mut LoadedRecipe) -> impl Iterator<Item = &mut PretrainedWeights> {
    recipes(loaded).flat_map(|recipe| {
        let model = &mut recipe.model;
        let stages = recipe.stages.iter_mut().map(|stage| &mut stage.train.parts);
        let pairs = std::iter::once(&mut recipe.train.parts).chain(stages).flat_map(|parts| {
            let parts = [&mut parts.vision, &mut parts.projector, &mut parts.language];
            parts.into_iter().filter_map(|part| part.lora.as_mut()?.weights.as_mut())
        });
        let parts = [&mut model.vision.weights, &mut model.language.weights, &mut model.weights];
        let of_questions = recipe.topology.conditioning.files_mut();
        parts.into_iter().flatten().chain(pairs).chain(of_questions)
    })
}

/// Refuses a recipe that was not [settled](settled()): its run would not be known by what it starts from.
pub(crate) fn is_settled(loaded: &LoadedRecipe) -> Result<(), ExperimentError> {
    let mut loaded = loaded.clone();
    let weights = named(&mut loaded).find(|weights| weights.hash.is_none());
    let weights = weights.map(|weights| weights.path.clone());
    let data = data_of(&mut loaded).find_map(|data| match &data.source {
        DataSource::Files { train, hash: None, .. } => Some(train.join(", ")),
        source if source.samples().any(|(_, samples)| samples.hash.is_none()) => Some(
            source.samples().flat_map(|(_, samples)| samples.files.clone()).collect::<Vec<_>>().join(", "),
        ),
        _ if data.tokenizer == DataTokenizer::Model && data.tokenizer_hash.is_none() => {
            Some("the language model's tokenizer".to_owned())
        }
        _ => None,
    });
    match weights.or(data) {
        None => Ok(()),
        Some(what) => Err(ExperimentError::request(
            format!("it is not known what lies at {what}"),
            "pass the recipe through crossloom_run::settled first",
        )),
    }
}

/// Which parameters of a model start from which files. By default none does.
#[derive(Debug, Default)]
pub struct Start {
    frozen: BTreeMap<String, Arc<Pretrained>>,
    trained: BTreeMap<String, Arc<Pretrained>>,
    /// Halves of low-rank pairs, out of adapters.
    pairs: BTreeMap<String, Vec<f32>>,
}

impl Start {
    /// Opens the weights of a [located](located()) recipe and compares them with its model.
    ///
    /// # Errors
    /// Weights that cannot be read; tensors that are missing, unexpected, or of another shape, all of them.
    pub fn new(recipe: &Recipe, params: &[ParamSpec]) -> Result<Self, ExperimentError> {
        let mut start = Self::default();
        let trained = trained(recipe, params);
        for source in sources(recipe)? {
            for name in source.fitting(recipe, params)? {
                let place = if trained.contains(name) { &mut start.trained } else { &mut start.frozen };
                place.insert(name.to_owned(), Arc::clone(&source.model));
            }
        }
        start.pairs = pairs(recipe, params)?;
        as_in_no_file(recipe, params, &trained)?;
        Ok(start)
    }

    /// All of a model that is its files and nothing else, frozen.
    ///
    /// # Errors
    /// Tensors that are missing, unexpected, or of another shape, all of them.
    pub(crate) fn frozen_from(
        model: &Arc<Pretrained>,
        params: &[ParamSpec],
    ) -> Result<Self, ExperimentError> {
        let there = model.names().filter_map(|name| Some((name, model.shape(name)?)));
        let comparison = Comparison {
            path: model.path(),
            allowed: None,
            wanted: params.iter().collect(),
            there: there.collect(),
        };
        let fitting = comparison.fitting()?.into_iter();
        let frozen = fitting.map(|name| (name.to_owned(), Arc::clone(model))).collect();
        Ok(Self { frozen, ..Self::default() })
    }

    /// Puts frozen weights into a store that does not have them yet, in the types that are wanted: where they lie, if they have
    /// that type there, else converted.
    ///
    /// # Errors
    /// A file that has changed; a value that is not finite; no room for a copy.
    pub(crate) fn lay(
        &self,
        store: &Store,
        wanted: &BTreeMap<String, TensorType>,
    ) -> Result<(), ExperimentError> {
        for (name, model) in &self.frozen {
            let Some(wanted) = wanted.get(name) else { continue };
            let (ty, bytes) = finite(model, name)?;
            match bytes {
                WeightBytes::Mapped(tensor) if ty.dtype == wanted.dtype => store.map(name, wanted, tensor)?,
                bytes => {
                    let owned = if ty.dtype == wanted.dtype {
                        Arc::new(bytes) as HostBytes
                    } else {
                        let converted = values::converted(ty.dtype, bytes.as_ref(), wanted.dtype);
                        Arc::new(converted.map_err(|problem| of_tensor(model, name, &problem))?)
                    };
                    store.lend(name, Role::Weight, wanted, &owned)?;
                }
            }
        }
        Ok(())
    }

    /// The parameters that are read where they lie, or converted, and never written.
    pub(crate) fn frozen(&self) -> impl Iterator<Item = &str> {
        self.frozen.keys().map(String::as_str)
    }

    /// The values of a parameter that is never written; none where it is no such.
    ///
    /// # Errors
    /// As [`Start::lay`].
    pub(crate) fn kept(&self, name: &str) -> Result<Option<Vec<f32>>, ExperimentError> {
        Self::values(&self.frozen, name)
    }

    /// What a trained parameter starts from; none where that is its seed.
    ///
    /// # Errors
    /// As [`Start::lay`].
    pub(crate) fn value(&self, name: &str) -> Result<Option<Vec<f32>>, ExperimentError> {
        match self.pairs.get(name) {
            Some(values) => Ok(Some(values.clone())),
            None => Self::values(&self.trained, name),
        }
    }

    fn values(
        models: &BTreeMap<String, Arc<Pretrained>>,
        name: &str,
    ) -> Result<Option<Vec<f32>>, ExperimentError> {
        let Some(model) = models.get(name) else { return Ok(None) };
        let (ty, tensor) = finite(model, name)?;
        let values = values::to_f32(ty.dtype, tensor.as_ref());
        values.map(Some).map_err(|problem| of_tensor(model, name, &problem))
    }
}

/// The parameters that a recipe or a stage before it trains: what is no longer as it was in its file.
pub(crate) fn trained(recipe: &Recipe, params: &[ParamSpec]) -> BTreeSet<String> {
    let groups = recipe.by_stage().into_iter().flat_map(|stage| training_spec(&stage, params).groups);
    groups.flat_map(|group| group.params).collect()
}

/// Refuses to keep as its file has it what an earlier stage trained.
fn as_in_no_file(
    recipe: &Recipe,
    params: &[ParamSpec],
    trained: &BTreeSet<String>,
) -> Result<(), ExperimentError> {
    let selection = Selection::new(&recipe.train);
    let of_file = |param: &&ParamSpec| {
        param.beside.is_none()
            && trained.contains(&param.name)
            && selection.kept_in(param.part, &param.name) == Some(KeptIn::File)
    };
    match params.iter().find(of_file) {
        None => Ok(()),
        Some(param) => Err(ExperimentError::request(
            format!(
                "the stage `{}` keeps `{}` as its file has it, but an earlier stage trains it",
                recipe.stage().unwrap_or_default(),
                param.name
            ),
            format!(
                "set train.parts.{}.dtype of the later stage to \"f32\", or to \"bf16\", which rounds",
                param.part.name()
            ),
        )),
    }
}

/// A tensor of a model, all values of which are finite.
fn finite(model: &Pretrained, name: &str) -> Result<(TensorType, WeightBytes), ExperimentError> {
    let (ty, tensor) = model.tensor(name)?;
    match values::first_non_finite(ty.dtype, tensor.as_ref()) {
        None => Ok((ty, tensor)),
        Some(place) => Err(of_tensor(model, name, &format!("has no finite value at {place}"))),
    }
}

fn of_tensor(model: &Pretrained, name: &str, problem: &str) -> ExperimentError {
    let message = format!("the tensor `{name}` {problem}");
    ExperimentError::File { path: model.path().to_owned(), message }
}

/// What low-rank pairs start from where a recipe names adapters, by the names of their halves.
///
/// # Errors
/// Adapters that cannot be read; pairs that are missing, unexpected, or of another shape, all of an adapter.
fn pairs(recipe: &Recipe, params: &[ParamSpec]) -> Result<BTreeMap<String, Vec<f32>>, ExperimentError> {
    let named = |part: Part| recipe.train.parts.get(part).lora.as_ref()?.weights.as_ref();
    let mut pairs = BTreeMap::new();
    for part in Part::ALL {
        let Some(weights) = named(part) else { continue };
        let adapter = Adapter::open(Path::new(&weights.path))?;
        let halves = adapter.pairs().flat_map(|pair| {
            let name = |letter: &str| format!("{}.lora_{letter}.weight", pair.linear);
            [(name("A"), &pair.a), (name("B"), &pair.b)]
        });
        // One adapter may have pairs for several parts: what none of them takes is too much here.
        let taken = |name: &str| {
            let other = part_of(name);
            other != part && named(other).is_some_and(|other| other.path == weights.path)
        };
        let halves: BTreeMap<String, &Values> = halves.filter(|(name, _)| !taken(name)).collect();
        let comparison = Comparison {
            path: Path::new(&weights.path),
            allowed: Some((format!("train.parts.{}.lora.weights", part.name()), weights)),
            wanted: params.iter().filter(|param| param.beside.is_some() && param.part == part).collect(),
            there: halves.iter().map(|(name, half)| (name.as_str(), half.shape.as_slice())).collect(),
        };
        let fitting = comparison.fitting()?.into_iter().filter_map(|name| Some((name, halves.get(name)?)));
        pairs.extend(fitting.map(|(name, half)| (name.to_owned(), half.values.clone())));
    }
    Ok(pairs)
}

impl Source<'_> {
    /// The parameters that start from these weights.
    ///
    /// # Errors
    /// Everything that does not fit and is not allowed.
    fn fitting<'p>(&self, recipe: &Recipe, params: &'p [ParamSpec]) -> Result<Vec<&'p str>, ExperimentError> {
        // Low-rank pairs are no tensors of the model itself: they start as their recipe says.
        let own = |param: &&ParamSpec| param.beside.is_none() && self.parts.contains(&param.part);
        // The norm behind the last block belongs to an encoder, and a recipe says whether it is read.
        let unread = |name: &str| name.contains(".post_layernorm.") && !recipe.model.vision.post_norm;
        let names = self.parts.iter().flat_map(|&part| self.model.names_of(part));
        let there =
            names.filter(|name| !unread(name)).filter_map(|name| Some((name, self.model.shape(name)?)));
        let comparison = Comparison {
            path: self.model.path(),
            allowed: Some((self.key.to_owned(), self.named)),
            wanted: params.iter().filter(own).collect(),
            there: there.collect(),
        };
        comparison.fitting()
    }
}
