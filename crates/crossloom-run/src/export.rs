//! A trained variant given away: its trained tensors, its low-rank pairs as PEFT keeps them, or a part of it as a model of its
//! own. Nothing is compiled and nothing runs.

use std::collections::BTreeSet;
use std::path::Path;

use crossloom_data::tokenizer::QuestionTokenizer;
use crossloom_ir::DType;
use crossloom_model::{BatchShape, Outputs, ParamSpec};
use crossloom_recipe::{
    Adapter, AmpAttach, Architecture, Fusion, Gate, Injection, Input, KeptIn, Mask, NamedInjection, Part,
    Phase, Recipe, Stream, Topology,
};
use crossloom_train::checkpoint::{Checkpoint, RestorePart};
use crossloom_train::run_dir::VariantDir;
use crossloom_train::step::{BoxError, ModelState, StateTensor, Visit};
use crossloom_weights::export::{self, Beside, Scope, Tensors, TokenIds, Values};
use crossloom_weights::pretrained::part_of;
use crossloom_weights::{peft, values};

use crate::graph::{forward_func, policy};
use crate::interface::Interface;
use crate::model::dtype_in_file;
use crate::sources::Files;
use crate::stages::Shapes;
use crate::start::{Start, trained};
use crate::trained::no_checkpoint;
use crate::training_stage::newest;
use crate::{ExperimentError, bundle};

/// What of a trained variant is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Every tensor that was trained, by whatever stage, under our names.
    Trained,
    /// The low-rank pairs of a scope, in PEFT's form.
    Adapter(Scope),
    /// AMP's branches beside each linear layer of the projector, in PEFT's form: one adapter per tap, each in a folder of the
    /// tap's name.
    Branches,
    /// All that answering needs, whatever the topology, in crossloom's own form: every tensor under our names with recipe, tokenizer, chat
    /// format and image processor.
    Bundle,
    /// A scope as a model in the layout of Hugging Face, low-rank pairs merged into its weights, in that type.
    Merged(Scope, KeptIn),
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Training steps that the weights have seen.
    pub steps: u64,
    /// Number of tensors.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
}

/// Writes the newest checkpoint of a variant, of the newest stage that has one, as a new folder.
///
/// # Errors
/// No checkpoint, or a damaged one; nothing of that kind to give; a model that cannot be said in that form; the folder is
/// there already or cannot be written. Nothing is left then.
pub fn export(
    dir: &VariantDir,
    recipe: &Recipe,
    what: Export,
    folder: &Path,
) -> Result<Exported, ExperimentError> {
    let held = Held::read(dir, recipe)?;
    let recipe = &held.recipe;
    match what {
        Export::Trained => held.trained(recipe, folder),
        Export::Bundle => held.bundle(&dir.name(), folder),
        Export::Adapter(scope) => held.adapter(recipe, scope, folder),
        Export::Branches => held.branches(recipe, folder),
        Export::Merged(scope, kept) => held.merged(recipe, scope, kept, folder),
    }
}

/// All weights of a variant.
struct Held {
    /// That of the newest stage.
    recipe: Recipe,
    params: Vec<ParamSpec>,
    tensors: Tensors,
    tokens: TokenIds,
    interface: Interface,
    tokenizer: QuestionTokenizer,
    steps: u64,
}

impl Held {
    fn read(dir: &VariantDir, recipe: &Recipe) -> Result<Self, ExperimentError> {
        let stage = newest(dir, recipe)?;
        let recipe = &stage.recipe;
        let (interface, tokenizer) = Interface::read(&stage.dir, recipe)?;
        let shapes = &interface.shapes;
        let checkpoints = stage.checkpoints();
        let newest = checkpoints.newest()?.ok_or_else(|| no_checkpoint(dir.path().display()))?;
        // Where pictures are cut into tiles a weight ends their rows, which no answer about a whole picture reads.
        let shape = BatchShape { batch: 1, ..Shapes::unmeasured(recipe).batch };
        let (model, _) = forward_func(recipe, shape, shapes.vocab_size, Outputs::Loss)?;
        let params = model.params;
        let start = Start::new(recipe, &params)?;
        let mut tensors = saved(recipe, &params, &start, &newest)?;
        for name in start.frozen() {
            if let (Some(param), Some(values)) =
                (params.iter().find(|param| param.name == name), start.kept(name)?)
            {
                tensors.insert(name.to_owned(), Values { shape: param.shape.clone(), values });
            }
        }
        // Ids of a vocabulary are never negative.
        let id = |id: i32| u32::try_from(id).unwrap_or_default();
        let special = shapes.special;
        let tokens = TokenIds { eos: id(special.eos), pad: id(special.pad), image: id(special.image) };
        let steps = stage.before + newest.state().step;
        Ok(Self { recipe: recipe.clone(), params, tensors, tokens, interface, tokenizer, steps })
    }

