//! What differs between a recipe and one that was run before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crossloom_recipe::{LoadedRecipe, Recipe};
use crossloom_train::checkpoint::RecipeChange;
use crossloom_train::run_dir::{RunDir, list_runs};
use serde_json::Value;

use crate::resolved;

/// The newest other run of a recipe of this name, and how what it trained differs. `None` where there is none, or its
/// recipe cannot be read any more.
pub(crate) fn nearest_other(out: &Path, loaded: &LoadedRecipe) -> Option<(RunDir, Vec<RecipeChange>)> {
    let own = RunDir::id_of(&loaded.base.name, &loaded.training_hash());
    let (runs, _) = list_runs(out).ok()?;
    let other = runs.into_iter().find(|run| run.record.name == loaded.base.name && run.dir.id() != own)?.dir;
    let before = resolved::kept(&other).ok()?;
    let changes = changes(&by_name(before), loaded);
    Some((other, changes))
}

fn by_name(loaded: LoadedRecipe) -> BTreeMap<String, Recipe> {
    loaded.variants.into_iter().map(|variant| (variant.name, variant.recipe)).collect()
}

/// Changed settings of variants that both have, and variants that only one has. A setting that changed in several variants
/// is told once.
fn changes(before: &BTreeMap<String, Recipe>, after: &LoadedRecipe) -> Vec<RecipeChange> {
    let mut found: Vec<RecipeChange> = Vec::new();
    for variant in &after.variants {
        let Some(old) = before.get(&variant.name) else {
            let key = format!("variants.{}", variant.name);
            found.push(RecipeChange { key, before: None, after: Some("present".to_owned()) });
            continue;
        };
        for change in settings_changed(old, &variant.recipe) {
            if !found.iter().any(|known| known.key == change.key) {
                found.push(change);
            }
        }
    }
    for name in before.keys().filter(|name| after.variant(name).is_none()) {
        let key = format!("variants.{name}");
        found.push(RecipeChange { key, before: Some("present".to_owned()), after: None });
    }
    found
}

/// The settings of what is trained in which two recipes differ, in alphabetical order.
pub(crate) fn settings_changed(before: &Recipe, after: &Recipe) -> Vec<RecipeChange> {
    let (old, new) = (settings(before), settings(after));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing
        .map(|key| RecipeChange {
            key: key.clone(),
            before: old.get(key).cloned(),
            after: new.get(key).cloned(),
        })
        .collect()
}

/// What is trained, as dotted keys.
fn settings(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    flatten("", &recipe.training_settings(), &mut settings);
    settings
}

fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        // Stages are told apart by their names.
        Value::Array(stages) if prefix == "stage" => {
            for stage in stages {
                let name = stage.get("name").and_then(Value::as_str).unwrap_or_default();
                flatten(&format!("{prefix}.{name}"), stage, into);
            }
        }
        Value::Object(table) => {
            for (key, value) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, into);
            }
        }
        other => {
            into.insert(prefix.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crossloom_recipe::LoadOptions;

    use super::*;

    #[test]
    fn changed_settings_and_variants_are_named_and_harmless_ones_are_not() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
        let load = |sets: &[&str]| {
            let sets = sets.iter().map(|set| (*set).to_owned()).collect();
            crossloom_recipe::load(&path, &LoadOptions { sets }).unwrap()
        };
        let before =
            by_name(resolved::read(Path::new("x"), &resolved::text(&load(&[])).unwrap(), &[]).unwrap());
        assert_eq!(changes(&before, &load(&["train.log_every=9", "eval.limit=3"])), []);
        let told: Vec<String> = (changes(&before, &load(&["train.lr=0.5", "data.validation=0.25"])).iter())
            .map(ToString::to_string)
            .collect();
        assert_eq!(told, ["data.validation: 0.0 → 0.25", "train.lr: 0.003 → 0.5"]);
        let mut fewer = before.clone();
        fewer.remove("cli");
        fewer.insert("other".to_owned(), before["cli"].clone());
        let told: Vec<String> = changes(&fewer, &load(&[])).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["variants.cli: (not set) → present", "variants.other: present → (not set)"]);
    }
}
