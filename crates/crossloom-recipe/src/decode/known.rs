//! All keys of the schema, for hints about keys that are misspelt or in the wrong table.

use std::sync::OnceLock;

use serde_json::Value;

use crate::diagnostic::{did_you_mean, listed};

/// Every dotted path of a recipe, from the JSON Schema.
pub(crate) fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let schema = crate::json_schema();
        let mut paths = Vec::new();
        collect(&schema, &schema, "", &mut paths);
        paths.retain(|path| !["variants", "sweep", "extends"].iter().any(|meta| path.starts_with(meta)));
        paths
    })
}

fn collect(root: &Value, schema: &Value, prefix: &str, paths: &mut Vec<String>) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        if let Some(target) = name.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
            collect(root, target, prefix, paths);
        }
        return;
    }
    for alternative in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        collect(root, alternative, prefix, paths);
    }
    for (key, value) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if !paths.contains(&path) {
            paths.push(path.clone());
        }
        collect(root, value, &path, paths);
    }
}

/// A hint for a key that its table does not have: a similar key of the table, the same key elsewhere, or all keys.
pub(super) fn help_for_unknown(key: &str, asked: &[&'static str]) -> String {
    if let Some(hint) = did_you_mean(key, asked.iter().copied()) {
        return hint;
    }
    let same = |path: &&str| path.rsplit('.').next() == Some(key) && !path.starts_with("train.parts.");
    let elsewhere: Vec<&str> = paths().iter().map(String::as_str).filter(same).take(4).collect();
    match &elsewhere[..] {
        [] => format!("known keys are {}", listed(asked.iter().copied())),
        [top] if !top.contains('.') => format!("`{top}` belongs at the top of the recipe"),
        [only] => format!("did you mean `{only}`?"),
        several => format!("it exists as {}", listed(several.iter().copied())),
    }
}

/// A hint for a table that lacks keys.
pub(super) fn help_for_missing(table: &str) -> String {
    let presets = match table {
        "model.vision" => crate::preset::names(crate::preset::Half::Vision),
        "model.language" => crate::preset::names(crate::preset::Half::Language),
        "" => return "see `recipes/quickstart.toml` for a whole recipe".to_owned(),
        _ => return format!("`[{table}]` has no default for them"),
    };
    format!("a preset sets all dimensions at once: {}", listed(presets))
}