    fn wrote<'p>(&self, params: impl Iterator<Item = &'p ParamSpec>) -> Exported {
        let (mut tensors, mut parameters) = (0, 0);
        for param in params {
            (tensors, parameters) = (tensors + 1, parameters + param.elements());
        }
        Exported { steps: self.steps, tensors, parameters }
    }

    fn values(&self, name: &str) -> Result<&Values, ExperimentError> {
        self.tensors.get(name).ok_or_else(|| {
            ExperimentError::request(format!("the variant has no tensor `{name}`"), "train it again")
        })
    }

    fn trained(&self, recipe: &Recipe, folder: &Path) -> Result<Exported, ExperimentError> {
        let names = trained(recipe, &self.params);
        let trained = |param: &&ParamSpec| names.contains(&param.name);
        let tensors: Tensors =
            self.tensors.iter().filter(|(name, _)| names.contains(*name)).map(owned).collect();
        export::tensors(folder, &tensors, &|_| DType::F32, &Beside::new())?;
        Ok(self.wrote(self.params.iter().filter(trained)))
    }

    fn bundle(&self, name: &str, folder: &Path) -> Result<Exported, ExperimentError> {
        let recipe = bundle::recipe_of(&self.recipe, &self.params)?;
        let kept = policy(&recipe, &self.params)?.frozen;
        let type_of = |name: &str| kept.get(name).copied().unwrap_or(DType::F32);
        let beside = bundle::beside(name, recipe, &self.interface, &self.tokenizer)?;
        export::tensors(folder, &self.tensors, &type_of, &beside)?;
        Ok(self.wrote(self.params.iter()))
    }

    /// How conversations are written and cut, as a publisher's files say it: what a scope with words needs to be asked. A whole model says
    /// where its pictures stand; one whose template has no place for them is asked as a bundle alone.
    fn words(&self, scope: Scope) -> Result<Beside, ExperimentError> {
        let format = match (scope, self.tokenizer.format()) {
            (Scope::Language, Some(format)) => format,
            (Scope::Whole, Some(format)) if format.image_token.is_some() => format,
            _ => return Ok(Beside::new()),
        };
        let mut config = serde_json::Map::from_iter([(
            "tokenizer_class".to_owned(),
            serde_json::Value::from("PreTrainedTokenizerFast"),
        )]);
        config.extend(format.tokens.iter().map(|(name, token)| (name.clone(), token.as_str().into())));
        Ok(vec![
            ("tokenizer.json", self.tokenizer.to_json()?.into_bytes()),
            ("tokenizer_config.json", serde_json::to_vec_pretty(&config)?),
            ("chat_template.jinja", format.template.clone().into_bytes()),
        ])
    }

    /// The low-rank pairs of a scope.
    fn pairs(&self, recipe: &Recipe, scope: Scope) -> Result<Vec<peft::Pair>, ExperimentError> {
        let mut linears: Vec<(&str, Part)> = Vec::new();
        for param in self.params.iter().filter(|param| scope.holds(param.part)) {
            if let Some(linear) = &param.beside
                && !linears.iter().any(|(known, _)| known == linear)
            {
                linears.push((linear, param.part));
            }
        }
        let pair = |(linear, part): (&str, Part)| {
            let half = |letter: &str| self.values(&format!("{linear}.lora_{letter}.weight")).cloned();
            let lora = &recipe.train.parts.get(part).lora;
            let alpha = lora.as_ref().map_or(0.0, |lora| lora.alpha);
            Ok(peft::Pair { linear: linear.to_owned(), a: half("A")?, b: half("B")?, alpha })
        };
        linears.into_iter().map(pair).collect()
    }

    fn adapter(&self, recipe: &Recipe, scope: Scope, folder: &Path) -> Result<Exported, ExperimentError> {
        let pairs = self.pairs(recipe, scope)?;
        if pairs.is_empty() {
            return Err(ExperimentError::request(
                format!("the variant has no low-rank pairs in what `{}` names", scope.name()),
                "pairs are trained by train.parts.X.lora; trained tensors are written without --adapter",
            ));
        }
        peft::write(folder, base(recipe, scope), &pairs)?;
        Ok(self.wrote(self.params.iter().filter(|p| p.beside.is_some() && scope.holds(p.part))))
    }

    fn branches(&self, recipe: &Recipe, folder: &Path) -> Result<Exported, ExperimentError> {
        let branched = |injection: &NamedInjection<'_>| match injection.of.adapter {
            Adapter::Amp { alpha, attach: AmpAttach::PerLinear, .. } => Some(alpha),
            _ => None,
        };
        let injections = recipe.topology.injections();
        let injections: Vec<_> = injections.filter_map(|of| Some((of, branched(&of)?))).collect();
        if injections.is_empty() {
            return Err(ExperimentError::request(
                "the variant has no branches beside the linear layers of its projector",
                "they are those of topology.adapter = { kind = \"amp\", attach = \"per_linear\" }",
            ));
        }
        let mut adapters = Vec::new();
        let taps =
            injections.iter().flat_map(|(of, alpha)| of.of.taps.iter().map(move |tap| (of, alpha, tap)));
        for (of, &alpha, tap) in taps {
            let prefix = of.prefix();
            let mut pairs = Vec::with_capacity(2);
            for layer in ["linear_1", "linear_2"] {
                let half = |letter: &str| {
                    self.values(&format!("{prefix}.adapter.{tap}.{layer}.lora_{letter}.weight")).cloned()
                };
                let linear = format!("multi_modal_projector.{layer}");
                pairs.push(peft::Pair { linear, a: half("A")?, b: half("B")?, alpha });
            }
            adapters.push((of.name.map_or(tap.to_string(), |name| format!("{name}.{tap}")), pairs));
        }
        peft::write_all(folder, base(recipe, Scope::Whole), &adapters)?;
        let branch = |param: &&ParamSpec| {
            param.part == Part::Adapter && param.name.contains(".linear_") && param.name.contains(".lora_")
        };
        Ok(self.wrote(self.params.iter().filter(branch)))
    }

    fn merged(
        &self,
        recipe: &Recipe,
        scope: Scope,
        kept: KeptIn,
        folder: &Path,
    ) -> Result<Exported, ExperimentError> {
        // What a whole model injects by itself is a part of it.
        let own = |param: &&ParamSpec| {
            let injected = scope == Scope::Whole && param.part == Part::Adapter;
            (scope.holds(param.part) || injected) && param.beside.is_none()
        };
        let mut tensors = Tensors::new();
        for param in self.params.iter().filter(own) {
            tensors.insert(param.name.clone(), self.values(&param.name)?.clone());
        }
        for pair in self.pairs(recipe, scope)? {
            let weight = format!("{}.weight", pair.linear);
            let misfit = |message| ExperimentError::File { path: folder.to_owned(), message };
            match tensors.get_mut(&weight) {
                Some(values) => pair.merge(values).map_err(misfit)?,
                None => return Err(misfit(format!("a pair adapts `{weight}`, which is not there"))),
            }
        }
        let architecture = architecture(recipe, scope)?;
        let files = Files::open(recipe)?;
        // What no step reads is given back as its file has it.
        for name in export::unread(scope, &architecture).into_keys() {
            if let Some(values) = files.values(part_of(&name), &name)? {
                tensors.entry(name).or_insert(values);
            }
        }
        let part = |name: &str| {
            let param = self.params.iter().find(|param| param.name == name);
            param.map_or_else(|| part_of(name), |param| param.part)
        };
        let type_of = |name: &str| export::written_in(kept, files.dtype(part(name), name));
        let words = self.words(scope)?;
        export::model(folder, scope, &architecture, self.tokens, &tensors, &type_of, &words)?;
        Ok(self.wrote(self.params.iter().filter(own)))
    }
}

