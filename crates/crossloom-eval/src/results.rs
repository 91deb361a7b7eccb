//! The numbers of one run: overall and per question type.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::{Benchmark, Metric};
use crate::samples::SampleRecord;
use crate::stats::{Clusters, Estimate, Resampling, StatsError, seeds_interval};

/// The numbers of one run; what `results.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What every score is, in 0..1.
    pub metric: Metric,
    /// All answered samples together.
    pub overall: Estimate,
    /// Answered samples of every question type, sorted by type.
    pub by_type: BTreeMap<String, Estimate>,
    /// What the metric's benchmark reports besides, see [`Benchmark`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<Benchmark>,
    /// Samples that failed and are in none of the numbers.
    pub failed: usize,
    /// Answers that were cut at the longest length; they are scored as they are.
    pub unfinished: usize,
    /// Whether every sample was answered.
    pub complete: bool,
    /// How the intervals were made.
    pub resampling: Resampling,
}

impl Results {
    /// Aggregate the records of trainings that differ in seeds only, each record by record the same questions in the same order. A sample
    /// that failed with one seed is left out with all. What a benchmark reports besides is of one training, and of several there is none.
    pub fn from_seeds(
        runs: &[Vec<&SampleRecord>],
        metric: Metric,
        resampling: &Resampling,
    ) -> Result<Self, StatsError> {
        let Some(first) = runs.first() else { return Err(StatsError::Empty) };
        let failed = |sample: usize| runs.iter().any(|run| run.get(sample).is_none_or(|r| r.is_failed()));
        let answered: Vec<usize> = (0..first.len()).filter(|&sample| !failed(sample)).collect();
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &sample in &answered {
            groups.entry(&first[sample].kind).or_default().push(sample);
        }
        let estimate = |samples: &[usize]| {
            let score = |run: &Vec<&SampleRecord>| samples.iter().map(|&sample| run[sample].score).collect();
            let scores: Vec<Vec<f64>> = runs.iter().map(score).collect();
            let pictures = samples.iter().map(|&sample| first[sample].image.as_str());
            seeds_interval(&scores, &Clusters::by_key(pictures), resampling)
        };
        let by_type = groups
            .into_iter()
            .map(|(kind, group)| Ok((kind.to_owned(), estimate(&group)?)))
            .collect::<Result<_, StatsError>>()?;
        let records = || runs.iter().flatten().filter(|record| !record.is_failed());
        Ok(Self {
            metric,
            overall: estimate(&answered)?,
            by_type,
            benchmark: None,
            failed: first.len() - answered.len(),
            unfinished: records().filter(|record| !record.finished).count(),
            complete: answered.len() == first.len(),
            resampling: *resampling,
        })
    }

    /// Aggregate the records of one run. An error where none was answered, or where the metric does not fit the
    /// questions.
    pub fn from_records(
        records: &[SampleRecord],
        metric: Metric,
        resampling: &Resampling,
    ) -> Result<Self, StatsError> {
        let run: Vec<&SampleRecord> = records.iter().collect();
        let results = Self::from_seeds(&[run], metric, resampling)?;
        Ok(Self { benchmark: Benchmark::of(metric, records)?, ..results })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::samples::{Answer, Question};

    fn records() -> Vec<SampleRecord> {
        (0..60)
            .map(|i| {
                let question = Question {
                    id: i.to_string(),
                    image: format!("{}.png", i / 4),
                    text: "?".into(),
                    kind: if i % 2 == 0 { "shape" } else { "color" }.into(),
                    truth: vec!["red".into()],
                };
                let text = if i % 3 == 0 { "blue" } else { "red" }.to_owned();
                match i {
                    50.. => SampleRecord::failed(&question, "truncated picture"),
                    _ => {
                        let answer = Answer { text, finished: i != 1 };
                        SampleRecord::answered(&question, answer, Metric::ExactMatch)
                    }
                }
            })
            .collect()
    }

    #[test]
    fn failed_samples_are_excluded_counted_and_make_the_run_incomplete() {
        let results = Results::from_records(&records(), Metric::ExactMatch, &Resampling::default()).unwrap();
        // 17 of 0..50 are multiples of three.
        assert_eq!((results.overall.samples, results.overall.mean), (50, 33.0 / 50.0));
        assert_eq!((results.failed, results.unfinished, results.complete), (10, 1, false));
        assert_eq!(results.overall.clusters, 13);
        assert_eq!(results.by_type.keys().collect::<Vec<_>>(), ["color", "shape"]);
        assert_eq!(results.by_type["color"].samples, 25);
        let all =
            Results::from_records(&records()[..50], Metric::ExactMatch, &Resampling::default()).unwrap();
        assert!(all.complete);
        assert_eq!(all.overall, results.overall);
    }

    #[test]
    fn results_read_back_and_no_answers_are_an_error() {
        let results = Results::from_records(&records(), Metric::ExactMatch, &Resampling::default()).unwrap();
        let text = serde_json::to_string(&results).unwrap();
        let back: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(back.by_type.len(), 2);
        assert!((back.overall.low - results.overall.low).abs() < 1e-12);
        let failed = &records()[50..];
        let error = Results::from_records(failed, Metric::ExactMatch, &Resampling::default());
        assert_eq!(error, Err(StatsError::Empty));
    }
}
