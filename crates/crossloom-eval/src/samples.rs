//! Per-sample records: every question with its answer, kept as JSON lines.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error_text::is_error_text;
use crate::metrics::{self, Metric};

/// A question as the data set has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique in its split, the same in every run.
    pub id: String,
    /// The picture's id or path; questions with equal ones are resampled together.
    pub image: String,
    /// The question's text.
    pub text: String,
    /// The question's type, e.g. `color`; the groups of every table.
    pub kind: String,
    /// Reference answers, the main one first.
    pub truth: Vec<String>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// As it was decoded, without the token that ends it.
    pub text: String,
    /// Whether it ended by itself.
    pub finished: bool,
}

/// One question with the answer of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The question's id.
    pub id: String,
    /// The picture's id or path.
    pub image: String,
    /// The question's text.
    pub question: String,
    /// The question's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Reference answers, the main one first.
    pub truth: Vec<String>,
    /// The answer; `None` where the sample failed.
    pub answer: Option<String>,
    /// The metric's score in `[0, 1]`; 0 where the sample failed.
    pub score: f64,
    /// Whether the score counts as right; `false` where the sample failed.
    pub correct: bool,
    /// Whether the answer ended by itself.
    pub finished: bool,
    /// Why the sample failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl SampleRecord {
    /// The record of an answered question.
    pub fn answered(question: &Question, answer: Answer, metric: Metric) -> Self {
        let score = metrics::score(metric, &answer.text, &question.truth);
        Self {
            score,
            correct: metrics::is_right(score),
            finished: answer.finished,
            answer: Some(answer.text),
            ..Self::failed(question, String::new())
        }
        .without_error()
    }

    /// The record of a question that could not be answered (unreadable picture, too long a sequence …).
    pub fn failed(question: &Question, error: impl Into<String>) -> Self {
        let Question { id, image, text, kind, truth } = question.clone();
        Self {
            id,
            image,
            question: text,
            kind,
            truth,
            answer: None,
            score: 0.0,
            correct: false,
            finished: false,
            error: Some(error.into()),
        }
    }

    /// The same; one whose answer says that a request failed is failed.
    fn without_error_text(self) -> Self {
        if self.answer.as_deref().is_some_and(is_error_text) {
            let error = self.answer;
            return Self { answer: None, score: 0.0, correct: false, finished: false, error, ..self };
        }
        self
    }

    fn without_error(self) -> Self {
        Self { error: None, ..self }
    }

    /// Whether the sample has no answer and is excluded from every mean.
    pub fn is_failed(&self) -> bool {
        self.answer.is_none()
    }
}

/// Records that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `write` or `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A line that is no record.
    #[error("{}:{line}: {problem}; evaluate the run again", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Write all records as JSON lines, atomically: after a crash the file is the old one or the new one.
pub fn write_samples(path: &Path, records: &[SampleRecord]) -> Result<(), SamplesError> {
    crossloom_files::write_atomic_with(path, |out| {
        for record in records {
            serde_json::to_writer(&mut *out, record)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
    .map_err(|source| SamplesError::Io { doing: "write", path: path.to_owned(), source })
}

/// Read all records; a damaged line or an id that appears twice is an error that names the line. A record whose answer is the failure of a
/// client ([`is_error_text`]) is one of a sample that failed: it is in no mean, and makes its run incomplete.
pub fn read_samples(path: &Path) -> Result<Vec<SampleRecord>, SamplesError> {
    let text = fs::read_to_string(path).map_err(|source| SamplesError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    let mut records: Vec<SampleRecord> = Vec::new();
    let mut line_of: BTreeMap<String, usize> = BTreeMap::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let fail = |problem| SamplesError::Line { path: path.to_owned(), line, problem };
        let record: SampleRecord = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        let record = record.without_error_text();
        if let Some(first) = line_of.insert(record.id.clone(), line) {
            return Err(fail(format!("the id `{}` is already on line {first}", record.id)));
        }
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn question(id: &str) -> Question {
        Question {
            id: id.into(),
            image: "7.png".into(),
            text: "what color\nis it?".into(),
            kind: "color".into(),
            truth: vec!["red".into()],
        }
    }

    fn answer(text: &str) -> Answer {
        Answer { text: text.into(), finished: true }
    }

    #[test]
    fn records_read_back_equal_and_failed_ones_are_not_wrong_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let records = [
            SampleRecord::answered(&question("a"), answer("Red."), Metric::ExactMatch),
            SampleRecord::answered(&question("b"), answer("blue"), Metric::ExactMatch),
            SampleRecord::failed(&question("c"), "the picture is truncated"),
        ];
        write_samples(&path, &records).unwrap();
        assert_eq!(read_samples(&path).unwrap(), records);
        assert_eq!(
            records.each_ref().map(|r| (r.correct, r.is_failed())),
            [(true, false), (false, false), (false, true)]
        );
        assert_eq!(records[0].error, None);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains(r#""type":"color""#) && text.contains(r#""error":"the picture is truncated""#));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_error_text_of_a_client_is_read_as_a_failure_and_not_as_a_wrong_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let failure = "[LMMS_EVAL_REQUEST_FAILED after 5 retries] Error code: 503 - full";
        // A metric that rewards the text makes it no answer either.
        let mut records = ["red", failure, "blue"]
            .map(|text| SampleRecord::answered(&question(text), answer(text), Metric::ExactMatch));
        records[1].score = 1.0;
        records[1].correct = true;
        write_samples(&path, &records).unwrap();
        let read = read_samples(&path).unwrap();
        assert_eq!((&read[0], &read[2]), (&records[0], &records[2]));
        assert_eq!(read[1], SampleRecord::failed(&question(failure), failure));
        let resampling = crate::stats::Resampling { draws: 100, confidence: 0.95, seed: 0 };
        let results = crate::Results::from_records(&read, Metric::ExactMatch, &resampling).unwrap();
        assert_eq!((results.failed, results.complete, results.overall.mean), (1, false, 0.5));
    }

    #[test]
    fn damaged_lines_and_repeated_ids_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let record = SampleRecord::answered(&question("a"), answer("red"), Metric::ExactMatch);
        write_samples(&path, &[record.clone(), record.clone()]).unwrap();
        let text = read_samples(&path).unwrap_err().to_string();
        assert!(text.contains("samples.jsonl:2: the id `a` is already on line 1"), "{text}");
        let line = serde_json::to_string(&record).unwrap();
        for length in 0..line.len() {
            fs::write(&path, format!("{}\n", &line[..length])).unwrap();
            assert!(matches!(read_samples(&path), Err(SamplesError::Line { line: 1, .. })), "{length}");
        }
        assert!(matches!(read_samples(&dir.path().join("none")), Err(SamplesError::Io { .. })));
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(write_samples(&path, &[]).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
