//! Every method against PyTorch modules that were written from its equations: names and shapes of all weights, logits, loss, and the
//! gradient of every weight, by the reference interpreter in f64 and as a compiled plan. The fixtures are written by
//! `tests/oracle/make_method_fixtures.py`; each holds the recipe that it is of.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crossloom_compiler::{Context, Mode, autodiff, compile};
use crossloom_cpu::{CpuDevice, CpuTarget};
use crossloom_ir::interp::run;
use crossloom_ir::{DType, Func, Role, Tensor};
use crossloom_model::{BatchShape, ModelGraph, Outputs, build_over_states, inputs};
use crossloom_recipe::{LoadOptions, Recipe, Topology, load_text};
use crossloom_runtime::{Arena, Executable, Session, Store};
use safetensors::{Dtype, SafeTensors};

/// Largest difference of a number, relative to the largest of its tensor. Weights and states are `f32`, and both sides compute in
/// `f64`, but where a fixture says otherwise: some modules of transformers compute in `f32` themselves.
const TOLERANCE: f64 = 1e-9;
/// The same where a plan computes in `f32`.
const IN_F32: f64 = 5e-5;

/// What the script wrote for one method.
struct Method {
    name: String,
    /// Largest difference of a number, as [`TOLERANCE`].
    tolerance: f64,
    recipe: Recipe,
    tensors: BTreeMap<String, Tensor<f64>>,
}

fn number(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let four = |bytes: &[u8]| [bytes[0], bytes[1], bytes[2], bytes[3]];
    match dtype {
        Dtype::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(four(b)))).collect(),
        Dtype::I32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(four(b)))).collect(),
        other => panic!("a tensor of type {other:?}"),
    }
}

impl Method {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        let text = metadata["recipe"].clone();
        let tolerance = metadata.get("tolerance").map_or(TOLERANCE, |written| written.parse().unwrap());
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/under-test.toml");
        let loaded = load_text(&beside, &text, &LoadOptions::default());
        let loaded = loaded.unwrap_or_else(|e| panic!("{}: {e}\n{text}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let data = number(view.dtype(), view.data());
            (name.to_owned(), Tensor::new(view.shape(), data).unwrap())
        });
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            tolerance,
            recipe: loaded.variants[0].recipe.clone(),
            tensors: tensors.collect(),
        }
    }

    fn get(&self, name: &str) -> &Tensor<f64> {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: there is no `{name}`", self.name))
    }

    fn under(&self, prefix: &str) -> BTreeMap<&str, &Tensor<f64>> {
        self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor))).collect()
    }

    fn build(&self, outputs: Outputs) -> ModelGraph {
        let size =
            |name: &str| <[usize; 2]>::try_from(&self.get(&format!("input.{name}")).shape[..]).unwrap();
        let ([batch, tokens], [_, targets]) = (size(inputs::TOKENS), size(inputs::TARGET_INDEX));
        let edges = Topology::new(&self.recipe).unwrap().pairs();
        let shape = BatchShape { batch, tokens, targets, views: None };
        build_over_states(&self.recipe, &edges, shape, 0, outputs)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    fn argument(&self, role: Role, name: &str) -> &Tensor<f64> {
        match role {
            Role::Weight => self.get(&format!("weight.{name}")),
            _ => self.get(&format!("input.{name}")),
        }
    }

    fn assert_close(&self, what: &str, given: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(given.len(), expected.len(), "{}: {what}", self.name);
        let scale = expected.iter().fold(1e-3_f64, |scale, x| scale.max(x.abs()));
        for (i, (given, expected)) in given.iter().zip(expected).enumerate() {
            let off = (given - expected).abs() / scale;
            let name = &self.name;
            assert!(
                off <= tolerance,
                "{name}: {what}, element {i}: {given}, expected {expected}, off by {off:.1e}"
            );
        }
    }
}

fn methods() -> Vec<Method> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/methods/fixtures");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 3);
    paths.iter().map(|path| Method::read(path)).collect()
}

fn arguments(method: &Method, func: &Func) -> Vec<Tensor<f64>> {
    let argument = |param: &crossloom_ir::Param| method.argument(param.role, &param.name).clone();
    func.params().iter().map(argument).collect()
}

#[test]
fn every_method_is_what_its_equations_say() {
    for method in methods() {
        let model = method.build(Outputs::Loss);
        let declared: BTreeSet<(String, Vec<usize>)> = (model.params.iter())
            .filter(|param| !param.name.starts_with("vision_tower."))
            .map(|param| (param.name.clone(), param.shape.clone()))
            .collect();
        let written: BTreeSet<(String, Vec<usize>)> =
            method.under("weight.").into_iter().map(|(name, t)| (name.to_owned(), t.shape.clone())).collect();
        assert_eq!(declared, written, "{}", method.name);

        let forward = model.graph.lift().unwrap();
        let weights = forward.params().iter().filter(|param| param.role == Role::Weight);
        let weights: Vec<_> = weights.map(|param| param.value).collect();
        let func = autodiff::gradient(&forward, "loss", &weights).unwrap();
        let results =
            run(&func, &arguments(&method, &func)).unwrap_or_else(|e| panic!("{}: {e}", method.name));
        let named: BTreeMap<&str, &Tensor<f64>> =
            func.results().iter().map(|result| result.name.as_str()).zip(&results).collect();
        method.assert_close("loss", &named["loss"].data, &method.get("loss").data, method.tolerance);
        for (name, gradient) in method.under("grad.") {
            let ours = named[format!("grad.{name}").as_str()];
            method.assert_close(&format!("gradient of {name}"), &ours.data, &gradient.data, method.tolerance);
        }

        let answers = method.build(Outputs::Predictions).graph.lift().unwrap();
        let results = run(&answers, &arguments(&method, &answers)).unwrap();
        let logits = answers.results().iter().position(|result| result.name == "logits").unwrap();
        method.assert_close("logits", &results[logits].data, &method.get("logits").data, method.tolerance);
    }
}

#[test]
fn a_compiled_plan_of_every_method_gives_the_same_logits() {
    for method in methods() {
        let func = method.build(Outputs::Predictions).graph.lift().unwrap();
        let cx = Context { verify: true, ..Context::new(&CpuTarget, Mode::Forward) };
        let plan = compile(&func, &cx).unwrap_or_else(|e| panic!("{}: {e}", method.name)).main.plan;
        let device = CpuDevice::shared();
        let store = Store::new(&device).unwrap();
        let mut session =
            Session::new(&Executable::new(&device, plan).unwrap(), &Arena::new(&store)).unwrap();
        for param in session.plan().func.clone().params() {
            let value = method.argument(param.role, &param.name);
            let singles: Vec<f32> = value.data.iter().map(|&x| x as f32).collect();
            let whole: Vec<i32> = value.data.iter().map(|&x| x as i32).collect();
            match (param.role, func.dtype(param.value)) {
                (Role::Input, DType::I32) => session.write(&param.name, &whole).unwrap(),
                (Role::Input, _) => session.write(&param.name, &singles).unwrap(),
                _ => store.write(&param.name, &singles).unwrap(),
            }
        }
        session.run().unwrap();
        let logits: Vec<f64> = session.read::<f32>("logits").unwrap().into_iter().map(f64::from).collect();
        method.assert_close("logits of the plan", &logits, &method.get("logits").data, IN_F32);
    }
}
