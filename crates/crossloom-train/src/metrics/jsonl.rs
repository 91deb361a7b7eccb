//! `metrics.jsonl`: one JSON object per line, appended and flushed at once.
//!
//! ```text
//! {"step":10,"phase":"train","time":1760000000.0,"loss":2.31,"grad_norm":1.7}
//! ```
//!
//! A number that JSON cannot write (NaN, infinity) becomes `null` and is left out when read back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};

use super::{MetricPhase, MetricRecord, MetricSink, Scalars, SinkError};
use crossloom_files::write_atomic;

/// Appends records to a JSON-lines file.
#[derive(Debug)]
pub struct JsonlSink {
    path: PathBuf,
    file: File,
}

impl JsonlSink {
    /// Start a file for a run that has completed `completed_steps` steps.
    ///
    /// Lines of an earlier process that are torn or say more than that (the process was killed after its last checkpoint)
    /// are removed, so that the file reads as if the run had never stopped. With 0 completed steps it starts empty.
    pub fn open(path: impl Into<PathBuf>, completed_steps: u64) -> Result<Self, SinkError> {
        let path = path.into();
        let fail = |doing, source| SinkError { doing, path: path.clone(), source };
        let before = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fail("read", error)),
        };
        let mut kept = Vec::with_capacity(before.len());
        for line in before.split_inclusive(|&byte| byte == b'\n') {
            if completed_steps > 0
                && line.ends_with(b"\n")
                && parse_line(line).is_some_and(|record| record.step <= completed_steps)
            {
                kept.extend_from_slice(line);
            }
        }
        if kept != before {
            write_atomic(&path, &kept).map_err(|error| fail("rewrite", error))?;
        }
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|error| fail("open", error))?;
        Ok(Self { path, file })
    }
}

impl MetricSink for JsonlSink {
    fn record(&mut self, record: &MetricRecord) -> Result<(), SinkError> {
        if !self.path.exists() {
            // What is written to a file that was removed is lost without an error.
            let source = io::Error::new(io::ErrorKind::NotFound, "it was removed while the run went on");
            return Err(SinkError { doing: "write to", path: self.path.clone(), source });
        }
        let mut line = to_line(record);
        line.push('\n');
        // One write call per line: a reader never sees half of one unless the disk is full.
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.flush()).map_err(|source| SinkError {
            doing: "write to",
            path: self.path.clone(),
            source,
        })
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.file.sync_all().map_err(|source| SinkError { doing: "sync", path: self.path.clone(), source })
    }
}

/// Every complete record of a metrics file; torn or foreign lines are skipped.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricRecord>, SinkError> {
    let bytes =
        std::fs::read(path).map_err(|source| SinkError { doing: "read", path: path.to_owned(), source })?;
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
}

fn to_line(record: &MetricRecord) -> String {
    let number = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    let mut object = Map::new();
    object.insert("step".into(), record.step.into());
    object.insert("phase".into(), record.phase.name().into());
    object.insert("time".into(), number(record.time));
    for (name, &value) in &record.scalars {
        object.insert(name.clone(), number(value));
    }
    Value::Object(object).to_string()
}

fn parse_line(line: &[u8]) -> Option<MetricRecord> {
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(line) else { return None };
    let step = object.get("step")?.as_u64()?;
    let phase = match object.get("phase")?.as_str()? {
        "train" => MetricPhase::Train,
        "validate" => MetricPhase::Validate,
        "evaluate" => MetricPhase::Evaluate,
        _ => return None,
    };
    let time = object.get("time")?.as_f64()?;
    let scalars: Scalars = object
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "step" | "phase" | "time"))
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .collect();
    Some(MetricRecord { step, time, phase, scalars })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(step: u64, loss: f64) -> MetricRecord {
        let scalars =
            Scalars::from_iter([("loss".to_owned(), loss), ("gate/block.7->layer.4".to_owned(), 0.25)]);
        MetricRecord { step, time: 12.5, phase: MetricPhase::Train, scalars }
    }

    #[test]
    fn a_record_is_readable_at_once_and_reads_back_equal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut sink = JsonlSink::open(&path, 0).unwrap();
        sink.record(&record(1, 2.5)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"step\":1,\"phase\":\"train\",\"time\":12.5,\"loss\":2.5,\"gate/block.7->layer.4\":0.25}\n"
        );
        sink.record(&record(2, 1.5)).unwrap();
        sink.finish().unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [record(1, 2.5), record(2, 1.5)]);
    }

    #[test]
    fn resuming_drops_torn_lines_and_lines_after_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut sink = JsonlSink::open(&path, 0).unwrap();
        for step in 1..=4 {
            sink.record(&record(step, 1.0)).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"step\":5,\"pha");
        std::fs::write(&path, bytes).unwrap();

        let mut sink = JsonlSink::open(&path, 2).unwrap();
        sink.record(&record(3, 9.0)).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [record(1, 1.0), record(2, 1.0), record(3, 9.0)]);
        drop(JsonlSink::open(&path, 0).unwrap());
        assert_eq!(read_metrics(&path).unwrap(), []);
    }

    #[test]
    fn a_number_json_cannot_write_does_not_break_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        JsonlSink::open(&path, 0).unwrap().record(&record(1, f64::NAN)).unwrap();
        let back = read_metrics(&path).unwrap();
        assert_eq!(back[0].scalars.get("loss"), None);
        assert_eq!(back[0].scalars.len(), 1);
    }

    #[test]
    fn a_file_that_is_removed_under_the_run_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut sink = JsonlSink::open(&path, 0).unwrap();
        sink.record(&record(1, 1.0)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let text = sink.record(&record(2, 1.0)).unwrap_err().to_string();
        assert!(text.contains("metrics.jsonl") && text.contains("removed"), "{text}");
    }

    #[test]
    fn an_unwritable_place_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no_such_folder").join("metrics.jsonl");
        let text = JsonlSink::open(&path, 0).unwrap_err().to_string();
        assert!(text.contains("no_such_folder"), "{text}");
    }
}
