//! Low-rank pairs as PEFT keeps them: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A pair lies under the name that the layer has as a module of the base model, with `base_model.model.` before it. Such names
//! depend on what the base is: the same layer of a language model is another module of a LLaVA.

mod read;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crossloom_files::{create_folder_with, write_atomic};
pub use read::{Adapter, is_adapter, read};
pub(crate) use read::{Settings, scope_of};
use serde_json::{Map, Value, json};

use crate::WeightsError;
use crate::export::{Scope, Tensors, Values, as_they_are, save, text};

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// First parts of our names, and of the modules of a base. Where there are several, the first is written and all are read.
type Modules = &'static [(&'static str, &'static [&'static str])];

const LANGUAGE: Modules = &[("language_model.", &[""])];
const VISION: Modules = &[("vision_tower.vision_model.", &["", "vision_model."])];
/// As of transformers 5, and as before.
const WHOLE: Modules = &[
    (
        "vision_tower.vision_model.",
        &["model.vision_tower.", "model.vision_tower.vision_model.", "vision_tower.vision_model."],
    ),
    ("multi_modal_projector.", &["model.multi_modal_projector.", "multi_modal_projector."]),
    ("language_model.model.", &["model.language_model.", "language_model.model."]),
];

fn modules(scope: Scope) -> Modules {
    match scope {
        Scope::Language => LANGUAGE,
        Scope::Vision => VISION,
        Scope::Whole => WHOLE,
    }
}

pub(crate) fn to_module(scope: Scope, linear: &str) -> Option<String> {
    modules(scope)
        .iter()
        .find_map(|(ours, theirs)| Some(format!("{}{}", theirs.first()?, linear.strip_prefix(ours)?)))
}

pub(crate) fn to_linear(scope: Scope, module: &str) -> Option<String> {
    let mut ways: Vec<(&str, &str)> = modules(scope)
        .iter()
        .flat_map(|(ours, theirs)| theirs.iter().map(move |theirs| (*theirs, *ours)))
        .collect();
    // The longest fits best.
    ways.sort_by_key(|(theirs, _)| std::cmp::Reverse(theirs.len()));
    ways.into_iter().find_map(|(theirs, ours)| Some(format!("{ours}{}", module.strip_prefix(theirs)?)))
}

/// A low-rank pair beside a linear layer: `alpha / rank * B A` is added to its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Our name of the layer.
    pub linear: String,
    /// `[rank, in]`.
    pub a: Values,
    /// `[out, rank]`.
    pub b: Values,
    /// Numerator of the factor.
    pub alpha: f64,
}

impl Pair {
    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.shape.first().copied().unwrap_or(0)
    }

    /// Adds the pair to a weight `[out, in]`. Every element is summed in f64, in the order of the ranks.
    ///
    /// # Errors
    /// A weight of another shape.
    pub fn merge(&self, weight: &mut Values) -> Result<(), String> {
        let (rank, fan_in) = (self.rank(), self.a.shape.get(1).copied().unwrap_or(0));
        if rank == 0 || weight.shape != [self.b.shape.first().copied().unwrap_or(0), fan_in] {
            let (a, b, w) = (&self.a.shape, &self.b.shape, &weight.shape);
            return Err(format!(
                "`{}`: a pair of {a:?} and {b:?} does not fit a weight of {w:?}",
                self.linear
            ));
        }
        let scale = self.alpha / rank as f64;
        for (row, b) in weight.values.chunks_mut(fan_in).zip(self.b.values.chunks(rank)) {
            for (column, weight) in row.iter_mut().enumerate() {
                let a = self.a.values.iter().skip(column).step_by(fan_in);
                let sum: f64 = b.iter().zip(a).map(|(b, a)| f64::from(*b) * f64::from(*a)).sum();
                *weight = (f64::from(*weight) + scale * sum) as f32;
            }
        }
        Ok(())
    }
}

/// Writes pairs as an adapter of a scope of their model. `base` is the path or the name of what they were trained on.
///
/// # Errors
/// There is none; a layer that the base does not have; the folder is there already, or cannot be written. Nothing is left then.
pub fn write(folder: &Path, scope: Scope, base: Option<&str>, pairs: &[Pair]) -> Result<(), WeightsError> {
    let adapter = Written::new(scope, base, pairs).map_err(|problems| WeightsError::new(folder, problems))?;
    create_folder_with(folder, |folder| adapter.save(folder))
        .map_err(|error| WeightsError::one(folder, error))
}

/// Writes several adapters of one base, each as a folder of its name.
///
/// # Errors
/// As [`write()`].
pub fn write_all(
    folder: &Path,
    scope: Scope,
    base: Option<&str>,
    adapters: &[(String, Vec<Pair>)],
) -> Result<(), WeightsError> {
    let (mut all, mut problems) = (Vec::with_capacity(adapters.len()), Vec::new());
    for (name, pairs) in adapters {
        match Written::new(scope, base, pairs) {
            Ok(adapter) => all.push((name, adapter)),
            Err(own) => problems.extend(own),
        }
    }
    if !problems.is_empty() {
        return Err(WeightsError::new(folder, problems));
    }
    create_folder_with(folder, |folder| {
        all.iter()
            .try_for_each(|(name, adapter)| create_folder_with(&folder.join(name), |own| adapter.save(own)))
    })
    .map_err(|error| WeightsError::one(folder, error))
}

/// The two files of an adapter.
struct Written {
    config: Value,
    tensors: Tensors,
}

impl Written {
    fn new(scope: Scope, base: Option<&str>, pairs: &[Pair]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let (mut tensors, mut modules) = (Tensors::new(), BTreeMap::new());
        for pair in pairs {
            match to_module(scope, &pair.linear) {
                Some(module) => {
                    tensors.insert(format!("{PREFIX}{module}.lora_A.weight"), pair.a.clone());
                    tensors.insert(format!("{PREFIX}{module}.lora_B.weight"), pair.b.clone());
                    modules.insert(module, (pair.rank(), pair.alpha));
                }
                None => problems.push(format!("`{}` is no layer of `{}`", pair.linear, scope.name())),
            }
        }
        let Some(&(rank, alpha)) = modules.values().next() else {
            problems.push("there are no low-rank pairs".to_owned());
            return Err(problems);
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let others = || modules.iter().filter(|(_, own)| **own != (rank, alpha));
        let ranks: Map<String, Value> = others().map(|(name, own)| (name.clone(), json!(own.0))).collect();
        let alphas: Map<String, Value> = others().map(|(name, own)| (name.clone(), json!(own.1))).collect();
        let config = json!({
            "peft_type": "LORA",
            "task_type": if scope == Scope::Language { json!("CAUSAL_LM") } else { Value::Null },
            "base_model_name_or_path": base,
            "r": rank,
            "lora_alpha": alpha,
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "target_modules": modules.keys().collect::<Vec<_>>(),
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "use_rslora": false,
            "use_dora": false,
            "modules_to_save": null,
            "init_lora_weights": true,
            "inference_mode": true,
        });
        Ok(Self { config, tensors })
    }

    fn save(&self, folder: &Path) -> io::Result<()> {
        write_atomic(&folder.join(CONFIG), &text(&self.config)?)?;
        save(&folder.join(MODEL), &as_they_are(&self.tensors))
    }
}

#[cfg(test)]
mod tests;
