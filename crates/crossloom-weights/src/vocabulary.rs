//! The tokenizer that a GGUF file carries, as the keys and values of its metadata.

use std::path::Path;

use crossloom_runtime::MappedFile;
use serde_json::{Map, Value};

use crate::WeightsError;
use crate::format::gguf;
use crate::pretrained::opened;

/// All keys of a GGUF file that begin with `tokenizer.`, arrays included: tokens, merges, ids of special tokens, the chat template.
///
/// # Errors
/// The file cannot be read, or is no such file.
pub fn gguf_tokenizer(path: &Path) -> Result<Map<String, Value>, WeightsError> {
    let mut vocabulary = Map::new();
    MappedFile::open_as(path, |bytes| {
        let (header, read) = gguf::header_with_tokenizer(bytes)?;
        vocabulary = read;
        Ok(header)
    })
    .map_err(|error| opened(path, error))?;
    Ok(vocabulary)
}
