//! Named tensors of a device: weights, optimizer moments, accumulators.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossloom_compiler::plan::element_alignment;
use crossloom_ir::{Func, Role, TensorType};

use crate::{
    Device, DeviceMemory, DeviceQueue, Element, HostBytes, MappedFile, MappedTensor, Reservation, RunError,
};

/// Where a tensor's memory comes from.
#[derive(Clone, Debug)]
pub enum Home {
    /// Allocated for the store, which alone may write it.
    Owned,
    /// Read-only, in a file.
    Mapped(Arc<MappedFile>),
    /// Read-only, of the caller.
    Lent,
}

impl Home {
    /// Its name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::Mapped(_) => "mapped",
            Self::Lent => "lent",
        }
    }
}

/// What a store says of a tensor.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Weight or state.
    pub role: Role,
    /// Element type and shape.
    pub ty: TensorType,
    /// Where its memory comes from.
    pub home: Home,
    /// Whether it takes memory of the device: all that are owned, and those others that had to be copied because the
    /// device cannot compute where they lie, or because they do not start at a whole element there.
    pub resident: bool,
}

/// Memory with the part of the budget that it takes.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) raw: Arc<dyn DeviceMemory>,
    _reservation: Option<Reservation>,
}

/// Named tensors of one device. Clones are handles on the same store. Tensors are added, never removed, and keep their
/// type, so what a session found in its store stays there.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    device: Arc<dyn Device>,
    inner: Mutex<Inner>,
}

/// The queue with everything that its memory is named by.
pub(crate) struct Inner {
    pub(crate) queue: Box<dyn DeviceQueue>,
    entries: Vec<Entry>,
    index: BTreeMap<String, usize>,
}

pub(crate) struct Entry {
    pub(crate) info: TensorInfo,
    pub(crate) memory: Memory,
}

impl Store {
    /// An empty store with a queue of its own.
    ///
    /// # Errors
    /// The device gives no queue.
    pub fn new(device: &Arc<dyn Device>) -> Result<Self, RunError> {
        let inner = Inner { queue: device.queue()?, entries: Vec::new(), index: BTreeMap::new() };
        Ok(Self(Arc::new(Shared { device: Arc::clone(device), inner: Mutex::new(inner) })))
    }

