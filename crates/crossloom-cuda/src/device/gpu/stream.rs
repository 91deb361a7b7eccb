//! A stream of the driver, with one beside it that copies.
//!
//! Bytes of the host go through a ring of slots: pinned memory, and as much on the device. The copy to the device runs beside what
//! the stream computes; a copy on the device, in the stream's order, then brings the bytes to their place.

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{DriverError, result, sys};

use super::context::{Context, told};
use super::module::{GpuModule, Loaded};
use super::pinned::{Pinned, Pool};
use super::products::GpuProduct;
use crate::Geometry;
use crate::device::driver::{Graph, Mark, Module, Stream};
use crate::product::Operands;

/// Bytes of a slot.
const SLOT: usize = 4 << 20;
/// Slots of a stream.
const SLOTS: usize = 4;

/// A stream that is given back.
struct Raw(sys::CUstream, Arc<Context>);

// SAFETY: a handle of the driver, which any thread may use.
unsafe impl Send for Raw {}

impl Raw {
    fn new(context: &Arc<Context>) -> Result<Self, String> {
        context.enter()?;
        // Not ordered with the stream that everybody shares.
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        Ok(Self(told("cuStreamCreate", stream)?, Arc::clone(context)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.1.enter().is_ok() {
            // SAFETY: made once, in `new`; the driver ends it when all that was started is done.
            unsafe { result::stream::destroy(self.0) }.ok();
        }
    }
}

/// An event that is given back.
struct Event(sys::CUevent, Arc<Context>);

// SAFETY: a handle of the driver, which any thread may use.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    fn new(context: &Arc<Context>) -> Result<Self, String> {
        context.enter()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        Ok(Self(told("cuEventCreate", event)?, Arc::clone(context)))
    }

    fn record(&self, stream: &Raw) -> Result<(), String> {
        // SAFETY: both live.
        told("cuEventRecord", unsafe { result::event::record(self.0, stream.0) })
    }

