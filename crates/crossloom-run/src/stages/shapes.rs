//! Sizes of a recipe's batches when no data is at hand.
//!
//! Stages are shown before anything is fetched, so the sizes come from the recipe by one rule:
//! - *synthetic* data is drawn (at most the first `DRAWN` pictures of a split, which show every word and the longest
//!   question many times over) and measured exactly as a run does;
//! - *easy-VQA* is one fixed package, so what a run would measure is known: `EASY_VQA`. A run that reads the whole of it
//!   compares.
//!
//! - in the tokens of a *model*, whatever the data, the recipe says the sizes: `T` = image tokens (where pictures are cut into tiles, as
//!   many as one can have; of conversations those of the most views of a row) + `data.text_positions`, rounded up to 8, `M` = questions per
//!   sequence × `eval.max_new_tokens`, of conversations all their text, and the vocabulary is the model's.
//!
//! Of words, `T` = image tokens + questions per sequence × (longest question + 1 + longest answer), rounded up to 8, where the
//! longest answer counts `max_new_tokens − 1` if that is more; and `M` = questions per sequence × (longest answer + 1).
//!
//! Stages of training share a vocabulary. Where some are of easy-VQA and some drawn, which words both have is not known, and all
//! are counted: that is at most what a run has.

use std::path::Path;

use crossloom_data::tokenizer::SpecialTokens;
use crossloom_model::{BatchShape, ViewShape};
use crossloom_recipe::{DataTokenizer, Recipe, Source};
use serde::Serialize;

use crate::ExperimentError;
use crate::batch::batch_shape as shape_of;
use crate::conversations::most_views;
use crate::data::{Data, vocabulary};
use crate::measured::{EASY_VQA, Measured};

/// Pictures of a synthetic split that are drawn to measure it.
const DRAWN: usize = 512;

/// Sizes of a batch and of the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shapes {
    /// Sequences, positions and targets.
    #[serde(serialize_with = "batch_shape")]
    pub batch: BatchShape,
    /// Tokens of the vocabulary.
    pub vocab: usize,
}

fn batch_shape<S: serde::Serializer>(shape: &BatchShape, serializer: S) -> Result<S::Ok, S::Error> {
    let BatchShape { batch, tokens, targets, views } = *shape;
    let mut sizes = serde_json::json!({ "sequences": batch, "positions": tokens, "targets": targets });
    if let Some(of) = views {
        sizes["views"] = of.views.into();
        sizes["visual_tokens"] = of.tokens.into();
    }
    sizes.serialize(serializer)
}

impl Shapes {
    /// The sizes that a run of the recipe has.
    ///
    /// # Errors
    /// Sequences longer than the language model allows; fewer rows of the embedding than tokens; synthetic data that
    /// cannot be drawn.
    pub fn of(recipe: &Recipe) -> Result<Self, ExperimentError> {
        if recipe.data.tokenizer == DataTokenizer::Model {
            return Self::of_model_tokens(recipe)?.checked(recipe);
        }
        let is_fixed = |data: &crossloom_recipe::Data| matches!(data.source, Source::EasyVqa {});
        let (fixed, drawn): (Vec<_>, Vec<_>) = recipe
            .stages
            .iter()
            .map(|stage| &stage.data)
            .chain([&recipe.data])
            .partition(|data| is_fixed(data));
        let drawn = drawn.last().map(|data| Self::drawn(recipe, data)).transpose()?;
        let mut shapes = match drawn {
            Some(drawn) if !is_fixed(&recipe.data) => drawn,
            _ => Self::from_lengths(recipe, &EASY_VQA),
        };
        let own_words = SpecialTokens::NAMES.len();
        shapes.vocab = match (drawn, fixed.is_empty()) {
            (Some(drawn), true) => drawn.vocab,
            (Some(drawn), false) => drawn.vocab + EASY_VQA.vocab - own_words,
            (None, _) => EASY_VQA.vocab,
        };
        if drawn.is_none() {
            vocabulary(recipe, shapes.vocab)?;
        }
        shapes.checked(recipe)
    }

    /// Refuses sequences that are longer than the language model allows.
    fn checked(self, recipe: &Recipe) -> Result<Self, ExperimentError> {
        let (tokens, limit) = (self.batch.tokens, recipe.model.language.max_positions);
        if tokens > limit {
            return Err(ExperimentError::Request {
                message: format!("sequences have {tokens} positions, the language model allows {limit}"),
                help: "raise model.language.max_positions or lower data.questions_per_sequence".to_owned(),
            });
        }
        Ok(self)
    }

