//! Whether a variant fits a budget, and which of its settings would make it fit: each is tried, with what it then really holds.

use crossloom_recipe::{Part, Precision, Recipe, Selection};
use serde::Serialize;

use super::super::Shapes;
use crate::ExperimentError;
use crate::backends::Backend;
use crate::graph::group_of;
use crate::memory::{Expected, Limit, Need, expected};

/// What a budget means for a variant.
#[derive(Debug, Clone, Serialize)]
pub struct Budget {
    /// Bytes that a run may hold, besides the process itself.
    pub bytes: u64,
    /// What the variant holds as it is.
    pub need: u64,
    /// Whether that fits.
    pub fits: bool,
    /// What was tried where it does not, one setting at a time, then together.
    pub tried: Vec<Tried>,
}

/// A change of a recipe that saves memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// What it is, in words.
    pub knob: String,
    /// The settings, as `--set` takes them; none where the recipe stays as it is.
    pub sets: Vec<String>,
    /// Whether values of the forward pass are computed again, as a run under this budget does.
    pub computes_again: bool,
    /// What is held then; none where the recipe cannot be so.
    pub need: Option<u64>,
    /// Whether that fits.
    pub fits: bool,
    /// Why the recipe cannot be so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What gives a recipe with some settings changed, and the sizes of its batches; or why there is none.
pub type Changed<'c> = dyn FnMut(&[String]) -> Result<(Recipe, Shapes), String> + 'c;

/// The rank of the low-rank pairs that are tried.
const RANK: usize = 8;

/// Says whether a recipe fits, and tries what would make it fit.
///
/// # Errors
/// The recipe as it is cannot be built or compiled.
pub fn within(
    bytes: u64,
    recipe: &Recipe,
    shapes: Shapes,
    backend: Backend,
    changed: &mut Changed<'_>,
) -> Result<Budget, ExperimentError> {
    let Expected { programs, need, .. } = expected(recipe, shapes, backend, None)?;
    let fits = |need: &Need| need.check(&[Limit::budget(bytes)]).is_ok();
    let mut budget = Budget { bytes, need: need.total(), fits: fits(&need), tried: Vec::new() };
    if budget.fits {
        return Ok(budget);
    }
    let trained = |part: Part| {
        let selection = Selection::new(&recipe.train);
        programs.params.iter().any(|param| param.part == part && group_of(&selection, param).is_some())
    };
    let mut attempt = |knob: &str, sets: Vec<String>| -> Tried {
        let expected = if sets.is_empty() { Ok((recipe.clone(), shapes)) } else { changed(&sets) };
        let found = expected.and_then(|(recipe, shapes)| {
            expected_within(&recipe, shapes, backend, bytes).map_err(|error| error.to_string())
        });
        let (need, refused) = match found {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(error)),
        };
        Tried {
            knob: knob.to_owned(),
            sets,
            computes_again: need.as_ref().is_some_and(|(_, again)| *again),
            fits: need.as_ref().is_some_and(|(need, _)| fits(need)),
            need: need.map(|(need, _)| need.total()),
            refused,
        }
    };
    let mut tried = vec![attempt("values computed again", Vec::new())];
    if recipe.train.precision == Precision::F32 {
        tried.push(attempt("bf16", vec![r#"train.precision="bf16""#.to_owned()]));
    }
    // Only such that a step sees as many sequences as before.
    let whole = recipe.train.batch_size;
    tried.extend(first_that_fits(halved(whole).filter(|batch| whole.is_multiple_of(*batch)).map(|batch| {
        let accumulate = whole / batch * recipe.train.accumulate;
        let sets = vec![format!("train.batch_size={batch}"), format!("train.accumulate={accumulate}")];
        attempt("smaller batches, as many in a step", sets)
    })));
    tried.extend(first_that_fits(halved(recipe.data.questions_per_sequence).map(|questions| {
        attempt("shorter sequences", vec![format!("data.questions_per_sequence={questions}")])
    })));
    for part in [Part::Vision, Part::Language].into_iter().filter(|part| trained(*part)) {
        let (name, settings) = (part.name(), recipe.train.parts.get(part));
        if settings.lora.is_none() {
            let targets = r#"["q_proj", "v_proj"]"#;
            let lora = format!("train.parts.{name}.lora={{ rank = {RANK}, targets = {targets} }}");
            tried.push(attempt(&format!("LoRA in {name}"), vec![lora]));
        }
        tried.push(attempt(&format!("{name} frozen"), vec![format!("train.parts.{name}.trainable=false")]));
    }
    if !tried.iter().any(|tried| tried.fits) {
        tried.extend(together(&tried, budget.need, &mut attempt));
    }
    budget.tried = tried;
    Ok(budget)
}

/// Where nothing fits alone: what saves something, one more at a time, until it fits or nothing is left.
fn together(
    alone: &[Tried],
    need: u64,
    attempt: &mut impl FnMut(&str, Vec<String>) -> Tried,
) -> Option<Tried> {
    let part = |set: &str| set.split('.').take(3).collect::<Vec<_>>().join(".");
    let (mut sets, mut knobs, mut last): (Vec<String>, Vec<&str>, Option<Tried>) = Default::default();
    for one in alone.iter().filter(|one| !one.sets.is_empty() && one.need.is_some_and(|less| less < need)) {
        // A part is frozen or has low-rank pairs, not both.
        let of_part = one.sets.iter().filter(|set| set.starts_with("train.parts."));
        if of_part.clone().any(|set| sets.iter().any(|known| part(known) == part(set))) {
            continue;
        }
        sets.extend(one.sets.iter().cloned());
        knobs.push(&one.knob);
        if knobs.len() > 1 {
            let tried = attempt(&knobs.join(" + "), sets.clone());
            let ends = tried.fits || tried.need.is_none();
            last = Some(tried);
            if ends {
                break;
            }
        }
    }
    last
}

fn expected_within(
    recipe: &Recipe,
    shapes: Shapes,
    backend: Backend,
    bytes: u64,
) -> Result<(Need, bool), ExperimentError> {
    let Expected { need, squeezed, .. } = expected(recipe, shapes, backend, Some(bytes))?;
    Ok((need, squeezed.is_some()))
}

/// Half of a count, half of that and so on, down to one.
fn halved(count: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(count / 2), |count| Some(count / 2)).take_while(|count| *count > 0)
}

/// The first that fits, or the last.
fn first_that_fits(attempts: impl Iterator<Item = Tried>) -> Option<Tried> {
    let mut last = None;
    for tried in attempts {
        let (fits, ends) = (tried.fits, tried.need.is_none());
        if ends && last.is_some() {
            return last;
        }
        last = Some(tried);
        if fits || ends {
            break;
        }
    }
    last
}
