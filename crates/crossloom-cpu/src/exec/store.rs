//! Named tensors that live between calls: weights, optimizer moments, accumulators.

use std::sync::Arc;

use crossloom_ir::{DType, Func, Role, TensorType};

use super::Buffer;
use super::memory::{as_ints, as_ints_mut};

/// Weights and state by name. Several executables (training, evaluation) share one store. Tensors are added, never
/// removed, and keep their type, so what an executable found in its store stays there.
#[derive(Debug, Default)]
pub struct Store {
    /// Tells this store from all others that exist.
    identity: Identity,
    entries: Vec<Entry>,
    index: std::collections::BTreeMap<String, usize>,
}

/// Equal to itself and its clones only.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity(Arc<()>);

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
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

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
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

    /// The float tensor of that name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.entry(name, DType::F32).map(|entry| entry.buffer.as_slice())
    }

    /// The integer tensor of that name.
    pub fn get_ints(&self, name: &str) -> Option<&[i32]> {
        self.entry(name, DType::I32).map(|entry| as_ints(entry.buffer.as_slice()))
    }

    fn entry(&self, name: &str, dtype: DType) -> Option<&Entry> {
        self.index.get(name).map(|&slot| &self.entries[slot]).filter(|entry| entry.ty.dtype == dtype)
    }

    /// The type of that tensor.
    pub fn ty(&self, name: &str) -> Option<&TensorType> {
        self.index.get(name).map(|&slot| &self.entries[slot].ty)
    }

    /// Writes the float tensor of that name.
    ///
    /// # Errors
    /// There is none, it holds integers, or it has another number of elements.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<(), StoreError> {
        self.target(name, DType::F32, values.len())?.copy_from_slice(values);
        Ok(())
    }

    /// Writes the integer tensor of that name.
    ///
    /// # Errors
    /// There is none, it holds floats, or it has another number of elements.
    pub fn set_ints(&mut self, name: &str, values: &[i32]) -> Result<(), StoreError> {
        as_ints_mut(self.target(name, DType::I32, values.len())?).copy_from_slice(values);
        Ok(())
    }

    /// The memory of a tensor that is to be overwritten by so many elements of that type.
    fn target(&mut self, name: &str, dtype: DType, given: usize) -> Result<&mut [f32], StoreError> {
        let slot = *self.index.get(name).ok_or_else(|| StoreError::Unknown(name.to_owned()))?;
        let Entry { ty, buffer, .. } = &mut self.entries[slot];
        if ty.dtype != dtype {
            let (name, stored) = (name.to_owned(), ty.clone());
            let wanted = TensorType { dtype, ..stored.clone() };
            return Err(StoreError::Mismatch { name, stored, wanted });
        }
        let target = buffer.as_mut_slice();
        if target.len() != given {
            return Err(StoreError::Length { name: name.to_owned(), stored: target.len(), given });
        }
        Ok(target)
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

    pub(super) fn buffer(&self, slot: usize) -> &Buffer {
        &self.entries[slot].buffer
    }

    pub(super) fn buffer_mut(&mut self, slot: usize) -> &mut Buffer {
        &mut self.entries[slot].buffer
    }
}
