//! What pictures become, kept in memory under a budget: an encoder whose weights stand still runs once per picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use blake3::Hasher;
use crossloom_ir::Role;
use crossloom_runtime::{RunError, Session};

/// What the language model reads of one picture.
#[derive(Debug)]
pub(crate) struct Picture {
    /// `[N, D]`: the input embeddings of its visual tokens.
    pub(crate) visual: Vec<f32>,
    /// `[K, N, D]`: the features of the taps; empty where nothing is injected.
    pub(crate) features: Vec<f32>,
}

impl Picture {
    fn bytes(&self) -> usize {
        size_of::<f32>() * (self.visual.len() + self.features.len())
    }
}

/// The weights that pictures are encoded and connected with. Taken anew when they may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights(blake3::Hash);

impl Weights {
    /// Hashes the weights that a session reads, with their names.
    pub(crate) fn of(session: &Session) -> Result<Self, RunError> {
        let mut hasher = Hasher::new();
        for param in session.plan().func.params().iter().filter(|param| param.role == Role::Weight) {
            let bytes = session.store().read_bytes(&param.name)?;
            hasher.update(&(param.name.len() as u64).to_le_bytes());
            hasher.update(param.name.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
        }
        Ok(Self(hasher.finalize()))
    }
}

/// A picture as its encoder reads it, and the weights it is read with. What the processor does to a picture is in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of normalised pixels.
    pub(crate) fn of(weights: Weights, pixels: &[f32]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(weights.0.as_bytes());
        for &pixel in pixels {
            hasher.update(&pixel.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// The pictures that were used last, as many as the budget holds.
#[derive(Debug)]
pub(crate) struct Features {
    budget: usize,
    held: usize,
    /// Uses so far: the age of a picture is the number of its last one.
    uses: u64,
    pictures: BTreeMap<Key, (u64, Arc<Picture>)>,
    by_age: BTreeMap<u64, Key>,
}

impl Features {
    /// An empty cache of so many bytes. With none, nothing is kept.
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, held: 0, uses: 0, pictures: BTreeMap::new(), by_age: BTreeMap::new() }
    }

    /// A picture that is held.
    pub(crate) fn get(&mut self, key: Key) -> Option<Arc<Picture>> {
        let (age, picture) = self.pictures.get_mut(&key)?;
        self.by_age.remove(age);
        self.uses += 1;
        *age = self.uses;
        self.by_age.insert(self.uses, key);
        Some(Arc::clone(picture))
    }

    /// Holds a picture, and lets go of those that were not used for longest until it fits.
    pub(crate) fn put(&mut self, key: Key, picture: &Arc<Picture>) {
        let bytes = picture.bytes();
        if bytes > self.budget || self.pictures.contains_key(&key) {
            return;
        }
        while self.held + bytes > self.budget {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            if let Some((_, gone)) = self.pictures.remove(&oldest) {
                self.held -= gone.bytes();
            }
        }
        self.uses += 1;
        self.held += bytes;
        self.by_age.insert(self.uses, key);
        self.pictures.insert(key, (self.uses, Arc::clone(picture)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(of: &str) -> Weights {
        Weights(blake3::hash(of.as_bytes()))
    }

    fn picture(value: f32) -> Arc<Picture> {
        Arc::new(Picture { visual: vec![value; 2], features: vec![value; 6] })
    }

    #[test]
    fn the_least_recently_used_goes_and_the_budget_holds() {
        let key = |i: u8| Key::of(weights("w"), &[f32::from(i)]);
        // Two pictures of 32 bytes, and a little.
        let mut features = Features::new(70);
        features.put(key(1), &picture(1.0));
        features.put(key(2), &picture(2.0));
        assert_eq!(features.get(key(1)).map(|picture| picture.visual[0]), Some(1.0));
        features.put(key(3), &picture(3.0));
        assert!(features.get(key(2)).is_none() && features.get(key(1)).is_some());
        assert_eq!((features.held, features.pictures.len(), features.by_age.len()), (64, 2, 2));
        features.put(key(1), &picture(1.0));
        assert_eq!(features.held, 64, "what is held already is not held twice");
        let mut none = Features::new(31);
        none.put(key(1), &picture(1.0));
        assert!(none.get(key(1)).is_none(), "what is larger than the budget is not kept");
    }

    #[test]
    fn a_key_is_of_the_picture_and_of_the_weights() {
        let key = Key::of(weights("w"), &[1.0, 2.0]);
        assert_eq!(key, Key::of(weights("w"), &[1.0, 2.0]));
        assert_ne!(key, Key::of(weights("v"), &[1.0, 2.0]));
        assert_ne!(key, Key::of(weights("w"), &[2.0, 1.0]));
    }
}
