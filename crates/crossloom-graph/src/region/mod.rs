//! Compiled regions: a whole graph as one luminal node.
//!
//! [`DeviceRegions`] runs them on any device of the runtime, [`Interpreter`] on none; both implement [`RegionCompiler`] and
//! [`Region`], of which [`CrossloomCompiler`](crate::CrossloomCompiler) makes a `luminal::Compiler`. The
//! region holds weights and state itself and takes only the inputs, because luminal numbers the edges of a node with
//! 8 bits and would copy or track every weight at every run.

mod compiled;
mod data;
mod device;
mod interpreter;
mod operator;

pub use compiled::CompiledRegion;
pub use data::{Data, DataRef};
pub use device::DeviceRegions;
pub use interpreter::Interpreter;

pub(crate) use operator::RegionOperator;

use crossloom_ir::Func;

use crate::BoxError;

/// Compiles IR functions into regions.
pub trait RegionCompiler {
    /// Compiles a function. Weights and state are set on the region afterwards, before its first run.
    ///
    /// # Errors
    /// The backend cannot compile the function.
    fn compile(&self, func: &Func) -> Result<Box<dyn Region>, BoxError>;
}

/// A compiled function that holds its weights and state.
pub trait Region {
    /// Sets a weight or state parameter; type and length have been checked.
    ///
    /// # Errors
    /// The backend cannot hold it.
    fn set(&mut self, name: &str, values: DataRef<'_>) -> Result<(), BoxError>;

    /// The current value of a weight or state parameter; `None` if the region does not have it.
    fn get(&self, name: &str) -> Option<Data>;

    /// Runs the function: inputs in the order of its parameters of role `Input`, results in the order of its results
    /// that update no parameter. Updates go into the region's own parameters.
    ///
    /// # Errors
    /// Something the function does not accept, such as an id outside a table. The parameters are then unchanged.
    fn run(&mut self, inputs: &[DataRef<'_>]) -> Result<Vec<Data>, BoxError>;
}

impl<R: RegionCompiler + ?Sized> RegionCompiler for &R {
    fn compile(&self, func: &Func) -> Result<Box<dyn Region>, BoxError> {
        (**self).compile(func)
    }
}

impl<R: RegionCompiler + ?Sized> RegionCompiler for Box<R> {
    fn compile(&self, func: &Func) -> Result<Box<dyn Region>, BoxError> {
        (**self).compile(func)
    }
}
