//! Comparison of several runs on the same samples: a table, tests, and a sentence that says what they mean.

mod align;
mod text;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::align::{Pair, align};
use crate::metrics::Metric;
use crate::prior::Prior;
use crate::results::Results;
use crate::samples::SampleRecord;
use crate::stats::{
    Clusters, MIN_CLUSTERS, PairedDifference, Resampling, StatsError, holm, mcnemar_exact, paired_difference,
};

/// What a run is in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// One of the models that compete.
    Model,
    /// A yardstick, such as the same model without the picture; it cannot win.
    Reference,
}

/// One run in a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Contender<'a> {
    /// The name of its column.
    pub name: &'a str,
    /// Model or yardstick.
    pub role: Standing,
    /// Its samples, failed ones included.
    pub records: &'a [SampleRecord],
}

/// How to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// The metric that the samples were scored with.
    pub metric: Metric,
    /// The model that the others are compared with; `None` takes the first model.
    pub baseline: Option<String>,
    /// How intervals and p-values are made.
    pub resampling: Resampling,
    /// Analytic references, e.g. the question-only prior, each with the name of its column.
    pub priors: Vec<(String, Prior)>,
}

/// One column of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The run's name.
    pub name: String,
    /// Model or yardstick.
    pub role: Standing,
    /// Its numbers.
    pub results: Results,
}

/// One analytic reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PriorColumn {
    /// Such as `most frequent answer`.
    pub name: String,
    /// Its overall score.
    pub overall: f64,
    /// Its score of every question type.
    pub by_type: BTreeMap<String, f64>,
}

/// Two runs on the samples that both answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The run whose score counts positive.
    pub first: String,
    /// The run whose score counts negative.
    pub second: String,
    /// All samples together.
    pub overall: PairedDifference,
    /// The overall p-value after Holm's correction for the number of comparisons of its kind: models with the baseline, or
    /// models with references.
    pub p_adjusted: f64,
    /// Whether the adjusted p-value is below `1 - confidence`, over at least [`MIN_CLUSTERS`] pictures.
    pub significant: bool,
    /// Samples that only the first run got right.
    pub only_first: u64,
    /// Samples that only the second run got right.
    pub only_second: u64,
    /// Exact McNemar p-value of these two counts; assumes independent samples, so it is for information.
    pub mcnemar_p: f64,
    /// Every question type on its own, without correction: for orientation, not for proof.
    pub by_type: BTreeMap<String, PairedDifference>,
    /// Samples left out because one of the runs failed on them.
    pub excluded: usize,
}

/// Several runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// One for all runs; what every score is.
    pub metric: Metric,
    /// The name of the baseline.
    pub baseline: String,
    /// The runs, in the order given.
    pub columns: Vec<Column>,
    /// The analytic references.
    pub priors: Vec<PriorColumn>,
    /// Every other model against the baseline.
    pub differences: Vec<Difference>,
    /// Every model against every reference run.
    pub over_references: Vec<Difference>,
    /// What it means, one sentence each, the main one first.
    pub verdict: Vec<String>,
    /// What limits it: failed or cut samples.
    pub warnings: Vec<String>,
    /// How intervals and p-values were made.
    pub resampling: Resampling,
}

/// Runs that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// No run has the role of a model.
    #[error("there is no model to compare")]
    NoModel,
    /// Two columns of one name.
    #[error("two runs are called `{0}`; give them different names")]
    Name(String),
    /// The baseline is not among the models.
    #[error("the baseline `{name}` is not among the models {models:?}")]
    Baseline {
        /// The name asked for.
        name: String,
        /// The models there are.
        models: Vec<String>,
    },
    /// Two runs were measured on different samples.
    #[error(
        "`{first}` and `{second}` were measured on different samples:{}{}",
        only(first, only_first),
        only(second, only_second)
    )]
    Samples {
        /// One run.
        first: String,
        /// The other run.
        second: String,
        /// Ids that only the first has.
        only_first: Vec<String>,
        /// Ids that only the second has.
        only_second: Vec<String>,
    },
    /// One id stands for different questions in two runs.
    #[error(
        "`{first}` and `{second}` were asked different questions: {differing} samples differ, such as `{id}`, whose {what} is \
         {values}; evaluate both on the same split of the same data"
    )]
    Questions {
        /// One run.
        first: String,
        /// The other run.
        second: String,
        /// How many samples of equal id differ.
        differing: usize,
        /// The id of the first of them.
        id: String,
        /// What differs there: `picture`, `question`, `type` or `reference answer`.
        what: &'static str,
        /// What it is in one run and what in the other.
        values: String,
    },
    /// An id that a run has twice.
    #[error("`{run}` has the sample `{id}` twice")]
    Repeated {
        /// The run.
        run: String,
        /// The id.
        id: String,
    },
    /// A statistic that cannot be computed.
    #[error("`{run}`: {error}")]
    Stats {
        /// The run, or both.
        run: String,
        /// Why.
        error: StatsError,
    },
}

/// ` 3 samples only in `a` (x, y, z);`
fn only(run: &str, ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    match ids.len() {
        0 => String::new(),
        n => format!(" {n} only in `{run}` ({}{more})", ids[..n.min(SHOWN)].join(", ")),
    }
}

