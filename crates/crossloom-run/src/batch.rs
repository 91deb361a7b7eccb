//! A packed batch as the inputs of a compiled graph.

use crossloom_data::packing::{IMAGE_SEGMENT, PackedBatch};
use crossloom_model::inputs;
use crossloom_recipe::{Gate, GatePool, Recipe};

use crate::backends::{Executable, RunError};

/// Writes a batch into an executable's inputs. `pool` says over which positions AGF pools the hidden state.
///
/// # Errors
/// The batch has other shapes than the graph was built for.
pub fn load_batch(exe: &mut Executable, batch: &PackedBatch, pool: GatePool) -> Result<(), RunError> {
    floats(exe, inputs::PIXELS, &batch.pixels_bchw)?;
    ints(exe, inputs::TOKENS, &batch.tokens_bt)?;
    ints(exe, inputs::POSITIONS, &batch.positions_bt)?;
    ints(exe, inputs::SEGMENTS, &batch.segments_bt)?;
    ints(exe, inputs::IMAGE_INDEX, &batch.image_index_bn)?;
    ints(exe, inputs::TARGET_INDEX, &batch.target_index_bm)?;
    if exe.has_input(inputs::TARGETS) {
        ints(exe, inputs::TARGETS, &batch.targets_bm)?;
    }
    match pool {
        GatePool::Prompt => floats(exe, inputs::POOL_MASK, &batch.prompt_mask_bt),
        GatePool::Image => {
            let mask = exe.input_mut(inputs::POOL_MASK)?;
            for (pooled, &segment) in mask.iter_mut().zip(&batch.segments_bt) {
                *pooled = f32::from(u8::from(segment == IMAGE_SEGMENT));
            }
            Ok(())
        }
    }
}

/// The positions over which a recipe's gates pool; the image where it has no such gate.
pub(crate) fn pool_of(recipe: &Recipe) -> GatePool {
    match &recipe.topology.gate {
        Gate::Agf(agf) => agf.pool,
        _ => GatePool::Image,
    }
}

fn floats(exe: &mut Executable, name: &str, values: &[f32]) -> Result<(), RunError> {
    let target = exe.input_mut(name)?;
    check(name, target.len(), values.len())?;
    target.copy_from_slice(values);
    Ok(())
}

fn ints(exe: &mut Executable, name: &str, values: &[i32]) -> Result<(), RunError> {
    let target = exe.int_input_mut(name)?;
    check(name, target.len(), values.len())?;
    target.copy_from_slice(values);
    Ok(())
}

fn check(name: &str, expected: usize, given: usize) -> Result<(), RunError> {
    if expected == given {
        return Ok(());
    }
    Err(RunError::InputLength { name: name.to_owned(), expected, given })
}
