//! Regions that run on a device: one adapter for all of them.

use std::sync::Arc;

use crossloom_compiler::{Context, Mode, compile};
use crossloom_ir::{DType, Func, Role};
use crossloom_runtime::{Arena, Device, Executable, RunError, Session, Store};

use super::{Data, DataRef, Region, RegionCompiler};
use crate::BoxError;

/// Compiles functions into regions that run on a device.
#[derive(Clone, Debug)]
pub struct DeviceRegions(pub Arc<dyn Device>);

impl RegionCompiler for DeviceRegions {
    fn compile(&self, func: &Func) -> Result<Box<dyn Region>, BoxError> {
        let plan = compile(func, &Context::new(self.0.target(), Mode::Forward))?.main.plan;
        let executable = Executable::new(&self.0, plan)?;
        let session = Session::new(&executable, &Arena::new(&Store::new(&self.0)?))?;
        let func = &session.plan().func;
        let updated = func.results().iter().filter_map(|result| result.updates);
        let updated = updated.map(|param| func.params()[param].name.clone()).collect();
        Ok(Box::new(DeviceRegion { session, updated }))
    }
}

/// A session with weights and state of its own.
#[derive(Debug)]
struct DeviceRegion {
    session: Session,
    /// Parameters that a run updates.
    updated: Vec<String>,
}

impl DeviceRegion {
    /// Writes the inputs, in the order of the function's input parameters; runs; reads the results.
    fn call(&mut self, inputs: &[DataRef<'_>]) -> Result<Vec<Data>, RunError> {
        let params = self.session.plan().func.params().iter();
        let names: Vec<String> =
            params.filter(|param| param.role == Role::Input).map(|param| param.name.clone()).collect();
        for (name, input) in names.iter().zip(inputs) {
            match input {
                DataRef::F32(values) => self.session.write(name, values)?,
                DataRef::I32(values) => self.session.write(name, values)?,
            }
        }
        self.session.run()?;
        self.session.wait()?;
        let func = &self.session.plan().func;
        let given = func.results().iter().filter(|result| result.updates.is_none());
        let read = given.map(|result| match func.ty(result.value).dtype {
            DType::I32 => self.session.read(&result.name).map(Data::I32),
            _ => self.session.read(&result.name).map(Data::F32),
        });
        read.collect()
    }
}

impl Region for DeviceRegion {
    fn set(&mut self, name: &str, values: DataRef<'_>) -> Result<(), BoxError> {
        match values {
            DataRef::F32(values) => self.session.store().write(name, values)?,
            DataRef::I32(values) => self.session.store().write(name, values)?,
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<Data> {
        let store = self.session.store();
        match store.info(name)?.ty.dtype {
            DType::I32 => store.read(name).ok().map(Data::I32),
            _ => store.read(name).ok().map(Data::F32),
        }
    }

    fn run(&mut self, inputs: &[DataRef<'_>]) -> Result<Vec<Data>, BoxError> {
        // A step that fails leaves what earlier ones updated; the old content is kept so that it can be put back.
        let store = self.session.store().clone();
        let before = self.updated.iter().map(|name| store.read_bytes(name)).collect::<Result<Vec<_>, _>>()?;
        self.call(inputs).map_err(|failed| {
            let mut back = self.updated.iter().zip(&before);
            match back.try_for_each(|(name, bytes)| store.write_bytes(name, bytes)) {
                Ok(()) => failed.into(),
                Err(lost) => {
                    format!("{failed}; and what it had updated could not be put back: {lost}").into()
                }
            }
        })
    }
}