/// What a scope of a recipe's model is; the whole with what it reads at the input and what it injects.
///
/// # Errors
/// A whole that reads or injects in a way that no published model does.
fn architecture(recipe: &Recipe, scope: Scope) -> Result<Architecture, ExperimentError> {
    let model = &recipe.model;
    let mut architecture = Architecture {
        vision: Some(model.vision.clone()),
        projector: Some(model.projector.clone()),
        language: Some(model.language.clone()),
        ..Architecture::default()
    };
    if scope != Scope::Whole {
        return Ok(architecture);
    }
    let spec = &recipe.topology;
    let refused = |why: &str| {
        ExperimentError::request(
            format!("the variant {why}, which no family of published models does"),
            "give it away as a bundle, which crossloom asks (--bundle), or its language model or its encoder (--merge language, --merge \
             vision), or its trained tensors",
        )
    };
    let adds = |injection: NamedInjection<'_>| {
        matches!(
            injection.of,
            Injection {
                fusion: Fusion::Add { .. },
                gate: Gate::None {},
                mask: Mask::Visual,
                phase: Phase::Prefill,
                ..
            }
        )
    };
    if spec.stream != Stream::Sequence {
        return Err(refused("has no visual tokens in its sequence"));
    }
    if !spec.injections().all(adds) {
        return Err(refused(
            "injects vision states otherwise than by adding them to visual tokens, without a weight",
        ));
    }
    if !spec.named.is_empty() {
        return Err(refused("has injections with names"));
    }
    let made = || refused("reads sources that are made of vision states");
    let (Input::None | Input::Channels(_)) = &spec.input else {
        return Err(refused("makes its visual tokens otherwise than of the channels of vision states"));
    };
    let input = spec.input.taps();
    let states = input.iter().map(|tap| tap.state().ok_or_else(made));
    architecture.taps = states.collect::<Result<_, _>>()?;
    let topology = Topology::new(recipe)?;
    let edges = topology.injections().map(|edge| Ok((edge.tap.state().ok_or_else(made)?, edge.point)));
    architecture.wiring = edges.collect::<Result<_, ExperimentError>>()?;
    architecture.adapter = (!architecture.wiring.is_empty()).then(|| spec.main.adapter.clone());
    Ok(architecture)
}

