//! A packed batch as the inputs of a compiled graph.

use crossloom_data::packing::{IMAGE_SEGMENT, PADDING_SEGMENT, PackedBatch};
use crossloom_model::inputs;
use crossloom_recipe::{GatePool, Recipe};
use crossloom_runtime::{RunError, Session};

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
    load_text_segments(session, &batch.segments_bt)?;
    if session.has_input(inputs::IMAGE_INDEX) {
        session.write(inputs::IMAGE_INDEX, &batch.image_index_bn)?;
    }
    if session.has_input(inputs::TEXT_MASK) {
        session.write(inputs::TEXT_MASK, &text_mask(&batch.segments_bt))?;
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
    pools.write(session, &batch.segments_bt, || batch.prompt_mask_bt.clone())
}

/// Writes the segments of layers without visual tokens, where only some have them.
pub(crate) fn load_text_segments(session: &mut Session, segments: &[i32]) -> Result<(), RunError> {
    if !session.has_input(inputs::TEXT_SEGMENTS) {
        return Ok(());
    }
    let hidden = |&segment: &i32| if segment == IMAGE_SEGMENT { PADDING_SEGMENT } else { segment };
    session.write(inputs::TEXT_SEGMENTS, &segments.iter().map(hidden).collect::<Vec<i32>>())
}

/// 1 for every position of text, by its segment.
pub(crate) fn text_mask(segments: &[i32]) -> Vec<f32> {
    segments.iter().map(|&segment| f32::from(u8::from(segment > IMAGE_SEGMENT))).collect()
}

/// 1 at the positions of a question, without its answer.
pub(crate) fn question_mask(batch: &PackedBatch) -> Vec<f32> {
    let text = text_mask(&batch.segments_bt);
    batch.prompt_mask_bt.iter().zip(text).map(|(prompt, text)| prompt * text).collect()
}

/// The positions over which gates pool the hidden state: those of each injection that has such gates, by the input that says which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools(Vec<(String, GatePool)>);

impl Pools {
    /// Those of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        let injections = recipe.topology.injections();
        Self(injections.filter_map(|of| Some((of.under(inputs::POOL_MASK), of.of.pool()?))).collect())
    }

    /// Every input with what it holds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, GatePool)> {
        self.0.iter().map(|(input, pool)| (input.as_str(), *pool))
    }

    /// Writes them for positions of these segments, of which `prompt` gives the mask of the prompt.
    pub(crate) fn write(
        &self,
        session: &mut Session,
        segments: &[i32],
        prompt: impl Fn() -> Vec<f32>,
    ) -> Result<(), RunError> {
        for (input, pool) in self.iter() {
            if !session.has_input(input) {
                continue;
            }
            let mask = match pool {
                GatePool::Prompt => prompt(),
                GatePool::Image => {
                    segments.iter().map(|&s| f32::from(u8::from(s == IMAGE_SEGMENT))).collect()
                }
            };
            session.write(input, &mask)?;
        }
        Ok(())
    }
}
