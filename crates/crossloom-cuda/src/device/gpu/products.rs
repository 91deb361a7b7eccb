//! Products on a device: for each an algorithm of the library, chosen once and kept on disk, so that the next process computes the same
//! bits.

use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cudarc::driver::result;

use super::context::{Context, told};
use super::library::{Algorithm, Described, Library};
use crate::device::driver::{Module, Stream};
use crate::device::gpu::stream::GpuStream;
use crate::product::{Chosen, Operands, Product};

/// How an algorithm is chosen among those that the library offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first, which the library thinks the fastest.
    #[default]
    First,
    /// The one that is the fastest here, of the first eight.
    Measured,
}

/// Algorithms that are measured.
const OFFERS: usize = 8;
/// Runs of each, of which the fastest counts.
const RUNS: usize = 5;

/// A product with its algorithm.
pub(super) struct GpuProduct {
    described: Described,
    algorithm: Algorithm,
}

impl Module for GpuProduct {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl GpuProduct {
    /// Starts it on a stream.
    ///
    /// # Errors
    /// The library's words.
    ///
    /// # Safety
    /// As of [`Stream::multiply`].
    pub(super) unsafe fn start(
        &self,
        at: &Operands<u64>,
        stream: *mut std::ffi::c_void,
    ) -> Result<(), String> {
        // SAFETY: the same is asked of our caller.
        unsafe { self.described.start(&self.algorithm, at, stream) }
    }
}

/// The library on a device, with what was chosen.
pub(super) struct GpuProducts {
    library: Arc<Library>,
    context: Arc<Context>,
    choice: Choice,
    /// The device's name and architecture.
    device: String,
    /// Where choices are kept; none: nowhere.
    folder: Option<PathBuf>,
    known: Mutex<HashMap<Product, (Arc<GpuProduct>, Chosen)>>,
}

impl GpuProducts {
    pub(super) fn new(
        library: Arc<Library>,
        context: &Arc<Context>,
        choice: Choice,
        device: String,
        folder: Option<PathBuf>,
    ) -> Self {
        Self { library, context: Arc::clone(context), choice, device, folder, known: Mutex::default() }
    }

    /// What was chosen so far, by the products' names.
    pub(super) fn chosen(&self) -> Vec<Chosen> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Chosen> = known.values().map(|(_, chosen)| chosen.clone()).collect();
        all.sort_by(|a, b| a.product.cmp(&b.product));
        all
    }