fn owned((name, values): (&String, &Values)) -> (String, Values) {
    (name.clone(), values.clone())
}

/// The base of an adapter, and where it lies if the recipe says so.
fn base(recipe: &Recipe, scope: Scope) -> peft::Base<'_> {
    let model = &recipe.model;
    let weights = match scope {
        Scope::Language => model.language.weights.as_ref(),
        Scope::Vision => model.vision.weights.as_ref(),
        Scope::Whole => model.weights.as_ref(),
    };
    let path = weights.map(|weights| weights.path.as_str());
    peft::Base { scope, tower: peft::Tower::of(&model.vision), path }
}

/// The weights that a checkpoint holds.
fn saved(
    recipe: &Recipe,
    params: &[ParamSpec],
    start: &Start,
    checkpoint: &Checkpoint<'_>,
) -> Result<Tensors, ExperimentError> {
    let policy = policy(recipe, params)?;
    let elsewhere: BTreeSet<&str> = start.frozen().collect();
    let slots = params.iter().filter(|param| !elsewhere.contains(param.name.as_str())).map(|param| Slot {
        name: param.name.clone(),
        shape: param.shape.clone(),
        dtype: policy.frozen.get(&param.name).copied().unwrap_or(DType::F32),
        values: Vec::new(),
    });
    let mut slots = Slots(slots.collect());
    checkpoint.restore_model(&mut slots, RestorePart::Parameters)?;
    Ok(slots
        .0
        .into_iter()
        .map(|slot| (slot.name, Values { shape: slot.shape, values: slot.values }))
        .collect())
}

/// Tensors that a checkpoint is read into.
struct Slots(Vec<Slot>);

struct Slot {
    name: String,
    shape: Vec<usize>,
    dtype: DType,
    values: Vec<f32>,
}

impl ModelState for Slots {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        for slot in &self.0 {
            let dtype = dtype_in_file(&slot.name, slot.dtype)?;
            let bytes = vec![0; slot.dtype.bytes_of(slot.shape.iter().product())];
            visit(StateTensor { name: &slot.name, dtype, shape: &slot.shape, bytes: &bytes })?;
        }
        Ok(())
    }

    fn load_state(&mut self, tensor: StateTensor<'_>) -> Result<(), BoxError> {
        let slot = self.0.iter_mut().find(|slot| slot.name == tensor.name);
        let slot = slot.ok_or_else(|| format!("there is no tensor `{}`", tensor.name))?;
        slot.values = values::to_f32(slot.dtype, tensor.bytes).map_err(|e| format!("`{}` {e}", slot.name))?;
        Ok(())
    }
}
