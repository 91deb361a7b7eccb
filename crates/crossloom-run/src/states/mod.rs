//! What pictures and texts are encoded to, held so that an encoder whose weights stand still runs once per picture: in memory under
//! a budget, and beyond it on disk.

mod disk;

use std::collections::BTreeMap;
use std::sync::Arc;

use blake3::Hasher;
use crossloom_ir::{DType, Role};
use crossloom_runtime::{RunError, Session};
use half::bf16;

pub(crate) use disk::Disk;

/// How much of encoded pictures is kept, in bytes. What is not kept is encoded again: numbers do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureBudget {
    /// In memory. By default 1 GiB where training reads encoded pictures, and 64 MiB where answers alone do.
    pub memory: Option<u64>,
    /// On disk, of all runs together, for what training reads and memory does not hold; 16 GiB by default.
    pub disk: Option<u64>,
}

impl PictureBudget {
    /// Bytes in memory; `trained` says whether training reads encoded pictures.
    pub(crate) fn memory(&self, trained: bool) -> u64 {
        self.memory.unwrap_or(if trained { 1 << 30 } else { 64 << 20 })
    }

    /// Bytes on disk.
    pub(crate) fn disk(&self) -> u64 {
        self.disk.unwrap_or(16 << 30)
    }
}

/// A vision state `[N, Dv]` of one picture, in the element type in which it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl State {
    /// Values in that type, rounded once.
    pub(crate) fn of(values: &[f32], dtype: DType) -> Self {
        match dtype {
            DType::Bf16 => Self::Bf16(values.iter().map(|&value| bf16::from_f32(value)).collect()),
            _ => Self::F32(values.to_vec()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(&values[..]),
            Self::Bf16(values) => size_of_val(&values[..]),
        }
    }
}

/// The states of one picture that the topology reads, in the order in which the encoder gives them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture(pub(crate) Vec<State>);

impl Picture {
    /// Whether its states have these types and so many elements.
    fn is_laid(&self, layout: &[(DType, usize)]) -> bool {
        let of = |state: &State| match state {
            State::F32(values) => (DType::F32, values.len()),
            State::Bf16(values) => (DType::Bf16, values.len()),
        };
        self.0.iter().map(of).eq(layout.iter().copied())
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|state| state.bytes() as u64).sum()
    }
}

/// How pictures are encoded: by which program and with which weights. Taken anew when the weights may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding(blake3::Hash);

impl Encoding {
    /// Hashes what identifies the program, and the weights that a session of it reads, with their names and types.
    pub(crate) fn of(program: &str, session: &Session) -> Result<Self, RunError> {
        let mut hasher = Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(program.as_bytes());
        let func = &session.plan().func;
        for param in func.params().iter().filter(|param| param.role == Role::Weight) {
            add(param.name.as_bytes());
            add(func.ty(param.value).to_string().as_bytes());
            add(&session.store().read_bytes(&param.name)?);
        }
        Ok(Self(hasher.finalize()))
    }

    /// As 64 hexadecimal digits.
    pub(crate) fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }
}

/// A picture as its encoder reads it, or a text, and how it is encoded. What the processor does to a picture is in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of normalised pixels.
    pub(crate) fn of(encoding: Encoding, pixels: &[f32]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(encoding.0.as_bytes());
        for &pixel in pixels {
            hasher.update(&pixel.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The key of a text.
    pub(crate) fn of_text(encoding: Encoding, text: &str) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(encoding.0.as_bytes());
        hasher.update(text.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

/// Where pictures came from so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Encoded.
    pub(crate) encoded: u64,
    /// Found in memory.
    pub(crate) from_memory: u64,
    /// Found on disk.
    pub(crate) from_disk: u64,
}

/// The pictures that were used last, as many as the budget holds; all of them on disk too where there is one.
#[derive(Debug)]
pub(crate) struct States {
    budget: u64,
    held: u64,
    disk: Option<Disk>,
    pub(crate) counts: Counts,
    /// Uses so far: the age of a picture is the number of its last one.
    uses: u64,
    pictures: BTreeMap<Key, (u64, Arc<Picture>)>,
    by_age: BTreeMap<u64, Key>,
}

impl States {
    /// Nothing yet. With a budget of no bytes and no disk, nothing is kept.
    pub(crate) fn new(budget: u64, disk: Option<Disk>) -> Self {
        Self {
            budget,
            held: 0,
            disk,
            counts: Counts::default(),
            uses: 0,
            pictures: BTreeMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// What the next model may hold, with what was held for the one before it: a picture that both encode alike is there already.
    pub(crate) fn handed_on(self, budget: u64, disk: Option<Disk>) -> Self {
        let mut states = Self { budget, disk, counts: Counts::default(), ..self };
        states.make_room(0);
        states
    }

    /// Bytes in memory, and those on disk of which this process knows.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.held, self.disk.as_ref().map_or(0, Disk::held))
    }

    /// A picture that is held; `layout` is what its states must be.
    pub(crate) fn get(&mut self, key: Key, layout: &[(DType, usize)]) -> Option<Arc<Picture>> {
        if let Some((age, picture)) =
            self.pictures.get_mut(&key).filter(|(_, picture)| picture.is_laid(layout))
        {
            self.by_age.remove(age);
            self.uses += 1;
            *age = self.uses;
            self.by_age.insert(self.uses, key);
            self.counts.from_memory += 1;
            return Some(Arc::clone(picture));
        }
        let picture = Arc::new(self.disk.as_ref()?.read(key, layout)?);
        self.counts.from_disk += 1;
        self.keep(key, &picture);
        Some(picture)
    }

    /// Holds a picture that was just encoded.
    pub(crate) fn put(&mut self, key: Key, picture: &Arc<Picture>) {
        self.counts.encoded += 1;
        if let Some(disk) = &mut self.disk {
            disk.write(key, picture);
        }
        self.keep(key, picture);
    }

    /// Keeps a picture in memory, in place of those that were not used for longest.
    fn keep(&mut self, key: Key, picture: &Arc<Picture>) {
        let bytes = picture.bytes();
        if bytes > self.budget {
            return;
        }
        // One of another layout gives way.
        if let Some((age, other)) = self.pictures.remove(&key) {
            self.by_age.remove(&age);
            self.held -= other.bytes();
        }
        self.make_room(bytes);
        self.uses += 1;
        self.held += bytes;
        self.by_age.insert(self.uses, key);
        self.pictures.insert(key, (self.uses, Arc::clone(picture)));
    }

    /// Lets go of the pictures that were not used for longest until so many bytes more fit.
    fn make_room(&mut self, bytes: u64) {
        while self.held + bytes > self.budget {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            if let Some((_, gone)) = self.pictures.remove(&oldest) {
                self.held -= gone.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests;
