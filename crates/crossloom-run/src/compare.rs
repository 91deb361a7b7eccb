//! The comparison of a run's variants.

use crossloom_eval::Prior;
use crossloom_eval::compare::{CompareOptions, Comparison, Standing};
use crossloom_eval::prior::question_only_prior;
use crossloom_eval::samples::Question;
use crossloom_recipe::{LoadedRecipe, Metric, Split};
use crossloom_train::run_dir::{RunDir, RunRecord};

use crate::cells::{Member, compared};
use crate::evaluate::resampling;
use crate::progress::RunProgress;
use crate::{Data, ExperimentError, VariantOutcome};

/// The name of the column of counted answers.
const PRIOR: &str = "most frequent answer";

/// The files of a comparison.
const TEXT: &str = "comparison.txt";
const JSON: &str = "comparison.json";

/// The variants that were evaluated now, and those of the recipe that were before, under the same settings.
pub(crate) fn with_earlier(
    loaded: &LoadedRecipe,
    dir: &RunDir,
    record: &RunRecord,
    now: Vec<VariantOutcome>,
    progress: &mut dyn RunProgress,
) -> Result<Vec<VariantOutcome>, ExperimentError> {
    let mut now: Vec<Option<VariantOutcome>> = now.into_iter().map(Some).collect();
    let mut all = Vec::with_capacity(loaded.variants.len());
    for variant in &loaded.variants {
        let fresh = now.iter_mut().find(|slot| slot.as_ref().is_some_and(|v| v.name == variant.name));
        if let Some(fresh) = fresh.and_then(Option::take) {
            all.push(fresh);
        } else if let Some(earlier) = VariantOutcome::earlier(variant, dir, record)? {
            all.push(earlier);
        } else if dir.variant_path(&variant.name)?.results_path().exists() {
            let name = &variant.name;
            progress.note(&format!(
                "`{name}` was evaluated with other settings or at another step, and is left out"
            ));
        }
    }
    Ok(all)
}

/// Compares and writes `comparison.txt` and `comparison.json`; `None` where there is no model, only references.
pub(crate) fn write(
    loaded: &LoadedRecipe,
    dir: &RunDir,
    data: &Data,
    variants: &[VariantOutcome],
) -> Result<Option<Comparison>, ExperimentError> {
    if !variants.iter().any(|v| v.role == Standing::Model) {
        // What an earlier evaluation compared is there no more.
        for file in [TEXT, JSON] {
            dir.remove(file)?;
        }
        return Ok(None);
    }
    let members: Vec<Member<'_>> = variants.iter().map(VariantOutcome::member).collect();
    // All variants have the base recipe's metric, or all of them another one: `same_questions`.
    let metric = variants.first().map_or(loaded.base.eval.metric, |v| v.recipe.eval.metric);
    let options = CompareOptions {
        metric,
        baseline: None,
        resampling: resampling(&loaded.base.eval),
        priors: prior(data, variants, metric).into_iter().map(|prior| (PRIOR.to_owned(), prior)).collect(),
    };
    let mut comparison = compared(&members, &options, &|group| group.name.clone())?;
    // A comparison of a run depends on nothing that a clock says; times are in its report.
    for costs in comparison.columns.iter_mut().filter_map(|column| column.costs.as_mut()) {
        costs.step_ms = None;
    }
    comparison
        .warnings
        .extend(variants.iter().filter_map(|v| Some(format!("`{}` was {}.", v.name, v.partly_trained()?))));
    dir.write(TEXT, comparison.to_text().as_bytes())?;
    let json =
        serde_json::to_vec_pretty(&comparison).map_err(|e| Box::new(e) as crossloom_train::BoxError)?;
    dir.write(JSON, &json)?;
    tracing::info!(variants = variants.len(), "compared");
    Ok(Some(comparison))
}

/// The best that can be done from the question's text: the analytic companion of a question-only model. It counts the
/// answers that were trained on, not the held-out ones; answers of conversations went by.
fn prior(data: &Data, variants: &[VariantOutcome], metric: Metric) -> Option<Prior> {
    if data.conversations().is_some() {
        return None;
    }
    let (split, encoded) = data.images(Split::Train);
    let trained = encoded.examples().into_iter().filter_map(|number| split.examples().get(number));
    let asked: Vec<Question> = variants
        .first()
        .into_iter()
        .flat_map(|outcome| &outcome.records)
        .map(|r| Question {
            id: r.id.clone(),
            image: r.image.clone(),
            text: r.question.clone(),
            kind: r.kind.clone(),
            truth: r.truth.clone(),
        })
        .collect();
    Some(question_only_prior(trained.map(|e| (e.question.as_str(), e.answer.as_str())), &asked, metric))
}
