//! Nothing that looks like a test is left unrun: manifests leave out what a crate has none of, for each costs a build.

use std::path::{Path, PathBuf};

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

/// Whether a comment has an example that rustdoc would run: one that is not said to be text or another language.
fn has_example(code: &str) -> bool {
    let fences = code.lines().filter_map(|line| {
        let line = line.trim_start();
        let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
        comment.trim_start().strip_prefix("```")
    });
    // Every second fence ends what the one before it began.
    fences.step_by(2).any(|language| ["", "rust", "no_run", "should_panic"].contains(&language))
}

#[test]
fn what_manifests_leave_out_is_not_there() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut manifests: Vec<PathBuf> =
        std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path()).collect();
    manifests.push(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let (mut left_out, mut wrong) = (0, Vec::new());
    for folder in manifests {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let is = |key: &str| manifest.lines().any(|line| line == key);
        let [tests, examples] = ["test = false", "doctest = false"].map(is);
        left_out += usize::from(tests) + usize::from(examples);
        // That of a program is about its main file alone.
        let of_main = manifest.contains("[[bin]]");
        for path in sources(&folder.join("src")) {
            let code = std::fs::read_to_string(&path).unwrap();
            let looked_at = tests && (!of_main || path.ends_with("src/main.rs"));
            if looked_at && ["#[test]", "proptest!"].iter().any(|mark| code.contains(mark)) {
                wrong.push(format!("{} has a test, and the manifest says `test = false`", path.display()));
            }
            if examples && has_example(&code) {
                wrong.push(format!(
                    "{} has an example, and the manifest says `doctest = false`",
                    path.display()
                ));
            }
        }
    }
    assert!(left_out > 10, "{left_out}");
    assert_eq!(wrong, Vec::<String>::new());
}