    /// Sizes of sequences of a model's own tokens.
    fn of_model_tokens(recipe: &Recipe) -> Result<Self, ExperimentError> {
        let text = recipe.data.text_positions.unwrap_or_default();
        let views = match recipe.data.source {
            Source::Conversations { .. } => most_views(recipe)?.map(|of| of_rows(recipe, of)),
            _ => views(recipe),
        };
        let visual = views.map_or(recipe.visual_positions(), |of| of.tokens);
        let tokens = visual.saturating_add(text);
        let questions = recipe.data.questions_per_sequence;
        let asked = questions.saturating_mul(recipe.eval.max_new_tokens);
        let batch = BatchShape {
            batch: recipe.train.batch_size,
            tokens: tokens.checked_next_multiple_of(8).unwrap_or(usize::MAX),
            // All text of a conversation may be learned.
            targets: match recipe.data.source {
                Source::Conversations { .. } => text,
                _ => asked,
            },
            views,
        };
        // Weights say how many rows their embedding has.
        Ok(Self { batch, vocab: recipe.model.language.vocab_size.unwrap_or_default() })
    }

    /// Sizes for stages that do not depend on them, or where they are given: the picture and one token, two words.
    pub fn unmeasured(recipe: &Recipe) -> Self {
        Self::from_lengths(recipe, &Measured { vocab: 2, question: 1, answer: 1 })
    }

    /// The same with another number of positions or words, where given.
    ///
    /// # Errors
    /// Too few positions for the picture and one token, or no words.
    pub fn with(
        mut self,
        recipe: &Recipe,
        tokens: Option<usize>,
        vocab: Option<usize>,
    ) -> Result<Self, ExperimentError> {
        if let Some(tokens) = tokens {
            let visual = self.batch.views.map_or(recipe.visual_positions(), |of| of.tokens);
            let (least, most) = (visual + 1, recipe.model.language.max_positions);
            if !(least..=most).contains(&tokens) {
                return Err(ExperimentError::Request {
                    message: format!("a sequence of {tokens} positions does not fit the recipe"),
                    help: format!("the picture needs {least} and the language model allows {most}"),
                });
            }
            self.batch.tokens = tokens;
        }
        self.vocab = vocab.unwrap_or(self.vocab);
        Ok(self)
    }

    fn from_lengths(recipe: &Recipe, measured: &Measured) -> Self {
        let questions = recipe.data.questions_per_sequence;
        let answer = measured.answer.max(recipe.eval.max_new_tokens.saturating_sub(1));
        let longest = questions.saturating_mul(measured.question + 1 + answer);
        let text = recipe.data.text_positions.unwrap_or(longest);
        let views = views(recipe);
        let visual = views.map_or(recipe.visual_positions(), |of| of.tokens);
        let tokens = visual.saturating_add(text);
        let batch = BatchShape {
            batch: recipe.train.batch_size,
            tokens: tokens.checked_next_multiple_of(8).unwrap_or(usize::MAX),
            targets: questions.saturating_mul(measured.answer + 1),
            views,
        };
        Self { batch, vocab: measured.vocab }
    }

    /// Those of the drawn data set of a stage, with the words of all drawn ones.
    fn drawn(recipe: &Recipe, data: &crossloom_recipe::Data) -> Result<Self, ExperimentError> {
        let mut recipe = Recipe { data: data.clone(), ..recipe.clone() };
        recipe.stages.retain(|stage| matches!(stage.data.source, Source::Synthetic { .. }));
        let limited = |limit: Option<usize>| Some(limit.map_or(DRAWN, |limit| limit.min(DRAWN)));
        for data in recipe.stages.iter_mut().map(|stage| &mut stage.data).chain([&mut recipe.data]) {
            data.train_limit = limited(data.train_limit);
            data.test_limit = limited(data.test_limit);
        }
        // Drawn data reads no file, so any folder will do.
        let data = Data::load(&recipe, Path::new("."), &mut |_| ())?;
        let plan = data.plan(&recipe)?;
        Ok(Self { batch: shape_of(&plan), vocab: plan.vocab_size })
    }

