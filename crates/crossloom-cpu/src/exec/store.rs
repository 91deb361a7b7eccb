//! Named tensors that live between calls: weights, optimizer moments, accumulators.

use crossloom_ir::{Func, Role, TensorType};

use super::Buffer;

/// Weights and state by name. Several executables (training, evaluation) share one store.
#[derive(Debug, Default)]
pub struct Store {
    entries: Vec<Entry>,
    index: std::collections::BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    role: Role,
    ty: TensorType,
    buffer: Buffer,
}

/// Why a tensor could not be found or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing has that name.
    #[error("there is no tensor `{0}`")]
    Unknown(String),
    /// The same name with another type.
    #[error("tensor `{name}` is {stored}, {wanted} is wanted")]
    Mismatch {
        /// The tensor.
        name: String,
        /// Its type in the store.
        stored: TensorType,
        /// The type asked for.
        wanted: TensorType,
    },
    /// The wrong number of elements.
    #[error("tensor `{name}` has {stored} elements, {given} were given")]
    Length {
        /// The tensor.
        name: String,
        /// Elements it has.
        stored: usize,
        /// Elements given.
        given: usize,
    },
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every weight and state parameter of a function that is not there yet, filled with zeros.
    ///
    /// # Errors
    /// A tensor of the same name has another type.
    pub fn add_params(&mut self, func: &Func) -> Result<(), StoreError> {
        for param in func.params().iter().filter(|p| p.role != Role::Input) {
            self.slot(&param.name, param.role, func.ty(param.value))?;
        }
        Ok(())
    }

    /// The slot of a tensor, which is added if it is new.
    pub(super) fn slot(&mut self, name: &str, role: Role, ty: &TensorType) -> Result<usize, StoreError> {
        if let Some(&slot) = self.index.get(name) {
            let stored = &self.entries[slot].ty;
            if stored != ty {
                let (name, stored, wanted) = (name.to_owned(), stored.clone(), ty.clone());
                return Err(StoreError::Mismatch { name, stored, wanted });
            }
            return Ok(slot);
        }
        let buffer = Buffer::new(ty.elements());
        self.entries.push(Entry { name: name.to_owned(), role, ty: ty.clone(), buffer });
        self.index.insert(name.to_owned(), self.entries.len() - 1);
        Ok(self.entries.len() - 1)
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.index.get(name).map(|&slot| self.entries[slot].buffer.as_slice())
    }

    /// The type of that tensor.
    pub fn ty(&self, name: &str) -> Option<&TensorType> {
        self.index.get(name).map(|&slot| &self.entries[slot].ty)
    }

    /// Writes the tensor of that name.
    ///
    /// # Errors
    /// There is none, or it has another number of elements.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<(), StoreError> {
        let slot = *self.index.get(name).ok_or_else(|| StoreError::Unknown(name.to_owned()))?;
        let target = self.entries[slot].buffer.as_mut_slice();
        if target.len() != values.len() {
            return Err(StoreError::Length {
                name: name.to_owned(),
                stored: target.len(),
                given: values.len(),
            });
        }
        target.copy_from_slice(values);
        Ok(())
    }

    /// All tensors in the order they were added: name, role, type, elements.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Role, &TensorType, &[f32])> {
        self.entries.iter().map(|e| (e.name.as_str(), e.role, &e.ty, e.buffer.as_slice()))
    }

    /// Sets every tensor whose name starts with `prefix` to zero.
    pub fn clear(&mut self, prefix: &str) {
        for entry in self.entries.iter_mut().filter(|entry| entry.name.starts_with(prefix)) {
            entry.buffer.as_mut_slice().fill(0.0);
        }
    }

    pub(super) fn buffer_mut(&mut self, slot: usize) -> &mut Buffer {
        &mut self.entries[slot].buffer
    }
}
