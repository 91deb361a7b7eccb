//! Run directories: where everything of one run of one recipe lies.
//!
//! ```text
//! runs/NAME-HASH/              HASH: the first 8 digits of the hash of what is trained
//!   run.json                   RunRecord: hashes, seeds, versions, device, kernel choices, data, timings
//!   recipe.resolved.toml
//!   report.html
//!   VARIANT/                   one per trained model of the recipe
//!     metrics.jsonl            these three in stages/NAME/ for every stage, where there are stages
//!     tb/events.out.tfevents…
//!     checkpoints/
//!     samples.jsonl
//!     results.json
//! ```

mod list;
mod name;
mod record;
mod stage;
mod variant;

pub use list::{ListProblem, RunSummary, list_runs};
pub use name::check_variant_name;
pub use record::{
    DataManifest, GateRecord, PictureRecord, RunRecord, RunStatus, SampledRecord, StageRecord, VariantRecord,
};
pub use stage::StageDir;
pub use variant::VariantDir;

use self::name::check_name;

use crossloom_files::{FileLock, is_free, try_lock, write_atomic};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the run record's file.
pub const RECORD_FILE: &str = "run.json";
/// Name of the resolved recipe's file.
pub const RECIPE_FILE: &str = "recipe.resolved.toml";
/// Name of the report's file.
pub const REPORT_FILE: &str = "report.html";

const LOCK_FILE: &str = ".lock";
/// How often, and after which time, a lock that is held is tried again: a fifth of a second in all.
const LOOKS: usize = 20;
const LOOK: Duration = Duration::from_millis(10);

/// A run directory could not be made, opened or read.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// A name that could leave the run folder or is no portable file name.
    #[error("`{name}` cannot be a {what}: {rule}")]
    Name {
        /// `run name`, `variant name` or `recipe hash`.
        what: &'static str,
        /// As it was given.
        name: String,
        /// What such a name must be.
        rule: &'static str,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, e.g. `write`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Another process works in the same run directory.
    #[error("{} is in use by another process: wait for it, or give this run another name", path.display())]
    Locked {
        /// The run directory.
        path: PathBuf,
    },
    /// A record that does not parse.
    #[error("{} is damaged: {problem}; delete the folder if you do not need the run", path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// One run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// Holds the run directory for this process; the operating system lets go when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _lock: FileLock,
}

impl RunDir {
    /// The folder's name, `NAME-HASH8`, for a recipe called `name` of which `recipe_hash` says what is trained.
    pub fn id_of(name: &str, recipe_hash: &str) -> String {
        format!("{name}-{}", recipe_hash.get(..8).unwrap_or(recipe_hash))
    }

    /// Make (or enter) `ROOT/NAME-HASH8/`.
    pub fn create(root: &Path, name: &str, recipe_hash: &str) -> Result<Self, RunDirError> {
        check_name("run name", name)?;
        check_name("recipe hash", recipe_hash)?;
        let path = root.join(Self::id_of(name, recipe_hash));
        fs::create_dir_all(&path).map_err(io_error("make", &path))?;
        Ok(Self { path })
    }

    /// `ROOT/NAME-HASH8/`, if there is such a folder, with a `run.json` or without.
    pub fn existing(root: &Path, name: &str, recipe_hash: &str) -> Result<Option<Self>, RunDirError> {
        check_name("run name", name)?;
        check_name("recipe hash", recipe_hash)?;
        let path = root.join(Self::id_of(name, recipe_hash));
        Ok(path.is_dir().then_some(Self { path }))
    }

    /// Enter an existing run directory: a folder with a `run.json`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RunDirError> {
        let path = path.into();
        let record = path.join(RECORD_FILE);
        fs::metadata(&record).map_err(io_error("find the run record", &record))?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name, `NAME-HASH8`.
    pub fn id(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join(REPORT_FILE)
    }

    /// `recipe.resolved.toml`.
    pub fn recipe_path(&self) -> PathBuf {
        self.path.join(RECIPE_FILE)
    }

