//! What the sizes of batches depend on in a data set.

use std::fmt;

use crossloom_data::packing::EncodedSplit;

/// What a run measures of the whole easy-VQA 1.0. Stages that are shown without data rest on it, so a run compares.
pub(crate) const EASY_VQA: Measured = Measured { vocab: 33, question: 10, answer: 1 };

/// The sizes of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Rows of the vocabulary, special tokens included.
    pub(crate) vocab: usize,
    /// Tokens of the longest question.
    pub(crate) question: usize,
    /// Tokens of the longest answer, without the one that ends it.
    pub(crate) answer: usize,
}

impl Measured {
    /// Measures all questions of some splits, which share a vocabulary.
    pub(crate) fn of(splits: &[&EncodedSplit]) -> Self {
        let longest = |tokens: fn(&EncodedSplit, usize) -> usize| {
            let of_split = |split: &&EncodedSplit| (0..split.len()).map(|n| tokens(split, n)).max();
            splits.iter().filter_map(of_split).max().unwrap_or(0)
        };
        Self {
            vocab: splits.iter().map(|split| split.vocab_size()).max().unwrap_or(0),
            question: longest(|split, n| split.question(n).len()),
            answer: longest(|split, n| split.answer(n).len()),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vocab, question, answer } = self;
        write!(f, "{vocab} words, questions of up to {question} and answers of up to {answer} tokens")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crossloom_data::datasets::{EasyVqa, EasyVqaOptions, VqaDataset as _};
    use crossloom_data::image::Image;
    use crossloom_data::tokenizer::{Tokenizer, TokenizerOptions};
    use crossloom_recipe::{LoadOptions, load};

    use crate::Data;

    /// The real layout, with other words.
    fn another_easy_vqa(folder: &Path) -> EasyVqa {
        for split in ["train", "test"] {
            let split = folder.join("easy_vqa/data").join(split);
            std::fs::create_dir_all(split.join("images")).unwrap();
            let picture = Image::new(4, 4, vec![9; 48]).unwrap();
            std::fs::write(split.join("images/0.png"), picture.to_png().unwrap()).unwrap();
            let questions = r#"[["what is it?", "circle", 0], ["is it a red circle or not?", "yes", 0]]"#;
            std::fs::write(split.join("questions.json"), questions).unwrap();
        }
        EasyVqa::load(folder, &EasyVqaOptions::default()).unwrap()
    }

    #[test]
    fn an_easy_vqa_that_is_not_the_known_one_is_refused_unless_a_part_of_it_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/quickstart.toml");
        let mut recipe = load(&quickstart, &LoadOptions::default()).unwrap().variants[0].recipe.clone();
        recipe.data.validation = 0.0;
        let read = another_easy_vqa(folder.path());
        let tokenizer = Tokenizer::train(read.train().texts(), &TokenizerOptions::default()).unwrap();
        let data = Data::divided(Box::new(read), tokenizer.into(), &recipe).unwrap();
        let error = data.plan(&recipe).unwrap_err().to_string();
        assert!(error.contains("questions of up to 8 and answers of up to 1 tokens"), "{error}");
        assert!(
            error.contains("33 words, questions of up to 10") && error.contains("empty the cache"),
            "{error}"
        );
        recipe.data.test_limit = Some(1);
        assert!(data.plan(&recipe).is_ok());
    }
}
