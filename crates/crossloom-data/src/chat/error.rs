//! What can be wrong with a conversation or a template.

/// Why a conversation could not be written for a model.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The template cannot be read.
    #[error("the chat template cannot be read: {reason}")]
    Syntax {
        /// Line and reason.
        reason: String,
    },
    /// The template failed, or refused the conversation.
    #[error("the chat template cannot write this conversation: {reason}")]
    Render {
        /// Line and reason.
        reason: String,
    },
    /// The template computes without end, or makes text without end.
    #[error("the chat template was stopped: it {what}")]
    Limit {
        /// The bound that it met.
        what: String,
    },
    /// A conversation shows pictures, and its template has no place for any.
    #[error("the chat template has no place for pictures, and the conversation shows {pictures}")]
    NoPlace {
        /// How many.
        pictures: usize,
    },
    /// Places of pictures and pictures do not agree.
    #[error(
        "sample {sample}: the prompt has {places} {} for pictures, and {pictures} {}: a placeholder in a text counts as one",
        if *places == 1 { "place" } else { "places" },
        if *pictures == 1 { "picture is given" } else { "pictures are given" }
    )]
    Places {
        /// Whose prompt it is.
        sample: String,
        /// Placeholders among its tokens.
        places: usize,
        /// Pictures that go with it.
        pictures: usize,
    },
    /// Tokens of pictures and features do not agree.
    #[error("sample {sample}: {tokens} tokens stand for pictures, whose features are {features}")]
    Tokens {
        /// Whose sequence it is.
        sample: String,
        /// Image tokens in the sequence.
        tokens: usize,
        /// Visual tokens that its pictures have.
        features: usize,
    },
}
