//! The JSON Schema of a recipe file, made from the types of a resolved recipe.
//!
//! A file may leave out what has a default or is inherited, may write a table's `kind` as a bare string, and has
//! `extends`, `variants` and `sweep` on top. Those differences are made here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::decode::{KINDS, MAX_STAGES, MAX_VARIANTS, SHORT};
use crate::preset::{self, Half};
use crate::schema::{Data, Eval, Model, Stage, TopologySpec, Train};

/// What may name a recipe or a variant.
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$";

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
    #[schemars(regex(pattern = NAME))]
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
    /// Trainings that follow one another, each with its own settings over the recipe's. Absent: one training.
    stage: StagesFile,
    /// Runs that are compared. Each is merged over the recipe.
    #[schemars(extend("propertyNames" = { "pattern": NAME }, "maxProperties" = MAX_VARIANTS))]
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
    /// Stages in place of the recipe's, as a list, or settings of some of them, by their names.
    stage: StagesFile,
}

/// Trainings that follow one another.
#[derive(JsonSchema)]
#[schemars(rename = "Stages", untagged)]
#[expect(dead_code, reason = "the shape of the schema only")]
enum StagesFile {
    /// All of them, in order. A list replaces that of an extended file.
    List(#[schemars(length(max = MAX_STAGES))] Vec<Stage>),
    /// Settings of stages that there are, by name.
    ByName(BTreeMap<String, StageSettings>),
}

/// Settings of one stage.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of the schema only")]
struct StageSettings {
    /// What is trained and how, where that differs from `[train]`.
    train: Train,
    /// What it is trained on, where that differs from `[data]`.
    data: Data,
}

/// A matrix of settings. Every combination becomes a variant with a stable name, such as `cli,rank=4,seed=1`.
#[derive(JsonSchema)]
#[schemars(rename = "Sweep")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape of the schema only")]
struct SweepFile {
    /// Files, such as `methods/cli.toml`, of each of which there is a variant: one of the file's name, that extends it. What
    /// `[variants.NAME]` says of that name is laid over the file.
    methods: Vec<String>,
    /// Lists of values by the dotted path of the setting: `matrix."topology.adapter.rank" = [4, 8]`.
    matrix: BTreeMap<String, Value>,
    /// The variants that are swept; the others stay as they are. Default: all.
    #[schemars(inner(regex(pattern = NAME)))]
    variants: Vec<String>,
}

/// The JSON Schema (draft 2020-12) of a recipe file.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(RecipeFile).to_value();
    let defs = schema.get_mut("$defs").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    let defs: Map<String, Value> = defs
        .into_iter()
        .map(|(name, mut def)| {
            let is_set = ["Every", "Range", "Count", "Part"].iter().any(|set| name.ends_with(set));
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
    // Its other use is flattened into the topology, whose own keys it must let pass.
    if let Some(named) = schema.pointer_mut("/$defs/Injection").and_then(Value::as_object_mut) {
        named.insert("additionalProperties".to_owned(), json!(false));
    }
    if let Some(stage) = schema.pointer_mut("/$defs/Stage").and_then(Value::as_object_mut) {
        stage.insert("required".to_owned(), json!(["name"]));
    }
    for kinds in &KINDS {
        let Some(name) = definition_at(&schema, kinds.path) else { continue };
        if let Some(def) = schema.pointer_mut(&format!("/$defs/{name}")).and_then(Value::as_object_mut) {
            def.insert("allOf".to_owned(), kinds.iter().map(|(kind, keys)| own_keys(kind, keys)).collect());
        }
    }
    for (path, key) in SHORT {
        allow_bare(&mut schema, path, key);
    }
    for half in Half::ALL {
        let names: Vec<&str> = preset::names(half).collect();
        let preset = definition_at(&schema, half.table())
            .and_then(|name| schema.pointer_mut(&format!("/$defs/{name}/properties/preset")));
        if let Some(preset) = preset.and_then(Value::as_object_mut) {
            preset.insert("enum".to_owned(), json!(names));
        }
    }
    let matrix = swept(&schema);
    if let Some(known) = schema.pointer_mut("/$defs/Sweep/properties/matrix").and_then(Value::as_object_mut) {
        known.extend(matrix);
    }
    schema
}

/// A table that names its kind has no keys of another.
fn own_keys(kind: &str, keys: &[&str]) -> Value {
    let keys: Vec<&str> = ["kind"].iter().chain(keys).copied().collect();
    json!({
        "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
        "then": { "propertyNames": { "enum": keys } },
    })
}

/// Settings of one stage, by their paths.
const IN_STAGE: &str = r"^stage\.[A-Za-z0-9_][A-Za-z0-9_-]*\.(train|data)\.";

fn list_of_values() -> Value {
    json!({ "type": "array", "minItems": 1, "uniqueItems": true })
}

/// What a sweep may be over: a list of values for every setting by its path. A path may also be written as nested tables,
/// which are not looked into.
fn swept(schema: &Value) -> Map<String, Value> {
    let settings = settings(schema);
    let mut properties = Map::new();
    for (path, pointers) in &settings {
        if ["name", "description"].contains(&path.as_str()) {
            continue;
        }
        let alternatives: Vec<Value> =
            pointers.iter().map(|at| json!({ "$ref": format!("#{at}") })).collect();
        let items = match &alternatives[..] {
            [only] => only.clone(),
            _ => json!({ "anyOf": alternatives }),
        };
        let list = json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": items });
        let inside = format!("{path}.");
        let is_table = path == "stage" || settings.iter().any(|(other, _)| other.starts_with(&inside));
        let value = if is_table { json!({ "anyOf": [list, { "type": "object" }] }) } else { list };
        properties.insert(path.clone(), value);
    }
    Map::from_iter([
        ("properties".to_owned(), Value::Object(properties)),
        ("patternProperties".to_owned(), json!({ IN_STAGE: list_of_values() })),
        ("additionalProperties".to_owned(), Value::Bool(false)),
    ])
}

/// Every setting of a recipe by its dotted path, with the places in the schema that describe it.
pub(crate) fn settings(schema: &Value) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    collect(schema, "", "", &mut found);
    found.retain(|(path, _)| !["variants", "sweep", "extends"].iter().any(|meta| path.starts_with(meta)));
    found
}

fn collect(root: &Value, at: &str, prefix: &str, found: &mut Vec<(String, Vec<String>)>) {
    let Some(schema) = root.pointer(at) else { return };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#')) {
        collect(root, target, prefix, found);
        return;
    }
    for number in 0..schema.get("anyOf").and_then(Value::as_array).map_or(0, Vec::len) {
        collect(root, &format!("{at}/anyOf/{number}"), prefix, found);
    }
    for key in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let pointer = format!("{at}/properties/{key}");
        match found.iter_mut().find(|(known, _)| *known == path) {
            Some((_, pointers)) if pointers.contains(&pointer) => {}
            Some((_, pointers)) => pointers.push(pointer.clone()),
            None => found.push((path.clone(), vec![pointer.clone()])),
        }
        collect(root, &pointer, &path, found);
    }
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
                match properties.get_mut(key) {
                    _ if key == "kind" => {}
                    Some(known) => also(known, value),
                    None => drop(properties.insert(key.clone(), value.clone())),
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

/// Lets a key be of another kind's type too, where two kinds have it; what is said of it stays that of the first.
fn also(known: &mut Value, other: &Value) {
    let form = |schema: &Value| -> Map<String, Value> {
        let keys = ["$ref", "type", "items", "anyOf"].into_iter();
        keys.filter_map(|key| Some((key.to_owned(), schema.get(key)?.clone()))).collect()
    };
    let (own, other) = (form(known), form(other));
    let Some(object) = known.as_object_mut().filter(|_| own != other) else { return };
    let alternatives = match own.get("anyOf") {
        Some(Value::Array(alternatives)) if alternatives.contains(&Value::Object(other.clone())) => return,
        Some(Value::Array(alternatives)) if own.len() == 1 => {
            [&alternatives[..], &[Value::Object(other)]].concat()
        }
        _ => vec![Value::Object(own.clone()), Value::Object(other)],
    };
    own.keys().for_each(|key| drop(object.remove(key)));
    object.insert("anyOf".to_owned(), Value::Array(alternatives));
}

/// Lets the table at a dotted path be written as a bare string, the value of its `key`.
fn allow_bare(schema: &mut Value, path: &str, key: &str) {
    let Some(name) = definition_at(schema, path) else { return };
    let Some(def) = schema.pointer_mut(&format!("/$defs/{name}")) else { return };
    // Tables of one type are one definition.
    let Some(mut bare) = def.pointer(&format!("/properties/{key}")).cloned() else { return };
    if let Some(bare) = bare.as_object_mut() {
        bare.remove("default");
        let description = format!("Short for a table with nothing but its `{key}`.");
        bare.insert("description".to_owned(), Value::String(description));
    }
    let description = def.get("description").cloned().unwrap_or_default();
    *def = json!({ "description": description, "anyOf": [bare, def.clone()] });
}

/// The name of the definition that a dotted path refers to.
fn definition_at(schema: &Value, path: &str) -> Option<String> {
    let mut table = schema;
    let mut name = None;
    for key in path.split('.') {
        let property = property(schema, table, key)?;
        let found = property.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        table = schema.pointer(&format!("/$defs/{found}"))?;
        name = Some(found.to_owned());
    }
    name
}

/// A key of a table, or of one of its forms where it has several.
fn property<'s>(schema: &'s Value, table: &'s Value, key: &str) -> Option<&'s Value> {
    if let Some(found) = table.get("properties").and_then(|properties| properties.get(key)) {
        return Some(found);
    }
    table.get("anyOf")?.as_array()?.iter().find_map(|form| {
        let form = match form.get("$ref").and_then(Value::as_str) {
            Some(name) => schema.pointer(name.strip_prefix('#')?)?,
            None => form,
        };
        property(schema, form, key)
    })
}
