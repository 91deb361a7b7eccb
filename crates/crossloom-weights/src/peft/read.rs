//! Adapters as they are read: what their configuration says, and every pair they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossloom_recipe::{Lora, Part};
use crossloom_runtime::MappedFile;
use serde_json::{Map, Value, json};

use super::{CONFIG, MODEL, PREFIX, Pair, to_linears};
use crate::WeightsError;
use crate::export::{Scope, Values};
use crate::layout::Dims;
use crate::pretrained::part_of;
use crate::shards::table;
use crate::values::to_f32;

/// Whether a folder holds an adapter, and no model.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// An adapter whose base is not known: all of its pairs, read.
#[derive(Clone, Debug)]
pub struct Adapter {
    path: PathBuf,
    scope: Scope,
    /// With the name that the layer has as a module, or the module of which it is a part, in the order of these.
    pairs: Vec<(String, Pair)>,
    /// Last parts of modules, where the configuration says so that all of that name have a pair.
    everywhere: Vec<String>,
}

impl Adapter {
    /// Reads a folder.
    ///
    /// # Errors
    /// There is none, or a damaged one; an adapter of another kind; modules that no base of ours has.
    pub fn open(folder: &Path) -> Result<Self, WeightsError> {
        Self::beside(folder, &Dims::default())
    }

    /// Reads a folder; the base may have adapters of its own, which `dims` names.
    fn beside(folder: &Path, dims: &Dims) -> Result<Self, WeightsError> {
        let config_path = folder.join(CONFIG);
        let settings = Settings::of(&table(&config_path)?)
            .map_err(|problems| WeightsError::new(&config_path, problems))?;
        let path = folder.join(MODEL);
        let file = MappedFile::open(&path).map_err(|error| WeightsError::one(&path, error))?;
        let (modules, mut problems) = modules_of(&file);
        let scope = scope_of(&modules, dims);
        let mut pairs = Vec::new();
        for module in &modules {
            let linears = scope.map(|scope| to_linears(scope, module, dims)).unwrap_or_default();
            match pair(&file, module, &settings).and_then(|pair| divided(module, &pair, linears)) {
                Ok(read) => pairs.extend(read.into_iter().map(|pair| (module.clone(), pair))),
                Err(own) => problems.extend(own),
            }
        }
        match scope {
            Some(scope) if problems.is_empty() => {
                Ok(Self { path: folder.to_owned(), scope, pairs, everywhere: settings.everywhere })
            }
            _ => Err(WeightsError::new(folder, problems)),
        }
    }

