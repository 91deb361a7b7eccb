//! A driver without a GPU: kernels run through the shim, in guarded memory, on a thread of the stream's own, and late.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use super::driver::{Driver, Graph, Mark, Module, Stream};
use crate::Geometry;
use crate::launch::Launch;
use crate::product::{Operands, Product, Products};
use crate::shim::{Guarded, Order, Program};

/// See the head of this module. Memory is poisoned at first, and every piece lies between pages that cannot be touched.
pub struct FakeDriver {
    order: Order,
    /// How much memory it says it has.
    total: Option<u64>,
    products: Products,
    memory: Mutex<BTreeMap<u64, Guarded>>,
    streams: Mutex<Vec<Weak<Progress>>>,
}

/// What starts of memory are multiples of.
const ALIGN: usize = 256;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeDriver {
    /// A driver whose kernels' threads get their turns in that order.
    pub fn new(order: Order) -> Self {
        Self {
            order,
            total: None,
            products: Products::Own,
            memory: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    /// The same, which says that it has so many bytes of memory.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        Self { total: Some(bytes), ..self }
    }

    /// The same with what computes matrix products; those of the library are computed by plain loops.
    #[must_use]
    pub fn with_products(self, products: Products) -> Self {
        Self { products, ..self }
    }
}

impl fmt::Debug for FakeDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeDriver({:?})", self.order)
    }
}

impl Driver for FakeDriver {
    fn allocate(&self, bytes: usize) -> Result<u64, String> {
        let none = || format!("the system has no {bytes} bytes");
        let whole = bytes.checked_next_multiple_of(ALIGN).ok_or_else(none)?;
        let memory = Guarded::new(whole).ok_or_else(none)?;
        let address = memory.start().expose_provenance() as u64;
        lock(&self.memory).insert(address, memory);
        Ok(address)
    }

    unsafe fn free(&self, address: u64) {
        let streams: Vec<_> = lock(&self.streams).iter().filter_map(Weak::upgrade).collect();
        for stream in streams {
            stream.finish();
        }
        lock(&self.memory).remove(&address);
    }

    fn load(&self, launches: &[&Launch]) -> Result<Arc<dyn Module>, String> {
        static BUILT: Mutex<BTreeMap<String, Arc<Program>>> = Mutex::new(BTreeMap::new());
        // A kernel's name carries the hash of its source.
        let key = launches.iter().map(|launch| launch.kernel.as_str()).collect::<Vec<_>>().join(" ");
        let known = lock(&BUILT).get(&key).map(Arc::clone);
        let program = match known {
            Some(program) => program,
            None => {
                let program = Program::of(launches.iter().copied()).map_err(|error| error.to_string())?;
                Arc::clone(lock(&BUILT).entry(key).or_insert_with(|| Arc::new(program)))
            }
        };
        Ok(Arc::new(FakeModule(program)))
    }

    fn products(&self) -> Products {
        self.products
    }

    fn product(&self, product: &Product) -> Result<Arc<dyn Module>, String> {
        match self.products {
            Products::Own => Err("this driver has no library of products".to_owned()),
            Products::Library { .. } => Ok(Arc::new(FakeProduct(*product))),
        }
    }

    fn stream(&self) -> Result<Box<dyn Stream>, String> {
        let (work, todo) = channel();
        let progress = Arc::new(Progress::default());
        lock(&self.streams).retain(|stream| stream.strong_count() > 0);
        lock(&self.streams).push(Arc::downgrade(&progress));
        let worker = Arc::clone(&progress);
        let spawned = thread::Builder::new().name("fake stream".to_owned());
        spawned.spawn(move || worker.work(&todo)).map_err(|error| error.to_string())?;
        Ok(Box::new(FakeStream { order: self.order, work, progress, capture: None }))
    }

    fn free_memory(&self) -> Option<u64> {
        None
    }

    fn total_memory(&self) -> Option<u64> {
        self.total
    }
}

struct FakeModule(Arc<Program>);

impl Module for FakeModule {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct FakeProduct(Product);

impl Module for FakeProduct {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;
/// Work that can be done again.
type Kept = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

struct FakeGraph(Vec<Kept>);

impl Graph for FakeGraph {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How far a stream has come.
#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    started: u64,
    done: u64,
    error: Option<String>,
}

impl Progress {
    /// Does what is started until nobody starts anything any more.
    fn work(&self, todo: &Receiver<Work>) {
        while let Ok(work) = todo.recv() {
            let failed = lock(&self.state).error.is_some();
            let done = if failed { Ok(()) } else { work() };
            let mut state = lock(&self.state);
            state.done += 1;
            if let Err(error) = done {
                state.error.get_or_insert(error);
            }
            self.moved.notify_all();
        }
    }

    /// Waits until so many pieces of work are done.
    fn reach(&self, count: u64) -> Result<(), String> {
        let far = self.moved.wait_while(lock(&self.state), |state| state.done < count);
        let state = far.unwrap_or_else(PoisonError::into_inner);
        state.error.clone().map_or(Ok(()), Err)
    }

