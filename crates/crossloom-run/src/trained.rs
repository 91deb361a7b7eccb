//! A trained variant, as its run's folder holds it.

use std::path::Path;

use crossloom_data::packing::{ImageMode, PackedBatch, PackingPlan};
use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_recipe::Recipe;
use crossloom_train::run_dir::VariantDir;

use crate::ExperimentError;
use crate::backends::Resources;
use crate::batch::{Pools, batch_shape};
use crate::data::image_mode;
use crate::gates::GateMoments;
use crate::generate::answer;
use crate::interface::Interface;
use crate::memory::{DataNeed, fits};
use crate::model::Model;
use crate::processor::Processor;
use crate::programs::Programs;
use crate::question_vectors::Vectors;
use crate::start::Start;
use crate::states::Encoding;
use crate::training_stage::{TrainingStage, newest};

/// A trained variant that can be asked. Its folder is all it needs: no data set, no network.
pub struct Trained {
    model: Model,
    tokenizer: QuestionTokenizer,
    processor: Processor,
    pools: Pools,
    /// How its model encodes pictures, which stays as it is.
    encoding: Encoding,
    /// What makes vectors of questions, where something depends on them.
    vectors: Option<Vectors>,
    /// A batch of one picture.
    batch: PackedBatch,
    /// The stage that it comes from.
    stage: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Answered {
    /// The question.
    pub question: String,
    /// The model's answer.
    pub answer: String,
    /// Whether it ended by itself; else it was cut at its longest length.
    pub finished: bool,
}

/// A picture and questions about it, read and checked.
struct Prompt {
    image: crossloom_data::image::Image,
    questions: Vec<(String, Vec<i32>)>,
}

impl Trained {
    /// Loads the newest checkpoint of a variant for prediction. `check` sees what the variant reads before anything heavy is
    /// done.
    fn load_with<T>(
        dir: &VariantDir,
        recipe: &Recipe,
        resources: Resources,
        check: impl FnOnce(&QuestionTokenizer, &Processor) -> Result<T, ExperimentError>,
    ) -> Result<(Self, T), ExperimentError> {
        if image_mode(recipe) == ImageMode::Withheld {
            return Err(ExperimentError::request(
                format!("variant `{}` was trained with the picture withheld and cannot see one", dir.name()),
                "ask a variant that is given the picture",
            ));
        }
        let stage = newest(dir, recipe)?;
        let recipe = &stage.recipe;
        let (Interface { mut shapes, processor, .. }, tokenizer) = Interface::read(&stage.dir, recipe)?;
        let checked = check(&tokenizer, &processor)?;
        // A row's numbers do not depend on the other rows of its batch.
        shapes.batch_size = 1;
        let held = DataNeed { batches: shapes.batch_bytes(), pictures: 1, ..DataNeed::default() };
        let mut model = restored(dir, &stage, &shapes, held, resources)?;
        let encoding = model.phases.encoding()?;
        let (pools, batch) = (Pools::of(recipe), PackedBatch::new(&shapes));
        let vectors = Vectors::open(recipe)?;
        let stage = recipe.stage().map(str::to_owned);
        Ok((Self { model, tokenizer, processor, pools, encoding, vectors, batch, stage }, checked))
    }

    /// Loads the newest checkpoint of a variant.
    ///
    /// # Errors
    /// A variant that is trained without pictures; a folder of an earlier version; no checkpoint, or a damaged one; a
    /// backend that runs nothing, or too little memory.
    pub fn load(dir: &VariantDir, recipe: &Recipe, resources: Resources) -> Result<Self, ExperimentError> {
        Ok(Self::load_with(dir, recipe, resources, |_, _| Ok(()))?.0)
    }

    /// The stage whose newest checkpoint answers: the newest one that has any. None where the recipe has no stages.
    pub fn stage(&self) -> Option<&str> {
        self.stage.as_deref()
    }

