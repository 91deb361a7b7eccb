//! A packed batch as the inputs of a compiled graph.

use crossloom_data::packing::{IMAGE_SEGMENT, PADDING_SEGMENT, PackedBatch, PackingPlan, VISUAL_PARTS};
use crossloom_model::{BatchShape, ViewShape, inputs};
use crossloom_recipe::{GatePool, Recipe};
use crossloom_runtime::{RunError, Session};

/// The shape of the batches of a plan.
pub(crate) fn batch_shape(plan: &PackingPlan) -> BatchShape {
    BatchShape {
        batch: plan.batch_size,
        tokens: plan.sequence_len,
        targets: plan.targets,
        views: plan.views.map(|views| ViewShape { views, tokens: plan.visual_tokens }),
    }
}

/// Writes a batch into the inputs of a session that encodes its pictures.
///
/// # Errors
/// The batch has other shapes than the graph was built for.
pub fn load_batch(session: &mut Session, batch: &PackedBatch, pools: &Pools) -> Result<(), RunError> {
    session.write(inputs::PIXELS, &batch.pixels_bchw)?;
    load_questions(session, batch, pools)
}

/// Writes all of a batch but its pictures.
pub(crate) fn load_questions(
    session: &mut Session,
    batch: &PackedBatch,
    pools: &Pools,
) -> Result<(), RunError> {
    session.write(inputs::TOKENS, &batch.tokens_bt)?;
    session.write(inputs::POSITIONS, &batch.positions_bt)?;
    session.write(inputs::SEGMENTS, &batch.segments_bt)?;
    let laid = Laid::of(batch);
    load_text_segments(session, &laid)?;
    if session.has_input(inputs::IMAGE_INDEX) {
        session.write(inputs::IMAGE_INDEX, &batch.image_index_bn)?;
    }
    if session.has_input(inputs::PATCH_INDEX) {
        session.write(inputs::PATCH_INDEX, &pools.patches(batch, &batch.image_index_bn))?;
    }
    load_layout(session, batch)?;
    if session.has_input(inputs::TEXT_MASK) {
        session.write(inputs::TEXT_MASK, &laid.text_mask())?;
    }
    session.write(inputs::TARGET_INDEX, &batch.target_index_bm)?;
    if session.has_input(inputs::TARGETS) {
        session.write(inputs::TARGETS, &batch.targets_bm)?;
    }
    if session.has_input(inputs::QUESTION_MASK) {
        session.write(inputs::QUESTION_MASK, &question_mask(batch))?;
    }
    if session.has_input(inputs::QUESTION_VECTOR) {
        session.write(inputs::QUESTION_VECTOR, &batch.vectors_be)?;
    }
    pools.write(session, &laid, || batch.prompt_mask_bt.clone())
}

/// Writes what the visual tokens of rows are made of, where views are counted.
pub(crate) fn load_layout(session: &mut Session, batch: &PackedBatch) -> Result<(), RunError> {
    if session.has_input(inputs::VISUAL_ROWS) {
        session.write(inputs::VISUAL_ROWS, &batch.visual_rows_bn4)?;
        session.write(inputs::VISUAL_WEIGHTS, &batch.visual_weights_bn4)?;
    }
    Ok(())
}

/// What lies where in the rows that a session reads.
pub(crate) struct Laid<'b> {
    /// Of every position, as [`PackedBatch::segments_bt`].
    segments: &'b [i32],
    /// Whether a visual token stands there.
    visual: Vec<bool>,
}

impl<'b> Laid<'b> {
    /// In `rows` rows, where `image_index` are the positions of their visual tokens, -1 for one without.
    pub(crate) fn new(segments: &'b [i32], rows: usize, image_index: &[i32]) -> Self {
        let mut visual = vec![false; segments.len()];
        let [length, tokens] =
            [segments.len(), image_index.len()].map(|all| all.checked_div(rows).unwrap_or(0));
        let of_rows = image_index.chunks(tokens.max(1)).zip(visual.chunks_mut(length.max(1)));
        for (places, visual) in of_rows {
            for &place in places {
                if let Some(place) = usize::try_from(place).ok().and_then(|place| visual.get_mut(place)) {
                    *place = true;
                }
            }
        }
        Self { segments, visual }
    }

