//! Tensors to and from safetensors files, streamed one tensor at a time when writing.

use std::collections::HashMap;
use std::io::{self, Write};

use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::step::{BoxError, ModelState, OPTIMIZER_PREFIX};

/// Name and shape of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorSpec {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

impl TensorSpec {
    pub(super) fn belongs_to_optimizer(&self) -> bool {
        self.name.starts_with(OPTIMIZER_PREFIX)
    }

    /// Number of values; saturates, and a saturated count never equals a slice's length.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().fold(1, |len: usize, &dim| len.saturating_mul(dim))
    }
}

/// Names and shapes of all tensors in visiting order; a name twice or a wrong length is an error.
pub(super) fn specs(model: &dyn ModelState) -> Result<Vec<TensorSpec>, BoxError> {
    let mut specs: Vec<TensorSpec> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    model.visit_state(&mut |name, shape, values| {
        let spec = TensorSpec { name: name.to_owned(), shape: shape.to_vec() };
        if spec.len() != values.len() {
            return Err(
                format!("tensor `{name}` of shape {shape:?} came with {} values", values.len()).into()
            );
        }
        if !seen.insert(spec.name.clone()) {
            return Err(format!("tensor `{name}` was visited twice").into());
        }
        specs.push(spec);
        Ok(())
    })?;
    Ok(specs)
}

/// The head of a safetensors file with these tensors in this order: length, header text, padding to 8 bytes.
pub(super) fn header<'a>(specs: impl Iterator<Item = &'a TensorSpec>) -> Result<Vec<u8>, BoxError> {
    let mut offset = 0_usize;
    let mut infos = Vec::new();
    for spec in specs {
        let bytes =
            spec.len().checked_mul(4).ok_or_else(|| format!("tensor `{}` is too large", spec.name))?;
        let end = offset.checked_add(bytes).ok_or("the checkpoint is too large")?;
        let info = TensorInfo { dtype: Dtype::F32, shape: spec.shape.clone(), data_offsets: (offset, end) };
        infos.push((spec.name.clone(), info));
        offset = end;
    }
    // What transformers expects of a file it is to load.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut text = serde_json::to_vec(&Metadata::new(Some(format), infos)?)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut head = (text.len() as u64).to_le_bytes().to_vec();
    head.append(&mut text);
    Ok(head)
}

/// Write values as little-endian f32, in bounded pieces.
pub(super) fn write_values(out: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(values.len().min(PIECE) * 4);
    for piece in values.chunks(PIECE) {
        bytes.clear();
        for value in piece {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Values per write call: 1 MiB.
const PIECE: usize = 1 << 18;

/// Compare a file with the tensors the model has: one sentence per missing, unexpected or different tensor.
pub(super) fn differences(file: &SafeTensors<'_>, expected: &[&TensorSpec]) -> Vec<String> {
    let mut problems = Vec::new();
    for spec in expected {
        match file.tensor(&spec.name) {
            Err(_) => problems.push(format!("missing: `{}` {:?}", spec.name, spec.shape)),
            Ok(found) if found.dtype() != Dtype::F32 => {
                problems.push(format!("`{}` has dtype {}, expected F32", spec.name, found.dtype()));
            }
            Ok(found) if found.shape() != spec.shape => {
                problems.push(format!(
                    "`{}` has shape {:?}, the model has {:?}",
                    spec.name,
                    found.shape(),
                    spec.shape
                ));
            }
            Ok(_) => {}
        }
    }
    let known: std::collections::BTreeSet<&str> = expected.iter().map(|spec| spec.name.as_str()).collect();
    let mut unexpected: Vec<&str> = file.names().into_iter().filter(|name| !known.contains(name)).collect();
    unexpected.sort_unstable();
    problems.extend(unexpected.iter().map(|name| format!("unexpected: `{name}`")));
    problems
}

/// The values of an f32 tensor.
pub(super) fn values_of(tensor: &TensorView<'_>) -> Vec<f32> {
    tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}
