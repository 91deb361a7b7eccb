//! What can go wrong with a graph.

use crossloom_ir::{IrError, IrErrors, TensorType};

/// Any error of a backend.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error of building, running, lifting, decomposing or compiling a graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An operator was applied or computed wrongly.
    #[error(transparent)]
    Op(#[from] IrError),
    /// The graph is malformed; everything that is wrong with it.
    #[error("the graph is malformed:\n{0}")]
    Malformed(#[from] IrErrors),
    /// No parameter has that name.
    #[error("there is no parameter `{name}`{}", did_you_mean(near.as_deref()))]
    UnknownParam {
        /// The name that was asked for.
        name: String,
        /// The most similar existing name.
        near: Option<String>,
    },
    /// No result has that name.
    #[error("there is no result `{name}`{}", did_you_mean(near.as_deref()))]
    UnknownResult {
        /// The name that was asked for.
        name: String,
        /// The most similar existing name.
        near: Option<String>,
    },
    /// Data of another length than the type says.
    #[error("`{name}` is {ty} and holds {} elements, {given} were given", ty.elements())]
    Length {
        /// The parameter or result.
        name: String,
        /// Its type.
        ty: TensorType,
        /// Number of elements given.
        given: usize,
    },
    /// Floats where ids belong or the other way round.
    #[error("`{name}` is {ty}: it takes and gives data of that element type only")]
    WrongElement {
        /// The parameter or result.
        name: String,
        /// Its type.
        ty: TensorType,
    },
    /// luminal holds ids as `f32`, which is exact up to 2^24 only.
    #[error("`{name}`: id {id} at {index} is beyond ±2^24, which luminal's floats cannot hold exactly")]
    IdRange {
        /// The parameter.
        name: String,
        /// Flat index of the id.
        index: usize,
        /// The id.
        id: i32,
    },
    /// Parameters that were never set.
    #[error("parameters without a value: {}; set them before running", names.join(", "))]
    Unset {
        /// Their names, in parameter order.
        names: Vec<String>,
    },
    /// A result that no run has computed yet.
    #[error("`{name}` has no value yet; execute the graph first")]
    NotComputed {
        /// The result.
        name: String,
    },
    /// More edges than luminal's 8-bit orders can tell apart.
    #[error("{what} has {count} {kind}; a luminal node has at most 256")]
    TooManyEdges {
        /// The node.
        what: String,
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// luminal or a backend panicked; the message is theirs.
    #[error("panicked while {during}: {message}")]
    Panic {
        /// What was going on.
        during: String,
        /// The panic message.
        message: String,
    },
    /// A region compiler or a compiled region failed.
    #[error("{during}: {source}")]
    Backend {
        /// What was going on.
        during: String,
        /// The backend's own error.
        source: BoxError,
    },
}

impl GraphError {
    /// A malformed graph with one thing wrong.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed(IrError::new(message).into())
    }

    /// A backend's error.
    pub(crate) fn backend(during: &str, source: BoxError) -> Self {
        Self::Backend { during: during.to_owned(), source }
    }
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// The name that takes the fewest edits, if they are at most half of its letters.
pub(crate) fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let edits = |name: &'n str| (strsim::osa_distance(wanted, name), name);
    let (distance, name) = names.map(edits).min_by_key(|(distance, _)| *distance)?;
    (2 * distance <= wanted.chars().count()).then(|| name.to_owned())
}
