//! The filetest runner: IR text in, directives and expectations in comments.
//!
//! A filetest is a file `tests/filetests/KIND/…/NAME.cir`. Its header, the comment lines before the function, says in
//! prose what is true and holds directives:
//!
//! ```text
//! ; A softmax row sums to one.        prose
//! ; test run                          the kind; passes are named: `test pass fold`
//! ; tolerance 1e-4                    how far f32 may be off (run), default 1e-5
//! ; with "x" = [[1, 2], [3, 4]]       the content of a parameter (pass, gradient; in run it follows the function)
//! ; gradient "loss" wrt "x", "w"      what is differentiated (gradient)
//! ```
//!
//! | kind | what is checked | where the expectation stands |
//! |---|---|---|
//! | `verify` | the errors of the parser or, where it has none, of the verifier | `; error: …` after the offending line |
//! | `run` | the reference in f64 and f32, and the expansion into primitives | `; with …`, `; gives …` after the function |
//! | `gradient` | the gradient against finite differences, and its text | the text, or `; error: …`, after the function |
//! | `pass` | the rewritten text, and that it computes the same | the text in comments after the function |
//!
//! Every function that parses is also verified and must survive printing and reading.
//!
//! A kind computes from a file the file as it should be; a difference is the failure. With `CROSSLOOM_BLESS=1` in the
//! environment the file is rewritten instead; numbers that are right within the tolerance are left as they are.

mod diff;
mod gradient;
mod pass;
mod run;
mod source;
mod tensor;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

pub use pass::Wide;
pub use source::Source;

/// One kind of filetest.
pub trait Kind: Sync {
    /// The name of its folder and of its `test` directive.
    fn name(&self) -> &'static str;

    /// The file as it should be.
    ///
    /// # Errors
    /// The file is no test of this kind, or fails in a way that no expectation can describe.
    fn expected(&self, source: &Source) -> Result<String, String>;
}

/// All kinds.
pub const KINDS: [&dyn Kind; 4] = [&verify::Verify, &run::Run, &gradient::Gradient, &pass::RunPass];

/// Whether expectations are rewritten: the environment says `CROSSLOOM_BLESS=1`.
pub fn blessing() -> bool {
    std::env::var("CROSSLOOM_BLESS").is_ok_and(|value| value == "1")
}

/// All filetests below a folder, in order of their paths.
///
/// # Errors
/// A folder cannot be read, or holds something that is no filetest.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let located = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(located)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(located)?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "cir") {
            files.push(path);
        } else {
            return Err(format!("{}: filetests end in `.cir`", path.display()));
        }
    }
    Ok(files)
}

/// Checks one file, or rewrites it when blessing.
///
/// # Errors
/// What is wrong, with the path; for a difference, the lines that differ.
pub fn check_file(kind: &dyn Kind, path: &Path, bless: bool) -> Result<(), String> {
    let located = |message: String| format!("{}: {message}", path.display());
    let text = fs::read_to_string(path).map_err(|error| located(error.to_string()))?;
    let source = Source::read(&text).map_err(located)?;
    if source.kind() != kind.name() {
        return Err(located(format!(
            "is a `test {}` in the folder of `test {}`",
            source.kind(),
            kind.name()
        )));
    }
    let expected = kind.expected(&source).map_err(located)?;
    if expected == text {
        return Ok(());
    }
    if bless {
        return fs::write(path, expected).map_err(|error| located(error.to_string()));
    }
    let changes = diff::lines(&text, &expected);
    Err(located(format!("differs (- the file, + what is true; CROSSLOOM_BLESS=1 rewrites it)\n{changes}")))
}

/// Checks all files of a kind below its folder; returns how many there are.
///
/// # Errors
/// The failures of all files.
pub fn check_folder(kind: &dyn Kind, root: &Path, bless: bool) -> Result<usize, String> {
    let files = files_below(&root.join(kind.name()))?;
    let failures: Vec<String> = files.iter().filter_map(|path| check_file(kind, path, bless).err()).collect();
    if failures.is_empty() {
        return Ok(files.len());
    }
    Err(format!("{} of {} files fail\n\n{}", failures.len(), files.len(), failures.join("\n\n")))
}
