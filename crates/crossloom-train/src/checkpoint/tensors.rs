//! Tensors to and from safetensors files, streamed one tensor at a time when writing.

use std::collections::HashMap;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::step::{BoxError, ModelState, OPTIMIZER_PREFIX, StateTensor};

/// Name and type of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorSpec {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

impl TensorSpec {
    pub(super) fn belongs_to_optimizer(&self) -> bool {
        self.name.starts_with(OPTIMIZER_PREFIX)
    }

    pub(super) fn of(tensor: StateTensor<'_>) -> Self {
        Self { name: tensor.name.to_owned(), dtype: tensor.dtype, shape: tensor.shape.to_vec() }
    }

    /// Number of bytes; none if there are more than can be counted, or no whole number of them.
    pub(super) fn bytes(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1_usize, |len, &dim| len.checked_mul(dim))?;
        let bits = elements.checked_mul(self.dtype.bitsize())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// Names and shapes of all tensors in visiting order; a name twice or a wrong length is an error.
pub(super) fn specs(model: &dyn ModelState) -> Result<Vec<TensorSpec>, BoxError> {
    let mut specs: Vec<TensorSpec> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    model.visit_state(&mut |tensor| {
        let (spec, name) = (TensorSpec::of(tensor), tensor.name);
        if spec.bytes() != Some(tensor.bytes.len()) {
            let (shape, given) = (tensor.shape, tensor.bytes.len());
            return Err(
                format!("tensor `{name}` of shape {shape:?} {} came with {given} bytes", spec.dtype).into()
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
        let bytes = spec.bytes().ok_or_else(|| format!("tensor `{}` is too large", spec.name))?;
        let end = offset.checked_add(bytes).ok_or("the checkpoint is too large")?;
        let info = TensorInfo { dtype: spec.dtype, shape: spec.shape.clone(), data_offsets: (offset, end) };
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

/// Compare a file with the tensors the model has: one sentence per missing, unexpected or different tensor.
pub(super) fn differences(file: &SafeTensors<'_>, expected: &[&TensorSpec]) -> Vec<String> {
    let mut problems = Vec::new();
    for spec in expected {
        match file.tensor(&spec.name) {
            Err(_) => problems.push(format!("missing: `{}` {:?}", spec.name, spec.shape)),
            Ok(found) if found.dtype() != spec.dtype => {
                let (found, wanted) = (found.dtype(), spec.dtype);
                problems.push(format!("`{}` has dtype {found}, the model has {wanted}", spec.name));
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
