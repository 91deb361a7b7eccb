//! Memory for values that live within one run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Inner, Memory};
use crate::{DeviceBound, DeviceMemory, RunError, Store};

/// The arena of sessions over one store that never run at once: as large as the largest of them needs. Clones are handles
/// on the same arena. When it grows its memory is replaced, and what devices captured for its sessions is dropped with it;
/// a session is bound anew at its next run.
#[derive(Clone)]
pub struct Arena(Arc<Shared>);

struct Shared {
    store: Store,
    state: Mutex<State>,
}

/// What is locked, always after the store.
#[derive(Default)]
pub(crate) struct State {
    /// Bytes that the largest session needs.
    size: usize,
    memory: Option<Memory>,
    /// The session whose results are in the memory.
    pub(crate) holder: Option<u64>,
    /// Sessions by number, bound to the memory.
    bounds: BTreeMap<u64, Box<dyn DeviceBound>>,
    next: u64,
}

impl Arena {
    /// An arena for sessions over that store, empty until one is made.
    pub fn new(store: &Store) -> Self {
        Self(Arc::new(Shared { store: store.clone(), state: Mutex::default() }))
    }

    /// The store of its sessions.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Its bytes: what the largest of its sessions needs.
    pub fn bytes(&self) -> usize {
        self.lock().size
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a session of so many bytes and gives it a number.
    pub(crate) fn lease(&self, inner: &mut Inner, bytes: usize) -> Result<u64, RunError> {
        let mut state = self.lock();
        if bytes > state.size || state.memory.is_none() {
            let before = state.size;
            // Nothing may hold the old memory while the new one is made, or both would count.
            state.release();
            state.size = before.max(bytes);
            if let Err(error) = state.memory(self.store(), inner) {
                state.size = before;
                return Err(error);
            }
        }
        state.next += 1;
        Ok(state.next)
    }

    /// Forgets a session.
    pub(crate) fn leave(&self, session: u64) {
        self.lock().bounds.remove(&session);
    }
}

impl State {
    /// Gives the memory back and drops all that was bound to it.
    fn release(&mut self) {
        self.bounds.clear();
        self.holder = None;
        self.memory = None;
    }

    /// The memory, allocated if it is not there: after the arena could not grow.
    pub(crate) fn memory(
        &mut self,
        store: &Store,
        inner: &mut Inner,
    ) -> Result<Arc<dyn DeviceMemory>, RunError> {
        if self.memory.is_none() {
            self.memory = Some(store.allocate(inner, self.size)?);
        }
        let missing = || RunError::device(store.device().name(), "the arena has no memory");
        self.memory.as_ref().map(|memory| Arc::clone(&memory.raw)).ok_or_else(missing)
    }

    /// What a session is bound as, if it still is.
    pub(crate) fn bound(&mut self, session: u64) -> Option<&mut Box<dyn DeviceBound>> {
        self.bounds.get_mut(&session)
    }

    pub(crate) fn bind(&mut self, session: u64, bound: Box<dyn DeviceBound>) {
        self.bounds.insert(session, bound);
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({} bytes)", self.bytes())
    }
}
