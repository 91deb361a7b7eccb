//! The HTTP side: which path is what, who may ask, and how much.

mod access;
mod body;
mod json;
mod listen;
mod metrics;
mod page;
mod routes;
mod run;

pub(crate) use json::{Json, text_of};
pub use listen::serve;
pub use routes::router;
pub use run::{Stop, Stopped, run, stop};

use std::num::NonZeroUsize;
use std::sync::Arc;

use crossloom_run::engine::Client;
use tokio::sync::Semaphore;

use crate::answer::now;
use crate::settings::{Access, Limits};
use metrics::Metrics;

/// What all requests share.
struct Shared {
    client: Client,
    limits: Limits,
    access: Access,
    metrics: Metrics,
    /// One for each request that may be read, prepared or answered.
    requests: Arc<Semaphore>,
    /// One for each [`body::UNIT`] of the bodies that may be held.
    bodies: Arc<Semaphore>,
    /// One for each processor: pictures, templates and tokens keep one busy.
    preparing: Arc<Semaphore>,
    /// When the server began, in seconds since 1970.
    created: u64,
}

impl Shared {
    fn new(client: Client, limits: Limits, access: Access) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            metrics: Metrics::new(client.clone()),
            requests: Arc::new(Semaphore::new(limits.requests)),
            bodies: Arc::new(Semaphore::new(limits.bodies.div_ceil(body::UNIT))),
            preparing: Arc::new(Semaphore::new(processors)),
            created: now(),
            client,
            limits,
            access,
        }
    }
}
