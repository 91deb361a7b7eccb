//! Where a prompt may be cut into chunks.

use std::ops::Range;

use crossloom_recipe::{GatePool, Recipe};

use crate::ModelError;

/// Where the prompts of a recipe may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// Between any two positions.
    Anywhere,
    /// Not between two visual tokens of a picture: a gate pools the hidden state over all of them.
    AroundPictures,
    /// Nowhere: a gate pools the hidden state over the whole prompt.
    Never,
}

/// Where the prompts of a recipe may be cut.
pub fn chunking(recipe: &Recipe) -> Chunking {
    let pools = || recipe.topology.injections().filter_map(|injection| injection.of.pool());
    if pools().any(|pool| pool == GatePool::Prompt) {
        Chunking::Never
    } else if pools().any(|pool| pool == GatePool::Image) {
        Chunking::AroundPictures
    } else {
        Chunking::Anywhere
    }
}

impl Chunking {
    /// Cuts a prompt of `len` positions, with a picture at `picture`, into chunks of at most `tokens`: as few as there can
    /// be, each as long as there can be.
    ///
    /// # Errors
    /// [`ModelError::Chunks`] where the prompt does not fit one chunk and may not be cut, or the picture does not.
    pub fn cut(
        self,
        recipe: &Recipe,
        len: usize,
        picture: Range<usize>,
        tokens: usize,
    ) -> Result<Vec<Range<usize>>, ModelError> {
        let refused = |reason: String| ModelError::Chunks { recipe: recipe.name.clone(), reason };
        if len <= tokens {
            return Ok(std::iter::once(0..len).filter(|whole| !whole.is_empty()).collect());
        }
        let splits = match self {
            Self::Never => return Err(never(recipe)),
            Self::Anywhere => true,
            Self::AroundPictures => false,
        };
        if tokens == 0 || !splits && picture.len() > tokens {
            let needed = if splits { 1 } else { picture.len() };
            return Err(refused(format!(
                "a gate pools the hidden state over the picture, whose {needed} positions need one chunk, and a chunk has \
                 {tokens}"
            )));
        }
        let (mut chunks, mut from) = (Vec::new(), 0);
        while from < len {
            let mut to = (from + tokens).min(len);
            if !splits && picture.start < to && to < picture.end {
                // The chunk holds the picture from its first position on, or ends before it.
                to = if picture.start == from { picture.end } else { picture.start };
            }
            chunks.push(from..to);
            from = to;
        }
        Ok(chunks)
    }
}

/// Why prompts of such a recipe are not cut.
pub(crate) fn never(recipe: &Recipe) -> ModelError {
    ModelError::Chunks {
        recipe: recipe.name.clone(),
        reason: "its gate pools the hidden state over the whole prompt (`topology.gate.pool = \"prompt\"`); read the \
                 prompt at once, or pool the picture (`topology.gate.pool = \"image\"`)"
            .to_owned(),
    }
}
