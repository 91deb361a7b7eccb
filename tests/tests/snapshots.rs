//! No snapshot is kept that no assertion reads.
//!
//! `cargo insta` finds stale snapshots by running every test; this finds them from the files alone. The name of a snapshot
//! is the name of the test that takes it, or a name that its source gives it, or, where a source takes one per input
//! file, the name of such a file.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below a folder, in order, but for what is built.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("target") {
            found.extend(files(&path));
        }
    }
    found
}

/// The value of a key in the head of a snapshot.
fn head(snapshot: &str, key: &str) -> Option<String> {
    let lines = snapshot.strip_prefix("---\n")?.lines().take_while(|line| *line != "---");
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .map(|value| value.trim_matches('"').to_owned())
        .next()
}

/// The number that tells apart the snapshots of one test is no part of its name.
fn without_number(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}

/// Why a snapshot is stale; `None` if an assertion stands behind it.
fn stale(path: &Path) -> Option<String> {
    let file = path.file_name().unwrap().to_str().unwrap();
    let Some(stem) = file.strip_suffix(".snap") else { return Some("is no accepted snapshot".to_owned()) };
    let Some(source) = head(&std::fs::read_to_string(path).unwrap(), "source") else {
        return Some("does not say its source".to_owned());
    };
    let source_path = root().join(&source);
    let Ok(code) = std::fs::read_to_string(&source_path) else { return Some(format!("{source} is gone")) };
    let name = stem.rsplit("__").next().unwrap();
    let test = code.contains(&format!("fn {}(", without_number(name)));
    let named = code.contains(&format!("\"{name}\""));
    let input = || {
        let folder = source_path.parent().unwrap();
        files(folder)
            .iter()
            .any(|file| file.extension().is_some_and(|e| e == "toml") && file.file_stem().unwrap() == name)
    };
    (!test && !named && !input()).then(|| format!("{source} takes no snapshot `{name}`"))
}

#[test]
fn every_snapshot_is_taken_by_an_assertion() {
    let all: Vec<PathBuf> =
        ["crates", "tests"].iter().flat_map(|folder| files(&root().join(folder))).collect();
    let snapshots = all.iter().filter(|path| path.parent().unwrap().ends_with("snapshots"));
    let mut count = 0;
    let mut found = Vec::new();
    for path in snapshots {
        count += 1;
        found.extend(stale(path).map(|why| format!("{}: {why}", path.display())));
    }
    assert!(count > 40, "{count}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn stale_snapshots_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        stale(&path)
    };
    let of = |source: &str| format!("---\nsource: {source}\nexpression: x\n---\ntext\n");
    let this = of("tests/tests/snapshots.rs");
    assert_eq!(check("snapshots__stale_snapshots_are_found.snap", &this), None);
    assert_eq!(check("snapshots__stale_snapshots_are_found-2.snap", &this), None);
    let gone = format!("snapshots__{}.snap", ["no", "such", "test"].join("_"));
    assert!(check(&gone, &this).unwrap().contains("takes no snapshot"));
    assert!(check("a.snap.new", &this).unwrap().contains("no accepted"));
    assert!(check("a.snap", &of("tests/tests/none.rs")).unwrap().contains("is gone"));
    assert!(check("a.snap", "text").unwrap().contains("does not say"));
}
