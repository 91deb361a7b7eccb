//! What a folder or a file holds.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_recipe::{Part, PointAddress, VisionAddress};
use crossloom_run::found;
use crossloom_weights::peft::{self, Adapter, Pair};
use crossloom_weights::pretrained::part_of;
use crossloom_weights::{Architecture, Held, Pretrained};
use serde_json::json;

use crate::cli::{CliError, Table, Terminal, bytes, grouped};

/// Says what lies at a path: a model, or an adapter of one.
pub(super) fn inspect(path: &Path, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let path = &found(path)?;
    if peft::is_adapter(path) { adapter(path, json, terminal) } else { model(path, json, terminal) }
}

/// Pairs of one part, rank and factor.
type Beside<'a> = BTreeMap<(Part, usize, String), Vec<&'a Pair>>;

fn adapter(folder: &Path, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let adapter = Adapter::open(folder).map_err(CliError::failed)?;
    let mut beside: Beside<'_> = BTreeMap::new();
    for pair in adapter.pairs() {
        let key = (part_of(&pair.linear), pair.rank(), pair.alpha.to_string());
        beside.entry(key).or_default().push(pair);
    }
    let parts = adapter.parts();
    if json {
        let held: Vec<_> = (beside.iter())
            .map(|((part, rank, _), pairs)| {
                json!({
                    "part": part,
                    "rank": rank,
                    "alpha": pairs.first().map(|pair| pair.alpha),
                    "parameters": parameters(pairs),
                    "layers": pairs.iter().map(|pair| &pair.linear).collect::<Vec<_>>(),
                })
            })
            .collect();
        return terminal.json(&json!({
            "folder": folder.display().to_string(),
            "adapter_of": adapter.scope().name(),
            "pairs": held,
            "for_a_recipe": parts.is_ok(),
        }));
    }
    let mut table = Table::new(["part", "rank", "alpha", "layers", "parameters"]).indented(2);
    for ((part, rank, alpha), pairs) in &beside {
        let layers = pairs.len() as u64;
        table.row([
            part.name().to_owned(),
            rank.to_string(),
            alpha.clone(),
            grouped(layers),
            grouped(parameters(pairs)),
        ]);
    }
    let mut text = format!(
        "low-rank pairs in PEFT's form, beside layers of {}\n\n{table}",
        super::about(adapter.scope())
    );
    match parts {
        Err(problem) => text.push_str(&format!("\n{problem}\n")),
        Ok(parts) => {
            for (part, lora) in parts {
                let (part, path) = (part.name(), folder.display());
                text.push_str(&format!(
                    "\ntrain.parts.{part}.lora = {{ weights = \"{path}\" }}  # targets = {:?}",
                    lora.targets
                ));
            }
            text.push('\n');
        }
    }
    terminal.print(&text)
}

fn parameters(pairs: &[&Pair]) -> u64 {
    pairs.iter().map(|pair| (pair.a.values.len() + pair.b.values.len()) as u64).sum()
}

fn model(folder: &Path, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let model = Pretrained::open(folder).map_err(CliError::failed)?;
    let (architecture, held) = (model.architecture(), model.held());
    let addresses = Addresses::of(architecture);
    if json {
        let held: Vec<_> = (held.iter())
            .map(|((part, dtype), held)| json!({ "part": part, "type": dtype, "held": held }))
            .collect();
        return terminal.json(&json!({
            "folder": folder.display().to_string(),
            "layout": model.layout().name,
            "model": architecture,
            "tensors": held,
            "left_out": model.left_out(),
            "taps": addresses.taps,
            "points": addresses.points,
            "reads": addresses.reads,
            "injects": architecture.wiring,
            "adapter": architecture.adapter,
        }));
    }
    // A sentence encoder is no table of a recipe.
    let dimensions = match &architecture.text_encoder {
        Some(encoder) => toml::to_string(&BTreeMap::from([("text_encoder", encoder)])),
        None => toml::to_string(&BTreeMap::from([("model", architecture)])),
    };
    let dimensions = dimensions.map_err(CliError::failed)?;
    let mut text = format!("names of tensors: {}\n\n{}", model.layout().name, tensors(&held));
    if !model.left_out().is_empty() {
        text.push_str(&format!("  left out: {}\n", model.left_out().join(", ")));
    }
    text.push_str(&format!("\n{dimensions}"));
    for (what, names) in
        [("taps", &addresses.taps), ("points", &addresses.points), ("itself reads", &addresses.reads)]
    {
        if !names.is_empty() {
            text.push_str(&format!("\n{what}: {}", names.join(", ")));
        }
    }
    text.push_str(&own_injection(architecture).map_err(CliError::failed)?);
    terminal.print(&text)
}

/// What a model adds to its decoder's layers by itself, as a recipe says it.
fn own_injection(architecture: &Architecture) -> Result<String, toml::ser::Error> {
    let Some(adapter) = architecture.adapter.as_ref().filter(|_| !architecture.wiring.is_empty()) else {
        return Ok(String::new());
    };
    let pairs: Vec<String> =
        architecture.wiring.iter().map(|(tap, point)| format!("[\"{tap}\", \"{point}\"]")).collect();
    let adapter = toml::Value::try_from(adapter)?;
    let input = if architecture.taps.is_empty() { "input = \"none\", " } else { "" };
    Ok(format!(
        "\nitself injects: topology = {{ {input}wiring = [{}], adapter = {adapter} }}",
        pairs.join(", ")
    ))
}

fn tensors(held: &BTreeMap<(Part, String), Held>) -> String {
    let mut table = Table::new(["part", "type", "tensors", "parameters", "bytes"]).indented(2);
    let mut all = Held::default();
    for ((part, dtype), held) in held {
        table.row([
            part.name().to_owned(),
            dtype.clone(),
            grouped(held.tensors),
            grouped(held.parameters),
            bytes(held.bytes),
        ]);
        all.tensors += held.tensors;
        all.parameters += held.parameters;
        all.bytes += held.bytes;
    }
    table.row([
        "all".to_owned(),
        String::new(),
        grouped(all.tensors),
        grouped(all.parameters),
        bytes(all.bytes),
    ]);
    table.to_string()
}

/// The names of states and places that a recipe can use.
struct Addresses {
    taps: Vec<String>,
    points: Vec<String>,
    /// The taps that the model was trained with.
    reads: Vec<String>,
}

impl Addresses {
    fn of(architecture: &Architecture) -> Self {
        let mut taps = Vec::new();
        if let Some(vision) = &architecture.vision {
            taps.push(VisionAddress::Embed);
            taps.extend((1..=vision.layers).map(VisionAddress::Block));
            taps.extend(vision.post_norm.then_some(VisionAddress::PostNorm));
        }
        let mut points = Vec::new();
        if let Some(language) = &architecture.language {
            points.push(PointAddress::Input);
            points.extend((0..language.layers).map(PointAddress::Before));
            points.extend((0..language.layers).map(PointAddress::After));
        }
        Self {
            taps: taps.iter().map(ToString::to_string).collect(),
            points: points.iter().map(ToString::to_string).collect(),
            reads: architecture.taps.iter().map(ToString::to_string).collect(),
        }
    }
}
