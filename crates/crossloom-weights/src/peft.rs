//! Low-rank pairs as PEFT keeps them: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A pair lies under the name that the layer has as a module of the base model, with `base_model.model.` before it. Such names
//! depend on what the base is: the same layer of a language model is another module of a LLaVA.

mod read;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crossloom_files::{create_folder_with, write_atomic};
use crossloom_recipe::VisionModel;
pub use read::{Adapter, is_adapter, read};
pub(crate) use read::{Settings, scope_of};
use serde_json::{Map, Value, json};

use crate::export::{Scope, Tensors, Values, as_they_are, save, text};
use crate::layout::{Dims, GRANITE_VISION, QWEN3_VL};
use crate::{Layout, WeightsError};

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
/// How the name of a layer's weight goes on behind that of the layer.
const WEIGHT: &str = ".weight";
/// What our names of an encoder's layers begin with.
const TOWER: &str = "vision_tower.vision_model.";
/// What the names of an encoder's blocks go on with, and those of DINOv2's.
const OUR_LAYERS: &str = "encoder.layers.";
const DINOV2_LAYERS: &str = "encoder.layer.";
/// Layers of a block by our names, and DINOv2's modules: as of transformers 5, and as before. Its files have the earlier names.
const DINOV2: [(&str, [&str; 2]); 6] = [
    ("self_attn.q_proj", ["attention.q_proj", "attention.attention.query"]),
    ("self_attn.k_proj", ["attention.k_proj", "attention.attention.key"]),
    ("self_attn.v_proj", ["attention.v_proj", "attention.attention.value"]),
    ("self_attn.out_proj", ["attention.o_proj", "attention.output.dense"]),
    ("mlp.fc1", ["mlp.fc1", "mlp.fc1"]),
    ("mlp.fc2", ["mlp.fc2", "mlp.fc2"]),
];

/// First parts of our names, and of the modules of a base. Where there are several, the first is written and all are read.
type Modules = &'static [(&'static str, &'static [&'static str])];

const LANGUAGE: Modules = &[("language_model.", &[""])];
const VISION: Modules = &[(TOWER, &["", "vision_model."])];
/// As of transformers 5, and as before.
const WHOLE: Modules = &[
    (TOWER, &["model.vision_tower.", "model.vision_tower.vision_model.", "vision_tower.vision_model."]),
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

/// Encoders, by how their modules are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// As we call them: CLIP's and SigLIP's.
    Clip,
    /// DINOv2's.
    Dinov2,
    /// Qwen3-VL's, which with its projector is one module of the whole, and has queries, keys and values as one layer.
    Qwen3Vl,
}

impl Tower {
    /// That of an encoder.
    pub fn of(vision: &VisionModel) -> Self {
        match (vision.layer_scale, vision.rope_theta) {
            (true, _) => Self::Dinov2,
            (false, Some(_)) => Self::Qwen3Vl,
            (false, None) => Self::Clip,
        }
    }
}

/// What an adapter stands beside.
#[derive(Clone, Copy, Debug)]
pub struct Base<'b> {
    /// How much of a model it is.
    pub scope: Scope,
    /// Which modules its encoder has.
    pub tower: Tower,
    /// Where it lies, or its name.
    pub path: Option<&'b str>,
}

impl Base<'_> {
    /// The module that a layer of ours is; none if it is a part of one, too.
    pub(crate) fn module(&self, linear: &str) -> Option<String> {
        if self.tower == Tower::Qwen3Vl && !linear.starts_with("language_model.") {
            let row = QWEN3_VL.of_ours(&format!("{linear}{WEIGHT}"), &Dims::default())?;
            let whole = self.scope == Scope::Whole && row.is_as_it_lies();
            return row.file.first().filter(|_| whole)?.strip_suffix(WEIGHT).map(str::to_owned);
        }
        let (theirs, inner) = (modules(self.scope).iter())
            .find_map(|(ours, theirs)| Some((*theirs.first()?, linear.strip_prefix(ours)?)))?;
        if self.tower == Tower::Dinov2 && linear.starts_with(TOWER) {
            let (number, rest) = inner.strip_prefix(OUR_LAYERS)?.split_once('.')?;
            let (_, [now, _]) = DINOV2.iter().find(|(ours, _)| *ours == rest)?;
            return Some(format!("{theirs}{DINOV2_LAYERS}{number}.{now}"));
        }
        Some(format!("{theirs}{inner}"))
    }
}

