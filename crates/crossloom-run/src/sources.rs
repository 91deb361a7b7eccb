//! The pretrained weights that a recipe names.

use std::path::Path;
use std::sync::Arc;

use crossloom_ir::DType;
use crossloom_recipe::{Part, PretrainedWeights, Recipe};
use crossloom_weights::export::Values;
use crossloom_weights::{Pretrained, values};

use crate::ExperimentError;

/// The weights of one or more parts of a model.
pub(crate) struct Source<'r> {
    /// Where the recipe names them.
    pub(crate) key: &'static str,
    pub(crate) named: &'r PretrainedWeights,
    pub(crate) parts: Vec<Part>,
    pub(crate) model: Arc<Pretrained>,
}

/// The weights that a recipe names, each with the parts that start from them.
///
/// # Errors
/// Weights that cannot be read.
pub(crate) fn sources(recipe: &Recipe) -> Result<Vec<Source<'_>>, ExperimentError> {
    let model = &recipe.model;
    let mut rest = vec![Part::Vision, Part::Projector, Part::Language];
    let mut sources = Vec::new();
    let halves = [
        ("model.vision.weights", &model.vision.weights, Some(Part::Vision)),
        ("model.language.weights", &model.language.weights, Some(Part::Language)),
        ("model.weights", &model.weights, None),
    ];
    for (key, named, part) in halves {
        let Some(named) = named else { continue };
        let model = Arc::new(Pretrained::open(Path::new(&named.path))?);
        let parts = match part {
            Some(part) => {
                rest.retain(|other| *other != part);
                vec![part]
            }
            None => {
                // A model that injects by itself has adapters, and only its own topology has the same.
                let adapters = model.names_of(Part::Adapter).next().map(|_| Part::Adapter);
                std::mem::take(&mut rest).into_iter().chain(adapters).collect()
            }
        };
        sources.push(Source { key, named, parts, model });
    }
    Ok(sources)
}

/// The files that a recipe's weights lie in.
pub(crate) struct Files<'r>(Vec<Source<'r>>);

impl<'r> Files<'r> {
    /// Opens them all.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub(crate) fn open(recipe: &'r Recipe) -> Result<Self, ExperimentError> {
        sources(recipe).map(Self)
    }

    /// The file of a part that has a tensor; none where it lacks it, so that it starts as without one.
    fn of(&self, part: Part, name: &str) -> Option<&Pretrained> {
        let source = self.0.iter().find(|source| source.parts.contains(&part))?;
        source.model.shape(name).map(|_| source.model.as_ref())
    }

    /// The type that a tensor of a part has in its file; none where the file lacks it.
    pub(crate) fn dtype(&self, part: Part, name: &str) -> Option<DType> {
        self.of(part, name)?.dtype(name)
    }

    /// What the file of a part has under a name.
    ///
    /// # Errors
    /// A file that has changed; a type that is no number's.
    pub(crate) fn values(&self, part: Part, name: &str) -> Result<Option<Values>, ExperimentError> {
        let Some(model) = self.of(part, name) else { return Ok(None) };
        let (ty, bytes) = model.tensor(name)?;
        match values::to_f32(ty.dtype, bytes.as_ref()) {
            Ok(values) => Ok(Some(Values { shape: ty.shape, values })),
            Err(problem) => Err(ExperimentError::File {
                path: model.path().to_owned(),
                message: format!("the tensor `{name}` {problem}"),
            }),
        }
    }
}
