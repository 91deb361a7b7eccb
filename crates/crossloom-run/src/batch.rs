//! A packed batch as the inputs of a compiled graph.

use crossloom_data::packing::{IMAGE_SEGMENT, PADDING_SEGMENT, PackedBatch};
use crossloom_model::inputs;
use crossloom_recipe::{Gate, GatePool, Recipe};
use crossloom_runtime::{RunError, Session};

/// Writes a batch into the inputs of a session that encodes its pictures. `pool` says over which positions AGF pools the hidden state.
///
/// # Errors
/// The batch has other shapes than the graph was built for.
pub fn load_batch(session: &mut Session, batch: &PackedBatch, pool: GatePool) -> Result<(), RunError> {
    session.write(inputs::PIXELS, &batch.pixels_bchw)?;
    load_questions(session, batch, pool)
}

/// Writes all of a batch but its pictures.
pub(crate) fn load_questions(
    session: &mut Session,
    batch: &PackedBatch,
    pool: GatePool,
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
    if !session.has_input(inputs::POOL_MASK) {
        return Ok(());
    }
    match pool {
        GatePool::Prompt => session.write(inputs::POOL_MASK, &batch.prompt_mask_bt),
        GatePool::Image => {
            let pooled = |&segment: &i32| f32::from(u8::from(segment == IMAGE_SEGMENT));
            let mask: Vec<f32> = batch.segments_bt.iter().map(pooled).collect();
            session.write(inputs::POOL_MASK, &mask)
        }
    }
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

/// The positions over which a recipe's gates pool; the image where it has no such gate.
pub fn pool_of(recipe: &Recipe) -> GatePool {
    match &recipe.topology.gate {
        Gate::Agf(agf) => agf.pool,
        _ => GatePool::Image,
    }
}
