//! The JSON Schema of a recipe file, made from the types of a resolved recipe.
//!
//! A file may leave out what has a default or is inherited, may write a table's `kind` as a bare string, and has
//! `extends`, `variants` and `sweep` on top. Those differences are made here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::decode::SHORT_KINDS;
use crate::schema::{Data, Eval, Model, TopologySpec, Train};

/// A crossloom recipe.
///
/// Names of layers: vision states are `embed`, `block.1` … `block.last` and `post_norm`; places in the decoder are
/// `before layer.0` … and `after layer.0` …, where `layer.last` is the last one.
#[derive(JsonSchema)]
#[schemars(rename = "Recipe")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of the schema only")]
struct RecipeFile {
    /// Short name of the recipe: letters, digits, `-`, `_` and `.`. It names the run directory and is not
    /// inherited through `extends`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"))]
    name: String,
    /// One sentence on what the recipe shows. It does not take part in the recipe's hash.
    description: String,
    /// Files that this one builds on. They are merged key by key in this order, and this file over them. Relative paths
    /// start at this file and stay in the recipe's folder.
    extends: Vec<String>,
    /// The vision encoder, the projector and the language model.
    model: Model,
    /// Which vision layers feed which language layers, through which adapter and which gate.
    topology: TopologySpec,
    /// What the model is trained and tested on.
    data: Data,
    /// Optimizer, schedule and loop.
    train: Train,
    /// How answers are generated and scored.
    eval: Eval,
    /// Runs that are compared. Each is merged over the recipe.
    variants: BTreeMap<String, VariantFile>,
    /// Settings that are tried in all combinations.
    sweep: SweepFile,
}

/// A part of a recipe that is merged over it.
#[derive(JsonSchema)]
#[schemars(rename = "Variant")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of the schema only")]
struct VariantFile {
    /// One sentence on what this variant is. Default: that of the last file that it extends.
    description: String,
    /// Whether the others are compared with this one. At most one variant is the baseline.
    #[schemars(extend("default" = false))]
    baseline: bool,
    /// Files that this variant builds on, for example a method. Their names are not inherited.
    extends: Vec<String>,
    /// The vision encoder, the projector and the language model.
    model: Model,
    /// Which vision layers feed which language layers, through which adapter and which gate.
    topology: TopologySpec,
    /// What the model is trained and tested on.
    data: Data,
    /// Optimizer, schedule and loop.
    train: Train,
    /// How answers are generated and scored.
    eval: Eval,
}

/// A matrix of settings. Every combination becomes a variant with a stable name, such as `cli,rank=4,seed=1`.
#[derive(JsonSchema)]
#[schemars(rename = "Sweep")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of the schema only")]
struct SweepFile {
    /// Lists of values by the dotted path of the setting: `matrix."topology.adapter.rank" = [4, 8]`.
    matrix: BTreeMap<String, Value>,
    /// The variants that are swept; the others stay as they are. Default: all.
    variants: Vec<String>,
}

/// The JSON Schema (draft 2020-12) of a recipe file.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(RecipeFile).to_value();
    let defs = schema.get_mut("$defs").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    let defs: Map<String, Value> = defs
        .into_iter()
        .map(|(name, mut def)| {
            let is_set = ["Every", "Range", "Count"].iter().any(|set| name.ends_with(set));
            if !is_set {
                allow_partial(&mut def);
            }
            without_null(&mut def);
            (name, def)
        })
        .collect();
    let defs: Map<String, Value> = defs
        .iter()
        .map(|(name, def)| (name.clone(), with_kinds(def, &defs).unwrap_or_else(|| def.clone())))
        .collect();
    if let Some(root) = schema.as_object_mut() {
        root.insert("required".to_owned(), json!(["name"]));
        root.insert("$defs".to_owned(), Value::Object(defs));
    }
    for path in SHORT_KINDS {
        allow_bare_kind(&mut schema, path);
    }
    schema
}

/// Any key may be left out: it may have a default or be inherited.
fn allow_partial(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let tagged = object.get("oneOf").is_some();
            if !tagged {
                object.remove("required");
            }
            object.values_mut().for_each(allow_partial);
        }
        Value::Array(items) => items.iter_mut().for_each(allow_partial),
        _ => {}
    }
}

/// TOML has no null: what may be absent is left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            let alternatives = object.get_mut("anyOf").and_then(Value::as_array_mut);
            if let Some(alternatives) = alternatives
                && let Some(null) = alternatives.iter().position(|schema| schema["type"] == "null")
            {
                alternatives.remove(null);
                if let [Value::Object(only)] = &alternatives[..] {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// A table whose keys depend on its `kind`: because the kind may be inherited, a file may write any of them.
fn with_kinds(def: &Value, defs: &Map<String, Value>) -> Option<Value> {
    let alternatives = def.get("oneOf")?.as_array()?;
    let mut kinds = Vec::new();
    let mut properties = Map::new();
    for alternative in alternatives {
        let kind = alternative.pointer("/properties/kind/const")?.as_str()?;
        let referred = alternative
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|name| defs.get(name.trim_start_matches("#/$defs/")));
        let about = alternative.get("description").cloned().unwrap_or_default();
        kinds.push(json!({ "const": kind, "description": about }));
        for source in [Some(alternative), referred].into_iter().flatten() {
            for (key, value) in source.get("properties")?.as_object()? {
                if key != "kind" && !properties.contains_key(key) {
                    properties.insert(key.clone(), value.clone());
                }
            }
        }
    }
    let mut all = Map::new();
    all.insert("kind".to_owned(), json!({ "description": "Which one.", "oneOf": kinds }));
    all.extend(properties);
    Some(json!({
        "description": def.get("description"),
        "type": "object",
        "properties": all,
        "additionalProperties": false,
    }))
}

/// Lets the table at a dotted path be written as a bare string, its `kind`.
fn allow_bare_kind(schema: &mut Value, path: &str) {
    let Some(name) = definition_at(schema, path) else { return };
    let Some(def) = schema.pointer_mut(&format!("/$defs/{name}")) else { return };
    let mut kind = def.pointer("/properties/kind").cloned().unwrap_or_default();
    if let Some(kind) = kind.as_object_mut() {
        kind.remove("default");
        kind.insert("description".to_owned(), json!("Short for a table with nothing but its `kind`."));
    }
    let description = def.get("description").cloned().unwrap_or_default();
    *def = json!({ "description": description, "anyOf": [kind, def.clone()] });
}

/// The name of the definition that a dotted path refers to.
fn definition_at(schema: &Value, path: &str) -> Option<String> {
    let mut table = schema;
    let mut name = None;
    for key in path.split('.') {
        let property = table.get("properties")?.get(key)?;
        let found = property.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        table = schema.pointer(&format!("/$defs/{found}"))?;
        name = Some(found.to_owned());
    }
    name
}
