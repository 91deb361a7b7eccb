//! It learns.

use crossloom_train::run_dir::RunDir;

use crate::support::{Entry, finish, recipe};

#[test]
fn a_handful_of_pictures_is_learned_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[
        "data.source={ kind = 'synthetic', train_images = 4, test_images = 4, questions_per_image = 4 }",
        "train.steps=200",
        "train.schedule=constant",
        "train.log_every=50",
    ]);
    let finished = finish(&recipe, &["projector", "cli"], folder.path(), Entry::New);
    let record = RunDir::open(finished.dir.path()).unwrap().read_record().unwrap();
    for (name, variant) in &record.variants {
        let loss = variant.final_loss.unwrap();
        assert!(loss < 0.05, "{name}: {loss}");
    }
}
