//! A recipe is accepted exactly where what runs it accepts its numbers: `check` finds what a run would.

use std::path::Path;

use crossloom_data::datasets::{Synthetic, SyntheticOptions};
use crossloom_eval::stats::mean_interval;
use crossloom_eval::{Clusters, Resampling};
use crossloom_recipe::{LoadOptions, load};

use crate::support::workspace;

/// Whether a recipe that says so is accepted.
fn accepted(sets: &[String]) -> bool {
    let path: &Path = &workspace().join("recipes/synthetic.toml");
    load(path, &LoadOptions { sets: sets.to_vec() }).is_ok()
}

#[test]
fn as_many_permutations_as_statistics_take() {
    let values = [0.0, 1.0, 1.0, 0.0];
    for draws in [1, 99, 100, 101, 1000] {
        let resampling = Resampling { draws, ..Resampling::default() };
        let works = mean_interval(&values, &Clusters::singletons(4), &resampling).is_ok();
        assert_eq!(accepted(&[format!("eval.permutations={draws}")]), works, "{draws}");
    }
}

fn drawn(change: impl FnOnce(&mut SyntheticOptions)) -> bool {
    let mut options = SyntheticOptions { train_images: 1, test_images: 1, ..SyntheticOptions::default() };
    change(&mut options);
    Synthetic::generate(&options).is_ok()
}

#[test]
fn as_many_questions_as_can_be_asked() {
    for questions in [1, 31, 32, 33, 64] {
        let works = drawn(|options| options.max_questions = questions);
        assert_eq!(accepted(&[format!("data.source.questions_per_image={questions}")]), works, "{questions}");
    }
}

#[test]
fn pictures_as_small_and_as_large_as_can_be_drawn() {
    for side in [7, 8, 64, 1024, 1025] {
        let works = drawn(|options| options.image_size = side);
        let model = |key: &str| format!("model.vision.{key}={}", side.min(1024));
        let encoder = [format!("model.vision.image_size={side}"), model("patch_size")];
        assert_eq!(accepted(&encoder), works, "{side}, from the encoder");
        let written = [&encoder[..], &[format!("data.source.image_size={side}")]].concat();
        assert_eq!(accepted(&written), works, "{side}, as written");
    }
}
