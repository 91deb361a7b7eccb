//! The data of an experiment: read once, shared by all variants that ask for the same.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crossloom_data::assets;
use crossloom_data::assets::AssetCache;
use crossloom_data::assets::AssetEvent;
use crossloom_data::conversations::Source as Samples;
use crossloom_data::datasets::{
    ConversationOptions, Conversations, DatasetManifest, EasyVqa, EasyVqaOptions, Files, FilesOptions,
    SampleFiles, Synthetic, SyntheticOptions, VqaDataset, VqaSplit,
};
use crossloom_data::packing::{EncodedSplit, ImageMode, PackingOptions, PackingPlan};
use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_recipe::{Conditioning, DataTokenizer, ImageUse, Recipe, Source, Split, Variant};

use crate::ExperimentError;
use crate::conversations::Setting;
use crate::datasets::{DataSets, same_pictures};
use crate::measured::{EASY_VQA, Measured};
use crate::processor::Processor;
use crate::question_vectors::{QuestionVectors, Vectors};

/// Pictures, questions, tokenizer.
pub struct Data {
    dataset: Arc<dyn VqaDataset>,
    /// The language model's own, or built from the questions and answers of the training splits of all stages, held-out ones included:
    /// words are no answers.
    pub tokenizer: QuestionTokenizer,
    train: EncodedSplit,
    /// Pictures of the training split that are never trained on.
    validation: EncodedSplit,
    test: EncodedSplit,
    /// Of every recipe whose conditioning asked for them.
    vectors: Mutex<Vec<(Conditioning, Arc<QuestionVectors>)>>,
}

impl Data {
    /// Reads (and if need be fetches) the data of a recipe, of its last stage, with the vocabulary of all its stages. `folder` is the
    /// recipe's, for relative cache paths; `event` hears what happens to assets.
    ///
    /// # Errors
    /// Data that cannot be had or read; an empty data set; too few training pictures to hold any out.
    pub fn load(
        recipe: &Recipe,
        folder: &Path,
        event: &mut dyn FnMut(AssetEvent),
    ) -> Result<Self, ExperimentError> {
        Self::load_until(recipe, folder, &AtomicBool::new(false), event)
    }

    /// As [`Data::load`], but gives up soon after `stop` is set.
    ///
    /// # Errors
    /// As there, and [`ExperimentError::Stopped`].
    pub fn load_until(
        recipe: &Recipe,
        folder: &Path,
        stop: &AtomicBool,
        event: &mut dyn FnMut(AssetEvent),
    ) -> Result<Self, ExperimentError> {
        let read = DataSets::of_recipe(recipe, folder, stop, event)?.into_first();
        read.ok_or_else(|| ExperimentError::request("the recipe has no data", "write [data]"))
    }

    /// The data set as a recipe divides it, in tokens of a vocabulary.
    pub(crate) fn divided(
        dataset: Box<dyn VqaDataset>,
        tokenizer: QuestionTokenizer,
        recipe: &Recipe,
    ) -> Result<Self, ExperimentError> {
        let encode = |split| EncodedSplit::new(split, &tokenizer);
        let (train, test) = (encode(dataset.train())?, encode(dataset.test())?);
        let (train, validation) = train.hold_out(recipe.data.validation, recipe.data.seed)?;
        let dataset = Arc::from(dataset);
        Ok(Self { dataset, tokenizer, train, validation, test, vectors: Mutex::default() })
    }

    /// The vectors of all questions, made when they are first asked for; none where nothing depends on them.
    ///
    /// # Errors
    /// What the recipe names cannot be read, or has no vector of a question.
    pub fn question_vectors(&self, recipe: &Recipe) -> Result<Option<Arc<QuestionVectors>>, ExperimentError> {
        let mut held = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        let conditioning = &recipe.topology.conditioning;
        if let Some((_, known)) = held.iter().find(|(of, _)| of == conditioning) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(mut vectors) = Vectors::open(recipe)? else { return Ok(None) };
        let made = QuestionVectors::new(&mut vectors, self.dataset.train(), self.dataset.test())?;
        let made = Arc::new(made);
        held.push((conditioning.clone(), Arc::clone(&made)));
        Ok(Some(made))
    }

