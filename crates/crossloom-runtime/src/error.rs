//! What can go wrong at run time.

use std::path::PathBuf;

use crossloom_ir::{DType, InstData, IrErrors, TensorType};

/// Why something could not be prepared, bound, run, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The plan's function is not well-formed, or the plan is not sound.
    #[error("the plan cannot be run: {0}")]
    Plan(#[from] IrErrors),
    /// The plan names a kernel that the device does not have.
    #[error(
        "device `{device}` has no kernel `{kernel}` for {op} on {operands} [in {scope}]; the plan was made for `{target}`"
    )]
    NoKernel {
        /// The device.
        device: &'static str,
        /// The kernel the plan names.
        kernel: String,
        /// The op.
        op: String,
        /// Types of its operands and results.
        operands: String,
        /// Where it stands.
        scope: String,
        /// The plan's target.
        target: String,
    },
    /// An op refused its operands. What earlier steps updated stays updated.
    #[error("{op}: {message} [in {scope}, kernel `{kernel}`]")]
    Step {
        /// The op.
        op: String,
        /// Where it stands.
        scope: String,
        /// The kernel.
        kernel: String,
        /// What is wrong.
        message: String,
    },
    /// Memory, programs or queues of two devices were brought together.
    #[error("@{function} was prepared for another device (`{device}`) than its store's (`{store}`)")]
    OtherDevice {
        /// The function.
        function: String,
        /// The device it was prepared for.
        device: &'static str,
        /// The store's device.
        store: &'static str,
    },
    /// A device was given what it cannot use, or failed.
    #[error("device `{device}`: {message}")]
    Device {
        /// The device.
        device: &'static str,
        /// What is wrong.
        message: String,
    },
    /// An allocation would exceed what may be used of a device.
    #[error("{need} bytes are needed beside {used} that are used; the budget is {limit} bytes")]
    OverBudget {
        /// Bytes that were asked for.
        need: usize,
        /// Bytes in use.
        used: usize,
        /// The budget.
        limit: usize,
    },
    /// Nothing has that name.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// `tensor`, `input` or `result`.
        kind: &'static str,
        /// The name asked for.
        name: String,
    },
    /// A tensor is there with another type or shape.
    #[error("tensor `{name}` is {stored}, {wanted} is wanted")]
    Mismatch {
        /// The tensor.
        name: String,
        /// Its type in the store.
        stored: TensorType,
        /// The type asked for.
        wanted: TensorType,
    },
    /// Elements of another type than the tensor's.
    #[error("{kind} `{name}` is {ty}; it cannot be read or written as {asked}")]
    WrongType {
        /// `tensor`, `input` or `result`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its type.
        ty: TensorType,
        /// The element type asked for.
        asked: DType,
    },
    /// The wrong number of elements.
    #[error("{kind} `{name}` is {ty} and takes {} elements, {given} were given", ty.elements())]
    Length {
        /// `tensor`, `input` or `result`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its type.
        ty: TensorType,
        /// Elements given.
        given: usize,
    },
    /// A result was asked for before a run gave it.
    #[error("@{function} has no result `{name}` yet: it has not run, or its last run failed")]
    NotRun {
        /// The function.
        function: String,
        /// The result.
        name: String,
    },
    /// A result lay in a shared arena that another session has used since.
    #[error(
        "result `{name}` of @{function} is gone: another session has run in the same arena since; read results before it runs"
    )]
    Overwritten {
        /// The function.
        function: String,
        /// The result.
        name: String,
    },
    /// A tensor that is not owned would be written.
    #[error("tensor `{tensor}` is {home} and cannot be written{}", by_step(step.as_deref()))]
    ReadOnly {
        /// The tensor.
        tensor: String,
        /// `mapped` or `lent`.
        home: &'static str,
        /// The op and scope that would write it; `None` if it was written directly.
        step: Option<Box<(String, String)>>,
    },
    /// A file of weights cannot be read, or is not what it was.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

fn by_step(step: Option<&(String, String)>) -> String {
    step.map(|(op, scope)| format!("; {op} updates it [in {scope}]")).unwrap_or_default()
}

impl RunError {
    /// An op refused its operands.
    pub fn refused(inst: &InstData, kernel: &str, message: impl Into<String>) -> Self {
        Self::Step {
            op: inst.op.mnemonic().to_owned(),
            scope: inst.scope.to_string(),
            kernel: kernel.to_owned(),
            message: message.into(),
        }
    }

    /// A device was given what it cannot use, or failed.
    pub fn device(device: &'static str, message: impl Into<String>) -> Self {
        Self::Device { device, message: message.into() }
    }
}
