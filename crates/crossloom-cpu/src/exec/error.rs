//! What can go wrong with an executable.

use crossloom_ir::{InstData, IrErrors};

use super::StoreError;

/// Why an executable could not be made or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A weight or state tensor of the store does not fit.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan's function is not well-formed, or the plan is not sound.
    #[error("the plan cannot be run: {0}")]
    Plan(#[from] IrErrors),
    /// The weights were given in another store than at the start.
    #[error("@{function} was bound to another store; an executable runs on the store it was made for")]
    OtherStore {
        /// The function.
        function: String,
    },
    /// The plan names a kernel this backend does not have.
    #[error(
        "the CPU has no kernel `{kernel}` for {op} [in {scope}]; the plan was made for backend `{backend}`"
    )]
    NoKernel {
        /// The kernel the plan names.
        kernel: String,
        /// The op.
        op: String,
        /// Where it stands.
        scope: String,
        /// The plan's backend.
        backend: String,
    },
    /// An op refused its operands.
    #[error("{op}: {message} [in {scope}]")]
    Step {
        /// The op.
        op: String,
        /// Where it stands.
        scope: String,
        /// What is wrong.
        message: String,
    },
    /// An input was given the wrong number of elements.
    #[error("input `{name}` has {expected} elements, {given} were given")]
    InputLength {
        /// The input.
        name: String,
        /// Elements it has.
        expected: usize,
        /// Elements given.
        given: usize,
    },
    /// No input or result of that name and type.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// `input` or `result`.
        kind: &'static str,
        /// The name asked for.
        name: String,
    },
}

impl RunError {
    /// An op refused its operands.
    pub(super) fn refused(inst: &InstData, message: String) -> Self {
        Self::Step { op: inst.op.mnemonic().to_owned(), scope: inst.scope.to_string(), message }
    }
}
