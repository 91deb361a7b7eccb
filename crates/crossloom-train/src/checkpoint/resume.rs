//! Whether a checkpoint may be continued with the recipe at hand.

use super::read::Checkpoint;
use super::{CheckpointError, STATE_FILE};

/// One key of the resolved recipe that differs between the checkpoint's run and this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeChange {
    /// Dotted key, e.g. `train.lr`.
    pub key: String,
    /// The value then; `None` where it was not set.
    pub before: Option<String>,
    /// The value now; `None` where it is not set.
    pub after: Option<String>,
}

/// The rule for resuming.
pub struct ResumePolicy<'a> {
    /// Hash of the resolved recipe of this run.
    pub recipe_hash: &'a str,
    /// Dotted keys whose change does no harm (`train.log_every`); a key covers everything below it.
    pub allowed: &'a [&'a str],
    /// Given the checkpoint's recipe hash, the changes from that recipe to this one; `None` where the old recipe is not
    /// known any more. Called only when the hashes differ.
    pub changes: &'a dyn Fn(&str) -> Option<Vec<RecipeChange>>,
}

impl ResumePolicy<'_> {
    /// Refuse a checkpoint of another recipe, unless every change is an allowed one.
    pub fn check(&self, checkpoint: &Checkpoint<'_>) -> Result<(), CheckpointError> {
        let saved = &checkpoint.state().recipe_hash;
        if saved == self.recipe_hash {
            return Ok(());
        }
        let known = (self.changes)(saved);
        let forbidden: Vec<RecipeChange> =
            known.iter().flatten().filter(|change| !self.allows(&change.key)).cloned().collect();
        // Different hashes without a single known difference mean that the diff cannot be trusted.
        if forbidden.is_empty() && known.is_some_and(|changes| !changes.is_empty()) {
            return Ok(());
        }
        Err(CheckpointError::RecipeChanged {
            path: checkpoint.path().join(STATE_FILE),
            saved: saved.clone(),
            current: self.recipe_hash.to_owned(),
            changes: forbidden,
        })
    }

    fn allows(&self, key: &str) -> bool {
        self.allowed.iter().any(|&allowed| {
            key.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}