    /// Take the run directory for this process, or fail where another one has it and keeps it. Where there are no locks, see
    /// [`try_lock`], it is taken without.
    pub fn lock(&self) -> Result<RunLock, RunDirError> {
        let path = self.path.join(LOCK_FILE);
        for _ in 0..LOOKS {
            if let Some(lock) = try_lock(&path).map_err(io_error("lock", &path))? {
                return Ok(RunLock { _lock: lock });
            }
            // Whoever only looks whether it is held, holds it for a moment.
            std::thread::sleep(LOOK);
        }
        Err(RunDirError::Locked { path: self.path.clone() })
    }

    /// Write a small file of the run atomically: after a crash it is the old one or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        let path = self.path.join(name);
        write_atomic(&path, bytes).map_err(io_error("write", &path))
    }

    /// Remove a file of the run; fine if there is none.
    pub fn remove(&self, name: &str) -> Result<(), RunDirError> {
        remove_file(&self.path.join(name))
    }

    /// Write `run.json` atomically.
    pub fn write_record(&self, record: &RunRecord) -> Result<(), RunDirError> {
        let path = self.path.join(RECORD_FILE);
        let mut text = serde_json::to_vec_pretty(record)
            .map_err(|error| RunDirError::Record { path: path.clone(), problem: error.to_string() })?;
        text.push(b'\n');
        write_atomic(&path, &text).map_err(io_error("write", &path))
    }

    /// Read `run.json`. Fields that an older crossloom did not write get their defaults, unknown ones are ignored.
    pub fn read_record(&self) -> Result<RunRecord, RunDirError> {
        let path = self.path.join(RECORD_FILE);
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| RunDirError::Record { path, problem: error.to_string() })
    }

    /// What is true of the run now: its record, in which what still says `running` is `interrupted` where no process works on
    /// the run any more.
    pub fn read_settled(&self) -> Result<RunRecord, RunDirError> {
        // The lock is looked at first: a run that ends in between has written its end by then.
        let free = is_free(&self.path.join(LOCK_FILE));
        let record = self.read_record()?;
        Ok(if free { record.abandoned() } else { record })
    }

    /// Make (or enter) the folder of one variant. The run's own folder must be there: where it was removed under a process
    /// that works in it, that is an error.
    pub fn variant(&self, name: &str) -> Result<VariantDir, RunDirError> {
        let variant = self.variant_path(name)?;
        match fs::create_dir(&variant.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !variant.path.is_dir() => {
                Err(io_error("make", &variant.path)(error))
            }
            _ => Ok(variant),
        }
    }

    /// The folder of one variant, whether or not it exists.
    pub fn variant_path(&self, name: &str) -> Result<VariantDir, RunDirError> {
        check_variant_name(name)?;
        Ok(VariantDir { path: self.path.join(name) })
    }

    /// Remove everything but the lock.
    pub fn clear(&self) -> Result<(), RunDirError> {
        for entry in fs::read_dir(&self.path).map_err(io_error("list", &self.path))? {
            let entry = entry.map_err(io_error("list", &self.path))?;
            let path = entry.path();
            if entry.file_name() == LOCK_FILE {
                continue;
            }
            let kind = entry.file_type().map_err(io_error("read", &path))?;
            let removed = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// All variant folders, sorted by name.
    pub fn variants(&self) -> Result<Vec<VariantDir>, RunDirError> {
        let mut variants = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io_error("list", &self.path))? {
            let path = entry.map_err(io_error("list", &self.path))?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden {
                variants.push(VariantDir { path });
            }
        }
        variants.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(variants)
    }
}