    /// Bytes of the vectors of questions that it holds.
    pub(crate) fn vector_bytes(&self) -> u64 {
        let held = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(_, vectors)| vectors.bytes()).sum()
    }

    /// The static shapes of every batch of a recipe over this data.
    ///
    /// # Errors
    /// Options out of range, or sequences longer than the language model allows; an easy-VQA that is not the known one.
    pub fn plan(&self, recipe: &Recipe) -> Result<PackingPlan, ExperimentError> {
        let options = PackingOptions {
            batch_size: recipe.train.batch_size,
            visual_tokens: recipe.visual_positions(),
            picture_positions: recipe.picture_positions(),
            questions_per_sequence: recipe.data.questions_per_sequence,
            text_positions: recipe.data.text_positions,
            max_new_tokens: Some(recipe.eval.max_new_tokens),
            answer_targets: self.tokenizer.format().map(|_| recipe.eval.max_new_tokens),
            vector_width: recipe.topology.conditioning.given_width().unwrap_or(0),
            ..PackingOptions::for_images(self.images(Split::Train).0.images())
        };
        if recipe.model.vision.anyres.is_some() && self.conversations().is_none() {
            return Err(ExperimentError::request(
                "model.vision.anyres cuts pictures into tiles, and rows of questions about one picture show it whole",
                "train on conversations, or remove model.vision.anyres",
            ));
        }
        let splits = [&self.train, &self.test];
        self.answers_fit(recipe)?;
        let plan = match Setting::of(recipe, &self.tokenizer)? {
            Some(setting) => self.plan_of_rows(&setting, &options)?,
            None => PackingPlan::new(&splits, &options)?,
        };
        if matches!(recipe.data.source, Source::EasyVqa {}) {
            let whole = recipe.data.train_limit.is_none() && recipe.data.test_limit.is_none();
            let measured = Measured::of(&[&self.train, &self.validation, &self.test]);
            let words = recipe.data.tokenizer == DataTokenizer::Words;
            if whole && words && measured != EASY_VQA {
                return Err(ExperimentError::request(
                    format!("the easy-VQA in the cache has {measured}, and the known one {EASY_VQA}"),
                    "the package is not easy-VQA 1.0: empty the cache, or set data.cache, and fetch it again",
                ));
            }
        }
        let limit = recipe.model.language.max_positions;
        if plan.sequence_len > limit {
            return Err(ExperimentError::request(
                format!("sequences have {} positions, the language model allows {limit}", plan.sequence_len),
                "raise model.language.max_positions or lower data.questions_per_sequence",
            ));
        }
        vocabulary(recipe, plan.vocab_size)?;
        Ok(plan)
    }

    /// The shapes in which test samples are asked of a model that is trained on conversations: each is one question about one whole picture.
    fn plan_of_rows(
        &self,
        setting: &Setting,
        options: &PackingOptions,
    ) -> Result<PackingPlan, ExperimentError> {
        if !self.test.is_empty() {
            return Ok(PackingPlan::new(&[&self.test], options)?);
        }
        let mut asked = setting.largest().cloned().ok_or_else(|| {
            ExperimentError::request("conversations have no rows", "write data.text_positions")
        })?;
        let (text, visual) = (options.text_positions.unwrap_or_default(), options.visual_tokens);
        asked.sequence_len = visual.saturating_add(text).checked_next_multiple_of(8).unwrap_or(usize::MAX);
        asked.lead = self.tokenizer.lead().to_vec();
        (asked.visual_tokens, asked.views) = (visual, None);
        (asked.picture_positions, asked.questions_per_sequence) = (options.picture_positions, 1);
        asked.max_new_tokens = options.max_new_tokens.unwrap_or(1);
        asked.targets = asked.max_new_tokens;
        asked.check()?;
        Ok(asked)
    }

    /// The shapes of the largest batch that a recipe trains on.
    ///
    /// # Errors
    /// As [`Data::plan`].
    pub fn training_plan(&self, recipe: &Recipe) -> Result<PackingPlan, ExperimentError> {
        let largest = Setting::of(recipe, &self.tokenizer)?.and_then(|setting| setting.largest().cloned());
        largest.map_or_else(|| self.plan(recipe), Ok)
    }

    /// Answers in a model's own tokens have the room that is planned before they are read.
    fn answers_fit(&self, recipe: &Recipe) -> Result<(), ExperimentError> {
        let room = recipe.eval.max_new_tokens;
        let longest = Measured::of(&[&self.train, &self.validation, &self.test]).answer;
        if self.tokenizer.format().is_none() || longest < room {
            return Ok(());
        }
        Err(ExperimentError::request(
            format!(
                "the longest answer of the data has {longest} tokens and an end; there is room for {room}"
            ),
            format!("set eval.max_new_tokens to at least {}", longest + 1),
        ))
    }

    /// Pictures with questions, and those of the questions that belong to the split as token ids. The training and the
    /// validation split share pictures and numbering, and no question.
    pub fn images(&self, split: Split) -> (&VqaSplit, &EncodedSplit) {
        match split {
            Split::Train => (self.dataset.train(), &self.train),
            Split::Validation => (self.dataset.train(), &self.validation),
            Split::Test => (self.dataset.test(), &self.test),
        }
    }

    /// Counts and hashes of the data.
    pub fn manifest(&self) -> DatasetManifest {
        self.dataset.manifest()
    }

    /// What is to be said of how it was read, such as samples that were left out.
    pub fn notes(&self) -> &[String] {
        self.dataset.notes()
    }

    /// The package that the data was unpacked from, where it was one.
    pub fn asset(&self) -> Option<assets::Asset> {
        let known = assets::Registry::built_in().ok()?;
        known.find(self.name()).ok().cloned()
    }

    /// The data set, which says where its examples were written.
    pub(crate) fn set(&self) -> Arc<dyn VqaDataset> {
        Arc::clone(&self.dataset)
    }

    /// The conversations that are trained on, where the data has such.
    pub fn conversations(&self) -> Option<&Arc<Vec<Samples>>> {
        self.dataset.conversations()
    }

    /// The data set's name.
    pub fn name(&self) -> &str {
        self.dataset.name()
    }
}

