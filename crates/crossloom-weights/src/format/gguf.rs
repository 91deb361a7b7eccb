//! GGUF: one file with metadata, vocabulary and tensors, in the type that each was quantized to.
//!
//! `pmetal-gguf` reads the header. It checks every count and length against the size of the file before it believes one. What
//! is added here: a header has a largest size, since arrays of metadata take many times their bytes in memory, and no two
//! tensors may share bytes.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use crossloom_ir::DType;
use crossloom_runtime::{Header, Located};
use pmetal_gguf::{GgmlType, GgufContent, MetadataValue};
use serde_json::{Map, Value};

/// The largest header that is read. Those with a vocabulary of a quarter of a million have 15 MB.
const MOST_HEADER: u64 = 64 << 20;

/// The metadata of a file: numbers, words and flags. Of an array, only how long it is.
pub(crate) type Metadata = Map<String, Value>;

/// Reads the header of a file.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn header(bytes: &[u8]) -> Result<(Header, Metadata), String> {
    let (header, content) = read(bytes)?;
    Ok((header, metadata(&content)))
}

/// Reads the header of a file; of its metadata what is said of its tokenizer, with the elements of arrays.
///
/// # Errors
/// As [`header`].
pub(crate) fn header_with_tokenizer(bytes: &[u8]) -> Result<(Header, Metadata), String> {
    let (header, content) = read(bytes)?;
    let whole = |value: &MetadataValue| match value {
        MetadataValue::Array(values) => values.iter().map(json).collect(),
        other => json(other),
    };
    let mut all: Vec<_> = content.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.")).collect();
    all.sort_by_key(|(key, _)| *key);
    Ok((header, all.into_iter().map(|(key, value)| (key.clone(), whole(value))).collect()))
}

fn read(bytes: &[u8]) -> Result<(Header, GgufContent), String> {
    let mut source = Bounded { bytes: Cursor::new(bytes), left: MOST_HEADER };
    let content = GgufContent::read(&mut source).map_err(|e| e.to_string())?;
    let mut header = Header::new();
    for (name, info) in &content.tensor_infos {
        let range = content.tensor_data_range(name).map_err(|e| e.to_string())?;
        let place = |at: u64| usize::try_from(at).map_err(|e| e.to_string());
        let range = place(range.start)?..place(range.end)?;
        let shape = info.dimensions.iter().map(|&extent| place(extent)).collect::<Result<_, _>>()?;
        header.insert(name.clone(), Located { dtype: dtype(info.dtype), shape, range });
    }
    apart(&header)?;
    Ok((header, content))
}

fn dtype(of: GgmlType) -> Result<DType, String> {
    Ok(match of {
        GgmlType::F32 => DType::F32,
        GgmlType::F16 => DType::F16,
        GgmlType::Bf16 => DType::Bf16,
        GgmlType::Q8_0 => DType::Q8_0,
        GgmlType::Q4_0 => DType::Q4_0,
        GgmlType::Q4_1 => DType::Q4_1,
        GgmlType::Q4K => DType::Q4K,
        GgmlType::Q6K => DType::Q6K,
        other => return Err(format!("{other:?}").to_lowercase()),
    })
}

/// No byte is part of two tensors.
fn apart(header: &Header) -> Result<(), String> {
    let mut ranges: Vec<(&Range<usize>, &String)> = header
        .iter()
        .map(|(name, located)| (&located.range, name))
        .filter(|(range, _)| !range.is_empty())
        .collect();
    ranges.sort_by_key(|(range, _)| range.start);
    match ranges.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some(pair) => Err(format!("has tensors `{}` and `{}` in the same place", pair[0].1, pair[1].1)),
        None => Ok(()),
    }
}

fn metadata(content: &GgufContent) -> Metadata {
    let mut all: Vec<_> = content.metadata.iter().collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

fn json(value: &MetadataValue) -> Value {
    match value {
        MetadataValue::Uint8(x) => (*x).into(),
        MetadataValue::Int8(x) => (*x).into(),
        MetadataValue::Uint16(x) => (*x).into(),
        MetadataValue::Int16(x) => (*x).into(),
        MetadataValue::Uint32(x) => (*x).into(),
        MetadataValue::Int32(x) => (*x).into(),
        MetadataValue::Uint64(x) => (*x).into(),
        MetadataValue::Int64(x) => (*x).into(),
        // The shortest decimal number that is this one: 1e-5, not 9.999999747378752e-6.
        MetadataValue::Float32(x) => x.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        MetadataValue::Float64(x) => (*x).into(),
        MetadataValue::Bool(x) => (*x).into(),
        MetadataValue::String(x) => x.as_str().into(),
        MetadataValue::Array(x) => serde_json::json!({ "length": x.len() }),
    }
}

/// Bytes of which only so many are read.
struct Bounded<'a> {
    bytes: Cursor<&'a [u8]>,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("the header has more than {MOST_HEADER} bytes, which is no header"))
        })?;
        Ok(read)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
