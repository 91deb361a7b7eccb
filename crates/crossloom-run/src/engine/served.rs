//! What an engine serves: a model with what it reads.

use std::path::Path;
use std::sync::Arc;

use crossloom_data::packing::ImageMode;
use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_recipe::{Precision, Recipe};
use crossloom_runtime::MappedFile;
use crossloom_train::run_dir::VariantDir;

use crate::bundle::Bundle;
use crate::data::{image_mode, language_weights};
use crate::interface::Interface;
use crate::processor::Processor;
use crate::training_stage::{TrainingStage, newest};
use crate::{ExperimentError, ModelProcessor, published};

/// Where weights come from.
#[derive(Debug)]
pub(super) enum Weights {
    /// The newest checkpoint of a training.
    Checkpoint(Box<TrainingStage>),
    /// Those that a training would begin with.
    Start,
    /// All of them, under their own names.
    File(Arc<MappedFile>),
}

/// A model that can be served, found and checked; nothing heavy is done yet.
#[derive(Debug)]
pub struct Served {
    pub(super) name: String,
    pub(super) recipe: Recipe,
    pub(super) tokenizer: QuestionTokenizer,
    pub(super) processor: Processor,
    pub(super) weights: Weights,
    pub(super) mode: ImageMode,
    /// How long an answer is by default.
    pub(super) max_new_tokens: usize,
}

impl Served {
    /// The newest checkpoint of a trained variant. Its folder is all it needs, but for pretrained weights that it names.
    ///
    /// # Errors
    /// No checkpoint; a folder of an earlier version.
    pub fn trained(dir: &VariantDir, recipe: &Recipe) -> Result<Self, ExperimentError> {
        let stage = newest(dir, recipe)?;
        let (Interface { shapes, processor, .. }, tokenizer) = Interface::read(&stage.dir, &stage.recipe)?;
        let (recipe, mode) = (stage.recipe.clone(), image_mode(&stage.recipe));
        let name = format!("{}/{}", recipe.name, dir.name());
        let (weights, max_new_tokens) = (Weights::Checkpoint(Box::new(stage)), shapes.max_new_tokens);
        Ok(Self { name, recipe, tokenizer, processor, weights, mode, max_new_tokens })
    }

    /// A recipe's model as it is before any training: pretrained weights, and start values of what it adds. It speaks its
    /// language model's own tokens, in the chat format of its folder.
    ///
    /// # Errors
    /// The recipe names no pretrained language model, or its folder lacks a tokenizer or a chat template.
    pub fn untrained(recipe: &Recipe) -> Result<Self, ExperimentError> {
        let path = language_weights(recipe).ok_or_else(|| {
            ExperimentError::request(
                format!(
                    "the language model of {} has no pretrained weights, and nothing to say",
                    recipe.name
                ),
                "train it first, or name weights: model.language.weights",
            )
        })?;
        let path = Path::new(path);
        let tokenizer = ModelProcessor::open(path)?.chat_tokenizer(path)?;
        Ok(Self::starting(recipe, tokenizer.into()))
    }

    /// What lies in a folder that is no run: a bundle, as `model export --bundle` writes it, or a whole model as its publisher lays it out.
    /// Settings of its recipe are overridden by `sets`, as `--set` does.
    ///
    /// # Errors
    /// A folder that is neither; one that lacks a file, or holds one that is damaged; a model that a recipe has to say more about.
    pub fn in_folder(folder: &Path, sets: &[String]) -> Result<Self, ExperimentError> {
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name =
            name.file_name().map_or_else(|| folder.to_string_lossy(), std::ffi::OsStr::to_string_lossy);
        if folder.join("config.json").is_file() {
            return Ok(Self::untrained(&published::recipe(folder, sets)?)?.named(name));
        }
        if Bundle::is_at(folder) {
            let Bundle { recipe, interface, tokenizer, weights } = Bundle::open(folder, sets)?;
            let Interface { shapes, processor, .. } = interface;
            let (weights, mode) = (Weights::File(weights), image_mode(&recipe));
            let (name, max_new_tokens) = (name.into_owned(), shapes.max_new_tokens);
            return Ok(Self { name, recipe, tokenizer, processor, weights, mode, max_new_tokens });
        }
        Err(ExperimentError::request(
            format!(
                "{} is no run, which holds a run.json; no model, which holds a config.json; and no bundle, which holds a recipe.toml and \
                 an interface.json",
                folder.display()
            ),
            "give a recipe, or the folder of a run, a model or a bundle; `crossloom runs ls` lists runs",
        ))
    }

    /// A recipe's model with its start values, and a tokenizer that it was made for.
    pub fn starting(recipe: &Recipe, tokenizer: QuestionTokenizer) -> Self {
        Self {
            name: recipe.name.clone(),
            tokenizer,
            processor: Processor::of(recipe),
            weights: Weights::Start,
            mode: image_mode(recipe),
            max_new_tokens: recipe.eval.max_new_tokens,
            recipe: recipe.clone(),
        }
    }

    /// The same by another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same with keys and values that are kept between calls in that type, whatever its recipe says of evaluations.
    #[must_use]
    pub fn with_cache(mut self, cache: Precision) -> Self {
        self.recipe.eval.cache = cache;
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The recipe of the training that it comes from.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}