/// Every token of the data has a row of the embedding.
///
/// # Errors
/// A recipe whose `vocab_size` is smaller than the data's vocabulary.
pub fn vocabulary(recipe: &Recipe, words: usize) -> Result<(), ExperimentError> {
    match recipe.model.language.vocab_size {
        Some(rows) if rows < words => Err(ExperimentError::request(
            format!("the data has {words} different tokens, the language model has rows for {rows}"),
            match language_weights(recipe) {
                None => format!("set model.language.vocab_size to at least {words}, or leave it out"),
                Some(path) => format!("the weights at {path} have no more: take others, or less data"),
            },
        )),
        _ => Ok(()),
    }
}

/// Where a recipe's language model has its weights from, if from anywhere.
pub(crate) fn language_weights(recipe: &Recipe) -> Option<&str> {
    let weights = recipe.model.language.weights.as_ref().or(recipe.model.weights.as_ref());
    weights.map(|weights| weights.path.as_str())
}

/// What is to be said where a language model was trained with other tokens than the data has: they are words, numbered as the data
/// has them.
pub(crate) fn foreign_words(recipe: &Recipe) -> Option<String> {
    if recipe.data.tokenizer == DataTokenizer::Model {
        return None;
    }
    let path = language_weights(recipe)?;
    Some(format!(
        "the data's tokens are its words, numbered anew; the language model at {path} was trained with others, and its embeddings \
         mean nothing here: `data.tokenizer = \"model\"` takes its own"
    ))
}

/// The data cache of a recipe in that folder.
///
/// # Errors
/// The recipe names none, and the user has no home folder.
pub(crate) fn cache(recipe: &Recipe, folder: &Path) -> Result<AssetCache, ExperimentError> {
    Ok(match &recipe.data.cache {
        Some(path) => AssetCache::new(
            folder.join(path),
            assets::Registry::built_in()?,
            Box::new(assets::Pip::default()),
        ),
        None => AssetCache::of_user()?,
    })
}