/// Compare runs on the same samples. The order of samples may differ, their ids and what they ask may not.
pub fn compare(contenders: &[Contender<'_>], options: &CompareOptions) -> Result<Comparison, CompareError> {
    let mut names = BTreeSet::new();
    for name in
        contenders.iter().map(|run| run.name).chain(options.priors.iter().map(|(name, _)| name.as_str()))
    {
        if !names.insert(name) {
            return Err(CompareError::Name(name.to_owned()));
        }
    }
    let models: Vec<&Contender<'_>> = contenders.iter().filter(|run| run.role == Standing::Model).collect();
    let baseline = match &options.baseline {
        None => models.first().copied().ok_or(CompareError::NoModel)?,
        Some(name) => {
            models.iter().copied().find(|run| run.name == name).ok_or_else(|| CompareError::Baseline {
                name: name.clone(),
                models: models.iter().map(|run| run.name.to_owned()).collect(),
            })?
        }
    };
    let columns = contenders
        .iter()
        .map(|run| {
            let results = Results::from_records(run.records, options.metric, &options.resampling)
                .map_err(|error| CompareError::Stats { run: run.name.to_owned(), error })?;
            Ok(Column { name: run.name.to_owned(), role: run.role, results })
        })
        .collect::<Result<Vec<_>, CompareError>>()?;

    let among = |comparisons| options.resampling.among(comparisons);
    let others = models.iter().filter(|run| run.name != baseline.name);
    let mut differences = others
        .map(|run| difference(run, baseline, &among(models.len() - 1)))
        .collect::<Result<Vec<_>, CompareError>>()?;
    adjust(&mut differences, options);
    let mut over_references = Vec::new();
    let references = || contenders.iter().filter(|run| run.role == Standing::Reference);
    for reference in references() {
        for model in &models {
            let resampling = among(references().count() * models.len());
            over_references.push(difference(model, reference, &resampling)?);
        }
    }
    adjust(&mut over_references, options);
    let priors = options
        .priors
        .iter()
        .map(|(name, prior)| PriorColumn {
            name: name.clone(),
            overall: prior.overall,
            by_type: prior.by_type.clone(),
        })
        .collect();
    let mut comparison = Comparison {
        metric: options.metric,
        baseline: baseline.name.to_owned(),
        columns,
        priors,
        differences,
        over_references,
        verdict: Vec::new(),
        warnings: Vec::new(),
        resampling: options.resampling,
    };
    comparison.verdict = verdict::sentences(&comparison);
    comparison.warnings = verdict::warnings(&comparison);
    Ok(comparison)
}

/// Holm's correction over comparisons of one kind, and what is significant after it.
fn adjust(differences: &mut [Difference], options: &CompareOptions) {
    let alpha = 1.0 - options.resampling.confidence;
    let adjusted = holm(&differences.iter().map(|found| found.overall.p_value).collect::<Vec<_>>());
    for (found, p_adjusted) in differences.iter_mut().zip(adjusted) {
        found.p_adjusted = p_adjusted;
        found.significant = p_adjusted < alpha && found.overall.clusters >= MIN_CLUSTERS;
    }
}

fn difference(
    first: &Contender<'_>,
    second: &Contender<'_>,
    resampling: &Resampling,
) -> Result<Difference, CompareError> {
    let pairs = align(first, second)?;
    let answered: Vec<Pair<'_>> =
        pairs.iter().copied().filter(|(a, b)| !a.is_failed() && !b.is_failed()).collect();
    let test = |pairs: &[Pair<'_>]| {
        let scores = |of: fn(&Pair<'_>) -> f64| pairs.iter().map(of).collect::<Vec<_>>();
        let pictures = Clusters::by_key(pairs.iter().map(|(a, _)| a.image.as_str()));
        paired_difference(&scores(|pair| pair.0.score), &scores(|pair| pair.1.score), &pictures, resampling)
            .map_err(|error| CompareError::Stats { run: format!("{} - {}", first.name, second.name), error })
    };
    let overall = test(&answered)?;
    let mut groups: BTreeMap<&str, Vec<Pair<'_>>> = BTreeMap::new();
    for &pair in &answered {
        groups.entry(&pair.0.kind).or_default().push(pair);
    }
    let by_type = groups
        .iter()
        .map(|(kind, pairs)| Ok(((*kind).to_owned(), test(pairs)?)))
        .collect::<Result<_, CompareError>>()?;
    let count = |right: fn(&Pair<'_>) -> bool| answered.iter().filter(|pair| right(pair)).count() as u64;
    let only_first = count(|(a, b)| a.correct && !b.correct);
    let only_second = count(|(a, b)| b.correct && !a.correct);
    Ok(Difference {
        first: first.name.to_owned(),
        second: second.name.to_owned(),
        overall,
        // Known once all comparisons of its kind are.
        p_adjusted: overall.p_value,
        significant: false,
        only_first,
        only_second,
        mcnemar_p: mcnemar_exact(only_first, only_second),
        by_type,
        excluded: pairs.len() - answered.len(),
    })
}

impl Comparison {
    /// The whole comparison as JSON.
    pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }

    /// Every question type that a run has, sorted.
    pub fn types(&self) -> Vec<&str> {
        let types: BTreeSet<&str> = self
            .columns
            .iter()
            .flat_map(|column| column.results.by_type.keys().map(String::as_str))
            .collect();
        types.into_iter().collect()
    }
}
