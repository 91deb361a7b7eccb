//! The identity of an experiment: two recipes with the same hash compute the same thing.

use serde_json::Value;

use crate::load::LoadedRecipe;
use crate::schema::Recipe;

/// Changes whenever the meaning of a recipe changes without its text.
const DOMAIN: &str = "crossloom recipe 1\n";

impl Recipe {
    /// BLAKE3 of the resolved recipe, as 64 hexadecimal digits. Comments, order, `extends`, presets and defaults that
    /// lead to the same values do not change it; neither do `name`, `description` and `data.cache`.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN.as_bytes());
        hasher.update(canonical(self).as_bytes());
        hasher.finalize().to_hex().to_string()
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
}

/// JSON with sorted keys, without what does not change the experiment.
fn canonical(recipe: &Recipe) -> String {
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
    value.to_string()
}
