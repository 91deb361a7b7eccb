//! `manifest.json`: sizes and hashes of a checkpoint's files.

use serde::{Deserialize, Serialize};

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name inside the checkpoint's folder.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 hash, lower-case hexadecimal.
    pub blake3: String,
}

/// The list of a checkpoint's files.
///
/// The text form is canonical: a loader accepts only the very bytes that writing the parsed manifest gives, and the
/// manifest carries its own hash, so any changed byte is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Layout version of the checkpoint.
    pub schema_version: u32,
    /// Completed optimizer steps.
    pub step: u64,
    /// The files, in the order they were written.
    pub files: Vec<FileEntry>,
    /// BLAKE3 hash of this manifest's text with this field empty.
    pub self_blake3: String,
}

impl Manifest {
    /// A manifest of `files`, sealed with its own hash.
    pub fn new(schema_version: u32, step: u64, files: Vec<FileEntry>) -> Result<Self, serde_json::Error> {
        let mut manifest = Self { schema_version, step, files, self_blake3: String::new() };
        manifest.self_blake3 = blake3::hash(&manifest.to_bytes()?).to_hex().to_string();
        Ok(manifest)
    }

    /// The canonical text.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Parse and check; the error says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("it does not parse: {error}"))?;
        let Self { schema_version, step, ref files, .. } = manifest;
        let sealed = Self::new(schema_version, step, files.clone()).map_err(|error| error.to_string())?;
        if sealed.self_blake3 != manifest.self_blake3 {
            return Err("its hash of itself does not match".to_owned());
        }
        if !sealed.to_bytes().is_ok_and(|canonical| canonical == bytes) {
            return Err("it is not in the form that crossloom writes".to_owned());
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn manifest() -> Manifest {
        let entry = FileEntry { name: "model.safetensors".into(), size: 1234, blake3: "ab".repeat(32) };
        Manifest::new(1, 40, vec![entry]).unwrap()
    }

    #[test]
    fn a_manifest_reads_back_equal() {
        assert_eq!(Manifest::parse(&manifest().to_bytes().unwrap()), Ok(manifest()));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = manifest().to_bytes().unwrap();
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[position] ^= 1 << bit;
                assert!(Manifest::parse(&changed).is_err(), "byte {position}, bit {bit}");
            }
        }
    }

    #[test]
    fn added_white_space_is_noticed() {
        let mut bytes = manifest().to_bytes().unwrap();
        bytes.push(b'\n');
        assert!(Manifest::parse(&bytes).is_err());
    }
}