    /// The sizes that a run of a recipe has in one of its stages, of which [`Recipe::by_stage`] says the recipe: all stages of the
    /// whole recipe share a vocabulary.
    ///
    /// # Errors
    /// As [`Shapes::of`].
    pub fn of_stage(whole: &Recipe, stage: &Recipe) -> Result<Self, ExperimentError> {
        Self::of(&Recipe { stages: whole.stages.clone(), ..stage.clone() })
    }
}

/// The views and visual tokens of a batch whose rows show a picture each in as many tiles as there can be.
fn views(recipe: &Recipe) -> Option<ViewShape> {
    Some(of_rows(recipe, recipe.most_of_tiles()?))
}

/// The views and visual tokens of a batch, of those of a row.
fn of_rows(recipe: &Recipe, (views, tokens): (usize, usize)) -> ViewShape {
    ViewShape { views: recipe.train.batch_size.saturating_mul(views), tokens }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crossloom_recipe::{LoadOptions, load};

    use super::*;

    fn recipe(name: &str) -> Recipe {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        load(&folder.join(name), &LoadOptions::default()).unwrap().variants[0].recipe.clone()
    }

    fn measured(recipe: &Recipe) -> Shapes {
        let plan = Data::load(recipe, Path::new("."), &mut |_| ()).unwrap().plan(recipe).unwrap();
        Shapes { batch: shape_of(&plan), vocab: plan.vocab_size }
    }

    #[test]
    fn drawing_a_few_pictures_measures_what_a_run_measures() {
        let mut recipe = recipe("synthetic.toml");
        assert_eq!(Shapes::of(&recipe).unwrap(), measured(&recipe));
        if let Source::Synthetic { train_images, test_images, .. } = &mut recipe.data.source {
            (*train_images, *test_images) = (4 * DRAWN, 2 * DRAWN);
        }
        assert_eq!(Shapes::of(&recipe).unwrap(), measured(&recipe));
    }

    #[test]
    fn stages_share_the_words_of_all_of_them_and_have_lengths_of_their_own() {
        let whole = recipe("two-stages.toml");
        let [align, tune] = &whole.by_stage()[..] else { panic!("two stages") };
        let sizes = [align, tune].map(|stage| Shapes::of_stage(&whole, stage).unwrap());
        assert_eq!(sizes[0].vocab, sizes[1].vocab);
        assert!(sizes[0].batch.tokens < sizes[1].batch.tokens, "{sizes:?}");
        // As a run measures them: the vocabulary of the last stage's data is that of all stages.
        assert_eq!(sizes[1], measured(&whole));
        let mut mixed = whole.clone();
        mixed.stages[0].data.source = Source::EasyVqa {};
        let drawn = Shapes::of(&Recipe { stages: Vec::new(), ..whole.clone() }).unwrap().vocab;
        for stage in mixed.by_stage() {
            let vocab = Shapes::of_stage(&mixed, &stage).unwrap().vocab;
            assert_eq!(vocab, drawn + EASY_VQA.vocab - SpecialTokens::NAMES.len());
        }
    }

    #[test]
    fn a_run_of_easy_vqa_has_the_known_sizes() {
        let mut recipe = recipe("quickstart.toml");
        (recipe.data.questions_per_sequence, recipe.eval.max_new_tokens) = (8, 3);
        (recipe.train.batch_size, recipe.model.vision.image_size, recipe.model.vision.patch_size) =
            (16, 64, 8);
        recipe.model.projector.merge = 1;
        let known = Shapes::of(&recipe).unwrap();
        let batch = BatchShape { batch: 16, tokens: 64 + 8 * 13, targets: 16, views: None };
        assert_eq!(known, Shapes { batch, vocab: 33 });
        if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
            println!("not compared with the data: set CROSSLOOM_NETWORK_TESTS=1 to fetch it");
            return;
        }
        assert_eq!(known, measured(&recipe));
        (recipe.data.questions_per_sequence, recipe.eval.max_new_tokens) = (3, 1);
        assert_eq!(Shapes::of(&recipe).unwrap(), measured(&recipe));
    }

    #[test]
    fn sequences_that_the_model_does_not_allow_are_refused() {
        let mut recipe = recipe("quickstart.toml");
        let tokens = Shapes::of(&recipe).unwrap().batch.tokens;
        recipe.model.language.max_positions = tokens;
        assert!(Shapes::of(&recipe).is_ok());
        recipe.model.language.max_positions = tokens - 1;
        let error = Shapes::of(&recipe).unwrap_err();
        assert!(error.to_string().contains(&format!("{tokens} positions")), "{error}");
        assert!(error.help().is_some());
    }
}
