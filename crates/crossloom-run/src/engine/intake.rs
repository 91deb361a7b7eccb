//! From requests to the batches that a model reads.

use std::collections::VecDeque;
use std::sync::Arc;

use crossloom_data::conversations::{Begun, PromptLayer, Room};
use crossloom_data::packing::{ImageMode, PackedBatch, PackedQuestion, PackingPlan};
use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_recipe::Recipe;

use super::Card;
use super::card::{Eyes, Question};
use super::live::{Live, Sequence};
use crate::ExperimentError;
use crate::batch::Pools;
use crate::conversations::picture_reader;
use crate::data::image_mode;
use crate::phases::Phases;
use crate::prefill::Reading;
use crate::processor::Processor;
use crate::question_vectors::Vectors;
use crate::states::Encoding;

/// What turns requests into batches.
pub(crate) struct Intake {
    pub(super) card: Arc<Card>,
    pub(super) pools: Pools,
    pub(super) encoding: Encoding,
    pub(super) layer: PromptLayer,
    /// Shapes of batches of prompts, from those of the fewest views.
    pub(super) plans: Vec<PackingPlan>,
    /// What makes vectors of questions, where something depends on them.
    pub(super) vectors: Option<Vectors>,
}

impl Intake {
    /// Rows of questions about a whole picture, as a plan of a recipe's data has them. Vectors of questions come with their prompts.
    ///
    /// # Errors
    /// A processor whose pictures cannot be laid out.
    pub(crate) fn of_rows(
        recipe: &Recipe,
        tokenizer: &QuestionTokenizer,
        plan: &PackingPlan,
        phases: &mut Phases,
    ) -> Result<Self, ExperimentError> {
        let (processor, mode) = (Processor::of(recipe), image_mode(recipe));
        let positions = plan.visual_tokens;
        let eyes = match mode {
            ImageMode::Withheld => Eyes::Withheld { positions },
            ImageMode::Shown => Eyes::One { reader: picture_reader(recipe, processor)?, positions },
        };
        let card = Card {
            name: recipe.name.clone(),
            positions: plan.sequence_len,
            max_new_tokens: plan.max_new_tokens,
            eyes,
            room: Room { text: plan.sequence_len, visual: positions, views: 1 },
            views: vec![None],
            pictures: 1,
            vocabulary: recipe.model.language.vocab_size.unwrap_or(plan.vocab_size),
            tokenizer: tokenizer.clone(),
            edges: Vec::new(),
            conditioned: recipe.topology.conditioning.given_width().is_some(),
            together: plan.questions_per_sequence,
            stretch: None,
        };
        let table = processor.normalization().table()?;
        Ok(Self {
            card: Arc::new(card),
            pools: Pools::of(recipe),
            encoding: phases.encoding()?,
            layer: PromptLayer::new(table, mode, recipe.model.visual_tokens()),
            plans: vec![plan.clone()],
            vectors: None,
        })
    }

    /// How many of these slots, from the first one on, have their prompts read by one call. Those that are scored are read in calls of their
    /// own, whose results are others.
    pub(super) fn at_once(&self, phases: &Phases, admitted: &VecDeque<Sequence>) -> usize {
        let Some(first) = admitted.front().filter(|first| !first.apart) else { return 1 };
        let scored = first.is_scored();
        let alike = admitted.iter().take_while(|next| !next.apart && next.is_scored() == scored);
        if phases.rows() > 1 {
            return alike.take(phases.rows()).count();
        }
        let length = |sequence: &Sequence| {
            let Begun { prompt, given } = sequence.open.first()?.begun();
            let of = self.plans.first()?;
            let small = of
                .views
                .is_none_or(|views| prompt.needs.views <= views && prompt.needs.visual <= of.visual_tokens);
            small.then_some(prompt.tokens.len() + given.len())
        };
        let lengths: Vec<usize> = alike.map_while(length).collect();
        phases.rows_at_once(&lengths)
    }

    /// The prompts of slots as a batch whose pictures have been looked at.
    pub(super) fn laid(
        &mut self,
        phases: &mut Phases,
        rows: &[Sequence],
    ) -> Result<(PackedBatch, Reading), ExperimentError> {
        let prompts: Vec<Vec<Begun<'_>>> =
            rows.iter().map(|row| row.open.iter().map(Live::begun).collect()).collect();
        // Prompts of a row show the same pictures.
        let needs = || prompts.iter().filter_map(|row| Some(row.first()?.prompt.needs));
        let views: usize = needs().map(|needs| needs.views).sum();
        let visual = needs().map(|needs| needs.visual).max().unwrap_or_default();
        let holds =
            |plan: &&PackingPlan| plan.views.is_none_or(|most| views <= most && visual <= plan.visual_tokens);
        let plan = self.plans.iter().find(holds).or(self.plans.last());
        let plan = plan.ok_or_else(|| ExperimentError::request("there are no prompts", "this is a bug"))?;
        let mut batch = match &self.plans[..] {
            [least, ..] if rows.len() > least.batch_size => PackedBatch::new(&least.of_rows(rows.len())),
            _ => PackedBatch::new(plan),
        };
        self.layer.lay(&prompts, &mut batch)?;
        self.lay_vectors(rows, &mut batch)?;
        let mut slots: Vec<usize> = rows.iter().map(|row| row.slot).collect();
        slots.resize(batch.plan().batch_size, 0);
        let reading = Reading::begin(phases, &batch, self.encoding, slots)?;
        if !rows.iter().any(Sequence::is_scored) {
            return Ok((batch, reading));
        }
        let asked = rows.iter().flat_map(|row| &row.open).zip(batch.questions());
        let positions: Vec<Vec<usize>> = asked.map(|(live, question)| targets(live, question)).collect();
        let reading = reading.scoring(&batch, &positions);
        Ok((batch, reading))
    }

    /// Lays the vector of every row's first question into a batch, where something depends on it.
    fn lay_vectors(&mut self, rows: &[Sequence], batch: &mut PackedBatch) -> Result<(), ExperimentError> {
        let asked = rows.iter().map(|row| row.open.first()?.request.prompt.question.as_ref());
        let mut vectors: Vec<Arc<[f32]>> = Vec::new();
        for question in asked {
            match (question, &mut self.vectors) {
                (Some(Question::Vector(vector)), _) => vectors.push(Arc::clone(vector)),
                (Some(Question::Text(text)), Some(makes)) => vectors.push(makes.of(&[text])?.into()),
                _ => return Ok(()),
            }
        }
        Ok(batch.lay_vectors(|question| vectors.get(question.row).map(|vector| &vector[..]))?)
    }
}

/// The positions of a row at which something is predicted for a request that is asked there.
fn targets(live: &Live, question: &PackedQuestion) -> Vec<usize> {
    let Begun { prompt, given } = live.begun();
    let (all, end) = (prompt.tokens.len() + given.len(), question.start + question.prompt_len);
    // What it shares with others stands at the beginning of the row.
    let shared = all - question.prompt_len;
    let position = |(place, _)| if place < shared { place } else { end - (all - place) };
    live.targets().into_iter().map(position).collect()
}
