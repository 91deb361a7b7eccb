//! What the device asks of a driver.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::Geometry;
use crate::launch::Launch;
use crate::product::{Operands, Product, Products};

/// Memory by address, kernels, and streams. Errors are the driver's own words.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Memory whose address is a multiple of 256, with any content.
    ///
    /// # Errors
    /// There is none.
    fn allocate(&self, bytes: usize) -> Result<u64, String>;

    /// Gives memory back, once all that was started on any stream is done.
    ///
    /// # Safety
    /// The address comes from [`Driver::allocate`] of this driver, and nothing that is started later uses the memory.
    unsafe fn free(&self, address: u64);

    /// Builds or finds the kernels of launches.
    ///
    /// # Errors
    /// What the compiler says.
    fn load(&self, launches: &[&Launch]) -> Result<Arc<dyn Module>, String>;

    /// What computes matrix products here.
    fn products(&self) -> Products {
        Products::Own
    }

    /// Makes a product of the library ready.
    ///
    /// # Errors
    /// This driver has no such library, or it has no algorithm for that product.
    fn product(&self, product: &Product) -> Result<Arc<dyn Module>, String>;

    /// A new stream.
    ///
    /// # Errors
    /// There is none.
    fn stream(&self) -> Result<Box<dyn Stream>, String>;

    /// Bytes of memory that are free now, if it can be told.
    fn free_memory(&self) -> Option<u64>;

    /// Bytes of memory that the device has, if it can be told.
    fn total_memory(&self) -> Option<u64>;
}

/// Kernels, or a product of the library, that are ready.
pub trait Module: Any + Send + Sync {
    /// For the driver that made it.
    fn as_any(&self) -> &dyn Any;

    /// The same, to be shared.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Work that is done in the order in which it is started. A stream that has failed fails ever after.
pub trait Stream: Send {
    /// Copies bytes to memory; they may change once this returns.
    ///
    /// # Errors
    /// The stream has failed.
    ///
    /// # Safety
    /// So many bytes from the address on are memory of this stream's driver.
    unsafe fn upload(&mut self, to: u64, bytes: &[u8]) -> Result<(), String>;

    /// Sets so many bytes to one value.
    ///
    /// # Errors
    /// The stream has failed.
    ///
    /// # Safety
    /// As of [`Stream::upload`].
    unsafe fn fill(&mut self, at: u64, value: u8, bytes: usize) -> Result<(), String>;

    /// Starts a kernel of a module on addresses.
    ///
    /// # Errors
    /// The stream has failed, or the module is another driver's.
    ///
    /// # Safety
    /// The kernel takes as many addresses, and what it reads and writes from them on is memory of this stream's driver that
    /// nothing else uses meanwhile.
    unsafe fn launch(
        &mut self,
        module: &Arc<dyn Module>,
        kernel: &str,
        geometry: Geometry,
        arguments: &[u64],
    ) -> Result<(), String>;

    /// Starts a product of the library on addresses.
    ///
    /// # Errors
    /// The stream has failed, or the product is another driver's.
    ///
    /// # Safety
    /// What the product reads and writes from the addresses on is memory of this stream's driver that nothing else uses meanwhile, each a
    /// whole matrix of its shape; the result may be where the residual is.
    unsafe fn multiply(&mut self, product: &Arc<dyn Module>, at: &Operands<u64>) -> Result<(), String>;

    /// From now on fills, launches and products are kept instead of done, until [`Stream::end_capture`]. Nothing else may be asked meanwhile.
    ///
    /// # Errors
    /// The stream has failed, or captures already.
    fn begin_capture(&mut self) -> Result<(), String>;

    /// What was kept, ready to be started as one.
    ///
    /// # Errors
    /// The stream has failed, or does not capture.
    fn end_capture(&mut self) -> Result<Arc<dyn Graph>, String>;

    /// Starts everything that a graph keeps.
    ///
    /// # Errors
    /// The stream has failed, or the graph is another driver's.
    ///
    /// # Safety
    /// What holds of the fills and launches that it keeps, holds now.
    unsafe fn replay(&mut self, graph: &Arc<dyn Graph>) -> Result<(), String>;

    /// Waits for all that was started.
    ///
    /// # Errors
    /// The stream has failed.
    fn wait(&mut self) -> Result<(), String>;

    /// Waits for all that was started, and copies bytes from memory.
    ///
    /// # Errors
    /// The stream has failed.
    ///
    /// # Safety
    /// As of [`Stream::upload`].
    unsafe fn download(&mut self, from: u64, into: &mut [u8]) -> Result<(), String>;

    /// A mark behind all that was started, which brings home bytes as they are then.
    ///
    /// # Errors
    /// The stream has failed.
    ///
    /// # Safety
    /// As of [`Stream::upload`].
    unsafe fn mark(&mut self, from: u64, bytes: usize) -> Result<Arc<dyn Mark>, String>;
}

/// Fills and launches that a stream kept.
pub trait Graph: Any + Send + Sync {
    /// For the driver that made it.
    fn as_any(&self) -> &dyn Any;
}

/// A place in a stream.
pub trait Mark: Send + Sync {
    /// Whether the stream has come here, or failed.
    fn is_done(&self) -> bool;

    /// Waits until it has, and gives the bytes; the same at every call.
    ///
    /// # Errors
    /// Why the stream failed.
    fn wait(&self) -> Result<Vec<u8>, String>;
}
