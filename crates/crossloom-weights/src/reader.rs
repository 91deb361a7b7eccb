//! What reads a file of weights, whatever its format.

use std::fmt;

use crossloom_ir::TensorType;
use crossloom_runtime::{Located, MappedTensor, RunError};

/// A file, or several that belong together, whose header was checked and none of whose tensors was read yet.
pub(crate) trait Reader: fmt::Debug + Send + Sync {
    /// The names of its tensors, sorted.
    fn names(&self) -> Vec<&str>;

    /// What it says of a tensor; the range is that in the tensor's own file. None if it has none of that name.
    fn located(&self, name: &str) -> Option<&Located>;

    /// A tensor as it lies in the file; none if it has none of that name.
    ///
    /// # Errors
    /// Its element type is none of ours.
    fn read(&self, name: &str) -> Option<Result<(TensorType, WeightBytes), RunError>>;
}

/// Where the bytes of a tensor are.
#[derive(Debug)]
pub enum WeightBytes {
    /// In the file, as they are needed.
    Mapped(MappedTensor),
    /// In memory, since the file has them in another order, or not where they can be used.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for WeightBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(tensor) => tensor.as_ref(),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl From<MappedTensor> for WeightBytes {
    fn from(tensor: MappedTensor) -> Self {
        Self::Mapped(tensor)
    }
}

impl From<Vec<u8>> for WeightBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}