/// Remove a file; fine if there is none.
fn remove_file(path: &Path) -> Result<(), RunDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    }
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RunDirError + use<'a> {
    move |source| RunDirError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "quickstart", "0123456789abcdef").unwrap();
        assert_eq!(run.id(), "quickstart-01234567");
        let variant = run.variant("cli").unwrap();
        let below = |path: PathBuf| path.strip_prefix(run.path()).unwrap().to_str().unwrap().to_owned();
        let paths = [
            variant.stage(None).metrics_path(),
            variant.stage(None).tensorboard_path(),
            variant.stage(None).checkpoints_path(),
            variant.stage(Some("align")).checkpoints_path(),
            variant.samples_path(),
            variant.results_path(),
            run.report_path(),
            run.recipe_path(),
        ];
        assert_eq!(
            paths.map(below),
            [
                "cli/metrics.jsonl",
                "cli/tb",
                "cli/checkpoints",
                "cli/stages/align/checkpoints",
                "cli/samples.jsonl",
                "cli/results.json",
                "report.html",
                "recipe.resolved.toml"
            ]
        );
        run.variant("a.second-one").unwrap();
        let names: Vec<String> = run.variants().unwrap().iter().map(VariantDir::name).collect();
        assert_eq!(names, ["a.second-one", "cli"]);
    }

    #[test]
    fn a_name_cannot_leave_the_run_folder() {
        let root = tempfile::tempdir().unwrap();
        for name in ["", "..", ".hidden", "a/b", "a\\b", "-flag", "ü", "a b", &"x".repeat(65)] {
            assert!(
                matches!(RunDir::create(root.path(), name, "abc"), Err(RunDirError::Name { .. })),
                "{name}"
            );
        }
        assert!(RunDir::create(root.path(), "ok", "../../etc").is_err());
    }

    #[test]
    fn a_run_that_was_killed_is_interrupted_and_one_that_works_is_running() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "r", "abc").unwrap();
        run.write_record(&RunRecord::new("r", "abc")).unwrap();
        assert_eq!(run.read_settled().unwrap().status, RunStatus::Interrupted, "there never was a lock");
        let lock = run.lock().unwrap();
        assert_eq!(run.read_settled().unwrap().status, RunStatus::Running);
        assert_eq!(list_runs(root.path()).unwrap().0[0].record.status, RunStatus::Running);
        assert!(matches!(run.lock(), Err(RunDirError::Locked { .. })));
        drop(lock);
        assert_eq!(list_runs(root.path()).unwrap().0[0].record.status, RunStatus::Interrupted);
        assert_eq!(run.read_record().unwrap().status, RunStatus::Running, "nothing was written");
    }

    #[test]
    fn a_variants_folder_is_not_made_in_a_run_that_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "r", "abc").unwrap();
        run.variant("cli").unwrap();
        run.variant("cli").unwrap();
        fs::remove_dir_all(run.path()).unwrap();
        assert!(matches!(run.variant("cli"), Err(RunDirError::Io { doing: "make", .. })));
        assert!(!run.path().exists());
        fs::create_dir_all(run.path()).unwrap();
        fs::write(run.path().join("cli"), b"").unwrap();
        assert!(run.variant("cli").is_err(), "a file is no folder");
    }

    #[test]
    fn clearing_keeps_the_lock_and_the_folder() {
        let root = tempfile::tempdir().unwrap();
        assert!(RunDir::existing(root.path(), "r", "abc").unwrap().is_none());
        let run = RunDir::create(root.path(), "r", "abc").unwrap();
        let _lock = run.lock().unwrap();
        run.write_record(&RunRecord::new("r", "abc")).unwrap();
        run.variant("cli").unwrap().write("results.json", b"{}").unwrap();
        run.clear().unwrap();
        let left: Vec<_> =
            fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [LOCK_FILE]);
        assert!(matches!(run.lock(), Err(RunDirError::Locked { .. })), "it is the same lock");
        assert_eq!(RunDir::existing(root.path(), "r", "abc").unwrap(), Some(run));
    }

    #[test]
    fn a_second_process_cannot_take_the_same_run() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "r", "abc").unwrap();
        let lock = run.lock().unwrap();
        assert!(matches!(run.lock(), Err(RunDirError::Locked { .. })));
        drop(lock);
        run.lock().unwrap();
    }

    #[test]
    fn opening_a_folder_without_a_record_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), "r", "abc").unwrap();
        assert!(RunDir::open(run.path()).is_err());
        run.write_record(&RunRecord::new("r", "abc")).unwrap();
        assert_eq!(RunDir::open(run.path()).unwrap(), run);
        assert_eq!(run.read_record().unwrap(), RunRecord::new("r", "abc"));
    }
}
