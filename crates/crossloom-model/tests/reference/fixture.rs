//! Files of weights, inputs and results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crossloom_ir::Tensor;
use safetensors::{Dtype, SafeTensors};

/// A file that `tests/oracle/make_model_fixtures.py` wrote.
pub(crate) struct Fixture {
    pub(crate) name: String,
    tensors: BTreeMap<String, Tensor<f64>>,
}

impl Fixture {
    pub(crate) fn load(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/fixtures");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let numbers = view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            let data = match view.dtype() {
                Dtype::F32 => numbers.map(|b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::I32 => numbers.map(|b| f64::from(i32::from_le_bytes(b))).collect(),
                other => panic!("{name} is of type {other:?}"),
            };
            (name.to_owned(), Tensor::new(view.shape(), data).unwrap())
        });
        Self { name: name.to_owned(), tensors: tensors.collect() }
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor<f64> {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no `{name}`", self.name))
    }

    /// What stands under a prefix, by the rest of the name.
    pub(crate) fn under(&self, prefix: &str) -> BTreeMap<&str, &Tensor<f64>> {
        self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t))).collect()
    }

    /// Gradients of the loss, by the name of the weight.
    pub(crate) fn gradients(&self) -> BTreeMap<&str, &Tensor<f64>> {
        self.under("grad.")
    }

    /// Names and shapes of the weights: whatever is no gradient and of no case.
    pub(crate) fn weights(&self) -> BTreeSet<(String, Vec<usize>)> {
        let weights =
            self.tensors.iter().filter(|(name, _)| !name.starts_with("grad.") && !name.contains('/'));
        weights.map(|(name, t)| (name.clone(), t.shape.clone())).collect()
    }
}

/// Largest difference, relative to the largest number of the tensor.
const TOLERANCE: f64 = 1e-5;
/// A tensor of smaller numbers counts as one of such. The loss does not depend on the key biases of a vision tower, as
/// softmax does not see them; their gradients are rounding.
const SMALLEST_SCALE: f64 = 1e-2;

pub(crate) fn assert_close(what: &str, given: &Tensor<f64>, expected: &Tensor<f64>) {
    assert_eq!(given.shape, expected.shape, "{what}");
    let scale = expected.data.iter().fold(SMALLEST_SCALE, |scale, x| scale.max(x.abs()));
    for (i, (given, expected)) in given.data.iter().zip(&expected.data).enumerate() {
        let off = (given - expected).abs();
        assert!(off <= TOLERANCE * scale, "{what}, element {i}: {given}, expected {expected}, scale {scale}");
    }
}
