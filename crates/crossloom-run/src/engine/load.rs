//! From what is served to a model with slots.

use std::sync::Arc;

use crossloom_data::conversations::{PromptLayer, Room};
use crossloom_data::packing::{ImageMode, PackingPlan, PromptSizes};
use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_model::{BatchShape, Chunking, ViewShape, chunking};
use crossloom_recipe::Recipe;

use super::card::Eyes;
use super::intake::Intake;
use super::served::{Served, Weights};
use super::{Card, Limits};
use crate::ExperimentError;
use crate::batch::Pools;
use crate::conversations::picture_reader;
use crate::memory::{DataNeed, fits};
use crate::model::Model;
use crate::programs::Programs;
use crate::question_vectors::Vectors;
use crate::start::Start;
use crate::states::States;
use crate::trained::no_checkpoint;

/// Positions of a slot, where nothing else is said.
const POSITIONS: usize = 2048;
/// The most short prompts that are read at once: more would make those wait that are being answered.
const SHORT: usize = 8;
/// More pictures than a budget holds: that of their features is taken whole.
const MANY: usize = 1 << 20;

/// A model with slots, and what it is asked through.
pub(super) struct Parts {
    pub(super) model: Model,
    pub(super) intake: Intake,
}

/// Compiles a model and lays its weights. Memory is counted before any is taken.
///
/// # Errors
/// As [`Engine::start`](super::Engine::start).
pub(super) fn load(served: Served, limits: &Limits) -> Result<Parts, ExperimentError> {
    let mut card = served.card(limits)?;
    let plans = plans(&served, &card)?;
    let Served { name, recipe, tokenizer, processor, weights, mode, .. } = served;
    let Limits { slots, resources, .. } = *limits;
    let largest =
        plans.last().ok_or_else(|| ExperimentError::request("there are no views", "this is a bug"))?;
    let at_once = resources.chunk.map_or(card.positions, |chunk| chunk.min(card.positions));
    let several = several(&plans, slots, at_once);
    let shape_of = |plan: &PackingPlan, tokens: usize| BatchShape {
        batch: plan.batch_size,
        tokens,
        targets: 1,
        views: plan.views.map(|views| ViewShape { views, tokens: plan.visual_tokens }),
    };
    let shape = shape_of(largest, card.positions);
    let short = several.as_ref().map(|plan| shape_of(plan, at_once / plan.batch_size));
    let device = resources.backend.running()?;
    let vocab = tokenizer.vocab_size();
    let mut programs =
        Programs::to_serve(&recipe, shape, short, slots, vocab, resources.chunk, device.target())?;
    let start = match weights {
        Weights::File(_) => Start::default(),
        Weights::Checkpoint(_) | Weights::Start => Start::new(&recipe, &programs.params)?,
    };
    let held = DataNeed {
        batches: several.iter().chain([largest]).map(PackingPlan::batch_bytes).max().unwrap_or_default()
            + programs.phases.scored_bytes(),
        pictures: MANY,
        budget: resources.pictures,
        ..DataNeed::default()
    };
    fits(&name, &mut programs, held, &*device, resources)?;
    let mut model = match &weights {
        Weights::Checkpoint(stage) => {
            let checkpoints = stage.checkpoints();
            let newest = checkpoints.newest()?.ok_or_else(|| no_checkpoint(&name))?;
            Model::restored(programs, start, &device, &newest)?
        }
        Weights::Start => {
            let mut model = Model::blank(programs, start, &device)?;
            model.start(recipe.train.seed)?;
            model
        }
        Weights::File(file) => {
            let mut model = Model::blank(programs, start, &device)?;
            model.fill(file)?;
            model
        }
    };
    model.phases.encoder.hold_in(States::new(resources.pictures.memory(false), None));
    let layer = PromptLayer::new(processor.normalization().table()?, mode, recipe.model.visual_tokens());
    for (point, taps) in &model.gates {
        card.edges.extend(taps.iter().map(|tap| (tap.to_string(), point.name())));
    }
    let encoding = model.phases.encoding()?;
    let (pools, vectors) = (Pools::of(&recipe), Vectors::open(&recipe)?);
    let intake = Intake { card: Arc::new(card), pools, encoding, layer, plans, vectors };
    Ok(Parts { model, intake })
}