    /// How much of a model it is of.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Its pairs, in the order of their modules.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().map(|(_, pair)| pair)
    }

    /// The ranks, factors and targets of its pairs, by the part whose layers they stand beside.
    ///
    /// # Errors
    /// Pairs of one part that differ in rank or factor.
    pub fn parts(&self) -> Result<BTreeMap<Part, Lora>, WeightsError> {
        let mut parts: BTreeMap<Part, Lora> = BTreeMap::new();
        let mut problems = BTreeSet::new();
        for pair in self.pairs() {
            let part = part_of(&pair.linear);
            let last = pair.linear.rsplit('.').next().unwrap_or_default();
            let everywhere = self.everywhere.iter().any(|name| name == last);
            let target = if everywhere { last } else { &pair.linear }.to_owned();
            let (rank, alpha) = (pair.rank(), pair.alpha);
            let new = || Lora { weights: None, rank, alpha, targets: Vec::new(), trainable: true };
            let lora = parts.entry(part).or_insert_with(new);
            if (lora.rank, lora.alpha) != (rank, alpha) {
                problems.insert(format!(
                    "has pairs of different ranks or factors beside layers of `{}`, which a recipe has no word for; \
                     `crossloom model merge` puts them into their base",
                    part.name()
                ));
            }
            if !lora.targets.contains(&target) {
                lora.targets.push(target);
            }
        }
        if problems.is_empty() {
            Ok(parts)
        } else {
            Err(WeightsError::new(&self.path, problems.into_iter().collect()))
        }
    }

    /// BLAKE3 of all its pairs, as 64 hexadecimal digits: of our names, factors, shapes and values.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for pair in self.pairs() {
            hasher.update(format!("{} {}\n", pair.linear, pair.alpha).as_bytes());
            for half in [&pair.a, &pair.b] {
                hasher.update(format!("{:?}\n", half.shape).as_bytes());
                let bytes: Vec<u8> = half.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Reads an adapter of a scope of a model with these dimensions, whose weights have the shapes `[out, in]` that `shape_of` says, by
/// our names.
///
/// # Errors
/// As [`Adapter::open`]; layers that the base does not have or has in another shape, all of them.
pub fn read(
    folder: &Path,
    scope: Scope,
    dims: &Dims,
    shape_of: impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<Vec<Pair>, WeightsError> {
    let adapter = Adapter::beside(folder, dims)?;
    let mut problems = Vec::new();
    for (module, Pair { linear, a, b, .. }) in &adapter.pairs {
        let found = (adapter.scope == scope).then(|| shape_of(&format!("{linear}.weight"))).flatten();
        match found {
            None => problems.push(format!("adapts `{module}`, which the {} does not have", scope.name())),
            Some(found) if found == [b.shape[0], a.shape[1]] => {}
            Some(found) => problems.push(format!(
                "adapts `{module}` by {:?} and {:?}; the base has {found:?} there",
                a.shape, b.shape
            )),
        }
    }
    if problems.is_empty() {
        Ok(adapter.pairs.into_iter().map(|(_, pair)| pair).collect())
    } else {
        Err(WeightsError::new(folder, problems))
    }
}

/// The modules that a file has pairs for, and what in it is no half of one.
fn modules_of(file: &MappedFile) -> (BTreeSet<String>, Vec<String>) {
    let (mut modules, mut problems) = (BTreeSet::new(), Vec::new());
    for name in file.header().keys() {
        let module = name.strip_prefix(PREFIX).and_then(|name| {
            name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight"))
        });
        match module {
            Some(module) => drop(modules.insert(module.to_owned())),
            None => problems.push(format!("holds `{name}`, which is no half of a low-rank pair")),
        }
    }
    if modules.is_empty() {
        problems.push("holds no low-rank pair".to_owned());
    }
    (modules, problems)
}

/// Of what the base is, by the names of its modules. Those of a language model alone begin with `model.`, those of an encoder alone
/// do not, and a whole model names its parts.
pub(crate) fn scope_of(modules: &BTreeSet<String>, dims: &Dims) -> Option<Scope> {
    let all = |is: &dyn Fn(&str) -> bool| !modules.is_empty() && modules.iter().all(|module| is(module));
    let of_language = |module: &str| module.starts_with("model.layers.") || module == "lm_head";
    if all(&|module| !to_linears(Scope::Whole, module, dims).is_empty()) {
        Some(Scope::Whole)
    } else if all(&of_language) {
        Some(Scope::Language)
    } else {
        all(&|module| module.contains("encoder.")).then_some(Scope::Vision)
    }
}

/// The pair of a module; its layer's name is not known yet.
fn pair(file: &Arc<MappedFile>, module: &str, settings: &Settings) -> Result<Pair, Vec<String>> {
    let half = |letter: &str| {
        let name = format!("{PREFIX}{module}.lora_{letter}.weight");
        let (ty, bytes) = file.tensor(&name).map_err(|error| error.to_string())?;
        let values = to_f32(ty.dtype, bytes.as_ref()).map_err(|problem| format!("`{name}` {problem}"))?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(format!("`{name}` has no finite value at {at}")),
            None => Ok(Values { shape: ty.shape.clone(), values }),
        }
    };
    let (a, b) = match (half("A"), half("B")) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => return Err([a.err(), b.err()].into_iter().flatten().collect()),
    };
    let rank = settings.rank_of(module);
    if !matches!((&a.shape[..], &b.shape[..]), (&[above, _], &[_, below]) if above == rank && below == rank) {
        let (a, b) = (a.shape, b.shape);
        return Err(vec![format!(
            "adapts `{module}` by {a:?} and {b:?}; by its configuration the rank is {rank}"
        )]);
    }
    Ok(Pair { linear: String::new(), a, b, alpha: settings.alpha_of(module, rank) })
}