    /// Answers questions about a picture file; each sees the picture, none sees another.
    ///
    /// # Errors
    /// A picture that cannot be read; a blank question; a word the tokenizer does not know; too many or too long questions.
    pub fn ask(&mut self, image: &Path, questions: &[String]) -> Result<Vec<Answered>, ExperimentError> {
        let prompt = prompt(&self.tokenizer, &self.processor, image, questions)?;
        self.answer(prompt)
    }

    fn answer(&mut self, prompt: Prompt) -> Result<Vec<Answered>, ExperimentError> {
        let (texts, tokens): (Vec<String>, Vec<Vec<i32>>) = prompt.questions.into_iter().unzip();
        self.batch.fill_prompts(&[(&prompt.image, tokens)], &self.processor.normalization())?;
        if let Some(vectors) = &mut self.vectors {
            let asked: Vec<&str> = texts.iter().map(String::as_str).collect();
            let made = vectors.of(&asked)?;
            self.batch.lay_vectors(|question| {
                made.chunks(vectors.width()).nth(usize::try_from(question.segment).ok()?.checked_sub(1)?)
            })?;
        }
        let mut gates = GateMoments::default();
        answer(&mut self.model, &mut self.batch, &self.pools, self.encoding, &mut gates, &[])?;
        let answered = texts.into_iter().enumerate().map(|(i, question)| {
            let answer = self.tokenizer.decode(self.batch.generated(i))?;
            Ok(Answered { question, answer, finished: self.batch.questions()[i].ended_by_eos })
        });
        answered.collect()
    }
}

/// Loads the newest checkpoint of a variant and asks it, once. Everything a person may get wrong is checked before anything
/// heavy is done.
///
/// # Errors
/// Those of [`Trained::load`] and [`Trained::ask`].
pub fn generate(
    dir: &VariantDir,
    recipe: &Recipe,
    image: &Path,
    questions: &[String],
    resources: Resources,
) -> Result<Vec<Answered>, ExperimentError> {
    let (mut trained, prompt) = Trained::load_with(dir, recipe, resources, |tokenizer, processor| {
        prompt(tokenizer, processor, image, questions)
    })?;
    trained.answer(prompt)
}

/// The model of a variant as its newest checkpoint has it, for batches of that shape.
///
/// # Errors
/// No checkpoint, or a damaged one; a backend that runs nothing, or too little memory.
pub(crate) fn restored(
    dir: &VariantDir,
    stage: &TrainingStage,
    shapes: &PackingPlan,
    held: DataNeed,
    resources: Resources,
) -> Result<Model, ExperimentError> {
    let recipe = &stage.recipe;
    let checkpoints = stage.checkpoints();
    let newest = checkpoints.newest()?.ok_or_else(|| no_checkpoint(dir))?;
    let shape = batch_shape(shapes);
    let device = resources.backend.running()?;
    let mut programs =
        Programs::to_predict(recipe, shape, shapes.vocab_size, resources.chunk, device.target())?;
    let start = Start::new(recipe, &programs.params)?;
    fits(&dir.name(), &mut programs, held, &*device, resources)?;
    Model::restored(programs, start, &device, &newest)
}

fn prompt(
    tokenizer: &QuestionTokenizer,
    processor: &Processor,
    image: &Path,
    questions: &[String],
) -> Result<Prompt, ExperimentError> {
    if questions.iter().any(|question| question.trim().is_empty()) {
        return Err(ExperimentError::request(
            "a question is blank, and has no answer",
            "ask something, such as \"what shape is present?\"",
        ));
    }
    let encoded = questions.iter().map(|text| Ok((text.clone(), tokenizer.question(text)?)));
    let questions = encoded.collect::<Result<_, ExperimentError>>()?;
    Ok(Prompt { image: processor.open(image)?, questions })
}

/// What is wrong where a variant has no checkpoint.
pub(crate) fn no_checkpoint(dir: &VariantDir) -> ExperimentError {
    ExperimentError::request(
        format!("{} holds no checkpoint", dir.path().display()),
        "train the variant first: crossloom run",
    )
}
