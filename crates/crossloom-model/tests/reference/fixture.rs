//! Folders of models, of their gradients, and files of inputs and results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crossloom_ir::{DType, Tensor};
use crossloom_recipe::{PointAddress, VisionAddress};
use crossloom_weights::Pretrained;
use safetensors::{Dtype, SafeTensors};

/// What `tests/oracle/make_model_fixtures.py` wrote for one case of a model.
pub(crate) struct Fixture {
    weights: Vec<Pretrained>,
    gradients: Vec<Pretrained>,
    tensors: BTreeMap<String, Tensor<f64>>,
}

/// A pretrained model or what is written like one.
fn open(folder: &Path) -> Pretrained {
    Pretrained::open(folder).unwrap_or_else(|e| panic!("{e}"))
}

fn numbers(bytes: &[u8], number: impl Fn([u8; 4]) -> f64) -> Vec<f64> {
    bytes.chunks_exact(4).map(|b| number([b[0], b[1], b[2], b[3]])).collect()
}

/// A tensor of a pretrained model by our name.
fn tensor(model: &Pretrained, name: &str) -> Option<Tensor<f64>> {
    model.names().find(|known| *known == name)?;
    let (ty, bytes) = model.tensor(name).unwrap();
    assert_eq!(ty.dtype, DType::F32, "{name}");
    Some(Tensor::new(ty.shape, numbers(bytes.as_ref(), |b| f64::from(f32::from_le_bytes(b)))).unwrap())
}

impl Fixture {
    /// A case of a model in these parts; its gradients are those of the case `of`.
    pub(crate) fn load(name: &str, parts: &[&str], case: &str, of: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/fixtures").join(name);
        let bytes = std::fs::read(folder.join(case).join("reference.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let data = match view.dtype() {
                Dtype::F32 => numbers(view.data(), |b| f64::from(f32::from_le_bytes(b))),
                Dtype::I32 => numbers(view.data(), |b| f64::from(i32::from_le_bytes(b))),
                other => panic!("{name} is of type {other:?}"),
            };
            (name.to_owned(), Tensor::new(view.shape(), data).unwrap())
        });
        Self {
            tensors: tensors.collect(),
            weights: parts.iter().map(|part| open(&folder.join(part))).collect(),
            gradients: parts.iter().map(|part| open(&folder.join(of).join(part))).collect(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor<f64> {
        self.tensors.get(name).unwrap_or_else(|| panic!("there is no `{name}`"))
    }

    /// What stands under a prefix, by the rest of the name.
    pub(crate) fn under(&self, prefix: &str) -> BTreeMap<&str, &Tensor<f64>> {
        self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t))).collect()
    }

    /// The vision states that a model reads by its own configuration.
    pub(crate) fn taps(&self) -> Vec<VisionAddress> {
        self.weights.iter().flat_map(|model| model.architecture().taps.clone()).collect()
    }

    /// The vision states that a model adds to layers by its own configuration.
    pub(crate) fn wiring(&self) -> Vec<(VisionAddress, PointAddress)> {
        self.weights.iter().flat_map(|model| model.architecture().wiring.clone()).collect()
    }

    /// A weight.
    pub(crate) fn weight(&self, name: &str) -> Tensor<f64> {
        let found = self.weights.iter().find_map(|model| tensor(model, name));
        found.unwrap_or_else(|| self.get(&format!("weight.{name}")).clone())
    }

    /// Names and shapes of all weights.
    pub(crate) fn weights(&self) -> BTreeSet<(String, Vec<usize>)> {
        let names = self.weights.iter().flat_map(Pretrained::names);
        let names = names.chain(self.under("weight.").into_keys());
        names.map(|name| (name.to_owned(), self.weight(name).shape)).collect()
    }

    /// Gradients of the loss by the name of the weight, but for those that it does not depend on.
    pub(crate) fn gradients(&self) -> BTreeMap<String, Tensor<f64>> {
        let kept = self.under("grad.").into_iter().map(|(name, t)| (name.to_owned(), t.clone()));
        let read = self.gradients.iter().flat_map(|model| {
            model.names().map(|name| (name.to_owned(), tensor(model, name).unwrap())).collect::<Vec<_>>()
        });
        read.chain(kept).filter(|(_, t)| t.data.iter().any(|x| *x != 0.0)).collect()
    }
}

/// A tensor of smaller numbers counts as one of such. The loss does not depend on the key biases of a vision tower, as
/// softmax does not see them; their gradients are rounding.
const SMALLEST_SCALE: f64 = 1e-2;

/// Fails where a number is off by more than `tolerance` of the largest number of the tensor, and prints how far the worst one is.
pub(crate) fn assert_close(what: &str, given: &Tensor<f64>, expected: &Tensor<f64>, tolerance: f64) {
    assert_eq!(given.shape, expected.shape, "{what}");
    let scale = expected.data.iter().fold(SMALLEST_SCALE, |scale, x| scale.max(x.abs()));
    let mut worst = 0.0_f64;
    for (i, (given, expected)) in given.data.iter().zip(&expected.data).enumerate() {
        let off = (given - expected).abs() / scale;
        // A number that is none is no close one.
        assert!(
            off <= tolerance,
            "{what}, element {i}: {given}, expected {expected}, off by {off:.1e} of {scale}"
        );
        worst = worst.max(off);
    }
    println!("{worst:.1e} of the largest at most, {tolerance:.0e} allowed: {what}");
}