impl Served {
    /// What it reads, with these limits; its gated edges are known once it is compiled. Nothing heavy is done.
    ///
    /// # Errors
    /// Limits that the model cannot have; a processor whose pictures cannot be laid out.
    pub fn card(&self, limits: &Limits) -> Result<Card, ExperimentError> {
        let Self { name, recipe, tokenizer, processor, mode, max_new_tokens, .. } = self;
        let sizes = Sizes::of(recipe, tokenizer, *mode, limits)?;
        let reader = picture_reader(recipe, *processor)?;
        let most = sizes.views.last().copied().flatten();
        let room = Room {
            text: sizes.positions,
            visual: most.map_or(recipe.visual_positions(), |views| {
                // No more than a slot has room for.
                reader.most_tokens(views).min(sizes.positions - 1)
            }),
            views: most.unwrap_or(1),
        };
        let eyes = match (mode, most) {
            (ImageMode::Withheld, _) => Eyes::Withheld { positions: recipe.visual_positions() },
            (ImageMode::Shown, Some(_)) => Eyes::Counted(reader),
            (ImageMode::Shown, None) => Eyes::One { reader, positions: recipe.visual_positions() },
        };
        Ok(Card {
            name: name.clone(),
            positions: sizes.positions,
            max_new_tokens: *max_new_tokens,
            eyes,
            room,
            views: sizes.views,
            pictures: limits.pictures,
            vocabulary: recipe.model.language.vocab_size.unwrap_or(tokenizer.vocab_size()),
            edges: Vec::new(),
            conditioned: recipe.topology.conditioning.given_width().is_some(),
            together: 1,
            stretch: (limits.resources.chunk)
                .filter(|&chunk| chunk < sizes.positions && chunking(recipe) == Chunking::AroundPictures),
            tokenizer: tokenizer.clone(),
        })
    }
}

/// Shapes of batches of prompts, from those of the fewest views.
fn plans(served: &Served, card: &Card) -> Result<Vec<PackingPlan>, ExperimentError> {
    let Served { recipe, tokenizer, processor, .. } = served;
    let plan = |&views: &Option<usize>| {
        let visual_tokens = match (views, &card.eyes) {
            (Some(views), Eyes::Counted(reader)) => reader.most_tokens(views).min(card.room.visual),
            _ => card.room.visual,
        };
        Ok(PackingPlan::of_prompts(PromptSizes {
            rows: 1,
            positions: card.positions,
            visual_tokens,
            views,
            picture_positions: recipe.picture_positions(),
            side: processor.image_size,
            vector_width: recipe.topology.conditioning.given_width().unwrap_or(0),
            vocab_size: tokenizer.vocab_size(),
            special: tokenizer.special(),
        })?)
    };
    card.views.iter().map(plan).collect()
}

/// The shape of the most short prompts that are read at once, each with as much to see as prompts of the fewest views. They have no more
/// positions together than one prompt may have, and no more visual tokens than that or the largest one.
fn several(plans: &[PackingPlan], slots: usize, at_once: usize) -> Option<PackingPlan> {
    let (least, largest) = (plans.first()?, plans.last()?);
    let fits = |rows: usize| {
        rows <= slots.min(SHORT).min(at_once)
            && rows * least.visual_tokens <= largest.visual_tokens.max(at_once)
    };
    let rows = std::iter::successors(Some(2), |rows| Some(2 * rows)).take_while(|&rows| fits(rows)).last()?;
    Some(least.of_rows(rows))
}

/// What prompts there is room for.
struct Sizes {
    /// Of a slot.
    positions: usize,
    /// Views of a prompt, where they are counted, from the fewest.
    views: Vec<Option<usize>>,
}

impl Sizes {
    fn of(
        recipe: &Recipe,
        tokenizer: &QuestionTokenizer,
        mode: ImageMode,
        limits: &Limits,
    ) -> Result<Self, ExperimentError> {
        let most = recipe.model.language.max_positions;
        // Where pictures are cut into tiles, one of them and some text have room.
        let of_tiles = recipe.most_of_tiles().map_or(0, |(_, tokens)| tokens + POSITIONS / 2);
        let positions = limits.positions.unwrap_or(POSITIONS.max(of_tiles).min(most));
        let refused = |what: &str, help: &str| Err(ExperimentError::request(what, help));
        if limits.slots == 0 {
            return refused("an engine has at least one slot", "allow more requests at once");
        }
        if positions > most {
            return Err(ExperimentError::request(
                format!("slots of {positions} positions are asked for, the language model allows {most}"),
                "allow fewer positions, or raise model.language.max_positions",
            ));
        }
        if positions <= recipe.visual_positions() {
            return Err(ExperimentError::request(
                format!(
                    "slots of {positions} positions have no room for text behind a picture of {}",
                    recipe.visual_positions()
                ),
                "allow more positions",
            ));
        }
        let counted = mode == ImageMode::Shown
            && matches!(tokenizer, QuestionTokenizer::Chat(_))
            && recipe.topology.needs_one_picture().is_empty();
        if !counted {
            return Ok(Self { positions, views: vec![None] });
        }
        if limits.pictures == 0 {
            return refused("a model with eyes reads at least one picture", "allow one picture or more");
        }
        let of_one = recipe.model.vision.anyres.map_or(1, |anyres| anyres.most_views());
        let most = limits.pictures.max(of_one);
        let mut views: Vec<usize> = std::iter::successors(Some(1), |views| Some(2 * views))
            .take_while(|&views| views < most)
            .collect();
        views.push(most);
        Ok(Self { positions, views: views.into_iter().map(Some).collect() })
    }
}
