//! What a trained variant reads and answers with, written beside its checkpoints: with the recipe that the run's folder
//! holds, it is all that is needed to ask the variant without its data set.

use std::io::ErrorKind;
use std::path::Path;

use crossloom_data::chat::ChatFormat;
use crossloom_data::packing::PackingPlan;
use crossloom_data::tokenizer::{QuestionTokenizer, read_json};
use crossloom_recipe::Recipe;
use crossloom_train::run_dir::StageDir;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::processor::Processor;

/// The file, and that of the tokenizer.
pub(crate) const FILE: &str = "interface.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Changes whenever the meaning of the file changes.
const VERSION: u64 = 1;

/// What a trained variant reads and answers with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    version: u64,
    /// The shapes of its batches, and the vocabulary.
    pub shapes: PackingPlan,
    /// What becomes of a picture.
    pub processor: Processor,
    /// How the language model writes conversations, where data is in its own tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatFormat>,
}

impl Interface {
    /// The interface of a recipe whose data has these shapes and is cut by that tokenizer.
    pub fn new(recipe: &Recipe, shapes: &PackingPlan, tokenizer: &QuestionTokenizer) -> Self {
        let (shapes, chat) = (shapes.clone(), tokenizer.format().cloned());
        Self { version: VERSION, shapes, processor: Processor::of(recipe), chat }
    }

    /// Writes it and the tokenizer into the folder of a training.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, dir: &StageDir, tokenizer: &QuestionTokenizer) -> Result<(), ExperimentError> {
        dir.write(TOKENIZER, tokenizer.to_json()?.as_bytes())?;
        Ok(dir.write(FILE, &self.to_json()?)?)
    }

    /// The content of its file.
    ///
    /// # Errors
    /// It cannot be serialised.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, ExperimentError> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Reads it and the tokenizer from the folder of a training, and checks that they fit one another and the recipe.
    ///
    /// # Errors
    /// A folder without the file, as runs of earlier versions are; a file of another version, or a damaged one.
    pub fn read(dir: &StageDir, recipe: &Recipe) -> Result<(Self, QuestionTokenizer), ExperimentError> {
        Self::in_folder(dir.path(), recipe)
    }

    /// The same from any folder that holds both files.
    pub(crate) fn in_folder(
        folder: &Path,
        recipe: &Recipe,
    ) -> Result<(Self, QuestionTokenizer), ExperimentError> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => ExperimentError::request(
                format!(
                    "{} holds no {FILE}: it was not trained, or by an earlier crossloom",
                    folder.display()
                ),
                "run its recipe again with this version",
            ),
            _ => file(&path, format!("cannot be read: {error}")),
        })?;
        let found: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| file(&path, format!("is damaged: {error}")))?;
        let version = found.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(VERSION) {
            let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            return Err(file(&path, format!("has version {version}; this crossloom reads {VERSION}")));
        }
        let interface: Self =
            serde_json::from_value(found).map_err(|error| file(&path, format!("is damaged: {error}")))?;
        let json = read_json(&folder.join(TOKENIZER))?;
        let tokenizer = QuestionTokenizer::from_json(&json, interface.chat.clone())
            .map_err(|error| file(&folder.join(TOKENIZER), format!("is damaged: {error}")))?;
        interface.check(recipe, &tokenizer).map_err(|problem| file(&path, problem))?;
        Ok((interface, tokenizer))
    }

    fn check(&self, recipe: &Recipe, tokenizer: &QuestionTokenizer) -> Result<(), String> {
        self.shapes.check().map_err(|error| format!("is damaged: {error}"))?;
        self.processor.images().map_err(|error| format!("is damaged: {error}"))?;
        let side = self.processor.image_size;
        let of_picture = recipe.picture_positions().unwrap_or(recipe.visual_positions());
        let of_text = tokenizer.lead().len() + of_picture;
        let agree = [
            ("visual tokens", self.shapes.visual_tokens, recipe.visual_positions()),
            ("first rotary position of text", self.shapes.first_text_position(), of_text),
            ("image size", side as usize, recipe.picture_side()),
            ("image width", self.shapes.image_width as usize, side as usize),
            ("image height", self.shapes.image_height as usize, side as usize),
            ("vocabulary", self.shapes.vocab_size, tokenizer.vocab_size()),
        ];
        match agree.into_iter().find(|(_, here, there)| here != there) {
            Some((what, here, there)) => {
                Err(format!("says {what} {here}, the recipe or the tokenizer beside it {there}"))
            }
            None if self.shapes.special != tokenizer.special() || self.shapes.lead != tokenizer.lead() => {
                Err("has other special tokens, or others in front of a picture, than the tokenizer beside it"
                    .to_owned())
            }
            None => Ok(()),
        }
    }
}

fn file(path: &Path, message: String) -> ExperimentError {
    ExperimentError::File { path: path.to_owned(), message }
}
