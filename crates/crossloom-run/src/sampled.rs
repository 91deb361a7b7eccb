//! A fixed sample of the questions, answered in the course of a training with the weights of that step.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crossloom_data::packing::PackingPlan;
use crossloom_eval::Results;
use crossloom_recipe::Recipe;
use crossloom_train::metrics::{MetricPhase, Scalars, read_metrics};
use crossloom_train::run_dir::{SampledRecord, VariantDir};
use crossloom_train::step::BoxError;
use rand::SeedableRng as _;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use crate::evaluate::{Questions, resampling};
use crate::step::ModelStep;
use crate::training_stage::stages;
use crate::{Data, ExperimentError};

/// The name of the mean score in metrics; that of a type of questions has its name behind it.
pub(crate) const SAMPLE_SCORE: &str = "sample_score";

/// Questions of a sample, where nothing else is said.
const SAMPLE: usize = 100;

/// A sample of the questions that a recipe is evaluated on.
pub(crate) struct Sample<'d> {
    recipe: &'d Recipe,
    questions: Questions<'d>,
}

impl<'d> Sample<'d> {
    /// That of a recipe: the same in all its trainings, whatever their seeds. None where it asks for none in between, or where the data of
    /// this stage has no questions.
    pub(crate) fn of(recipe: &'d Recipe, data: &'d Data, plan: &'d PackingPlan) -> Option<Self> {
        recipe.eval.every?;
        let mut questions = Questions::all(recipe, data, plan);
        let count = recipe.eval.sample.unwrap_or(SAMPLE).min(questions.numbers.len());
        let mut rng = ChaCha8Rng::seed_from_u64(recipe.eval.seed);
        let drawn = index::sample(&mut rng, questions.numbers.len(), count);
        questions.numbers = drawn.into_iter().map(|at| questions.numbers[at]).collect();
        questions.numbers.sort_unstable();
        (count > 0).then_some(Self { recipe, questions })
    }

    /// The ids of its questions.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.questions.numbers.iter().map(ToString::to_string).collect()
    }

    /// Mean scores of greedy answers by a model in training, over all questions and over those of each type. It reads the weights and
    /// changes nothing. It is not interrupted: the curve of a training that was stopped and went on is that of one that was not.
    pub(crate) fn measure(&self, step: &mut ModelStep<'_>) -> Result<Scalars, BoxError> {
        let (phases, gates) = step.answering();
        let asked = self.questions.ask(phases, gates, &AtomicBool::new(false), &mut |_, _| ())?;
        let records = asked.map(|asked| asked.records).unwrap_or_default();
        let results =
            Results::from_records(&records, self.recipe.eval.metric, &resampling(&self.recipe.eval))?;
        let of_types = results.by_type.iter().map(|(kind, of)| (format!("{SAMPLE_SCORE}/{kind}"), of.mean));
        Ok(std::iter::once((SAMPLE_SCORE.to_owned(), results.overall.mean)).chain(of_types).collect())
    }
}

/// What a variant's trainings recorded of their samples; none where they were not asked.
///
/// # Errors
/// Metrics that cannot be read.
pub(crate) fn sampled(
    dir: &VariantDir,
    recipe: &Recipe,
    questions: Vec<String>,
) -> Result<Option<SampledRecord>, ExperimentError> {
    let mut scores = BTreeMap::new();
    for stage in stages(dir, recipe).into_iter().filter(|stage| stage.dir.metrics_path().exists()) {
        let of_sample = read_metrics(&stage.dir.metrics_path())?.into_iter();
        let of_sample = of_sample.filter(|record| record.phase == MetricPhase::Evaluate);
        scores.extend(
            of_sample
                .filter_map(|record| Some((stage.before + record.step, *record.scalars.get(SAMPLE_SCORE)?))),
        );
    }
    Ok((!scores.is_empty()).then_some(SampledRecord { questions, scores }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::engine::tests::plain::compared::recipe;

    #[test]
    fn a_sample_is_of_the_questions_that_are_asked_and_depends_on_its_seed_alone() {
        let of = |sets: &[&str]| {
            let recipe = recipe("cli", sets);
            let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
            let plan = data.plan(&recipe).unwrap();
            Sample::of(&recipe, &data, &plan).map(|sample| sample.questions.numbers)
        };
        assert_eq!(of(&[]), None);
        let first = of(&["eval.every=1", "eval.sample=7"]).unwrap();
        assert!(first.len() == 7 && first.windows(2).all(|pair| pair[0] < pair[1]), "{first:?}");
        assert_eq!(of(&["eval.every=1", "eval.sample=7", "train.seed=5"]).unwrap(), first);
        assert_ne!(of(&["eval.every=1", "eval.sample=7", "eval.seed=5"]).unwrap(), first);
        let few = of(&["eval.every=1", "eval.sample=7", "eval.limit=9"]).unwrap();
        assert!(few.len() == 7 && few.iter().all(|&number| number < 9), "{few:?}");
        assert_eq!(of(&["eval.every=1", "eval.limit=9"]).unwrap().len(), 9);
    }
}
