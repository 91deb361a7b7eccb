//! Whether a checkpoint may be continued with the recipe at hand.

use std::fmt;

use super::read::Checkpoint;
use super::{CheckpointError, STATE_FILE};

/// One key of the resolved recipe that differs between the checkpoint's run and this one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecipeChange {
    /// Dotted key, e.g. `train.lr`.
    pub key: String,
    /// The value then; `None` where it was not set.
    pub before: Option<String>,
    /// The value now; `None` where it is not set.
    pub after: Option<String>,
}

impl fmt::Display for RecipeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        write!(f, "{}: {} → {}", self.key, side(&self.before), side(&self.after))
    }
}

/// The rule for resuming: the hash says what is trained, and it must be the same.
pub struct ResumePolicy<'a> {
    /// Hash of what this run's recipe trains.
    pub recipe_hash: &'a str,
    /// Given the checkpoint's recipe hash, the changes from that recipe to this one, for the message; `None` where the old
    /// recipe is not known any more. Called only when the hashes differ.
    pub changes: &'a dyn Fn(&str) -> Option<Vec<RecipeChange>>,
}

impl ResumePolicy<'_> {
    /// Refuse a checkpoint of another recipe.
    pub fn check(&self, checkpoint: &Checkpoint<'_>) -> Result<(), CheckpointError> {
        let saved = &checkpoint.state().recipe_hash;
        if saved == self.recipe_hash {
            return Ok(());
        }
        Err(CheckpointError::RecipeChanged {
            path: checkpoint.path().join(STATE_FILE),
            saved: saved.clone(),
            current: self.recipe_hash.to_owned(),
            changes: (self.changes)(saved).unwrap_or_default(),
        })
    }
}
