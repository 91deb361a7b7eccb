//! Comparison of several runs on the same samples: a table, tests, and a sentence that says what they mean.

mod align;
mod costs;
mod formats;
mod text;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::align::{Named, Pair, align};
use crate::metrics::Metric;
use crate::prior::Prior;
use crate::results::Results;
use crate::samples::SampleRecord;
use crate::stats::{
    Clusters, MIN_CLUSTERS, PairedDifference, Resampling, StatsError, holm, mcnemar_exact, seeds_difference,
};

pub use self::costs::{Cost, Costs};
pub use self::formats::TableFormat;

/// What a run is in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// One of the models that compete.
    Model,
    /// A yardstick, such as the same model without the picture; it cannot win.
    Reference,
}

/// One column of a comparison: a training, or several that differ in seeds only.
#[derive(Debug, Clone)]
pub struct Contender<'a> {
    /// The name of its column.
    pub name: &'a str,
    /// Model or yardstick.
    pub role: Standing,
    /// Its trainings; at least one.
    pub seeds: Vec<Seed<'a>>,
    /// The column that it is compared with, where that is not the baseline of all. A column that others name so and that names none
    /// itself is not compared.
    pub against: Option<&'a str>,
}

/// A training of a contender.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'a> {
    /// Its seed. Methods are compared seed by seed.
    pub seed: u64,
    /// Its samples, failed ones included.
    pub records: &'a [SampleRecord],
}

impl<'a> Contender<'a> {
    /// One of a single training.
    pub fn one(name: &'a str, role: Standing, records: &'a [SampleRecord]) -> Self {
        Self { name, role, seeds: vec![Seed { seed: 0, records }], against: None }
    }

    fn named(&self, seed: usize) -> Named<'a> {
        Named { name: self.name, records: self.seeds.get(seed).map_or(&[], |seed| seed.records) }
    }
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
    /// What it costs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
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
    /// Samples that only the first run got right, over all seeds.
    pub only_first: u64,
    /// Samples that only the second run got right, over all seeds.
    pub only_second: u64,
    /// Exact McNemar p-value of these two counts; assumes independent samples, so it is for information. None over several seeds.
    pub mcnemar_p: Option<f64>,
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
    /// Two columns of several seeds without one in common.
    #[error(
        "`{first}` and `{second}` were trained with different seeds; train both with the same, as a sweep over `train.seed` does"
    )]
    Seeds {
        /// One column.
        first: String,
        /// The other column.
        second: String,
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
            let (name, role) = (run.name.to_owned(), run.role);
            Ok(Column { name, role, results: results(run, options)?, costs: None })
        })
        .collect::<Result<Vec<_>, CompareError>>()?;

    let among = |comparisons| options.resampling.among(comparisons);
    let pairs = pairs(&models, baseline)?;
    let mut differences = (pairs.iter())
        .map(|(run, baseline)| difference(run, baseline, &among(pairs.len())))
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

/// The numbers of a column.
fn results(run: &Contender<'_>, options: &CompareOptions) -> Result<Results, CompareError> {
    let stats = |error| CompareError::Stats { run: run.name.to_owned(), error };
    if let [only] = &run.seeds[..] {
        return Results::from_records(only.records, options.metric, &options.resampling).map_err(stats);
    }
    let seeds = (0..run.seeds.len()).map(|seed| {
        let pairs = align(run.named(0), run.named(seed))?;
        Ok(pairs.into_iter().map(|(_, record)| record).collect())
    });
    let seeds = seeds.collect::<Result<Vec<Vec<&SampleRecord>>, CompareError>>()?;
    Results::from_seeds(&seeds, options.metric, &options.resampling).map_err(stats)
}

type Compared<'c, 'a> = (&'c Contender<'a>, &'c Contender<'a>);

/// Every model with the one that it is compared with.
fn pairs<'c, 'a>(
    models: &[&'c Contender<'a>],
    baseline: &'c Contender<'a>,
) -> Result<Vec<Compared<'c, 'a>>, CompareError> {
    let named = |name: &str| models.iter().any(|model| model.against == Some(name));
    let mut pairs = Vec::new();
    for &model in models {
        let with = match model.against {
            Some(name) => *models.iter().find(|other| other.name == name).ok_or_else(|| {
                let models = models.iter().map(|model| model.name.to_owned()).collect();
                CompareError::Baseline { name: name.to_owned(), models }
            })?,
            None if named(model.name) => continue,
            None => baseline,
        };
        if with.name != model.name {
            pairs.push((model, with));
        }
    }
    Ok(pairs)
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

/// The trainings of two columns that are compared with one another: those of the same seed. Where no seed is the same, the first of
/// each, if that is all they have.
fn same_seeds(first: &Contender<'_>, second: &Contender<'_>) -> Result<Vec<(usize, usize)>, CompareError> {
    let place = |seed: u64| second.seeds.iter().position(|other| other.seed == seed);
    let same: Vec<(usize, usize)> =
        (first.seeds.iter().enumerate()).filter_map(|(at, seed)| Some((at, place(seed.seed)?))).collect();
    match (same.is_empty(), first.seeds.len(), second.seeds.len()) {
        (false, ..) => Ok(same),
        (true, 1, 1) => Ok(vec![(0, 0)]),
        _ => Err(CompareError::Seeds { first: first.name.to_owned(), second: second.name.to_owned() }),
    }
}

fn difference(
    first: &Contender<'_>,
    second: &Contender<'_>,
    resampling: &Resampling,
) -> Result<Difference, CompareError> {
    let seeds = same_seeds(first, second)?;
    let order = first.named(seeds[0].0);
    // Every seed's pairs, all in one order.
    let mut all: Vec<Vec<Pair<'_>>> = Vec::with_capacity(seeds.len());
    for &(one, other) in &seeds {
        let ones = align(order, first.named(one))?.into_iter();
        let others = align(order, second.named(other))?.into_iter();
        all.push(ones.zip(others).map(|((_, one), (_, other))| (one, other)).collect());
    }
    let samples = all[0].len();
    let failed = |pair: &Pair<'_>| pair.0.is_failed() || pair.1.is_failed();
    let answered: Vec<usize> =
        (0..samples).filter(|&sample| !all.iter().any(|pairs| failed(&pairs[sample]))).collect();
    let record = |sample: usize| all[0][sample].0;
    let test = |samples: &[usize]| {
        let scores = |of: fn(&Pair<'_>) -> f64| -> Vec<Vec<f64>> {
            all.iter().map(|pairs| samples.iter().map(|&sample| of(&pairs[sample])).collect()).collect()
        };
        let pictures = Clusters::by_key(samples.iter().map(|&sample| record(sample).image.as_str()));
        seeds_difference(&scores(|pair| pair.0.score), &scores(|pair| pair.1.score), &pictures, resampling)
            .map_err(|error| CompareError::Stats { run: format!("{} - {}", first.name, second.name), error })
    };
    let overall = test(&answered)?;
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &sample in &answered {
        groups.entry(&record(sample).kind).or_default().push(sample);
    }
    let by_type = groups
        .iter()
        .map(|(kind, samples)| Ok(((*kind).to_owned(), test(samples)?)))
        .collect::<Result<_, CompareError>>()?;
    let count = |right: fn(&Pair<'_>) -> bool| {
        let of =
            |pairs: &Vec<Pair<'_>>| answered.iter().filter(|&&sample| right(&pairs[sample])).count() as u64;
        all.iter().map(of).sum::<u64>()
    };
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
        mcnemar_p: (seeds.len() == 1).then(|| mcnemar_exact(only_first, only_second)),
        by_type,
        excluded: samples - answered.len(),
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
