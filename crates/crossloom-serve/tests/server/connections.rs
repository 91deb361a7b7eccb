use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossloom_serve::{Access, Limits};
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Server, question, request, says, slowly};

/// Writes all of it, without what tokio has for that: a feature more would build everything anew.
async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Some bytes; none at the end.
async fn read(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// A request as it lies on the wire.
fn wire(body: &str) -> String {
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

impl Server {
    /// A connection on which these bytes were sent.
    async fn asked(&self, sent: &str) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        write_all(&stream, sent.as_bytes()).await.unwrap();
        stream
    }

    /// Sends bytes and waits for the first that come back.
    pub(crate) async fn raw_head(&self, sent: &str) -> String {
        let stream = self.asked(sent).await;
        let mut head = vec![0; 4096];
        let read = read(&stream, &mut head).await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    }
}

fn streamed() -> hyper::Request<http_body_util::Full<hyper::body::Bytes>> {
    request(Method::POST, "/v1/chat/completions", question(json!({ "stream": true })).to_string())
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let script = slowly(Duration::from_millis(20), 1000);
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    // In the middle of a stream.
    let mut response = server.open(streamed()).await;
    assert!(response.frame().await.unwrap().unwrap().is_data());
    server.until("it is answered", |stats| stats.live == 1).await;
    drop(response);
    server.until("a stream is cancelled", |stats| stats.live == 0 && stats.cancelled == 1).await;
    // While nothing was said yet.
    let stream = server.asked(&wire(&question(json!({})).to_string())).await;
    server.until("it is answered", |stats| stats.live == 1).await;
    drop(stream);
    server.until("a whole answer is cancelled", |stats| stats.live == 0 && stats.cancelled == 2).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    // More than the buffers of a connection hold.
    let script = |request: &crossloom_run::engine::Request| {
        use crate::support::{started, token};
        use crossloom_run::engine::testing::Act;
        let long = "red ".repeat(1 << 18);
        let mut acts = vec![started(request)];
        acts.extend((0..32).map(|_| Act::Tell(token(1, &long, request))));
        acts.push(Act::Wait(Duration::from_mins(1)));
        acts
    };
    let limits = Limits { write_time: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(true, 8, script, limits, Access::default()).await;
    let stream = server.asked(&wire(&question(json!({ "stream": true })).to_string())).await;
    server.until("it is answered", |stats| stats.live == 1).await;
    server.until("it is left", |stats| stats.live == 0 && stats.cancelled == 1).await;
    drop(stream);
}

/// How long a connection lives on which this much is sent, then a letter every fifty milliseconds.
async fn lives(server: &Server, sent: &str, drip: bool) -> Duration {
    let stream = Arc::new(server.asked(sent).await);
    let (began, writing) = (Instant::now(), Arc::clone(&stream));
    let dripping = tokio::spawn(async move {
        while drip && write_all(&writing, b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let to_its_end = async {
        let mut rest = [0; 4096];
        while matches!(read(&stream, &mut rest).await, Ok(1..)) {}
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), to_its_end).await;
    dripping.abort();
    assert!(ended.is_ok(), "the connection is still open");
    began.elapsed()
}

#[tokio::test]
async fn slow_headers_slow_bodies_and_idle_connections_are_ended() {
    let limits = Limits {
        header_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start(true, 8, says(&["red"]), limits, Access::default()).await;
    let most = Duration::from_secs(8);
    assert!(lives(&server, "", false).await < most, "nothing is sent");
    assert!(lives(&server, "GET /health HTTP/1.1\r\nx-slow: ", true).await < most, "headers drip");
    let idle = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(lives(&server, idle, false).await < most, "nothing more is asked");
    let body = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000000\r\n\r\n{";
    assert!(lives(&server, body, true).await < most, "a body drips");
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn no_more_connections_are_let_in_than_there_is_room_for() {
    let limits = Limits { connections: 2, header_time: Duration::from_millis(500), ..Limits::default() };
    let server = Server::start(true, 8, says(&["red"]), limits, Access::default()).await;
    let idle = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    let began = Instant::now();
    // It waits until the idle ones are ended.
    assert_eq!(server.get("/health").await.status, 200);
    assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    drop(idle);
}

#[tokio::test]
async fn headers_have_a_longest_length() {
    let server = Server::simple(&["red"]).await;
    let long = format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let head = server.raw_head(&long).await;
    assert!(head.starts_with("HTTP/1.1 431"), "{head}");
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_lets_nobody_in() {
    let script = slowly(Duration::from_millis(30), 10);
    let mut server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let response = server.open(streamed()).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody is let in");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.ends_with("data: [DONE]\n\n") && text.matches("red ").count() == 10, "{text}");
    assert!(server.stopped().await < Duration::from_secs(5));
}

#[tokio::test]
async fn stopping_does_not_wait_forever() {
    let limits = Limits { stop_time: Duration::from_millis(300), ..Limits::default() };
    let script = slowly(Duration::from_millis(30), 100_000);
    let server = Server::start(true, 8, script, limits, Access::default()).await;
    let response = server.open(streamed()).await;
    server.until("it is answered", |stats| stats.live == 1).await;
    let took = server.stopped().await;
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    drop(response);
}
