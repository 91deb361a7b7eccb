//! Connections: how many, how slow, and how they end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use crate::settings::Limits;

/// A connection that is being answered.
type Connection = http1::Connection<TokioIo<Pin<Box<TimeoutStream<TcpStream>>>>, TowerToHyperService<Router>>;

/// The most bytes of a request's headers.
const HEAD_BYTES: usize = 64 << 10;

/// How long nobody is let in where the system has no more of what a connection takes.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on a listener until `stop`. Then nobody new is let in, and what runs is finished, for as long as
/// [`Limits::stop_time`].
pub async fn serve(listener: TcpListener, router: Router, limits: &Limits, stop: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &room) => accepted,
        };
        // Those that ended are forgotten.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, permit)) => {
                let connection = graceful.watch(connection(stream, router.clone(), limits));
                connections.spawn(async move {
                    // A client that goes away, or is too slow, ends its connection with an error that concerns nobody else.
                    let ended = connection.await;
                    tracing::debug!(ok = ended.is_ok(), "a connection ended");
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(limits.stop_time) => tracing::warn!("what still ran was ended"),
    }
    connections.shutdown().await;
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // A token is a small packet, and should not wait for the next.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// A connection with its times: hyper watches how long headers take and how long nothing is asked, the stream how long a client
/// takes nothing of what is written.
fn connection(stream: TcpStream, router: Router, limits: &Limits) -> Connection {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_time));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router))
}
