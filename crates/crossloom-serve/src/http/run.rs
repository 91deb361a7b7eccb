//! A server as one call, for a program that is not asynchronous.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use crossloom_run::engine::Client;
use tokio::sync::watch;

use super::{router, serve};
use crate::settings::{Access, Limits};

/// Threads that serve connections. What computes is elsewhere: they only wait.
const THREADS: usize = 2;

/// Ends a server, from any thread.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

/// What a server waits for.
#[derive(Debug, Clone)]
pub struct Stopped(watch::Receiver<bool>);

/// A way to end a server, and what it waits for.
pub fn stop() -> (Stop, Stopped) {
    let (stop, stopped) = watch::channel(false);
    (Stop(stop), Stopped(stopped))
}

impl Stop {
    /// Ends the server: nobody new is let in, and what runs is finished.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Stopped {
    async fn wait(mut self) {
        // An error is a [`Stop`] that is gone, and will say nothing any more.
        if self.0.wait_for(|&stop| stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Answers on a listener until it is stopped, as [`serve`] does.
///
/// # Errors
/// The system gives no threads, or the listener cannot be used.
pub fn run(
    listener: TcpListener,
    client: Client,
    limits: Limits,
    access: Access,
    stopped: Stopped,
) -> io::Result<()> {
    /// How long work is waited for that nobody waits for any more.
    const REST: Duration = Duration::from_secs(1);
    listener.set_nonblocking(true)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).thread_name("serve").enable_all().build()?;
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let paths = router(client, limits, access);
        serve(listener, paths, &limits, stopped.wait()).await;
        Ok(())
    });
    runtime.shutdown_timeout(REST);
    served
}
