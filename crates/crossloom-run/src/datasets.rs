//! The data of all trainings of an experiment: every set is read once, and all share one vocabulary.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_data::assets::AssetEvent;
use crossloom_data::datasets::VqaDataset;
use crossloom_data::tokenizer::{QuestionTokenizer, Tokenizer, TokenizerOptions};
use crossloom_recipe::{self as recipe, DataTokenizer, Recipe, Source, Variant};

use crate::data::{language_weights, open};
use crate::{Data, ExperimentError, ModelProcessor};

/// The data of all trainings of an experiment. The vocabulary is that of all their training splits, so that a token has one number
/// in every stage.
pub struct DataSets {
    sets: Vec<(Recipe, Data)>,
}

impl DataSets {
    /// Reads (and if need be fetches) the data of variants, stage by stage, that of the first one's last stage first. `folder` is the
    /// recipe's, for relative cache paths; `event` hears what happens to assets. Gives up soon after `stop` is set.
    ///
    /// # Errors
    /// Those of [`Data::load_until`].
    pub fn of_variants(
        variants: &[Variant],
        folder: &Path,
        stop: &AtomicBool,
        event: &mut dyn FnMut(AssetEvent),
    ) -> Result<Self, ExperimentError> {
        let last = variants.iter().map(|variant| variant.recipe.clone());
        let stages = variants.iter().flat_map(|variant| variant.recipe.by_stage());
        Self::read(last.chain(stages), folder, stop, event)
    }

    /// That of one recipe.
    pub(crate) fn of_recipe(
        recipe: &Recipe,
        folder: &Path,
        stop: &AtomicBool,
        event: &mut dyn FnMut(AssetEvent),
    ) -> Result<Self, ExperimentError> {
        Self::read(std::iter::once(recipe.clone()).chain(recipe.by_stage()), folder, stop, event)
    }

    fn read(
        recipes: impl Iterator<Item = Recipe>,
        folder: &Path,
        stop: &AtomicBool,
        event: &mut dyn FnMut(AssetEvent),
    ) -> Result<Self, ExperimentError> {
        let mut opened: Vec<(Recipe, Box<dyn VqaDataset>)> = Vec::new();
        for recipe in recipes {
            if opened.iter().any(|(known, _)| same_pictures(known, &recipe)) {
                continue;
            }
            let set = open(&recipe, folder, stop, event);
            // What was fetched stays in the cache; no run begins.
            if stop.load(Ordering::SeqCst) {
                return Err(ExperimentError::Stopped);
            }
            opened.push((recipe, set?));
        }
        let tokenizer = Self::tokenizer(&opened)?;
        let divided = opened.into_iter().map(|(recipe, set)| {
            let data = Data::divided(set, tokenizer.clone(), &recipe)?;
            Ok((recipe, data))
        });
        Ok(Self { sets: divided.collect::<Result<_, ExperimentError>>()? })
    }

    /// What all of the data is cut into.
    fn tokenizer(opened: &[(Recipe, Box<dyn VqaDataset>)]) -> Result<QuestionTokenizer, ExperimentError> {
        let of_model = |recipe: &&Recipe| recipe.data.tokenizer == DataTokenizer::Model;
        let mut recipes = opened.iter().map(|(recipe, _)| recipe);
        let Some(own) = recipes.clone().find(of_model) else {
            let texts = opened.iter().flat_map(|(_, set)| set.train().texts());
            return Ok(Tokenizer::train(texts, &TokenizerOptions::default())?.into());
        };
        let weights = language_weights(own);
        if !recipes.all(|recipe| of_model(&recipe) && language_weights(recipe) == weights) {
            return Err(ExperimentError::request(
                "some variants or stages read words, or the tokens of another model, than others",
                "what is compared, or follows one another, is asked in the same tokens: give all one data.tokenizer and one language model",
            ));
        }
        let path = weights.ok_or_else(|| {
            ExperimentError::request(
                "data.tokenizer is \"model\", and the language model has no weights",
                "name them as model.language.weights, or write data.tokenizer = \"words\"",
            )
        })?;
        let processor = ModelProcessor::open(Path::new(path))?;
        // Of a model in one folder the pictures are known too.
        let whole = |recipe: &Recipe| {
            let of = &recipe.model;
            of.vision.weights.is_none() && of.weights.as_ref().is_some_and(|weights| weights.path == path)
        };
        for (recipe, _) in opened {
            if matches!(recipe.data.source, Source::Conversations { .. }) && whole(recipe) {
                processor.agrees(recipe)?;
            }
        }
        let tokenizer = processor.chat_tokenizer(Path::new(path))?;
        if let Some(rows) = own.model.language.vocab_size {
            tokenizer.published().check_embedding(rows)?;
        }
        Ok(tokenizer.into())
    }

    /// The data of a recipe, that of its last stage.
    ///
    /// # Errors
    /// A recipe whose data was not read.
    pub fn of(&self, recipe: &Recipe) -> Result<&Data, ExperimentError> {
        let found = self.sets.iter().find(|(known, _)| same_pictures(known, recipe));
        found.map(|(_, data)| data).ok_or_else(|| {
            ExperimentError::request(
                "the data of a stage was not read",
                "read that of all stages of the recipe",
            )
        })
    }

    /// That of the recipe it was read for, or of the first variant.
    pub(crate) fn into_first(self) -> Option<Data> {
        self.sets.into_iter().next().map(|(_, data)| data)
    }

    /// All of them, that of the first variant's last stage first.
    pub fn iter(&self) -> impl Iterator<Item = &Data> {
        self.sets.iter().map(|(_, data)| data)
    }

    /// Bytes of pictures, texts and tokens in memory.
    pub fn bytes(&self) -> u64 {
        self.iter().map(Data::bytes).sum()
    }
}

/// Whether two recipes of one encoder read the same pictures and questions and divide them alike.
pub(crate) fn same_data(a: &recipe::Data, b: &recipe::Data) -> bool {
    a.source == b.source
        && a.tokenizer == b.tokenizer
        && a.seed == b.seed
        && a.validation == b.validation
        && a.train_limit == b.train_limit
        && a.test_limit == b.test_limit
}

/// Whether two recipes read the same pictures, in the same size and way, and questions, and divide them alike.
pub(crate) fn same_pictures(a: &Recipe, b: &Recipe) -> bool {
    let framed = |recipe: &Recipe| {
        let vision = &recipe.model.vision;
        (recipe.picture_side(), vision.fit, vision.resize_edge, vision.resample, vision.anyres)
    };
    same_data(&a.data, &b.data) && framed(a) == framed(b)
}
