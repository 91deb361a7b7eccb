//! TensorBoard event files: length-prefixed, checksummed records that hold two tiny protobuf messages.
//!
//! A record is `length: u64 le · masked crc of the length: u32 le · data · masked crc of the data: u32 le`. The data is
//! an `Event { wall_time = 1: double, step = 2: int64, file_version = 3: string | summary = 5 | session_log = 7 }`, a
//! `Summary` is `repeated value = 1: { tag = 1: string, simple_value = 2: float }`, and a `SessionLog` with
//! `status = 1: START` tells TensorBoard to forget points of an earlier process from that step on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::crc32c::masked_crc32c;
use super::{MetricRecord, MetricSink, SinkError};

/// Writes scalars to a new TensorBoard event file. Tags are `train/loss`, `validate/accuracy` …
#[derive(Debug)]
pub struct TensorBoardSink {
    path: PathBuf,
    file: File,
    /// Time of the last event, which no later one is before.
    time: f64,
}

impl TensorBoardSink {
    /// Start a new event file in `folder` (made if missing) for a run that has completed `completed_steps` steps.
    pub fn create(folder: &Path, completed_steps: u64) -> Result<Self, SinkError> {
        let now = seconds(SystemTime::now());
        Self::create_at(folder, completed_steps, last_written(folder).map_or(now, |last| last.max(now)))
    }

    /// As [`create`](Self::create), with the time (seconds since 1970) given. Where the folder has files of a later time, as
    /// after the clock was set back, the new one has the time of the last of them: viewers order by time.
    pub fn create_at(folder: &Path, completed_steps: u64, time: f64) -> Result<Self, SinkError> {
        let fail = |doing, path: &Path, source| SinkError { doing, path: path.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|error| fail("make the folder of", folder, error))?;
        let time = newest(folder).map_err(|error| fail("list", folder, error))?.max(time);
        let (path, file) = new_event_file(folder, time).map_err(|error| fail("create", folder, error))?;
        let mut sink = Self { path, file, time };
        sink.write(&file_version_event(time))?;
        if completed_steps > 0 {
            sink.write(&session_start_event(time, completed_steps + 1))?;
        }
        Ok(sink)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, event: &[u8]) -> Result<(), SinkError> {
        self.file.write_all(&frame(event)).and_then(|()| self.file.flush()).map_err(|source| SinkError {
            doing: "write to",
            path: self.path.clone(),
            source,
        })
    }
}

impl MetricSink for TensorBoardSink {
    fn record(&mut self, record: &MetricRecord) -> Result<(), SinkError> {
        self.time = self.time.max(record.time);
        self.write(&scalars_event(record, self.time))
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.file.sync_all().map_err(|source| SinkError { doing: "sync", path: self.path.clone(), source })
    }
}

/// The first part of every file's name; the second of its start and a number follow.
const PREFIX: &str = "events.out.tfevents.";

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// When a file of a folder was last written to: where the clock was set back since, that is later than now.
fn last_written(folder: &Path) -> Option<f64> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    ours.filter_map(|entry| Some(seconds(entry.metadata().ok()?.modified().ok()?))).reduce(f64::max)
}

/// The second at which the newest file of a folder began; 0 where there is none.
fn newest(folder: &Path) -> io::Result<f64> {
    let mut newest = 0.0_f64;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let started = rest.split('.').next().and_then(|second| second.parse().ok()).unwrap_or(0.0);
        newest = newest.max(started);
    }
    Ok(newest)
}

/// TensorBoard reads files in the order of their names, so the number comes after the second.
fn new_event_file(folder: &Path, time: f64) -> io::Result<(PathBuf, File)> {
    let mut number = 0_u32;
    loop {
        let path = folder.join(format!("{PREFIX}{:010}.crossloom.{number:03}", time as u64));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 999 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked_crc32c(data).to_le_bytes());
    record
}

fn file_version_event(time: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, time);
    event.bytes(3, b"brain.Event:2");
    event.0
}

fn session_start_event(time: f64, first_step: u64) -> Vec<u8> {
    let mut session_log = Message::default();
    session_log.varint(1, 1);
    let mut event = Message::default();
    event.double(1, time);
    event.varint(2, first_step);
    event.bytes(7, &session_log.0);
    event.0
}

