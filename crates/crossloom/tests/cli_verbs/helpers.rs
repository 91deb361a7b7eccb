//! Runs that nobody trained: records and answers only.

use std::path::Path;

use crossloom_eval::samples::{Answer, Question, write_samples};
use crossloom_eval::{Metric, Resampling, Results, SampleRecord};
use crossloom_train::run_dir::{RunDir, RunRecord, RunStatus, VariantRecord};

/// How many questions every variant answers.
pub(crate) const QUESTIONS: usize = 40;

/// Writes a run whose variants answer so many of the questions right. `first` is the id of the first question.
pub(crate) fn write_run(
    root: &Path,
    name: &str,
    started: f64,
    variants: &[(&str, usize)],
    first: usize,
) -> RunDir {
    let run = RunDir::create(root, name, "0123456789abcdef").unwrap();
    let mut record = RunRecord::new(name, "0123456789abcdef");
    (record.started, record.updated, record.status) = (started, started + 9.0, RunStatus::Finished);
    (record.device, record.threads, record.recipe_path) = ("test".to_owned(), 2, "recipes/x.toml".to_owned());
    for (variant, right) in variants {
        let dir = run.variant(variant).unwrap();
        let records: Vec<SampleRecord> = (0..QUESTIONS)
            .map(|number| {
                let question = Question {
                    id: (first + number).to_string(),
                    image: (number / 2).to_string(),
                    text: "what shape?".to_owned(),
                    kind: if number % 2 == 0 { "shape" } else { "color" }.to_owned(),
                    truth: vec!["red".to_owned()],
                };
                let text = if number < *right { "red" } else { "blue" }.to_owned();
                SampleRecord::answered(&question, Answer { text, finished: true }, Metric::ExactMatch)
            })
            .collect();
        let resampling = Resampling { draws: 200, ..Resampling::default() };
        let results = Results::from_records(&records, Metric::ExactMatch, &resampling).unwrap();
        write_samples(&dir.samples_path(), &records).unwrap();
        dir.write("results.json", &serde_json::to_vec(&results).unwrap()).unwrap();
        let entry = VariantRecord {
            status: RunStatus::Finished,
            steps: 1200,
            parameters: 34_567,
            trainable_parameters: 34_567,
            final_loss: Some(0.25),
            ..VariantRecord::default()
        };
        record.variants.insert((*variant).to_owned(), entry);
    }
    run.write_record(&record).unwrap();
    run
}
