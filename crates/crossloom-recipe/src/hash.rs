//! The identity of an experiment: two recipes with the same hash compute the same thing.

use serde_json::Value;

use crate::load::LoadedRecipe;
use crate::schema::Recipe;

/// Changes whenever the meaning of a recipe changes without its text.
const DOMAIN: &str = "crossloom recipe 1\n";
/// The same for what a recipe trains.
const TRAINING_DOMAIN: &str = "crossloom training 1\n";

/// Keys that may change between a checkpoint and its continuation: they say what is written down, and what is done with
/// the trained model. `eval.max_new_tokens` is not one of them, because it sizes the sequences that are trained.
const HARMLESS: [(&str, &[&str]); 2] = [
    ("/train", &["log_every", "checkpoint_every", "keep_checkpoints"]),
    ("/eval", &["split", "bootstrap_samples", "confidence", "seed", "limit"]),
];

impl Recipe {
    /// BLAKE3 of the resolved recipe, as 64 hexadecimal digits. Comments, order, `extends`, presets and defaults that
    /// lead to the same values do not change it; neither do `name`, `description` and `data.cache`.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN.as_bytes());
        hasher.update(canonical(self).to_string().as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// BLAKE3 of the settings that decide which weights come out of training. A run's folder and its checkpoints carry it,
    /// so that a run can be continued and evaluated with other settings for logging, checkpoints and scoring.
    pub fn training_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(TRAINING_DOMAIN.as_bytes());
        hasher.update(self.training_settings().to_string().as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The settings that [`Recipe::training_hash`] covers, as JSON with sorted keys.
    pub fn training_settings(&self) -> Value {
        let mut value = canonical(self);
        for (table, keys) in HARMLESS {
            if let Some(table) = value.pointer_mut(table).and_then(Value::as_object_mut) {
                for key in keys {
                    table.remove(*key);
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
    let mut value = serde_json::to_value(recipe).unwrap_or_default();
    let mut remove = |table: &str, key: &str| {
        if let Some(table) = value.pointer_mut(table).and_then(Value::as_object_mut) {
            table.remove(key);
        }
    };
    remove("", "name");
    remove("", "description");
    remove("/data", "cache");
    remove("/model/vision", "preset");
    remove("/model/language", "preset");
    value.sort_all_objects();
    value
}