fn scalars_event(record: &MetricRecord, time: f64) -> Vec<u8> {
    let mut summary = Message::default();
    for (name, &value) in &record.scalars {
        let mut item = Message::default();
        item.bytes(1, format!("{}/{name}", record.phase.name()).as_bytes());
        item.float(2, value as f32);
        summary.bytes(1, &item.0);
    }
    let mut event = Message::default();
    event.double(1, time);
    event.varint(2, record.step);
    event.bytes(5, &summary.0);
    event.0
}

/// A protobuf message under construction: fields are appended in the order of their numbers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u8, wire_type: u8) {
        self.0.push(field << 3 | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u8, value: u64) {
        self.key(field, 0);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u8, value: f64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.key(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::{MetricPhase, Scalars};

    fn record() -> MetricRecord {
        let scalars = Scalars::from_iter([("loss".to_owned(), 2.5), ("lr/gate".to_owned(), 0.001)]);
        MetricRecord { step: 300, time: 1.5, phase: MetricPhase::Train, scalars }
    }

    fn from_hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
    }

    /// Golden bytes made once with the `tensorboard` Python package's own writer classes (see `tests/data/README.md`).
    #[test]
    fn the_file_is_byte_for_byte_what_tensorboard_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = TensorBoardSink::create_at(dir.path(), 0, 1.5).unwrap();
        sink.record(&record()).unwrap();
        sink.finish().unwrap();
        let golden = include_str!("../../tests/data/tensorboard.hex");
        assert_eq!(std::fs::read(sink.path()).unwrap(), from_hex(golden));
    }

    #[test]
    fn a_resumed_run_starts_a_new_file_and_says_which_points_to_forget() {
        let dir = tempfile::tempdir().unwrap();
        let first = TensorBoardSink::create_at(dir.path(), 0, 1.5).unwrap();
        let second = TensorBoardSink::create_at(dir.path(), 200, 1.5).unwrap();
        assert!(first.path() < second.path());
        // Event { wall_time: 1.5, step: 201, session_log: { status: START } }
        let event =
            [&[0x09][..], &1.5_f64.to_le_bytes(), &[0x10, 0xC9, 0x01, 0x3A, 0x02, 0x08, 0x01]].concat();
        let bytes = std::fs::read(second.path()).unwrap();
        assert!(bytes.ends_with(&frame(&event)));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_put_new_points_before_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let first = TensorBoardSink::create_at(dir.path(), 0, 100_000.5).unwrap();
        let mut second = TensorBoardSink::create_at(dir.path(), 200, 13_600.5).unwrap();
        assert!(first.path() < second.path());
        second.record(&MetricRecord { time: 13_601.0, ..record() }).unwrap();
        let bytes = std::fs::read(second.path()).unwrap();
        let mut at = 0;
        let mut times = Vec::new();
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            assert_eq!(bytes[at + 12], 0x09, "an event begins with its time");
            times.push(f64::from_le_bytes(bytes[at + 13..at + 21].try_into().unwrap()));
            at += 8 + 4 + length + 4;
        }
        assert_eq!(times, [100_000.0; 3], "no event is before one of the first file");
        // The real clock, before the time at which the newest file was written to.
        let later = SystemTime::now() + std::time::Duration::from_hours(25);
        File::options().write(true).open(second.path()).unwrap().set_modified(later).unwrap();
        let third = TensorBoardSink::create(dir.path(), 300).unwrap();
        assert!(second.path() < third.path() && third.time >= seconds(later) - 1.0);
        // A file that somebody else left is no reason to fail.
        std::fs::write(dir.path().join("events.out.tfevents.x"), b"").unwrap();
        TensorBoardSink::create_at(dir.path(), 0, 1.0).unwrap();
    }

    #[test]
    fn a_flipped_bit_is_seen_by_the_checksum() {
        let mut bytes = frame(b"data");
        bytes[12] ^= 1;
        assert_ne!(masked_crc32c(&bytes[12..16]).to_le_bytes(), bytes[16..20]);
    }
}
