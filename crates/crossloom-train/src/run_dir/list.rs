//! Listing the runs below a folder, tolerant of damaged ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{RECORD_FILE, RunDir, RunDirError, RunRecord};

/// One readable run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Its directory.
    pub dir: RunDir,
    /// What was true of it when it was listed, see [`RunDir::read_settled`].
    pub record: RunRecord,
}

/// A folder that looks like a run but cannot be read.
#[derive(Debug)]
pub struct ListProblem {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    pub error: RunDirError,
}

/// All runs directly below `root`, newest first, and the folders that could not be read. A missing root has no runs;
/// folders without a `run.json` are not runs.
pub fn list_runs(root: &Path) -> Result<(Vec<RunSummary>, Vec<ListProblem>), RunDirError> {
    let list_error = |source| RunDirError::Io { doing: "list", path: root.to_owned(), source };
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(list_error(error)),
    };
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(list_error)?.path();
        if !path.join(RECORD_FILE).exists() {
            continue;
        }
        let read =
            RunDir::open(&path).and_then(|dir| dir.read_settled().map(|record| RunSummary { dir, record }));
        match read {
            Ok(run) => runs.push(run),
            Err(error) => problems.push(ListProblem { path, error }),
        }
    }
    runs.sort_by(|a, b| {
        b.record.started.total_cmp(&a.record.started).then_with(|| a.dir.path().cmp(b.dir.path()))
    });
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((runs, problems))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn runs_are_listed_newest_first_and_a_damaged_one_does_not_hide_the_others() {
        let root = tempfile::tempdir().unwrap();
        for (name, started) in [("old", 1.0), ("new", 2.0)] {
            let run = RunDir::create(root.path(), name, "abc").unwrap();
            run.write_record(&RunRecord { started, ..RunRecord::new(name, "abc") }).unwrap();
        }
        let broken = RunDir::create(root.path(), "broken", "abc").unwrap();
        broken.write(RECORD_FILE, b"{\"name\": ").unwrap();
        fs::create_dir(root.path().join("not-a-run")).unwrap();

        let (runs, problems) = list_runs(root.path()).unwrap();
        let names: Vec<&str> = runs.iter().map(|run| run.record.name.as_str()).collect();
        assert_eq!(names, ["new", "old"]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].error.to_string().contains("broken-abc"), "{}", problems[0].error);
    }

    #[test]
    fn a_missing_root_has_no_runs() {
        let root = tempfile::tempdir().unwrap();
        let (runs, problems) = list_runs(&root.path().join("runs")).unwrap();
        assert!(runs.is_empty() && problems.is_empty());
    }

    #[test]
    fn a_record_of_another_version_still_reads() {
        let text = r#"{"name": "x", "a_field_of_the_future": [1, 2], "variants": {"cli": {"steps": 7}}}"#;
        let record: RunRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.name.as_str(), record.variants["cli"].steps), ("x", 7));
        assert_eq!(record.schema_version, 0);
    }
}
