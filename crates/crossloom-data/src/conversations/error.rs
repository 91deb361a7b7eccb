//! What can be wrong with conversations that are to be trained on.

use crate::image::ImageError;
use crate::packing::PackingError;
use crate::records::RecordError;
use crate::sampler::SamplerError;

/// Why conversations cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// A sample that cannot be learned from, with its file and line.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// More samples cannot be learned from than may be left out.
    #[error("{count} samples cannot be learned from, and {allowed} may be left out: {}", told.join("; "))]
    LeftOut {
        /// How many there were so far.
        count: u64,
        /// How many may be left out.
        allowed: u64,
        /// The first reasons, each with file and line.
        told: Vec<String>,
    },
    /// More samples are too long than may lose turns.
    #[error(
        "{count} samples are longer than a row and lose turns, and {allowed} may: {}; make rows longer, or allow more",
        told.join("; ")
    )]
    Truncated {
        /// How many there were so far.
        count: u64,
        /// How many may lose turns.
        allowed: u64,
        /// The first of them, each with file and line.
        told: Vec<String>,
    },
    /// All samples were drawn, and none could be learned from.
    #[error("none of {samples} samples can be learned from; the last: {last}")]
    Nothing {
        /// How many samples there are.
        samples: usize,
        /// What was wrong with the last one.
        last: String,
    },
    /// A mixture without a source, or of which none is ever drawn.
    #[error("a mixture needs a source, and weights that are above 0 and finite; they are {weights:?}")]
    Weights {
        /// As they were given.
        weights: Vec<f64>,
    },
    /// A position in other data.
    #[error(
        "the saved position is that of {saved} sources, and {current} are mixed: the data order would change"
    )]
    Sources {
        /// Sources of the saved position.
        saved: usize,
        /// Sources of this stream.
        current: usize,
    },
    /// Pictures that a row cannot hold as they are.
    #[error("pictures of a conversation cannot be laid out: {problem}")]
    Views {
        /// Why.
        problem: String,
    },
    /// A thread that reads ahead is gone.
    #[error("a thread that reads samples ahead {what}")]
    Thread {
        /// What became of it.
        what: String,
    },
    /// A picture's size or its normalisation is unusable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Shapes that no batch can have.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// A position that does not belong to this data.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}
