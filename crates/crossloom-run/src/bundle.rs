//! A variant as a folder that stands by itself: all that answering needs, whatever its topology, in crossloom's own form.
//!
//! | file | holds |
//! |---|---|
//! | `recipe.toml` | the recipe of the training that it comes from, with all settings |
//! | `interface.json` | what it reads and answers with: see [`Interface`] |
//! | `tokenizer.json` | its tokenizer |
//! | `model.safetensors` | every tensor under its own name, in the type in which the recipe keeps it |
//!
//! The recipe still says from which weights the training began; nothing is read there. So the folder is asked on any machine.

use std::path::Path;
use std::sync::Arc;

use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_ir::DType;
use crossloom_model::ParamSpec;
use crossloom_recipe::{KeptIn, LoadedRecipe, Part, Provenance, Recipe, Selection, Variant};
use crossloom_runtime::MappedFile;
use crossloom_weights::export::Beside;
use indexmap::IndexMap;

use crate::ExperimentError;
use crate::interface::{self, Interface};
use crate::resolved;
use crate::sources::Files;

const RECIPE: &str = "recipe.toml";
const MODEL: &str = "model.safetensors";
const FILES: [&str; 4] = [RECIPE, interface::FILE, interface::TOKENIZER, MODEL];

/// A bundle that was opened; its weights are still where they lie.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) recipe: Recipe,
    pub(crate) interface: Interface,
    pub(crate) tokenizer: QuestionTokenizer,
    pub(crate) weights: Arc<MappedFile>,
}

impl Bundle {
    /// Whether a folder is one, whole or not.
    pub(crate) fn is_at(folder: &Path) -> bool {
        [RECIPE, interface::FILE].iter().any(|file| folder.join(file).is_file())
    }

    /// Opens a bundle, with settings of its recipe overridden as `--set` does: only such that change nothing of what was trained.
    ///
    /// # Errors
    /// Files that are not there, all of them; one that is damaged, or of another version; files that do not belong together.
    pub(crate) fn open(folder: &Path, sets: &[String]) -> Result<Self, ExperimentError> {
        let missing: Vec<&str> = FILES.into_iter().filter(|file| !folder.join(file).is_file()).collect();
        if !missing.is_empty() {
            return Err(ExperimentError::request(
                format!("{} holds no {}", folder.display(), missing.join(", no ")),
                "write it again: crossloom model export RUN --variant NAME --bundle --out FOLDER",
            ));
        }
        let path = folder.join(RECIPE);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ExperimentError::File { path: path.clone(), message: error.to_string() })?;
        let with = |sets: &[String]| Ok::<_, ExperimentError>(resolved::read(&path, &text, sets)?.base);
        let (as_it_was, recipe) = (with(&[])?, with(sets)?);
        if as_it_was.training_hash() != recipe.training_hash() {
            return Err(ExperimentError::request(
                format!("with {} it would be another model than {}", sets.join(", "), folder.display()),
                "only settings for scoring may differ",
            ));
        }
        let (interface, tokenizer) = Interface::in_folder(folder, &recipe)?;
        let weights = MappedFile::open(&folder.join(MODEL))?;
        Ok(Self { recipe, interface, tokenizer, weights })
    }
}

/// The recipe of a bundle of that training: the only one of its recipe, every frozen part in a type that needs no other file. What is
/// `bf16` in its file is so in the bundle, all else `f32`.
pub(crate) fn recipe_of(recipe: &Recipe, params: &[ParamSpec]) -> Result<Recipe, ExperimentError> {
    let files = Files::open(recipe)?;
    let selection = Selection::new(&recipe.train);
    let mut own = recipe.clone();
    own.stages = Vec::new();
    for part in Part::ALL {
        let of_file = |param: &&ParamSpec| {
            let kept = selection.kept_in(param.part, &param.name);
            param.part == part && param.beside.is_none() && kept == Some(KeptIn::File)
        };
        let mut types = params.iter().filter(of_file).map(|param| files.dtype(part, &param.name)).peekable();
        let settings = own.train.parts.get_mut(part);
        if settings.dtype == Some(KeptIn::File) {
            let narrow = types.peek().is_some() && types.all(|dtype| dtype == Some(DType::Bf16));
            settings.dtype = Some(if narrow { KeptIn::Bf16 } else { KeptIn::F32 });
        }
    }
    Ok(own)
}

/// The files of a bundle beside its weights.
pub(crate) fn beside(
    name: &str,
    recipe: Recipe,
    interface: &Interface,
    tokenizer: &QuestionTokenizer,
) -> Result<Beside, ExperimentError> {
    let variant = Variant {
        name: name.to_owned(),
        description: String::new(),
        baseline: false,
        axes: IndexMap::new(),
        recipe: recipe.clone(),
        provenance: Provenance::default(),
    };
    let loaded = LoadedRecipe {
        path: RECIPE.into(),
        files: Vec::new(),
        base: recipe,
        provenance: Provenance::default(),
        variants: vec![variant],
        warnings: Vec::new(),
    };
    Ok(vec![
        (RECIPE, resolved::text(&loaded)?.into_bytes()),
        (interface::FILE, interface.to_json()?),
        (interface::TOKENIZER, tokenizer.to_json()?.into_bytes()),
    ])
}
