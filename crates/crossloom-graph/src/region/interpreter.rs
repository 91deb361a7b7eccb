//! The region compiler that compiles nothing: regions run on the IR's reference interpreter.

use std::collections::BTreeMap;

use crossloom_ir::interp;
use crossloom_ir::{Func, IrError, Role, Tensor};

use super::{Data, DataRef, Region, RegionCompiler};
use crate::BoxError;

/// Reference backend: slow, and right by definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interpreter;

#[derive(Debug)]
struct Interpreted {
    func: Func,
    held: BTreeMap<String, Tensor<f32>>,
}

impl RegionCompiler for Interpreter {
    fn compile(&self, func: &Func) -> Result<Box<dyn Region>, BoxError> {
        Ok(Box::new(Interpreted { func: func.clone(), held: BTreeMap::new() }))
    }
}

impl Interpreted {
    fn tensor(&self, value: crossloom_ir::Value, data: DataRef<'_>) -> Tensor<f32> {
        Tensor { shape: self.func.shape(value).to_vec(), data: data.to_owned().into_luminal() }
    }
}

impl Region for Interpreted {
    fn set(&mut self, name: &str, values: DataRef<'_>) -> Result<(), BoxError> {
        let param =
            self.func.param(name).ok_or_else(|| IrError::new(format!("there is no parameter `{name}`")))?;
        let tensor = self.tensor(param.value, values);
        self.held.insert(name.to_owned(), tensor);
        Ok(())
    }

    fn get(&self, name: &str) -> Option<Data> {
        let dtype = self.func.ty(self.func.param(name)?.value).dtype;
        Some(Data::from_luminal(self.held.get(name)?.data.clone(), dtype))
    }

    fn run(&mut self, inputs: &[DataRef<'_>]) -> Result<Vec<Data>, BoxError> {
        let mut inputs = inputs.iter();
        let mut args = Vec::with_capacity(self.func.params().len());
        for param in self.func.params() {
            let missing = || IrError::new(format!("`{}` has no value", param.name));
            args.push(match param.role {
                Role::Input => self.tensor(param.value, *inputs.next().ok_or_else(missing)?),
                Role::Weight | Role::State => self.held.get(&param.name).cloned().ok_or_else(missing)?,
            });
        }
        let values = interp::run(&self.func, &args)?;
        let mut results = Vec::new();
        for (result, value) in self.func.results().iter().zip(values) {
            match result.updates {
                None => results.push(Data::from_luminal(value.data, self.func.ty(result.value).dtype)),
                Some(at) => {
                    self.held.insert(self.func.params()[at].name.clone(), value);
                }
            }
        }
        Ok(results)
    }
}
