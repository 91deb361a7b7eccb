//! Stages of a recipe as snapshot files in a folder of its own repository, in the form of insta: `cargo insta review` shows and
//! accepts what changed.
//!
//! Of every variant there are the topology, the luminal graph and the fused IR of the forward pass. Variants that differ in seeds
//! only have the same, and one of them stands for all.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::structure::{ScopeChange, Structure};
use super::{Depth, Format, Mode, Stage, Subject, render};
use crate::ExperimentError;

/// The stages that are kept.
const STAGES: [Stage; 3] = [Stage::Topology, Stage::Luminal, Stage::Fused];
/// Lines that are told where nothing but their order or their wiring changed.
const TOLD: usize = 4;

/// A stage of a variant, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The name of its file, `RECIPE.VARIANT.STAGE.snap`.
    pub file: String,
    /// The stage as text.
    pub text: String,
}

/// The stages of a variant; `stem` is the name of its recipe's file.
///
/// # Errors
/// The variant cannot be built or compiled.
pub fn snapshots(stem: &str, subject: &Subject<'_>) -> Result<Vec<Snapshot>, ExperimentError> {
    let subject = Subject { mode: Mode::Forward, ..*subject };
    let of = |stage: Stage| {
        let file = format!("{stem}.{}.{}.snap", subject.name, stage.name());
        Ok(Snapshot { file, text: render(&subject, stage, Format::Text, Depth::Nodes)? })
    };
    STAGES.into_iter().map(of).collect()
}

/// The snapshots of one recipe in a folder.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotFolder<'f> {
    /// The folder; it need not exist.
    pub folder: &'f Path,
    /// The recipe, as the head of its snapshots names it.
    pub source: &'f str,
}

/// What is kept, against what is so now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// How many are as they were.
    pub same: usize,
    /// Files that are not there.
    pub missing: Vec<String>,
    /// Files whose stage is another now.
    pub changed: Vec<ChangedSnapshot>,
    /// Files of this recipe that no variant stands behind.
    pub stale: Vec<String>,
}

/// How a stage is another than the one that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedSnapshot {
    /// The file.
    pub file: String,
    /// The scopes that have other lines.
    pub scopes: Vec<ScopeChange>,
    /// Where all scopes have the same lines: the first that read other values or stand elsewhere, as kept and as now.
    pub lines: Vec<(String, String)>,
}

impl Compared {
    /// Whether what is kept is what is so.
    pub fn is_same(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty() && self.stale.is_empty()
    }
}

impl SnapshotFolder<'_> {
    /// Compares all stages of a recipe with the files.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn compare(&self, now: &[Snapshot]) -> Result<Compared, ExperimentError> {
        let mut compared = Compared::default();
        for Snapshot { file, text } in now {
            let Some(kept) = self.kept(file)? else {
                compared.missing.push(file.clone());
                continue;
            };
            // insta does not tell texts apart that differ in the lines at their ends.
            if kept.trim_end() == text.trim_end() {
                compared.same += 1;
            } else {
                compared.changed.push(ChangedSnapshot::of(file, &kept, text));
            }
        }
        let known: BTreeSet<&str> = now.iter().map(|snapshot| snapshot.file.as_str()).collect();
        for file in self.own()? {
            if !known.contains(file.as_str()) {
                compared.stale.push(file);
            }
        }
        Ok(compared)
    }

    /// Writes what is missing, and beside every file that is another now its new text as `.snap.new`; a new text that is no longer
    /// one goes. With `accept`, the files themselves are written, and stale ones removed.
    ///
    /// # Errors
    /// A file that cannot be read, written or removed.
    pub fn write(&self, now: &[Snapshot], accept: bool) -> Result<Compared, ExperimentError> {
        let compared = self.compare(now)?;
        std::fs::create_dir_all(self.folder).map_err(|error| file_error(self.folder, &error))?;
        for Snapshot { file, text } in now {
            let path = self.folder.join(file);
            let new = path.with_extension("snap.new");
            let changed = compared.changed.iter().any(|changed| changed.file == *file);
            let whole = format!("---\nsource: {}\n---\n{}\n", self.source, text.trim_end());
            let write = |path: &Path| {
                crossloom_files::write_atomic(path, whole.as_bytes())
                    .map_err(|error| file_error(path, &error))
            };
            if changed && !accept {
                write(&new)?;
                continue;
            }
            if changed || compared.missing.contains(file) {
                write(&path)?;
            }
            remove(&new)?;
        }
        if accept {
            for file in &compared.stale {
                remove(&self.folder.join(file))?;
            }
        }
        Ok(compared)
    }

    /// The text of a file below its head; none where there is no such file.
    fn kept(&self, file: &str) -> Result<Option<String>, ExperimentError> {
        let path = self.folder.join(file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error(&path, &error)),
        };
        match parts(&text) {
            Some((_, body)) => Ok(Some(body.to_owned())),
            None => Err(ExperimentError::File {
                path,
                message: "is no snapshot: it does not begin with a head between lines of `---`".to_owned(),
            }),
        }
    }

    /// The files whose head names this recipe.
    fn own(&self) -> Result<Vec<String>, ExperimentError> {
        let entries = match std::fs::read_dir(self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error(self.folder, &error)),
        };
        let mut own = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| file_error(self.folder, &error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if path.extension().is_none_or(|extension| extension != "snap") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|error| file_error(&path, &error))?;
            let source = format!("source: {}", self.source);
            if parts(&text).is_some_and(|(head, _)| head.lines().any(|line| line == source)) {
                own.push(name.to_owned());
            }
        }
        own.sort();
        Ok(own)
    }
}

impl ChangedSnapshot {
    fn of(file: &str, kept: &str, now: &str) -> Self {
        let scopes = Structure::of(kept).changes(&Structure::of(now));
        let lines = if scopes.is_empty() {
            let pairs = kept.lines().zip(now.lines()).filter(|(kept, now)| kept != now);
            pairs.take(TOLD).map(|(kept, now)| (kept.trim().to_owned(), now.trim().to_owned())).collect()
        } else {
            Vec::new()
        };
        Self { file: file.to_owned(), scopes, lines }
    }
}

/// Head and text of a snapshot.
fn parts(file: &str) -> Option<(&str, &str)> {
    file.strip_prefix("---\n")?.split_once("\n---\n")
}

fn remove(path: &Path) -> Result<(), ExperimentError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error(path, &error)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path, error: &std::io::Error) -> ExperimentError {
    ExperimentError::File { path: PathBuf::from(path), message: error.to_string() }
}
