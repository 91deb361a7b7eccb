//! Train a recipe from Rust: a few steps on generated pictures, then the comparison.
//!
//! ```text
//! cargo run -p crossloom-run --example train_recipe
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossloom_recipe::{LoadOptions, load};
use crossloom_run::backends::Resources;
use crossloom_run::{Entry, Experiment, Job, RunOutcome, Unheard};

/// Settings over those of the recipe, which would train for longer.
const SMALL: [&str; 5] = [
    "data.source={ kind = 'synthetic', train_images = 12, test_images = 6, questions_per_image = 4 }",
    "train.steps=6",
    "variants.question_only.train.steps=6",
    "train.batch_size=4",
    "eval.permutations=100",
];

/// Trains below `out` and returns the comparison as text.
///
/// # Errors
/// Whatever keeps the recipe from being run.
pub(crate) fn train_below(out: &Path) -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    let options = LoadOptions { sets: SMALL.map(str::to_owned).to_vec() };
    let recipe = load(&path, &options).map_err(|problems| problems.to_string())?;
    let experiment = Experiment {
        recipe: &recipe,
        job: Job::All,
        variants: Vec::new(),
        out: out.to_owned(),
        folder: None,
        entry: Entry::New,
        resources: Resources::default(),
        command: "the example train_recipe".to_owned(),
    };
    match experiment.run(&mut Unheard, &AtomicBool::new(false))? {
        RunOutcome::Finished(finished) => {
            let comparison = finished.comparison.as_ref().ok_or("nothing to compare")?;
            Ok(format!("{}\nrun: {}", comparison.to_text(), finished.dir.path().display()))
        }
        RunOutcome::Trained { .. } | RunOutcome::Interrupted { .. } => Err("it did not finish".into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", train_below(Path::new("runs"))?);
    Ok(())
}
