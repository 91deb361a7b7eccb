//! Regions of luminal graphs that run on the CPU backend.
//!
//! ```
//! use crossloom_graph::luminal::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cx = Graph::new();
//! let x = cx.tensor::<R2<2, 3>>().set(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! let w = cx.tensor::<R2<3, 1>>().set(vec![1.0, 10.0, 100.0]).keep();
//! let mut y = x.matmul(w).retrieve();
//!
//! let compiler = crossloom_cpu::luminal_compiler();
//! cx.compile(&compiler, &mut y); // the graph is one region now
//! if let Some(error) = compiler.last_error() {
//!     return Err(error.to_string().into());
//! }
//! cx.execute();
//! assert_eq!(y.data(), [321.0, 654.0]);
//! # Ok(())
//! # }
//! ```

use crossloom_compiler::{Mode, Options, compile};
use crossloom_graph::{BoxError, CrossloomCompiler, Data, DataRef, Region, RegionCompiler};
use crossloom_ir::{DType, Func, Role};

use crate::exec::{CpuBackend, Executable, RunError, Store};

/// A `luminal::Compiler` that replaces a graph by one region of CPU kernels, planned like any forward pass.
pub fn luminal_compiler() -> CrossloomCompiler<CpuRegions> {
    CrossloomCompiler::new(CpuRegions)
}

/// Compiles functions into regions that run on the CPU backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuRegions;

impl RegionCompiler for CpuRegions {
    fn compile(&self, func: &Func) -> Result<Box<dyn Region>, BoxError> {
        let options = Options { verify: cfg!(debug_assertions) };
        let plan = compile(func, &Mode::Forward, &CpuBackend, options)?.main.plan;
        let mut store = Store::new();
        store.add_params(&plan.func)?;
        let executable = Executable::new(plan, &mut store)?;
        Ok(Box::new(CpuRegion { executable, store }))
    }
}

/// A plan with weights and state of its own.
#[derive(Debug)]
struct CpuRegion {
    executable: Executable,
    store: Store,
}

impl CpuRegion {
    /// Copies the inputs, in the order of the function's input parameters, to where the plan reads them.
    fn load(&mut self, inputs: &[DataRef<'_>]) -> Result<(), RunError> {
        let names: Vec<String> = {
            let params = self.executable.plan().func.params().iter();
            params.filter(|param| param.role == Role::Input).map(|param| param.name.clone()).collect()
        };
        for (name, input) in names.iter().zip(inputs) {
            match input {
                DataRef::F32(values) => fill(name, self.executable.input_mut(name)?, values)?,
                DataRef::I32(values) => fill(name, self.executable.int_input_mut(name)?, values)?,
            }
        }
        Ok(())
    }
}

fn fill<T: Copy>(name: &str, to: &mut [T], from: &[T]) -> Result<(), RunError> {
    if to.len() != from.len() {
        return Err(RunError::InputLength { name: name.to_owned(), expected: to.len(), given: from.len() });
    }
    to.copy_from_slice(from);
    Ok(())
}

impl Region for CpuRegion {
    fn set(&mut self, name: &str, values: DataRef<'_>) -> Result<(), BoxError> {
        match values {
            DataRef::F32(values) => self.store.set(name, values)?,
            DataRef::I32(values) => self.store.set_ints(name, values)?,
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<Data> {
        match self.store.ty(name)?.dtype {
            DType::F32 => self.store.get(name).map(|values| Data::F32(values.to_vec())),
            DType::I32 => self.store.get_ints(name).map(|values| Data::I32(values.to_vec())),
            _ => None,
        }
    }

    fn run(&mut self, inputs: &[DataRef<'_>]) -> Result<Vec<Data>, BoxError> {
        self.load(inputs)?;
        self.executable.run(&mut self.store)?;
        let func = &self.executable.plan().func;
        let given = func.results().iter().filter(|result| result.updates.is_none());
        let read = given.map(|result| match func.ty(result.value).dtype {
            DType::I32 => {
                self.executable.int_result_in(&self.store, &result.name).map(|v| Data::I32(v.to_vec()))
            }
            // Reading a result as floats that holds none is an error of the executable.
            _ => self.executable.result_in(&self.store, &result.name).map(|v| Data::F32(v.to_vec())),
        });
        Ok(read.collect::<Result<_, RunError>>()?)
    }
}
