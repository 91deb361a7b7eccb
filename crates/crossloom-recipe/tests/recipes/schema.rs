//! The JSON Schema says the same as the loader: defaults, limits and names.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::good;
use crossloom_recipe::{Recipe, json_schema};
use serde_json::Value;

/// Every setting with its schema, by dotted path. Kinds and sets of layers are alternatives of one path.
fn settings() -> Vec<(String, Value)> {
    let root = json_schema();
    let mut found = Vec::new();
    walk(&root, &root, "", &mut found);
    found.retain(|(path, _)| {
        !["variants", "sweep", "extends", "topology.taps.", "topology.points.", "topology.input.of."]
            .iter()
            .any(|meta| path.starts_with(meta))
            // One type describes all parts, but these start random and have no LoRA.
            && !["train.parts.adapter.lora", "train.parts.fusion.lora", "train.parts.gate.lora"].iter().any(|part| path.starts_with(part))
    });
    found
}

fn walk(root: &Value, schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        walk(root, root.pointer(&target[1..]).unwrap(), path, found);
    }
    for alternative in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        walk(root, alternative, path, found);
    }
    for (key, value) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.push((path.clone(), value.clone()));
        walk(root, value, &path, found);
    }
}

/// LoRA in every part that can have it.
const LORA: &str = "train.parts={ vision.lora = { rank = 2, targets = ['q_proj'] }, projector.lora = { rank = 2, targets = \
                    ['linear_1'] }, language.lora = { rank = 2, targets = ['q_proj'] } }";

/// Samples of one's own.
const FILES: [&str; 4] = [
    "data.source={ kind = 'files', format = 'llava', train = ['a'], test = ['b'] }",
    "data.tokenizer=model",
    "data.text_positions=64",
    "model.language.weights=x",
];

/// A vector of the question, for weights that depend on it.
const QUESTION: &str = "topology.conditioning=embeddings";

/// A stream of conversations, with test samples.
const CONVERSATIONS: [&str; 4] = [
    "data.source={ kind = 'conversations', of = [{ format = 'llava', files = ['a'] }], test = { format = 'llava', files = ['b'] } }",
    "data.tokenizer=model",
    "data.text_positions=64",
    "model.language.weights=x",
];

/// What a gate weighs.
const INJECTS: [&str; 2] = ["topology.taps=['block.1']", "topology.points=['before layer.1']"];

/// What must be set for a setting of one kind to be there.
fn with_kind(path: &str) -> Vec<&'static str> {
    match path.rsplit_once('.').map_or("", |(_, key)| key) {
        _ if path.contains(".lora.") => vec![LORA],
        "rank" | "alpha" | "attach" => vec!["topology.adapter=amp"],
        "corners" => vec!["topology.adapter=per_edge"],
        "width" if path.starts_with("topology.conditioning.") => {
            vec!["topology.conditioning={ kind = 'sentence', weights = 'x' }"]
        }
        "value" => [&INJECTS[..], &["topology.gate=constant", "topology.gate.value=0.5"]].concat(),
        "init" => [&INJECTS[..], &["topology.gate=static"]].concat(),
        "heads" | "kv_heads" | "head_dim" | "qk_norm" | "mlp" | "gate_init"
            if path.starts_with("topology.fusion.") =>
        {
            vec!["topology.gate=none", "topology.fusion=cross_attention"]
        }
        "bias" if path.starts_with("topology.adapter.") => vec!["topology.adapter=linear"],
        "pool" | "also" if path.starts_with("topology.input.") => {
            vec!["topology.input={ kind = 'tokens', of = 'block.4', also = ['block.1'] }"]
        }
        "depth" | "hidden" | "heads"
            if path.starts_with("topology.input.") && !path.contains(".weights.") =>
        {
            vec!["topology.input={ kind = 'windows', of = ['block.1'] }"]
        }
        "reserve" | "level" | "top_k" | "width" | "balance"
            if path.starts_with("topology.input.") && !path.contains(".weights.") =>
        {
            vec![
                QUESTION,
                "topology.input={ kind = 'mixture', of = ['block.1', 'block.2'], reserve = 'block.4' }",
            ]
        }
        "join" | "norm" | "base" | "weights" if path.starts_with("topology.input.") => {
            vec!["topology.input={ kind = 'weighted', of = ['block.1'] }"]
        }
        "hidden" | "entropy" if path.starts_with("topology.input.weights.") => {
            vec![QUESTION, "topology.input={ kind = 'weighted', of = ['block.1'], weights = 'question' }"]
        }
        _ if path.starts_with("topology.input.weights.") => {
            vec![QUESTION, "topology.input={ kind = 'weighted', of = ['block.1'], weights = 'allocator' }"]
        }
        "hidden" if path == "topology.adapter.hidden" => vec!["topology.adapter=windows"],
        "of" | "lengths" | "views" | "samples_per_row" | "truncate" if path.starts_with("data.source.") => {
            CONVERSATIONS.to_vec()
        }
        _ if path.starts_with("data.source.test.") => CONVERSATIONS.to_vec(),
        "format" | "train" | "test" | "pictures" | "skip" | "hash" if path.starts_with("data.source.") => {
            FILES.to_vec()
        }
        _ if path.starts_with("model.vision.anyres.") => [&FILES[..], &["model.vision.anyres={}"]].concat(),
        _ if path.starts_with("data.source.") => vec!["data.source=synthetic"],
        _ if path.starts_with("topology.gate.") => [&INJECTS[..], &["topology.gate=agf"]].concat(),
        _ => Vec::new(),
    }
}

