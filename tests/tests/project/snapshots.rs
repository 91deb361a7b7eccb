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

/// The text of a function, as rustfmt lays it out: up to the brace below the start of its first line.
fn body<'c>(code: &'c str, function: &str) -> Option<&'c str> {
    let at = code.find(&format!("fn {function}("))?;
    let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent = &code[line..line + code[line..].len() - code[line..].trim_start().len()];
    let end = code[at..].find(&format!("\n{indent}}}\n")).map_or(code.len(), |end| at + end);
    Some(&code[at..end])
}

/// Whether a function asserts a snapshot, itself or through another function of its file.
fn asserts(code: &str, function: &str, asked: &mut Vec<String>) -> bool {
    let Some(body) = body(code, function) else { return false };
    if body.contains("assert_snapshot!(") {
        return true;
    }
    asked.push(function.to_owned());
    let others = code.match_indices("fn ").filter_map(|(at, _)| code[at + 3..].split(['(', '<']).next());
    others.into_iter().any(|other| {
        let called = !asked.iter().any(|known| known == other) && calls(body, other);
        called && asserts(code, other, asked)
    })
}

/// Whether a text calls a function of that name.
fn calls(text: &str, function: &str) -> bool {
    text.match_indices(&format!("{function}(")).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            && !text[..at].ends_with("fn ")
    })
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
    let test = asserts(&code, without_number(name), &mut Vec::new());
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
    let source = folder.path().join("source.rs");
    let code = [
        "#[test]\nfn takes_one() {\n    insta::assert_snapshot!(1);\n}\n",
        "#[test]\nfn asks_another() {\n    takes_one();\n}\n",
        "#[test]\nfn takes_none() {\n    takes_none();\n    not_takes_one();\n}\n",
    ];
    std::fs::write(&source, code.join("\n")).unwrap();
    let this = of(source.to_str().unwrap());
    for taken in ["takes_one", "takes_one-2", "asks_another"] {
        assert_eq!(check(&format!("source__{taken}.snap"), &this), None);
    }
    for gone in ["takes_none", "is_not_there"] {
        assert!(check(&format!("source__{gone}.snap"), &this).unwrap().contains("takes no snapshot"));
    }
    assert!(check("a.snap.new", &this).unwrap().contains("no accepted"));
    assert!(check("a.snap", &of("tests/tests/none.rs")).unwrap().contains("is gone"));
    assert!(check("a.snap", "text").unwrap().contains("does not say"));
}
