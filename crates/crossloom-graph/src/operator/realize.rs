//! From luminal's tensors and views to contiguous data.

use crossloom_ir::TensorType;
use luminal::op::InputTensor;
use luminal::prelude::ShapeTracker;

use crate::wiring::is_plain;

/// The elements an operand shows, in row-major order of the view. Plain views of tensors that nobody else reads are
/// moved, not copied.
///
/// # Errors
/// The data is not on the CPU, does not have the elements of `ty`, or the view reads outside of it.
pub(crate) fn realize(
    tensor: InputTensor<'_>,
    tracker: &ShapeTracker,
    ty: &TensorType,
) -> Result<Vec<f32>, String> {
    let data = take(tensor)?;
    let data = if is_plain(tracker) { data } else { gather(&data, tracker)? };
    if data.len() == ty.elements() {
        Ok(data)
    } else {
        Err(format!("operand has {} elements, {ty} has {}", data.len(), ty.elements()))
    }
}

/// What an operator gives when it cannot compute.
pub(crate) fn poison(types: &[TensorType]) -> Vec<luminal::prelude::Tensor> {
    types.iter().map(|ty| luminal::prelude::Tensor::new(vec![f32::NAN; ty.elements()])).collect()
}

fn take(tensor: InputTensor<'_>) -> Result<Vec<f32>, String> {
    let missing = || "operand does not hold f32 data on the CPU".to_owned();
    match tensor {
        InputTensor::Owned(mut owned) => {
            owned.data.as_any_mut().downcast_mut::<Vec<f32>>().map(std::mem::take).ok_or_else(missing)
        }
        InputTensor::Borrowed(borrowed) => {
            borrowed.data.as_any().downcast_ref::<Vec<f32>>().cloned().ok_or_else(missing)
        }
    }
}

fn gather(data: &[f32], tracker: &ShapeTracker) -> Result<Vec<f32>, String> {
    let elements = tracker.n_elements().to_usize().ok_or("operand has a dynamic shape")?;
    let (index, valid) = (tracker.index_expression(), tracker.valid_expression());
    let element = |i| match valid.exec_single_var(i) {
        0 => Ok(0.0),
        _ => data
            .get(index.exec_single_var(i))
            .copied()
            .ok_or_else(|| "view reads outside of its operand".to_owned()),
    };
    (0..elements).map(element).collect()
}