    fn finish(&self) {
        let started = lock(&self.state).started;
        drop(self.reach(started));
    }
}

struct FakeStream {
    order: Order,
    work: Sender<Work>,
    progress: Arc<Progress>,
    /// What is kept since a capture began.
    capture: Option<Vec<Kept>>,
}

impl FakeStream {
    /// Starts work; its number is how many pieces are done when it is.
    fn start(&mut self, work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<u64, String> {
        let mut state = lock(&self.progress.state);
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if self.capture.is_some() {
            return Err("the stream captures; it takes fills and launches alone".to_owned());
        }
        self.work.send(Box::new(work)).map_err(|_| "the stream's thread is gone".to_owned())?;
        state.started += 1;
        Ok(state.started)
    }

    /// Starts work that can be done again, or keeps it.
    fn start_or_keep(
        &mut self,
        work: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<(), String> {
        match &mut self.capture {
            Some(kept) => {
                kept.push(Arc::new(work));
                Ok(())
            }
            None => self.start(work).map(drop),
        }
    }
}

/// Memory at an address that [`FakeDriver::allocate`] gave, or within it.
fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

impl Stream for FakeStream {
    unsafe fn upload(&mut self, to: u64, bytes: &[u8]) -> Result<(), String> {
        let bytes = bytes.to_vec();
        self.start(move || {
            // SAFETY: the caller says that the range is memory of this driver, which `free` keeps until this is done.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer(to), bytes.len()) };
            Ok(())
        })
        .map(drop)
    }

    unsafe fn fill(&mut self, at: u64, value: u8, bytes: usize) -> Result<(), String> {
        self.start_or_keep(move || {
            // SAFETY: as in `upload`.
            unsafe { std::ptr::write_bytes(pointer(at), value, bytes) };
            Ok(())
        })
    }

    unsafe fn launch(
        &mut self,
        module: &Arc<dyn Module>,
        kernel: &str,
        geometry: Geometry,
        arguments: &[u64],
    ) -> Result<(), String> {
        let module = module.as_any().downcast_ref::<FakeModule>().ok_or("a module of another driver")?;
        let (program, kernel, order) = (Arc::clone(&module.0), kernel.to_owned(), self.order);
        let addresses = arguments.to_vec();
        self.start_or_keep(move || {
            let mut starts: Vec<*mut u8> = addresses.iter().copied().map(pointer).collect();
            let mut arguments: Vec<*mut c_void> =
                starts.iter_mut().map(|start| std::ptr::from_mut(start).cast()).collect();
            // SAFETY: the caller says that the kernel takes as many addresses of memory of this driver, which is guarded and lives until
            // this is done.
            unsafe { program.launch(&kernel, geometry, &mut arguments, order) }
                .map_err(|fault| fault.to_string())
        })
    }

    unsafe fn multiply(&mut self, product: &Arc<dyn Module>, at: &Operands<u64>) -> Result<(), String> {
        let product = product.as_any().downcast_ref::<FakeProduct>().ok_or("a product of another driver")?.0;
        let at = *at;
        self.start_or_keep(move || {
            let at = at.try_map(|&address| Ok::<_, String>(pointer(address)))?;
            // SAFETY: the caller says that these are whole matrices in memory of this driver, which lives until this is done.
            unsafe { product.compute(&at) };
            Ok(())
        })
    }

    fn begin_capture(&mut self) -> Result<(), String> {
        if self.capture.replace(Vec::new()).is_some() {
            Err("the stream captures already".to_owned())
        } else {
            Ok(())
        }
    }

    fn end_capture(&mut self) -> Result<Arc<dyn Graph>, String> {
        let kept = self.capture.take().ok_or("the stream does not capture")?;
        Ok(Arc::new(FakeGraph(kept)))
    }

    unsafe fn replay(&mut self, graph: &Arc<dyn Graph>) -> Result<(), String> {
        let graph = graph.as_any().downcast_ref::<FakeGraph>().ok_or("a graph of another driver")?;
        let kept = graph.0.clone();
        self.start(move || kept.iter().try_for_each(|work| work())).map(drop)
    }

    fn wait(&mut self) -> Result<(), String> {
        let number = self.start(|| Ok(()))?;
        self.progress.reach(number)
    }

    unsafe fn download(&mut self, from: u64, into: &mut [u8]) -> Result<(), String> {
        // SAFETY: the same is asked of our caller.
        let mark = unsafe { self.mark(from, into.len())? };
        into.copy_from_slice(&mark.wait()?);
        Ok(())
    }

    unsafe fn mark(&mut self, from: u64, bytes: usize) -> Result<Arc<dyn Mark>, String> {
        let home = Arc::new(Mutex::new(Vec::new()));
        let brought = Arc::clone(&home);
        let number = self.start(move || {
            // SAFETY: as in `upload`; any bytes are bytes.
            let content = unsafe { std::slice::from_raw_parts(pointer(from), bytes) };
            *lock(&brought) = content.to_vec();
            Ok(())
        })?;
        Ok(Arc::new(FakeMark { progress: Arc::clone(&self.progress), number, home }))
    }
}

struct FakeMark {
    progress: Arc<Progress>,
    number: u64,
    home: Arc<Mutex<Vec<u8>>>,
}

impl Mark for FakeMark {
    fn is_done(&self) -> bool {
        lock(&self.progress.state).done >= self.number
    }

    fn wait(&self) -> Result<Vec<u8>, String> {
        self.progress.reach(self.number)?;
        Ok(lock(&self.home).clone())
    }
}