    /// The device it lives on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.0.device
    }

    /// Exclusive access to the queue and so to all memory. A thread that panicked has left whole tensors behind: the
    /// lock guards no invariant that could be half done.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New memory under the device's budget.
    pub(crate) fn allocate(&self, inner: &mut Inner, bytes: usize) -> Result<Memory, RunError> {
        let reservation = self.device().budget().reserve(bytes)?;
        Ok(Memory { raw: inner.queue.allocate(bytes)?, _reservation: Some(reservation) })
    }

    /// Adds an owned tensor of zeros, unless it is there already.
    ///
    /// # Errors
    /// A tensor of that name has another type, or there is no room.
    pub fn add(&self, name: &str, role: Role, ty: &TensorType) -> Result<(), RunError> {
        let mut inner = self.lock();
        self.ensure(&mut inner, name, role, ty).map(|_| ())
    }

    /// Adds every weight and state parameter of a function that is not there yet, filled with zeros.
    ///
    /// # Errors
    /// A tensor of the same name has another type, or there is no room.
    pub fn add_params(&self, func: &Func) -> Result<(), RunError> {
        let mut inner = self.lock();
        for param in func.params().iter().filter(|p| p.role != Role::Input) {
            self.ensure(&mut inner, &param.name, param.role, func.ty(param.value))?;
        }
        Ok(())
    }

    /// The index of a tensor, which is added if it is new.
    pub(crate) fn ensure(
        &self,
        inner: &mut Inner,
        name: &str,
        role: Role,
        ty: &TensorType,
    ) -> Result<usize, RunError> {
        if let Some(index) = inner.find(name, ty)? {
            return Ok(index);
        }
        let memory = self.allocate(inner, ty.bytes())?;
        Ok(inner.add(name, role, ty, Home::Owned, true, memory))
    }

    /// Adds a weight that stays in its file, which may call it otherwise.
    ///
    /// # Errors
    /// The tensor has not as many bytes as the type, its file has changed, a tensor of that name is there already, or a copy is
    /// needed and there is no room for it.
    pub fn map(&self, name: &str, ty: &TensorType, tensor: MappedTensor) -> Result<(), RunError> {
        let file = Arc::clone(tensor.file());
        file.check()?;
        let bytes: HostBytes = Arc::new(tensor);
        check_length(name, ty, &bytes)?;
        self.adopt(name, Role::Weight, ty, Home::Mapped(Arc::clone(&file)), &bytes, file.is_copy())
    }

    /// Adds a read-only tensor whose memory, on the host, the caller owns and does not write.
    ///
    /// # Errors
    /// There are not as many bytes as the type has, a tensor of that name is there already, or a copy is needed and there
    /// is no room for it.
    pub fn lend(&self, name: &str, role: Role, ty: &TensorType, bytes: &HostBytes) -> Result<(), RunError> {
        check_length(name, ty, bytes)?;
        self.adopt(name, role, ty, Home::Lent, bytes, false)
    }

    fn adopt(
        &self,
        name: &str,
        role: Role,
        ty: &TensorType,
        home: Home,
        bytes: &HostBytes,
        copied: bool,
    ) -> Result<(), RunError> {
        let mut inner = self.lock();
        if inner.index.contains_key(name) {
            let message =
                format!("tensor `{name}` is in the store already and cannot be {} as well", home.name());
            return Err(RunError::device(self.device().name(), message));
        }
        let alignment = element_alignment(ty.dtype);
        let in_place = inner.queue.adopts_in_place(bytes, alignment);
        let resident = copied || !in_place;
        let reservation = resident.then(|| self.device().budget().reserve(ty.bytes())).transpose()?;
        let memory = Memory { raw: inner.queue.adopt(bytes, alignment)?, _reservation: reservation };
        inner.add(name, role, ty, home, resident, memory);
        Ok(())
    }

    /// All tensors in the order they were added.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        self.lock().entries.iter().map(|entry| entry.info.clone()).collect()
    }

    /// What is known of the tensor of that name.
    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        let inner = self.lock();
        inner.index.get(name).map(|&index| inner.entries[index].info.clone())
    }

    /// Reads a tensor, row-major.
    ///
    /// # Errors
    /// There is none of that name, it has another element type, or the device failed.
    pub fn read<T: Element>(&self, name: &str) -> Result<Vec<T>, RunError> {
        let mut inner = self.lock();
        let entry = inner.typed::<T>(name)?;
        let mut values = vec![T::zeroed(); entry.info.ty.elements()];
        inner.download(name, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Writes a tensor, row-major.
    ///
    /// # Errors
    /// There is none of that name, it has another element type or number of elements, or it is not owned.
    pub fn write<T: Element>(&self, name: &str, values: &[T]) -> Result<(), RunError> {
        let mut inner = self.lock();
        let ty = &inner.typed::<T>(name)?.info.ty;
        if ty.elements() != values.len() {
            let (ty, given) = (ty.clone(), values.len());
            return Err(RunError::Length { kind: "tensor", name: name.to_owned(), ty, given });
        }
        inner.upload(name, bytemuck::cast_slice(values))
    }

    /// Reads a tensor's bytes, whatever its type: what a checkpoint writes.
    ///
    /// # Errors
    /// There is none of that name, or the device failed.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>, RunError> {
        let mut inner = self.lock();
        let mut bytes = vec![0; inner.entry(name)?.info.ty.bytes()];
        inner.download(name, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a tensor's bytes, whatever its type.
    ///
    /// # Errors
    /// There is none of that name, it has another number of bytes, or it is not owned.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let mut inner = self.lock();
        let ty = &inner.entry(name)?.info.ty;
        if ty.bytes() != bytes.len() {
            let (ty, given) = (ty.clone(), bytes.len() * ty.elements() / ty.bytes().max(1));
            return Err(RunError::Length { kind: "tensor", name: name.to_owned(), ty, given });
        }
        inner.upload(name, bytes)
    }

    /// Sets every owned tensor whose name starts with `prefix` to zero.
    ///
    /// # Errors
    /// The device failed.
    pub fn clear(&self, prefix: &str) -> Result<(), RunError> {
        let inner = &mut *self.lock();
        let owned =
            |entry: &&Entry| entry.info.name.starts_with(prefix) && matches!(entry.info.home, Home::Owned);
        inner.entries.iter().filter(owned).try_for_each(|entry| inner.queue.clear(&*entry.memory.raw))
    }
}

fn check_length(name: &str, ty: &TensorType, bytes: &HostBytes) -> Result<(), RunError> {
    let given = (**bytes).as_ref().len();
    if given == ty.bytes() {
        return Ok(());
    }
    let given = given * ty.elements() / ty.bytes().max(1);
    Err(RunError::Length { kind: "tensor", name: name.to_owned(), ty: ty.clone(), given })
}

impl Inner {
    /// The index of a tensor that has to have that type.
    pub(crate) fn find(&self, name: &str, ty: &TensorType) -> Result<Option<usize>, RunError> {
        let Some(&index) = self.index.get(name) else { return Ok(None) };
        let stored = &self.entries[index].info.ty;
        if stored == ty {
            return Ok(Some(index));
        }
        let (name, stored, wanted) = (name.to_owned(), stored.clone(), ty.clone());
        Err(RunError::Mismatch { name, stored, wanted })
    }

    pub(crate) fn at(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    fn add(
        &mut self,
        name: &str,
        role: Role,
        ty: &TensorType,
        home: Home,
        resident: bool,
        memory: Memory,
    ) -> usize {
        let info = TensorInfo { name: name.to_owned(), role, ty: ty.clone(), home, resident };
        self.entries.push(Entry { info, memory });
        self.index.insert(name.to_owned(), self.entries.len() - 1);
        self.entries.len() - 1
    }

    fn entry(&self, name: &str) -> Result<&Entry, RunError> {
        let unknown = || RunError::Unknown { kind: "tensor", name: name.to_owned() };
        self.index.get(name).map(|&index| &self.entries[index]).ok_or_else(unknown)
    }

    fn typed<T: Element>(&self, name: &str) -> Result<&Entry, RunError> {
        let entry = self.entry(name)?;
        if entry.info.ty.dtype == T::DTYPE {
            return Ok(entry);
        }
        let (name, ty) = (name.to_owned(), entry.info.ty.clone());
        Err(RunError::WrongType { kind: "tensor", name, ty, asked: T::DTYPE })
    }

    fn download(&mut self, name: &str, into: &mut [u8]) -> Result<(), RunError> {
        let memory = Arc::clone(&self.entry(name)?.memory.raw);
        self.queue.download(&*memory, 0, into)
    }

    fn upload(&mut self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let entry = self.entry(name)?;
        if !matches!(entry.info.home, Home::Owned) {
            let (tensor, home) = (name.to_owned(), entry.info.home.name());
            return Err(RunError::ReadOnly { tensor, home, step: None });
        }
        let memory = Arc::clone(&entry.memory.raw);
        self.queue.upload(&*memory, 0, bytes)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store(on {}, {} tensors)", self.device().name(), self.lock().entries.len())
    }
}
