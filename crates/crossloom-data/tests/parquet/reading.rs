//! Whole files.

use std::path::{Path, PathBuf};

use crossloom_data::image::{Image, ImageLimits};
use crossloom_data::records::{Record, RecordError, Records, format};
use serde_json::Value;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet")
}

fn open(name: &str) -> Result<Records, RecordError> {
    Records::open(format("parquet").unwrap(), &[folder().join(format!("{name}.parquet"))], &folder())
}

/// The rows of a file as pyarrow reads them.
fn expected(name: &str) -> Vec<Value> {
    let rows: Value = serde_json::from_slice(&std::fs::read(folder().join("rows.json")).unwrap()).unwrap();
    rows[name].as_array().unwrap().clone()
}

/// Pictures of a row: bytes, by themselves or in structs.
fn pictures(of: &Value) -> Vec<Vec<u8>> {
    let bytes = |hex: &str| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    match of {
        Value::Array(of) => of.iter().flat_map(pictures).collect(),
        Value::Object(of) => pictures(&of["bytes"]),
        Value::String(hex) => vec![bytes(hex)],
        _ => Vec::new(),
    }
}

/// A row as the format of lines that is like it reads it, and its pictures.
fn as_lines(like: &str, mut row: Value) -> (Record, Vec<Vec<u8>>) {
    let row = row.as_object_mut().unwrap();
    let key = if row.contains_key("images") { "images" } else { "image" };
    let pictures = pictures(&row.remove(key).unwrap());
    let names: Vec<String> = (0..pictures.len()).map(|number| number.to_string()).collect();
    row.insert(key.to_owned(), names.into());
    let row = serde_json::to_vec(&row).unwrap();
    (format(like).unwrap().parse(&row, &[]).unwrap(), pictures)
}

#[test]
fn rows_say_and_show_what_pyarrow_reads() {
    for (name, like) in
        [("llava", "llava"), ("messages", "messages"), ("pages", "questions"), ("questions", "questions")]
    {
        let records = open(name).unwrap();
        let rows = expected(name);
        assert_eq!(records.len(), rows.len());
        // In any order: each is found by itself.
        for (number, row) in rows.into_iter().enumerate().rev() {
            let record = records.read(number).unwrap();
            let (same, pictures) = as_lines(like, row);
            assert_eq!((&record.messages, &record.embedded), (&same.messages, &pictures), "{name} {number}");
            assert_eq!(record.pictures.len(), pictures.len());
            let decoded = records.pictures(number, &record).unwrap();
            let widths: Vec<u32> = decoded.iter().map(Image::width).collect();
            let pyarrows =
                pictures.iter().map(|file| Image::decode(file, "", &ImageLimits::default()).unwrap().width());
            assert_eq!(widths, pyarrows.collect::<Vec<_>>());
            let (path, row) = records.place(number).unwrap();
            assert!(path.ends_with(format!("{name}.parquet")) && row == number as u64 + 1);
        }
    }
}

#[test]
fn pictures_without_bytes_lie_in_the_folder() {
    let records = open("paths").unwrap();
    let record = records.read(2).unwrap();
    assert_eq!((record.pictures.as_slice(), record.embedded.len()), (["2.png".to_owned()].as_slice(), 0));
    let message = records.pictures(2, &record).unwrap_err().to_string();
    assert!(message.contains("paths.parquet`, row 3: the picture `2.png`"), "{message}");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let refused = |records: Result<Records, RecordError>| records.unwrap_err().to_string();
    let message = refused(open("gzip"));
    assert!(
        message.contains(
            "row group 0: column `question` is neither uncompressed nor compressed by snappy or zstd"
        ),
        "{message}"
    );
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("rows.parquet");
    for (bytes, part) in
        [(&b"PAR1"[..], "too short"), (b"{\"question\": 1, \"answer\": 2}", "does not end as Parquet")]
    {
        std::fs::write(&file, bytes).unwrap();
        let message =
            refused(Records::open(format("parquet").unwrap(), std::slice::from_ref(&file), other.path()));
        assert!(message.contains(part), "{message}");
    }
}