fn loaded(path: &str, value: &str) -> Result<Recipe, String> {
    let mut sets = with_kind(path);
    let set = format!("{path}={value}");
    sets.push(&set);
    match good("base.toml", &sets) {
        Ok(loaded) => Ok(loaded.base),
        Err(diagnostics) => Err(diagnostics.to_string()),
    }
}

#[test]
fn every_setting_is_described_and_known_to_the_loader() {
    let settings = settings();
    assert!(settings.len() > 80, "{}", settings.len());
    for (path, schema) in settings {
        assert!(schema.get("description").is_some(), "{path} has no description");
        // A table in place of a value is wrong, but never unknown.
        let error = loaded(&path, "{ nonsense = 1 }").unwrap_err();
        let key = path.rsplit('.').next().unwrap();
        assert!(
            !error.contains(&format!("unknown key `{key}`")) && !error.contains("no recipe has"),
            "{path}: {error}"
        );
    }
}

/// Keys that are left out of what is written while they have these values.
const UNWRITTEN: [(&str, &str); 19] = [
    ("eval.cache", "\"f32\""),
    ("data.tokenizer", "\"words\""),
    ("model.vision.fit", "\"stretch\""),
    ("model.vision.layer_scale", "false"),
    ("model.vision.temporal_patch", "1"),
    ("model.vision.position_resample", "\"bicubic\""),
    ("model.projector.merge", "1"),
    ("model.projector.merging", "\"channels\""),
    ("model.projector.norm", "\"none\""),
    ("topology.gate.norm", "\"none\""),
    ("topology.stream", "\"sequence\""),
    ("topology.sources", "{}"),
    ("topology.injections", "{}"),
    ("topology.fusion.norm", "true"),
    ("topology.fusion.normed_residual", "false"),
    ("train.parts.fusion.trainable", "true"),
    ("train.parts.fusion.lr_scale", "1.0"),
    ("train.parts.fusion.tensors", "[]"),
    ("lora.trainable", "true"),
];

#[test]
fn defaults_of_the_schema_are_those_of_the_loader() {
    let mut checked = 0;
    for (path, schema) in settings() {
        let Some(default) = schema.get("default") else { continue };
        let sets = with_kind(&path);
        let recipe = serde_json::to_value(good("base.toml", &sets).unwrap().base).unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        let Some(value) = recipe.pointer(&pointer) else {
            // Not written while it is what it was before there was the key, so that no recipe's hash changes with it.
            let unwritten = UNWRITTEN.iter().find(|(known, _)| path.ends_with(known));
            let value = unwritten.unwrap_or_else(|| panic!("{path} is not written")).1;
            assert_eq!(default.to_string(), value, "{path}");
            continue;
        };
        if path == "topology.input" {
            assert_eq!((default, value), (&Value::from("block.last"), &Value::from("block.4")));
        } else {
            assert_eq!(default, value, "{path}");
        }
        checked += 1;
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn limits_of_the_schema_are_those_of_the_loader() {
    let mut checked = 0;
    for (path, schema) in settings() {
        let integer = schema["type"] == "integer";
        let step = |value: &Value, by: i64| match value.as_i64() {
            Some(value) if integer => (value + by).to_string(),
            _ => format!("{:?}", value.as_f64().unwrap() + by as f64),
        };
        let mut wrong = Vec::new();
        let mut right = Vec::new();
        for (limit, by) in [("minimum", -1), ("maximum", 1)] {
            if let Some(value) = schema.get(limit) {
                wrong.push(step(value, by));
                right.push(step(value, 0));
            }
        }
        for limit in ["exclusiveMinimum", "exclusiveMaximum"] {
            wrong.extend(schema.get(limit).map(|value| step(value, 0)));
        }
        let message = format!("`{path}` must");
        for value in wrong {
            let error = loaded(&path, &value).unwrap_err();
            assert!(error.contains(&message), "{path}={value}: {error}");
            checked += 1;
        }
        for value in right {
            // Other checks may refuse the value, but not its limits.
            let error = loaded(&path, &value).err().unwrap_or_default();
            assert!(!error.contains(&message), "{path}={value}: {error}");
        }
    }
    assert!(checked > 80, "{checked}");
}
