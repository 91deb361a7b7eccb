//! A trained variant, as its run's folder holds it, is asked.

use std::path::{Path, PathBuf};

use crossloom_data::image::{Image, ImageLimits};
use crossloom_data::packing::{ImageMode, PackingPlan};
use crossloom_recipe::Recipe;
use crossloom_train::run_dir::VariantDir;

use crate::ExperimentError;
use crate::backends::Resources;
use crate::batch::batch_shape;
use crate::data::image_mode;
use crate::engine::{Card, Engine, Limits, Prompt, Reason, Request, Sampling, Served};
use crate::memory::{DataNeed, fits};
use crate::model::Model;
use crate::programs::Programs;
use crate::start::Start;
use crate::training_stage::TrainingStage;

/// The most questions that are answered at once.
const AT_ONCE: usize = 8;

/// A trained variant that can be asked. Its folder is all it needs: no data set, no network.
#[derive(Debug)]
pub struct Trained {
    engine: Engine,
    /// The stage that it comes from.
    stage: Option<String>,
}

/// Questions about pictures, and how they are answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Files of pictures, which all questions see, in this order.
    pub pictures: Vec<PathBuf>,
    /// Questions; none sees another.
    pub questions: Vec<String>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end an answer and are no part of it.
    pub stop: Vec<String>,
    /// The most tokens of an answer; none for as many as the variant was evaluated with.
    pub max_new_tokens: Option<usize>,
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

impl Asked {
    /// Questions about one picture, answered with the best tokens.
    pub fn about(picture: &Path, questions: &[String]) -> Self {
        Self {
            pictures: vec![picture.to_owned()],
            questions: questions.to_vec(),
            sampling: Sampling::default(),
            stop: Vec::new(),
            max_new_tokens: None,
        }
    }

    /// The prompts that a model reads.
    fn prompts(&self, card: &Card) -> Result<Vec<Prompt>, ExperimentError> {
        if !card.has_vision() && !self.pictures.is_empty() {
            return Err(blind(card.variant()));
        }
        if self.questions.iter().any(|question| question.trim().is_empty()) {
            return Err(ExperimentError::request(
                "a question is blank, and has no answer",
                "ask something, such as \"what shape is present?\"",
            ));
        }
        let open = |path: &PathBuf| Image::open(path, &ImageLimits::default());
        let pictures: Vec<Image> = self.pictures.iter().map(open).collect::<Result<_, _>>()?;
        let prompt = |question: &String| Ok(card.question(question, pictures.clone())?);
        self.questions.iter().map(prompt).collect()
    }

    fn answers(&self, engine: &Engine, prompts: Vec<Prompt>) -> Result<Vec<Answered>, ExperimentError> {
        let client = engine.client();
        let most = self.max_new_tokens.unwrap_or(client.card().max_new_tokens());
        let mut answered = Vec::with_capacity(prompts.len());
        let mut prompts = prompts.into_iter().zip(&self.questions).peekable();
        // As many as wait at the most.
        while prompts.peek().is_some() {
            let mut running = Vec::new();
            for (prompt, question) in prompts.by_ref().take(AT_ONCE) {
                let (sampling, stop) = (self.sampling, self.stop.clone());
                let request = Request { sampling, stop, ..Request::new(prompt, most) };
                running.push((question, client.submit(request)?));
            }
            for (question, running) in running {
                let answer = running.answer().map_err(|problem| {
                    ExperimentError::request(
                        format!("\"{question}\" was not answered: {problem}"),
                        "ask it again",
                    )
                })?;
                let (question, finished) = (question.clone(), answer.reason == Reason::Stop);
                answered.push(Answered { question, answer: answer.text.trim().to_owned(), finished });
            }
        }
        Ok(answered)
    }
}

impl Trained {
    /// Loads the newest checkpoint of a variant.
    ///
    /// # Errors
    /// A folder of an earlier version; no checkpoint, or a damaged one; a backend that runs nothing, or too little memory.
    pub fn load(dir: &VariantDir, recipe: &Recipe, resources: Resources) -> Result<Self, ExperimentError> {
        let served = Served::trained(dir, recipe)?;
        let stage = served.recipe().stage().map(str::to_owned);
        Ok(Self { engine: Engine::start(served, Limits { resources, ..Limits::default() })?, stage })
    }

    /// The stage whose newest checkpoint answers: the newest one that has any. None where the recipe has no stages.
    pub fn stage(&self) -> Option<&str> {
        self.stage.as_deref()
    }

    /// Answers questions.
    ///
    /// # Errors
    /// A picture that cannot be read, or that the variant does not see; a blank question; a word the tokenizer does not know; a question
    /// that is too long.
    pub fn ask(&self, asked: &Asked) -> Result<Vec<Answered>, ExperimentError> {
        asked.answers(&self.engine, asked.prompts(self.engine.client().card())?)
    }
}

/// Loads a model and asks it, once, with slots as long as these questions need. Everything a person may get wrong is checked before
/// anything heavy is done.
///
/// # Errors
/// Those of [`Engine::start`] and [`Trained::ask`].
pub fn generate(
    served: Served,
    asked: &Asked,
    resources: Resources,
) -> Result<Vec<Answered>, ExperimentError> {
    let mut limits = Limits { resources, pictures: asked.pictures.len().max(1), ..Limits::default() };
    let card = served.card(&limits)?;
    let prompts = asked.prompts(&card)?;
    let most = asked.max_new_tokens.unwrap_or(card.max_new_tokens());
    for prompt in &prompts {
        card.admits(&Request {
            sampling: asked.sampling,
            stop: asked.stop.clone(),
            ..Request::new(prompt.clone(), most)
        })?;
    }
    let longest = prompts.iter().map(Prompt::positions).max().unwrap_or_default();
    limits.positions = Some((longest + most).next_multiple_of(16).min(card.positions()));
    limits.slots = asked.questions.len().clamp(1, AT_ONCE);
    asked.answers(&Engine::start(served, limits)?, prompts)
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
    let newest = checkpoints.newest()?.ok_or_else(|| no_checkpoint(dir.path().display()))?;
    let shape = batch_shape(shapes);
    let device = resources.backend.running()?;
    let mut programs =
        Programs::to_predict(recipe, shape, shapes.vocab_size, resources.chunk, device.target())?;
    let start = Start::new(recipe, &programs.params)?;
    fits(&dir.name(), &mut programs, held, &*device, resources)?;
    Model::restored(programs, start, &device, &newest)
}

/// Refuses pictures for a variant that is trained without.
///
/// # Errors
/// It is.
pub fn sees_pictures(variant: &str, recipe: &Recipe) -> Result<(), ExperimentError> {
    match image_mode(recipe) {
        ImageMode::Shown => Ok(()),
        ImageMode::Withheld => Err(blind(variant)),
    }
}

fn blind(variant: &str) -> ExperimentError {
    ExperimentError::request(
        format!("variant `{variant}` was trained with the picture withheld and cannot see one"),
        "ask a variant that is given the picture",
    )
}

/// What is wrong where a variant has no checkpoint.
pub(crate) fn no_checkpoint(place: impl std::fmt::Display) -> ExperimentError {
    ExperimentError::request(format!("{place} holds no checkpoint"), "train the variant first: crossloom run")
}
