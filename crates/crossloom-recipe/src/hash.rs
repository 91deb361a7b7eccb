//! The identity of an experiment: two recipes with the same hash compute the same thing.

use std::fmt::Debug;

use serde::Serialize;
use serde_json::Value;

use crate::load::LoadedRecipe;
use crate::schema::{Part, Recipe, Source};

/// Changes whenever the meaning of a recipe changes without its text.
const DOMAIN: &str = "crossloom recipe 1\n";
/// The same for what a recipe trains.
const TRAINING_DOMAIN: &str = "crossloom training 1\n";

/// Keys that may change between a checkpoint and its continuation: they say what is written down, and what is done with
/// the trained model. `eval.max_new_tokens` is not one of them, because it sizes the sequences that are trained.
const HARMLESS: [(&str, &[&str]); 2] = [
    ("/train", &["log_every", "checkpoint_every", "keep_checkpoints"]),
    (
        "/eval",
        &["split", "metric", "cache", "permutations", "confidence", "seed", "limit", "every", "sample"],
    ),
];

impl Recipe {
    /// BLAKE3 of the resolved recipe, as 64 hexadecimal digits. Comments, order, `extends`, presets and defaults that
    /// lead to the same values do not change it; neither do `name`, `description`, `data.cache` and the place of
    /// weights whose hash is known.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN.as_bytes());
        hasher.update(canonical(self).to_string().as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// BLAKE3 of the settings that decide which weights come out of training. A run's folder and its checkpoints carry it,
    /// so that a run can be continued and evaluated with other settings for logging, checkpoints and scoring. That of a stage covers
    /// all stages before it, and none after it.
    pub fn training_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(TRAINING_DOMAIN.as_bytes());
        hasher.update(self.training_settings().to_string().as_bytes());
        // It was the seed of start values alone once, so the same settings meant another order.
        if self.train.seed != 0 || self.stages.iter().any(|stage| stage.train.seed != 0) {
            hasher.update(b"\norder by train.seed");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The same without the seed of start values and order: trainings with the same are repetitions of one another.
    pub fn repeated_hash(&self) -> String {
        let mut other = self.clone();
        other.train.seed = 0;
        for stage in &mut other.stages {
            stage.train.seed = 0;
        }
        other.training_hash()
    }

    /// The settings that [`Recipe::training_hash`] covers, as JSON with sorted keys.
    pub fn training_settings(&self) -> Value {
        let mut value = canonical(self);
        for (path, keys) in HARMLESS {
            let stages = (0..self.stages.len()).map(|index| format!("/stage/{index}{path}"));
            for path in stages.chain([path.to_owned()]) {
                if let Some(table) = value.pointer_mut(&path).and_then(Value::as_object_mut) {
                    for key in keys {
                        table.remove(*key);
                    }
                }
            }
        }
        if self.train.can_be_extended()
            && let Some(train) = value.pointer_mut("/train").and_then(Value::as_object_mut)
        {
            train.remove("steps");
        }
        value
    }
}

impl LoadedRecipe {
    /// BLAKE3 of all variants, their names and which of them is the baseline, as 64 hexadecimal digits.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN.as_bytes());
        for variant in &self.variants {
            let (name, baseline) = (&variant.name, variant.baseline);
            hasher.update(format!("{name} {baseline} {}\n", variant.recipe.content_hash()).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// BLAKE3 of what all variants train, and of their names, as 64 hexadecimal digits.
    pub fn training_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(TRAINING_DOMAIN.as_bytes());
        for variant in &self.variants {
            hasher.update(format!("{} {}\n", variant.name, variant.recipe.training_hash()).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// JSON with sorted keys, without what does not change the experiment.
fn canonical(recipe: &Recipe) -> Value {
    let mut value = plain(recipe);
    let mut remove = |table: &str, key: &str| {
        if let Some(table) = value.pointer_mut(table).and_then(Value::as_object_mut) {
            table.remove(key);
        }
    };
    remove("", "name");
    remove("", "description");
    remove("/data", "cache");
    for index in 0..recipe.stages.len() {
        let stage = format!("/stage/{index}");
        remove(&format!("{stage}/data"), "cache");
        if index + 1 == recipe.stages.len() {
            // They are the recipe's own.
            remove(&stage, "train");
            remove(&stage, "data");
        }
    }
    let stages = recipe.stages.iter().enumerate();
    let stages = stages.map(|(index, stage)| (&stage.data, format!("/stage/{index}/data/source")));
    for (data, source) in stages.chain([(&recipe.data, "/data/source".to_owned())]) {
        // The same samples are the same wherever they lie.
        if matches!(data.source, Source::Files { hash: Some(_), .. }) {
            for place in ["train", "test", "pictures"] {
                remove(&source, place);
            }
        }
        if let Source::Conversations { of, test, .. } = &data.source {
            let mixed = of.iter().enumerate().map(|(at, of)| (format!("{source}/of/{at}"), of));
            for (table, of) in mixed.chain(test.iter().map(|of| (format!("{source}/test"), of))) {
                if of.hash.is_some() {
                    for place in ["files", "pictures"] {
                        remove(&table, place);
                    }
                }
            }
        }
    }
    remove("/model/vision", "preset");
    remove("/model/language", "preset");
    let model = &recipe.model;
    let parts = [&model.vision.weights, &model.language.weights, &model.weights];
    let parts = parts.into_iter().zip(["/model/vision", "/model/language", "/model"].map(str::to_owned));
    let stages = recipe.stages.iter().enumerate();
    let stages = stages.map(|(index, stage)| (&stage.train, format!("/stage/{index}")));
    let trainings = std::iter::once((&recipe.train, String::new())).chain(stages);
    let pairs = trainings.flat_map(|(train, at)| {
        Part::ALL.into_iter().filter_map(move |part| {
            let lora = train.parts.get(part).lora.as_ref()?;
            Some((&lora.weights, format!("{at}/train/parts/{}/lora", part.name())))
        })
    });
    let of_questions = recipe.topology.conditioning.files();
    let of_questions = of_questions.map(|(key, files)| (files, format!("/topology/conditioning/{key}")));
    let of_models = parts
        .chain(pairs)
        .filter_map(|(weights, table)| Some((weights.as_ref()?, format!("{table}/weights"))));
    for (files, table) in of_models.chain(of_questions) {
        // The same content is the same model wherever it lies; without a hash only the place tells.
        if files.hash.is_some() {
            remove(&table, "path");
        }
    }
    value.sort_all_objects();
    value
}

/// The value as JSON. What JSON cannot say (a number that is not finite would become null, which no recipe has) is told
/// apart by its debugging form, so that no two values are one.
fn plain<T: Serialize + Debug>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(json) if !has_null(&json) => json,
        _ => Value::String(format!("{value:?}")),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(entries) => entries.values().any(has_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_json_cannot_say_is_not_null() {
        // A map whose keys are no strings has no JSON.
        let map = |value: i32| BTreeMap::from([((1, 2), value)]);
        assert!(serde_json::to_value(map(1)).is_err());
        assert_ne!(plain(&map(1)), plain(&map(2)));
        assert_ne!(plain(&f64::NAN), plain(&f64::INFINITY));
        assert_eq!(plain(&1.5), serde_json::json!(1.5));
    }
}