/// The pairs of the layers that a module is: they share the first half, and each has its rows of the second.
fn divided(module: &str, pair: &Pair, linears: Vec<String>) -> Result<Vec<Pair>, Vec<String>> {
    let &[rows, rank] = &pair.b.shape[..] else {
        return Err(vec![format!("adapts `{module}` by no matrix")]);
    };
    if linears.is_empty() {
        return Err(vec![format!("adapts `{module}`, which is a layer of no model here")]);
    }
    let of_each = rows / linears.len();
    if of_each == 0 || of_each * linears.len() != rows {
        return Err(vec![format!("adapts `{module}` by {rows} rows, which are no {} layers", linears.len())]);
    }
    let values = pair.b.values.chunks(of_each * rank).map(<[f32]>::to_vec);
    let divided = linears.into_iter().zip(values).map(|(linear, values)| {
        let b = Values { shape: vec![of_each, rank], values };
        Pair { linear, a: pair.a.clone(), b, alpha: pair.alpha }
    });
    Ok(divided.collect())
}

/// What a configuration says of ranks and factors.
pub(crate) struct Settings {
    rank: usize,
    alpha: f64,
    ranks: BTreeMap<String, usize>,
    alphas: BTreeMap<String, f64>,
    root: bool,
    /// See [`Adapter`].
    everywhere: Vec<String>,
}

impl Settings {
    pub(crate) fn of(config: &Map<String, Value>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let value = |key: &str| config.get(key).filter(|value| !value.is_null());
        if value("peft_type").and_then(Value::as_str) != Some("LORA") {
            problems.push("`peft_type` is not \"LORA\"".to_owned());
        }
        for key in ["use_dora", "fan_in_fan_out", "lora_bias"] {
            if value(key).is_some_and(|value| value != &json!(false)) {
                problems.push(format!("`{key}` is set, which is not supported"));
            }
        }
        for key in ["layer_replication", "alora_invocation_tokens"] {
            if value(key).is_some() {
                problems.push(format!("`{key}` is set, which is not supported"));
            }
        }
        if value("bias").is_some_and(|bias| bias != &json!("none")) {
            problems.push("`bias` is not \"none\": biases that are trained are not supported".to_owned());
        }
        if value("modules_to_save").is_some_and(|list| list.as_array().is_none_or(|list| !list.is_empty())) {
            problems.push("`modules_to_save` names modules, which are not supported".to_owned());
        }
        let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        let number = |value: &Value| value.as_f64().filter(|n| n.is_finite());
        let rank = value("r").and_then(count);
        let alpha = value("lora_alpha").and_then(number);
        if rank.is_none() || alpha.is_none() {
            problems.push("`r` and `lora_alpha` must be numbers, `r` above 0".to_owned());
        }
        let patterns = |key: &str| value(key).and_then(Value::as_object).into_iter().flatten();
        let ranks = patterns("rank_pattern").filter_map(|(name, value)| Some((name.clone(), count(value)?)));
        let alphas =
            patterns("alpha_pattern").filter_map(|(name, value)| Some((name.clone(), number(value)?)));
        let root = value("use_rslora") == Some(&json!(true));
        let some = ["layers_to_transform", "exclude_modules"].iter().any(|key| value(key).is_some());
        let listed = value("target_modules").and_then(Value::as_array).filter(|_| !some);
        let names = listed.into_iter().flatten().filter_map(Value::as_str);
        let everywhere = names.filter(|name| !name.contains('.')).map(str::to_owned).collect();
        match (rank, alpha) {
            (Some(rank), Some(alpha)) if problems.is_empty() => {
                Ok(Self { rank, alpha, ranks: ranks.collect(), alphas: alphas.collect(), root, everywhere })
            }
            _ => Err(problems),
        }
    }

    pub(crate) fn rank_of(&self, module: &str) -> usize {
        pattern(&self.ranks, module).copied().unwrap_or(self.rank)
    }

    /// The numerator of the factor; PEFT's `use_rslora` divides by the root of the rank.
    pub(crate) fn alpha_of(&self, module: &str, rank: usize) -> f64 {
        let alpha = pattern(&self.alphas, module).copied().unwrap_or(self.alpha);
        if self.root { alpha * (rank as f64).sqrt() } else { alpha }
    }
}

/// The value for a module: a key is its whole name or the last parts of it.
fn pattern<'p, T>(patterns: &'p BTreeMap<String, T>, module: &str) -> Option<&'p T> {
    let is =
        |key: &str| module.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    patterns.iter().find(|(key, _)| is(key)).map(|(_, value)| value)
}