    fn of(batch: &'b PackedBatch) -> Self {
        Self::new(&batch.segments_bt, batch.plan().batch_size, &batch.image_index_bn)
    }

    fn each(&self) -> impl Iterator<Item = (i32, bool)> {
        self.segments.iter().copied().zip(self.visual.iter().copied())
    }

    /// The segments of layers without visual tokens, to which these are padding.
    fn text_segments(&self) -> Vec<i32> {
        self.each().map(|(segment, visual)| if visual { PADDING_SEGMENT } else { segment }).collect()
    }

    /// 1 for every position of text.
    pub(crate) fn text_mask(&self) -> Vec<f32> {
        let text =
            |(segment, visual): (i32, bool)| f32::from(u8::from(segment != PADDING_SEGMENT && !visual));
        self.each().map(text).collect()
    }

    /// 1 for every visual token.
    fn image_mask(&self) -> Vec<f32> {
        self.visual.iter().map(|&visual| f32::from(u8::from(visual))).collect()
    }
}

/// Writes the segments of layers without visual tokens, where only some have them.
pub(crate) fn load_text_segments(session: &mut Session, laid: &Laid<'_>) -> Result<(), RunError> {
    if !session.has_input(inputs::TEXT_SEGMENTS) {
        return Ok(());
    }
    session.write(inputs::TEXT_SEGMENTS, &laid.text_segments())
}

/// 1 at the positions of a question, without its answer.
pub(crate) fn question_mask(batch: &PackedBatch) -> Vec<f32> {
    let of_question = |&segment: &i32| f32::from(u8::from(segment > IMAGE_SEGMENT));
    let questions = batch.segments_bt.iter().map(of_question);
    batch.prompt_mask_bt.iter().zip(questions).map(|(prompt, question)| prompt * question).collect()
}

/// The positions at which injections add and over which gates pool the hidden state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// By the input that says which: those of each injection that has such gates.
    masks: Vec<(String, GatePool)>,
    /// Visual tokens of a view.
    of_view: usize,
}

impl Pools {
    /// Those of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        let injections = recipe.topology.injections();
        let masks = injections.filter_map(|of| Some((of.under(inputs::POOL_MASK), of.of.pool()?)));
        Self { masks: masks.collect(), of_view: recipe.model.visual_tokens() }
    }

    /// Every input with what it holds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, GatePool)> {
        self.masks.iter().map(|(input, pool)| (input.as_str(), *pool))
    }

    /// The positions `[B, N]` of a batch's visual tokens, of which `index` says where they are read, without the ends of rows of tiles' tokens.
    pub(crate) fn patches(&self, batch: &PackedBatch, index: &[i32]) -> Vec<i32> {
        let end = batch.plan().views.map(|views| (views * self.of_view) as i32);
        let parts =
            batch.visual_rows_bn4.chunks(VISUAL_PARTS).zip(batch.visual_weights_bn4.chunks(VISUAL_PARTS));
        let is_end = |(rows, weights): (&[i32], &[f32])| {
            rows.iter().zip(weights).any(|(row, weight)| *weight != 0.0 && Some(*row) == end)
        };
        index.iter().zip(parts).map(|(&at, parts)| if is_end(parts) { -1 } else { at }).collect()
    }

    /// Writes them for the positions of some rows, of which `prompt` gives the mask of the prompt.
    pub(crate) fn write(
        &self,
        session: &mut Session,
        laid: &Laid<'_>,
        prompt: impl Fn() -> Vec<f32>,
    ) -> Result<(), RunError> {
        for (input, pool) in self.iter() {
            if !session.has_input(input) {
                continue;
            }
            let mask = match pool {
                GatePool::Prompt => prompt(),
                GatePool::Image => laid.image_mask(),
            };
            session.write(input, &mask)?;
        }
        Ok(())
    }
}
