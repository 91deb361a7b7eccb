//! Answers to a person's own questions about a person's own picture.

use std::path::{Path, PathBuf};

use crossloom_data::image::{Image, ImageLimits, Normalization, ResizeFilter};
use crossloom_data::packing::{ImageMode, PackedBatch, PackingPlan};
use crossloom_data::tokenizer::Tokenizer;
use crossloom_recipe::Recipe;
use crossloom_train::run_dir::VariantDir;

use crate::batch::pool_of;
use crate::data::image_mode;
use crate::evaluate::answer;
use crate::gates::GateMoments;
use crate::model::Model;
use crate::train::restore_newest;
use crate::variant::batch_shape;
use crate::{Data, ExperimentError};

/// What to answer, with which model.
pub struct GenerateRequest<'r> {
    /// The variant's recipe.
    pub recipe: &'r Recipe,
    /// The recipe's folder.
    pub folder: &'r Path,
    /// The variant's folder in a run.
    pub dir: &'r VariantDir,
    /// The picture.
    pub image: PathBuf,
    /// Questions about it, at most as many as a sequence holds.
    pub questions: Vec<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Generated {
    /// The question.
    pub question: String,
    /// The model's answer.
    pub answer: String,
    /// Whether it ended by itself; else it was cut at its longest length.
    pub finished: bool,
}

/// Answers questions about a picture with a trained variant.
///
/// # Errors
/// A variant that is trained without pictures; no checkpoint; a picture that cannot be read; a word the tokenizer does not know; too many or too long questions.
pub fn generate(request: &GenerateRequest<'_>) -> Result<Vec<Generated>, ExperimentError> {
    let recipe = request.recipe;
    if image_mode(recipe) == ImageMode::Withheld {
        return Err(ExperimentError::request(
            format!(
                "variant `{}` was trained with the picture withheld and cannot see one",
                request.dir.name()
            ),
            "ask a variant that is given the picture",
        ));
    }
    let tokenizer = Tokenizer::load(&request.dir.path().join("tokenizer.json"))?;
    // Everything a person may get wrong is checked before anything heavy is done.
    let questions =
        request.questions.iter().map(|q| tokenizer.encode(q)).collect::<Result<Vec<Vec<i32>>, _>>()?;
    let side = recipe.model.vision.image_size as u32;
    let image =
        Image::open(&request.image, &ImageLimits::default())?.resized(side, side, ResizeFilter::Bicubic)?;
    let data = Data::load(recipe, request.folder, &mut |_| ())?;
    let plan: PackingPlan = data.plan(recipe)?;
    let mut model = Model::new(recipe, batch_shape(&plan), plan.vocab_size)?;
    restore_newest(&mut model, recipe, request.dir)?;
    let mut batch = PackedBatch::new(&plan);
    batch.fill_prompts(&[(&image, questions)], &Normalization::HALF)?;
    answer(&mut model, &mut batch, pool_of(recipe), &mut GateMoments::default(), &[])?;
    Ok(request
        .questions
        .iter()
        .enumerate()
        .map(|(i, question)| Generated {
            question: question.clone(),
            answer: tokenizer.decode(batch.generated(i)),
            finished: batch.questions()[i].ended_by_eos,
        })
        .collect())
}