    /// Waits for what it was recorded behind; an event that was never recorded is done.
    fn wait(&self) -> Result<(), String> {
        self.1.enter()?;
        // SAFETY: it lives.
        told("cuEventSynchronize", unsafe { result::event::synchronize(self.0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.1.enter().is_ok() {
            // SAFETY: made once, in `new`.
            unsafe { result::event::destroy(self.0) }.ok();
        }
    }
}

/// A place through which bytes go to the device.
struct Slot {
    host: Pinned,
    device: sys::CUdeviceptr,
    /// The bytes are on the device.
    copied: Event,
    /// They are where they belong, and the slot is free.
    free: Event,
    context: Arc<Context>,
}

impl Slot {
    fn new(context: &Arc<Context>) -> Result<Self, String> {
        let host = Pinned::new(context, SLOT)?;
        let (copied, free) = (Event::new(context)?, Event::new(context)?);
        // SAFETY: the context is current; what is read of the memory was copied there first.
        let device = told("cuMemAlloc", unsafe { result::malloc_sync(SLOT) })?;
        Ok(Self { host, device, copied, free, context: Arc::clone(context) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.context.finish().is_ok() {
            // SAFETY: allocated once, in `new`, and all that was started is done.
            unsafe { result::free_sync(self.device) }.ok();
        }
    }
}

/// See the head of this module.
pub(super) struct GpuStream {
    pool: Arc<Pool>,
    compute: Raw,
    copy: Raw,
    slots: Vec<Slot>,
    /// The slot that is taken next.
    next: usize,
    capturing: bool,
    failed: Option<String>,
    /// The kernels that were started; a graph keeps those that it starts.
    captured: Vec<Arc<Loaded>>,
    /// The same of products.
    multiplied: Vec<Arc<dyn Module>>,
}

impl GpuStream {
    pub(super) fn new(pool: &Arc<Pool>) -> Result<Self, String> {
        let (compute, copy) = (Raw::new(&pool.context)?, Raw::new(&pool.context)?);
        let (slots, captured, multiplied) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self {
            pool: Arc::clone(pool),
            compute,
            copy,
            slots,
            next: 0,
            capturing: false,
            failed: None,
            captured,
            multiplied,
        })
    }

    /// The driver's handle, as libraries take it.
    pub(super) fn raw(&self) -> *mut c_void {
        self.compute.0.cast()
    }

    /// Does something in the context, unless the stream has failed; if that fails, so has the stream.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let done = self.pool.context.enter().and_then(|()| work(self));
        if let Err(error) = &done {
            self.failed = Some(error.clone());
        }
        done
    }

    /// The same of what cannot be captured.
    fn attempt_now<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.capturing {
            return Err("the stream captures; it takes fills and launches alone".to_owned());
        }
        self.attempt(work)
    }

    /// Brings at most as many bytes as a slot has to memory.
    fn send(&mut self, to: u64, bytes: &[u8]) -> Result<(), String> {
        if self.slots.len() <= self.next {
            self.slots.push(Slot::new(&self.pool.context)?);
        }
        let slot = self.slots.get_mut(self.next).ok_or("the stream has no such slot")?;
        self.next = (self.next + 1) % SLOTS;
        slot.free.wait()?;
        slot.host.bytes_mut(bytes.len()).copy_from_slice(bytes);
        let host = slot.host.bytes(bytes.len());
        // SAFETY: nobody else uses the slot until its event, which was waited for; it has room for the bytes, and lives until all that was
        // started is done. The caller of `upload` answers for the place.
        unsafe {
            told("cuMemcpyHtoDAsync", result::memcpy_htod_async(slot.device, host, self.copy.0))?;
            slot.copied.record(&self.copy)?;
            let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            told("cuStreamWaitEvent", result::stream::wait_event(self.compute.0, slot.copied.0, flags))?;
            let copied = result::memcpy_dtod_async(to, slot.device, bytes.len(), self.compute.0);
            told("cuMemcpyDtoDAsync", copied)?;
        }
        slot.free.record(&self.compute)
    }
}

impl Stream for GpuStream {
    unsafe fn upload(&mut self, to: u64, bytes: &[u8]) -> Result<(), String> {
        let mut at = to;
        self.attempt_now(|this| {
            bytes.chunks(SLOT).try_for_each(|chunk| {
                this.send(at, chunk)?;
                at += chunk.len() as u64;
                Ok(())
            })
        })
    }

    unsafe fn fill(&mut self, at: u64, value: u8, bytes: usize) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        self.attempt(|this| {
            // SAFETY: the caller says that the range is memory of this driver.
            let set = unsafe { result::memset_d8_async(at, value, bytes, this.compute.0) };
            told("cuMemsetD8Async", set)
        })
    }

    unsafe fn launch(
        &mut self,
        module: &Arc<dyn Module>,
        kernel: &str,
        geometry: Geometry,
        arguments: &[u64],
    ) -> Result<(), String> {
        let module = module.as_any().downcast_ref::<GpuModule>().ok_or("a module of another driver")?;
        let loaded = module.0.get(kernel).ok_or_else(|| format!("there is no kernel `{kernel}`"))?;
        let mut addresses = arguments.to_vec();
        let mut pointers: Vec<*mut c_void> =
            addresses.iter_mut().map(|address| std::ptr::from_mut(address).cast()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (geometry.grid, geometry.block);
        self.attempt(|this| {
            // SAFETY: the caller says that the kernel takes as many addresses, of memory of this driver; the driver copies them before it
            // returns. The module is loaded as long as somebody holds it, and is unloaded after all that was started.
            let started: Result<(), DriverError> = unsafe {
                let (grid, block, shared) = ((gx, gy, gz), (bx, by, bz), geometry.shared);
                result::launch_kernel(loaded.function, grid, block, shared, this.compute.0, &mut pointers)
            };
            if this.capturing {
                this.captured.push(Arc::clone(loaded));
            }
            told("cuLaunchKernel", started)
        })
    }

    unsafe fn multiply(&mut self, product: &Arc<dyn Module>, at: &Operands<u64>) -> Result<(), String> {
        let ready = product.as_any().downcast_ref::<GpuProduct>().ok_or("a product of another driver")?;
        self.attempt(|this| {
            // SAFETY: the caller answers for the addresses; the stream lives.
            unsafe { ready.start(at, this.raw())? };
            if this.capturing {
                this.multiplied.push(Arc::clone(product));
            }
            Ok(())
        })
    }

    fn begin_capture(&mut self) -> Result<(), String> {
        self.attempt_now(|this| {
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            // SAFETY: the stream lives.
            told("cuStreamBeginCapture", unsafe { result::stream::begin_capture(this.compute.0, mode) })?;
            this.capturing = true;
            Ok(())
        })
    }

    fn end_capture(&mut self) -> Result<Arc<dyn Graph>, String> {
        if !self.capturing {
            return Err("the stream does not capture".to_owned());
        }
        self.capturing = false;
        let (kernels, products) = (std::mem::take(&mut self.captured), std::mem::take(&mut self.multiplied));
        self.attempt(|this| {
            // SAFETY: the stream lives and captures.
            let kept = told("cuStreamEndCapture", unsafe { result::stream::end_capture(this.compute.0) })?;
            // SAFETY: the graph was just captured and is given back once, after the executable one is made of it.
            let ready = unsafe {
                let mut ready = std::ptr::null_mut();
                let made = sys::cuGraphInstantiateWithFlags(&raw mut ready, kept, 0).result().map(|()| ready);
                result::graph::destroy(kept).ok();
                told("cuGraphInstantiate", made)?
            };
            let context = Arc::clone(&this.pool.context);
            Ok(Arc::new(GpuGraph { ready, _kernels: kernels, _products: products, context })
                as Arc<dyn Graph>)
        })
    }

    unsafe fn replay(&mut self, graph: &Arc<dyn Graph>) -> Result<(), String> {
        let graph = graph.as_any().downcast_ref::<GpuGraph>().ok_or("a graph of another driver")?;
        self.attempt_now(|this| {
            // SAFETY: the graph is held by our caller, and given back only after all that was started is done.
            told("cuGraphLaunch", unsafe { result::graph::launch(graph.ready, this.compute.0) })
        })
    }

    fn wait(&mut self) -> Result<(), String> {
        self.attempt_now(|this| {
            // SAFETY: the stream lives.
            told("cuStreamSynchronize", unsafe { result::stream::synchronize(this.compute.0) })
        })
    }

    unsafe fn download(&mut self, from: u64, into: &mut [u8]) -> Result<(), String> {
        // SAFETY: the same is asked of our caller.
        let mark = unsafe { self.mark(from, into.len())? };
        into.copy_from_slice(&mark.wait()?);
        Ok(())
    }

    unsafe fn mark(&mut self, from: u64, bytes: usize) -> Result<Arc<dyn Mark>, String> {
        self.attempt_now(|this| {
            let (mut home, event) = (this.pool.take(bytes)?, Event::new(&this.pool.context)?);
            if bytes > 0 {
                let into = home.bytes_mut(bytes);
                // SAFETY: the caller answers for where the bytes come from. The pinned memory is the mark's alone until its event is waited
                // for, when it is read or given back.
                let copied = unsafe { result::memcpy_dtoh_async(into, from, this.compute.0) };
                told("cuMemcpyDtoHAsync", copied)?;
            }
            let mark = GpuMark { event, home: Some(home), bytes, pool: Arc::clone(&this.pool) };
            mark.event.record(&this.compute)?;
            Ok(Arc::new(mark) as Arc<dyn Mark>)
        })
    }
}

impl Drop for GpuStream {
    fn drop(&mut self) {
        // Copies of slots read memory that is given back next.
        drop(self.pool.context.finish());
    }
}

/// A graph that can be started.
struct GpuGraph {
    ready: sys::CUgraphExec,
    _kernels: Vec<Arc<Loaded>>,
    _products: Vec<Arc<dyn Module>>,
    context: Arc<Context>,
}

// SAFETY: a handle of the driver, which any thread may use.
unsafe impl Send for GpuGraph {}
// SAFETY: as above.
unsafe impl Sync for GpuGraph {}

impl Graph for GpuGraph {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for GpuGraph {
    fn drop(&mut self) {
        if self.context.finish().is_ok() {
            // SAFETY: made once, in `end_capture`, and all that was started is done.
            unsafe { result::graph::exec_destroy(self.ready) }.ok();
        }
    }
}

/// A place in a stream, with the bytes that come home.
struct GpuMark {
    event: Event,
    /// Taken when the mark is dropped.
    home: Option<Pinned>,
    bytes: usize,
    pool: Arc<Pool>,
}

impl Mark for GpuMark {
    fn is_done(&self) -> bool {
        let entered = self.pool.context.enter();
        // SAFETY: the event lives.
        let state = entered.map(|()| unsafe { result::event::query(self.event.0) });
        !matches!(state, Ok(Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY))))
    }

    fn wait(&self) -> Result<Vec<u8>, String> {
        self.event.wait()?;
        Ok(self.home.as_ref().map_or_else(Vec::new, |home| home.bytes(self.bytes).to_vec()))
    }
}

impl Drop for GpuMark {
    fn drop(&mut self) {
        // Pinned memory that a device may still write is nobody else's; after an error it is kept for good.
        match (self.event.wait(), self.home.take()) {
            (Ok(()), Some(home)) => self.pool.give_back(home),
            (_, home) => std::mem::forget(home),
        }
    }
}
