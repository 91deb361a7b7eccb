//! Errors of the model builder.

use crossloom_graph::GraphError;

/// Why a recipe could not become a graph.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// An operator was applied to operands that do not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The recipe leaves something open that the graph needs.
    #[error("{0}")]
    Incomplete(String),
    /// The recipe trains what the model does not have.
    #[error("{}", .0.join("\n"))]
    Adaptation(Vec<String>),
    /// A prompt cannot be read piece by piece.
    #[error("a prompt of `{recipe}` cannot be read in chunks: {reason}")]
    Chunks {
        /// The recipe's name.
        recipe: String,
        /// What needs the whole.
        reason: String,
    },
}