/// The layers of ours that a module is, one below the other; none that is known. Adapters of what a model injects have the names that
/// `dims` says.
pub(crate) fn to_linears(scope: Scope, module: &str, dims: &Dims) -> Vec<String> {
    if let Some(linear) = to_linear(scope, module) {
        return vec![linear];
    }
    if scope != Scope::Whole {
        return Vec::new();
    }
    let of = |layout: &Layout| layout.of_file(&format!("{module}{WEIGHT}"), dims);
    let rows = [QWEN3_VL, GRANITE_VISION].iter().find_map(of);
    // A decoder's modules are in the table.
    let ours = rows.into_iter().flat_map(|row| row.ours).filter(|name| !name.starts_with("language_model."));
    ours.filter_map(|name| name.strip_suffix(WEIGHT).map(str::to_owned)).collect()
}

fn to_linear(scope: Scope, module: &str) -> Option<String> {
    let mut ways: Vec<(&str, &str)> = modules(scope)
        .iter()
        .flat_map(|(ours, theirs)| theirs.iter().map(move |theirs| (*theirs, *ours)))
        .collect();
    // The longest fits best.
    ways.sort_by_key(|(theirs, _)| std::cmp::Reverse(theirs.len()));
    let (ours, inner) =
        ways.into_iter().find_map(|(theirs, ours)| Some((ours, module.strip_prefix(theirs)?)))?;
    if let (TOWER, Some(inner)) = (ours, inner.strip_prefix(DINOV2_LAYERS)) {
        let (number, rest) = inner.split_once('.')?;
        let (own, _) = DINOV2.iter().find(|(_, theirs)| theirs.contains(&rest))?;
        return Some(format!("{ours}{OUR_LAYERS}{number}.{own}"));
    }
    Some(format!("{ours}{inner}"))
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

/// Writes pairs as an adapter of what they were trained on.
///
/// # Errors
/// There is none; a layer that the base does not have; the folder is there already, or cannot be written. Nothing is left then.
pub fn write(folder: &Path, base: Base<'_>, pairs: &[Pair]) -> Result<(), WeightsError> {
    let adapter = Written::new(base, pairs).map_err(|problems| WeightsError::new(folder, problems))?;
    create_folder_with(folder, |folder| adapter.save(folder))
        .map_err(|error| WeightsError::one(folder, error))
}

/// Writes several adapters of one base, each as a folder of its name.
///
/// # Errors
/// As [`write()`].
pub fn write_all(
    folder: &Path,
    base: Base<'_>,
    adapters: &[(String, Vec<Pair>)],
) -> Result<(), WeightsError> {
    let (mut all, mut problems) = (Vec::with_capacity(adapters.len()), Vec::new());
    for (name, pairs) in adapters {
        match Written::new(base, pairs) {
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
    fn new(base: Base<'_>, pairs: &[Pair]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let (mut tensors, mut modules) = (Tensors::new(), BTreeMap::new());
        for pair in pairs {
            match base.module(&pair.linear) {
                Some(module) => {
                    tensors.insert(format!("{PREFIX}{module}.lora_A.weight"), pair.a.clone());
                    tensors.insert(format!("{PREFIX}{module}.lora_B.weight"), pair.b.clone());
                    modules.insert(module, (pair.rank(), pair.alpha));
                }
                None if base.tower == Tower::Qwen3Vl && pair.linear.contains(".self_attn.") => {
                    problems.push(format!(
                        "`{}` is no layer of its own in Qwen3-VL, whose encoder has queries, keys and values as one; \
                         `model export --merge` puts it into its weights",
                        pair.linear
                    ));
                }
                None => problems.push(format!("`{}` is no layer of `{}`", pair.linear, base.scope.name())),
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
            "task_type": if base.scope == Scope::Language { json!("CAUSAL_LM") } else { Value::Null },
            "base_model_name_or_path": base.path,
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