    /// A product with the algorithm that was chosen for it, now or earlier. `stream` gives one to measure on.
    ///
    /// # Errors
    /// The library offers none, or a call fails.
    pub(super) fn ready(
        &self,
        product: &Product,
        stream: impl FnOnce() -> Result<GpuStream, String>,
    ) -> Result<Arc<GpuProduct>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((ready, _)) = known.get(product) {
            return Ok(Arc::clone(ready));
        }
        let described = Described::new(&self.library, product)?;
        let path = self.folder.as_ref().map(|folder| folder.join(self.file(product)));
        let kept = path.as_deref().and_then(read);
        let kept = kept.and_then(|chosen| Some((parsed(&chosen.algorithm)?, chosen)));
        let (algorithm, chosen) = match kept.filter(|(algorithm, _)| described.takes(algorithm)) {
            Some(kept) => kept,
            None => {
                let (algorithm, chosen) = self.choose(&described, product, stream)?;
                if let Some(path) = path {
                    write(&path, &chosen)?;
                }
                (algorithm, chosen)
            }
        };
        let ready = Arc::new(GpuProduct { described, algorithm });
        known.insert(*product, (Arc::clone(&ready), chosen));
        Ok(ready)
    }

    fn choose(
        &self,
        described: &Described,
        product: &Product,
        stream: impl FnOnce() -> Result<GpuStream, String>,
    ) -> Result<(Algorithm, Chosen), String> {
        let offers = described.offers(OFFERS)?;
        let seconds = match self.choice {
            Choice::First => Vec::new(),
            Choice::Measured => self.measure(described, product, &offers, &mut stream()?)?,
        };
        // Of two that are as fast, the library's order says which.
        let fastest = (0..seconds.len()).min_by(|&a, &b| seconds[a].total_cmp(&seconds[b])).unwrap_or(0);
        let algorithm = *offers.get(fastest).ok_or("the library has no algorithm for it")?;
        let (number, count) = (fastest + 1, offers.len());
        let how = match self.choice {
            Choice::First => format!("the first of {count}"),
            Choice::Measured => format!("number {number} of {count}, the fastest"),
        };
        let chosen = Chosen {
            product: product.to_string(),
            library: self.library.version().to_owned(),
            device: self.device.clone(),
            algorithm: algorithm.map(|word| format!("{word:016x}")).concat(),
            how,
            seconds,
        };
        Ok((algorithm, chosen))
    }

    /// Seconds of each algorithm, the least of some runs after one that is not counted.
    fn measure(
        &self,
        described: &Described,
        product: &Product,
        offers: &[Algorithm],
        stream: &mut GpuStream,
    ) -> Result<Vec<f64>, String> {
        let Product { batch, m, n, k, operands, result, .. } = *product;
        let mut memory = Vec::new();
        let mut room = |elements: usize, bytes: usize| -> Result<u64, String> {
            let own = Room::new(&self.context, (elements * bytes).max(1))?;
            // SAFETY: as many bytes were just given by this stream's driver. Two of these bytes are 0.0115 in `bf16`, four nearly that in `f32`.
            unsafe { stream.fill(own.0, 0x3c, elements * bytes)? };
            memory.push(own);
            Ok(memory.last().map_or(0, |own| own.0))
        };
        let (of, to) = (operands.bytes_of(1), result.bytes_of(1));
        let at = Operands {
            a: room(batch * m * k, of)?,
            b: room(batch * k * n, of)?,
            bias: product.bias.then(|| room(n, to)).transpose()?,
            residual: product.residual.then(|| room(batch * m * n, to)).transpose()?,
            result: room(batch * m * n, to)?,
            before: (product.gelu || product.gelu_slope).then(|| room(batch * m * n, to)).transpose()?,
            sums: product.sums.then(|| room(m, to)).transpose()?,
            workspace: room(product.workspace(), 1)?,
        };
        let mut once = |algorithm: &Algorithm| -> Result<f64, String> {
            stream.wait()?;
            let start = Instant::now();
            // SAFETY: whole matrices, which were just made for it and live until all that was started is done.
            unsafe { described.start(algorithm, &at, stream.raw())? };
            stream.wait()?;
            Ok(start.elapsed().as_secs_f64())
        };
        let mut timed = |algorithm: &Algorithm| -> Result<f64, String> {
            once(algorithm)?;
            (0..RUNS).try_fold(f64::INFINITY, |least, _| Ok(once(algorithm)?.min(least)))
        };
        offers.iter().map(&mut timed).collect()
    }

    /// Name of the file of a choice: all that it depends on.
    fn file(&self, product: &Product) -> String {
        let mut hasher = blake3::Hasher::new();
        let (product, choice) = (product.to_string(), format!("{:?}", self.choice));
        for part in [self.library.version(), &self.device, &choice, &product] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        format!("{}.json", hasher.finalize().to_hex())
    }
}

/// Memory of the device that is given back.
struct Room(u64, Arc<Context>);

impl Room {
    fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, String> {
        context.enter()?;
        // SAFETY: the context is current; the memory is written before it is read.
        let address = told("cuMemAlloc", unsafe { result::malloc_sync(bytes) })?;
        Ok(Self(address, Arc::clone(context)))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.1.finish().is_ok() {
            // SAFETY: allocated once, in `new`, and all that was started is done.
            unsafe { result::free_sync(self.0) }.ok();
        }
    }
}

/// The words of an algorithm.
fn parsed(digits: &str) -> Option<Algorithm> {
    let mut algorithm = Algorithm::default();
    if digits.len() != algorithm.len() * 16 {
        return None;
    }
    for (word, at) in algorithm.iter_mut().zip((0..).step_by(16)) {
        *word = u64::from_str_radix(digits.get(at..at + 16)?, 16).ok()?;
    }
    Some(algorithm)
}

/// A choice that was kept; none if there is none, or if it cannot be read: it is made again then.
fn read(path: &Path) -> Option<Chosen> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, chosen: &Chosen) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = serde_json::to_string_pretty(chosen).map_err(|error| failed(&error))?;
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    written
        .and_then(|()| crossloom_files::write_atomic(path, text.as_bytes()))
        .map_err(|error| failed(&error))
}
