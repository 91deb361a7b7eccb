//! Rebuilding a function instruction by instruction: how passes change code.

use crate::func::{InstData, Param};
use crate::{Builder, Func, IrError, Scope, TensorType, Value};

/// A new function under construction, and what the old one's values became in it.
#[derive(Debug)]
pub struct Rewriter<'o> {
    old: &'o Func,
    new: Func,
    map: Vec<Option<Value>>,
}

impl<'o> Rewriter<'o> {
    /// Starts from `old` with the same parameters and no instructions.
    pub fn new(old: &'o Func) -> Self {
        Self::retyped(old, |param| old.ty(param.value).clone())
    }

    /// Starts from `old` with the same parameters, of the types that `ty` gives them, and no instructions.
    pub fn retyped(old: &'o Func, ty: impl Fn(&Param) -> TensorType) -> Self {
        let mut new = Func::new(old.name.clone());
        let mut map = vec![None; old.value_count()];
        for param in old.params() {
            let value = new.add_param(param.name.clone(), param.role, ty(param));
            map[param.value.index()] = Some(value);
        }
        Self { old, new, map }
    }

    /// The function that is read.
    pub fn old(&self) -> &'o Func {
        self.old
    }

    /// The function that is written.
    pub fn new_func(&self) -> &Func {
        &self.new
    }

    /// A builder at the end of the new function, in that scope.
    pub fn builder(&mut self, scope: &Scope) -> Builder<'_> {
        let mut builder = self.new.builder();
        builder.set_scope(scope.clone());
        builder
    }

    /// What an old value became.
    ///
    /// # Errors
    /// Nothing yet: a pass visited a use before its definition.
    pub fn get(&self, old: Value) -> Result<Value, IrError> {
        self.map[old.index()].ok_or_else(|| IrError::new("is not rewritten yet").with_value(old))
    }

    /// What old values became.
    ///
    /// # Errors
    /// As [`Rewriter::get`].
    pub fn get_all(&self, old: &[Value]) -> Result<Vec<Value>, IrError> {
        old.iter().map(|&v| self.get(v)).collect()
    }

    /// Says what an old value became.
    pub fn set(&mut self, old: Value, new: Value) {
        self.map[old.index()] = Some(new);
    }

    /// Says what old values became.
    pub fn set_all(&mut self, old: &[Value], new: &[Value]) {
        for (&old, &new) in old.iter().zip(new) {
            self.set(old, new);
        }
    }

    /// Copies an instruction with its operands replaced; its results keep their types.
    ///
    /// # Errors
    /// An operand is not rewritten yet, or its new type no longer fits.
    pub fn copy(&mut self, inst: &InstData) -> Result<(), IrError> {
        let inputs = self.get_all(&inst.inputs)?;
        let asked = self.old.dtypes(&inst.outputs);
        let outputs = self.new.push_as(inst.op.clone(), &inputs, &asked, &inst.scope)?;
        self.set_all(&inst.outputs, &outputs);
        Ok(())
    }

    /// Carries the results over and returns the new function.
    ///
    /// # Errors
    /// A result was not rewritten.
    pub fn finish(mut self) -> Result<Func, IrError> {
        for result in self.old.results() {
            let value = self.get(result.value)?;
            match result.updates {
                None => self.new.add_result(result.name.clone(), value),
                Some(param) => {
                    let param = self.new.params()[param].value;
                    self.new.add_update(param, value)?;
                }
            }
        }
        Ok(self.new)
    }
}
