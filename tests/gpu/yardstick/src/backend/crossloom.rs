//! crossloom's compiler and devices.

use std::collections::BTreeMap;

use crossloom_compiler::{Context, Mode, compile};
use crossloom_ir::DType;
use crossloom_run::backends::Backend;
use crossloom_runtime::{Arena, Executable, Session, Store};

use super::{Failure, Ready};
use crate::function::{Function, Values};

/// A session with its results' names and types.
pub(crate) struct Compiled {
    session: Session,
    results: Vec<(String, DType)>,
}

impl Compiled {
    /// Compiles for a backend whose device runs, and fills its store.
    pub(super) fn new(function: &Function, backend: Backend) -> Result<Self, Failure> {
        let device = backend.running().map_err(|error| Failure::NoDevice(error.to_string()))?;
        let cx = Context::new(device.target(), Mode::Forward);
        let set = compile(&function.func, &cx).map_err(Failure::of)?;
        let store = Store::new(&device).map_err(Failure::of)?;
        let executable = Executable::new(&device, set.main.plan).map_err(Failure::of)?;
        let session = Session::new(&executable, &Arena::new(&store)).map_err(Failure::of)?;
        for (name, values) in &function.weights {
            store.write(name, values).map_err(Failure::of)?;
        }
        let func = &function.func;
        let results = func.results().iter().map(|result| (result.name.clone(), func.ty(result.value).dtype));
        Ok(Self { session, results: results.collect() })
    }
}

impl Ready for Compiled {
    fn run(&mut self, inputs: &BTreeMap<String, Values>) -> Result<Vec<Values>, Failure> {
        for (name, values) in inputs {
            match values {
                // The compiler leaves out what nothing depends on.
                _ if !self.session.has_input(name) => Ok(()),
                Values::Floats(values) => self.session.write(name, values),
                Values::Ids(ids) => self.session.write(name, ids),
            }
            .map_err(Failure::of)?;
        }
        self.session.run().map_err(Failure::of)?;
        let read = |(name, dtype): &(String, DType)| match dtype {
            DType::I32 => self.session.read(name).map(Values::Ids),
            _ => self.session.read(name).map(Values::Floats),
        };
        self.results.iter().map(|result| read(result).map_err(Failure::of)).collect()
    }
}
