//! Generated pictures of one coloured shape, with easy-VQA's kinds of questions: no download, any size, seeded.
//!
//! Picture `i` of a split depends on `(seed, split, i)` alone, so a larger set begins with the smaller one. Only exact
//! arithmetic is used (no trigonometry), so every machine draws the same bytes.

mod draw;
mod questions;

use rayon::prelude::*;

use super::{DatasetError, Example, ImageStore, VqaDataset, VqaSplit};
use crate::image::Image;
use crate::seeded::{Purpose, SeededRng};

const NAME: &str = "synthetic";

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SyntheticOptions {
    /// The seed of everything (default 0).
    pub seed: u64,
    /// Pictures of the training split (default 1000).
    pub train_images: usize,
    /// Pictures of the test split (default 250).
    pub test_images: usize,
    /// The side of the square pictures in pixels, 8 to 1024 (default 64).
    pub image_size: u32,
    /// The most different questions about a picture, 1 to 32 (default 12); each picture has between half of them and
    /// all of them.
    pub max_questions: usize,
    /// The share of questions that ask for a shape or a colour, 0 to 1 (default 0.26, as in easy-VQA).
    pub open_share: f32,
    /// The largest deviation of a sample from its clean value, in levels of 255 (default 8).
    pub noise: u8,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            train_images: 1000,
            test_images: 250,
            image_size: 64,
            max_questions: 12,
            open_share: 0.26,
            noise: 8,
        }
    }
}

impl SyntheticOptions {
    fn check(&self) -> Result<(), DatasetError> {
        let refuse = |key, value: String, rule| Err(DatasetError::Option { key, value, rule });
        if !(8..=1024).contains(&self.image_size) {
            return refuse("image_size", self.image_size.to_string(), "from 8 to 1024");
        }
        if !(1..=32).contains(&self.max_questions) {
            return refuse("max_questions", self.max_questions.to_string(), "from 1 to 32");
        }
        if !(0.0..=1.0).contains(&self.open_share) {
            return refuse("open_share", self.open_share.to_string(), "from 0 to 1");
        }
        Ok(())
    }
}

/// A generated data set in memory.
#[derive(Debug, Clone)]
pub struct Synthetic {
    options: SyntheticOptions,
    train: VqaSplit,
    test: VqaSplit,
}

impl Synthetic {
    /// Draws the pictures and asks the questions.
    ///
    /// # Errors
    /// When an option is out of range or a split is to have no picture.
    pub fn generate(options: &SyntheticOptions) -> Result<Self, DatasetError> {
        options.check()?;
        Ok(Self {
            options: *options,
            train: draw(options, ("train", Purpose::SyntheticTrain), options.train_images)?,
            test: draw(options, ("test", Purpose::SyntheticTest), options.test_images)?,
        })
    }
}

impl VqaDataset for Synthetic {
    fn name(&self) -> &str {
        NAME
    }

    fn source(&self) -> String {
        format!("generated shapes, seed {}", self.options.seed)
    }

    fn train(&self) -> &VqaSplit {
        &self.train
    }

    fn test(&self) -> &VqaSplit {
        &self.test
    }
}

fn draw(
    options: &SyntheticOptions,
    (split, purpose): (&'static str, Purpose),
    count: usize,
) -> Result<VqaSplit, DatasetError> {
    let mut images = ImageStore::with_capacity(options.image_size, options.image_size, count)?;
    let drawn: Vec<(Option<Image>, Vec<Example>)> = (0..count)
        .into_par_iter()
        .map(|index| {
            let mut rng = SeededRng::new(options.seed, purpose, index as u64, 0);
            let scene = draw::Scene::draw(&mut rng);
            let image = scene.render(options.image_size, options.noise, &mut rng);
            (image, questions::ask(&scene, index, options, &mut rng))
        })
        .collect();
    let mut examples = Vec::new();
    for (image, asked) in drawn {
        if let Some(image) = image {
            images.push(&image)?;
        }
        examples.extend(asked);
    }
    VqaSplit::new(NAME, split, images, examples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeSet;

    use super::*;

    fn small() -> SyntheticOptions {
        SyntheticOptions { train_images: 200, test_images: 60, image_size: 24, ..SyntheticOptions::default() }
    }

    #[test]
    fn a_seed_fixes_everything_and_another_changes_it() {
        let manifest = |options: &SyntheticOptions| Synthetic::generate(options).unwrap().manifest();
        assert_eq!(manifest(&small()), manifest(&small()));
        let other = manifest(&SyntheticOptions { seed: 1, ..small() });
        assert_ne!(manifest(&small()).train.blake3, other.train.blake3);
        let tiny = SyntheticOptions { train_images: 3, test_images: 2, ..small() };
        let golden = "cf85c245d898ac23aa4b2482c999650998a98bac78a644f6227b98ceebd7e66a";
        assert_eq!(manifest(&tiny).train.blake3, golden, "recorded runs would no longer be repeatable");
    }

    #[test]
    fn a_larger_set_begins_with_the_smaller_one_and_splits_differ() {
        let few = Synthetic::generate(&SyntheticOptions { train_images: 10, ..small() }).unwrap();
        let many = Synthetic::generate(&small()).unwrap();
        let (few_train, many_train) = (few.train(), many.train());
        assert!(many_train.images().rgb().starts_with(few_train.images().rgb()));
        assert!(many_train.examples().starts_with(few_train.examples()));
        assert_ne!(many_train.images().get(0), many.test().images().get(0));
    }

    #[test]
    fn answers_are_the_thirteen_and_no_question_is_asked_twice() {
        let data = Synthetic::generate(&small()).unwrap();
        let answers = [
            "black",
            "blue",
            "brown",
            "circle",
            "gray",
            "green",
            "no",
            "rectangle",
            "red",
            "teal",
            "triangle",
            "yellow",
            "yes",
        ];
        assert_eq!(data.answers(), answers);
        let examples = data.train().examples();
        let distinct: BTreeSet<(usize, &str)> =
            examples.iter().map(|example| (example.image, example.question.as_str())).collect();
        assert_eq!(distinct.len(), examples.len());
        let yes_no: Vec<_> = examples.iter().filter(|example| !example.question_type.is_open()).collect();
        let yes = yes_no.iter().filter(|example| example.answer == "yes").count() as f64;
        assert!((0.45..0.55).contains(&(yes / yes_no.len() as f64)), "yes is the prior: {yes}");
        let open = 1.0 - yes_no.len() as f64 / examples.len() as f64;
        assert!((0.2..0.32).contains(&open), "open questions: {open}");
    }

    #[test]
    fn options_out_of_range_and_empty_splits_are_errors() {
        for (options, key) in [
            (SyntheticOptions { image_size: 7, ..small() }, "image_size"),
            (SyntheticOptions { image_size: 20_000, ..small() }, "image_size"),
            (SyntheticOptions { max_questions: 0, ..small() }, "max_questions"),
            (SyntheticOptions { open_share: f32::NAN, ..small() }, "open_share"),
        ] {
            let error = Synthetic::generate(&options).unwrap_err();
            assert!(error.to_string().starts_with(key), "{error}");
        }
        let empty = Synthetic::generate(&SyntheticOptions { train_images: 0, ..small() }).unwrap_err();
        assert!(matches!(empty, DatasetError::Empty { split: "train", .. }));
    }
}