/// The data set of a recipe.
pub(crate) fn open(
    recipe: &Recipe,
    folder: &Path,
    stop: &AtomicBool,
    event: &mut dyn FnMut(AssetEvent),
) -> Result<Box<dyn VqaDataset>, ExperimentError> {
    let crossloom_recipe::Data { source, train_limit, test_limit, seed, .. } = &recipe.data;
    match source {
        Source::EasyVqa {} => {
            let files = cache(recipe, folder)?.ensure_until("easy-vqa", stop, event)?;
            let options = EasyVqaOptions {
                processor: Some(Processor::of(recipe).images()?),
                train_images: *train_limit,
                test_images: *test_limit,
            };
            Ok(Box::new(EasyVqa::load(&files, &options)?))
        }
        Source::Files { format, train, test, pictures, skip, hash: _ } => {
            let places = |paths: &[String]| paths.iter().map(|path| folder.join(path)).collect();
            let options = FilesOptions {
                format: format.name().to_owned(),
                train: places(train),
                test: places(test),
                pictures: folder.join(pictures),
                processor: Processor::of(recipe).images()?,
                train_images: *train_limit,
                test_images: *test_limit,
                skip: *skip,
            };
            Ok(Box::new(Files::load(&options)?))
        }
        Source::Conversations { of, test, skip, .. } => {
            let files = |samples: &crossloom_recipe::Samples| SampleFiles {
                format: samples.format.name().to_owned(),
                files: samples.files.iter().map(|path| folder.join(path)).collect(),
                pictures: folder.join(&samples.pictures),
                weight: samples.weight,
                hash: samples.hash.clone(),
            };
            let options = ConversationOptions {
                train: of.iter().map(files).collect(),
                test: test.as_ref().map(files),
                processor: Processor::of(recipe).images()?,
                test_images: *test_limit,
                skip: *skip,
            };
            Ok(Box::new(Conversations::open(&options)?))
        }
        Source::Synthetic { train_images, test_images, questions_per_image, image_size } => {
            let limited = |count: usize, limit: &Option<usize>| limit.map_or(count, |limit| count.min(limit));
            let options = SyntheticOptions {
                seed: *seed,
                train_images: limited(*train_images, train_limit),
                test_images: limited(*test_images, test_limit),
                image_size: *image_size as u32,
                max_questions: *questions_per_image,
                ..SyntheticOptions::default()
            };
            Ok(Box::new(Synthetic::generate(&options)?))
        }
    }
}

/// Whether the model sees the pictures.
pub(crate) fn image_mode(recipe: &Recipe) -> ImageMode {
    match recipe.data.image {
        ImageUse::Given => ImageMode::Shown,
        ImageUse::Withheld => ImageMode::Withheld,
    }
}

/// Variants may differ in whether the picture is shown, not in what is asked and how answers are scored: also those that are not run now, because
/// answers that are there already join the comparison.
pub(crate) fn same_questions(variants: &[Variant]) -> Result<(), ExperimentError> {
    let same = |a: &Recipe, b: &Recipe| {
        // How much is trained on, and what of it is held out, is no matter where the questions of the test split are asked.
        let asked = |recipe: &Recipe| {
            let mut recipe = recipe.clone();
            if recipe.eval.split == Split::Test {
                (recipe.data.train_limit, recipe.data.validation) = (None, 0.0);
            }
            recipe
        };
        same_pictures(&asked(a), &asked(b)) && a.eval.split == b.eval.split && a.eval.limit == b.eval.limit
    };
    let Some((first, others)) = variants.split_first() else { return Ok(()) };
    let metric = first.recipe.eval.metric;
    if let Some(other) = others.iter().find(|variant| variant.recipe.eval.metric != metric) {
        let (one, two) = (metric.name(), other.recipe.eval.metric.name());
        return Err(ExperimentError::request(
            format!("variant `{}` is scored by `{two}`, `{}` by `{one}`", other.name, first.name),
            "variants are compared by one metric: set eval.metric for all of them",
        ));
    }
    match others.iter().find(|variant| !same(&first.recipe, &variant.recipe)) {
        None => Ok(()),
        Some(other) => Err(ExperimentError::request(
            format!("variant `{}` uses other data than `{}`", other.name, first.name),
            "variants are compared on the same questions: give them one [data] source, seed and test_limit, one [eval] split and limit, \
             and one image size; how much of it is trained on may differ where the test split is asked",
        )),
    }
}
