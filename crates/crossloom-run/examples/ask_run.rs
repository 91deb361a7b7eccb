//! Ask a finished run: its folder is enough, neither data set nor recipe is needed.
//!
//! ```text
//! cargo run -p crossloom-run --example ask_run -- RUN_FOLDER VARIANT PICTURE QUESTION
//! ```

use std::error::Error;
use std::path::Path;

use crossloom_run::backends::Resources;
use crossloom_run::{Asked, Trained, resolved};
use crossloom_train::run_dir::RunDir;

/// The answer of a variant to a question about a picture.
///
/// # Errors
/// A folder that is no run, an unknown variant, a picture that cannot be read, a word the model does not know.
pub(crate) fn ask(
    run: &Path,
    variant: &str,
    picture: &Path,
    question: &str,
) -> Result<String, Box<dyn Error>> {
    let run = RunDir::open(run)?;
    let recipe = resolved::load(&run, &[])?;
    let known = recipe.variant(variant).ok_or("the run has no such variant")?;
    let trained = Trained::load(&run.variant_path(variant)?, &known.recipe, Resources::default())?;
    let mut answers = trained.ask(&Asked::about(picture, &[question.to_owned()]))?;
    Ok(answers.pop().ok_or("no answer")?.answer)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, variant, picture, question] = arguments.as_slice() else {
        return Err("usage: ask_run RUN_FOLDER VARIANT PICTURE QUESTION".into());
    };
    println!("{}", ask(Path::new(run), variant, Path::new(picture), question)?);
    Ok(())
}
