use std::time::Duration;

use crossloom_serve::{Access, Limits};
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{MODEL, POSITIONS, Server, about, picture, question, request, says, slowly};

#[tokio::test]
async fn what_can_never_succeed_names_the_field() {
    let server = Server::simple(&["red"]).await;
    let say = |content: Value| question(json!({ "messages": [{ "role": "user", "content": content }] }));
    let long = vec!["red"; POSITIONS + 1].join(" ");
    let cases = [
        (json!({}), "model"),
        (json!({ "model": MODEL }), "messages"),
        (json!([]), ""),
        (question(json!({ "messages": [] })), "messages"),
        (question(json!({ "messages": "hello" })), "messages"),
        (question(json!({ "temperature": "hot" })), "temperature"),
        (question(json!({ "temperature": -1 })), "temperature"),
        (question(json!({ "max_tokens": POSITIONS })), "max_tokens"),
        (question(json!({ "stop": vec!["a"; 1_000_000] })), "stop"),
        (
            question(json!({ "messages": vec![json!({ "role": "user", "content": "a" }); 10_000] })),
            "messages",
        ),
        (question(json!({ "tools": [{ "type": "function" }] })), "tools"),
        (say(json!(long)), "messages"),
        (say(json!("")), "messages"),
        (say(json!(null)), "messages[0].content"),
        (about(&["https://example.org/cat.png"]), "messages[0].content[0].image_url.url"),
        (about(&[&picture(2, 2), "data:image/png;base64,@"]), "messages[0].content[1].image_url.url"),
        (about(&[&picture(2, 2)[..80]]), "messages[0].content[0].image_url.url"),
        (about(&[&picture(2, 2); 4].map(String::as_str)), "messages[0].content[3].image_url.url"),
    ];
    for (body, param) in cases {
        let (told, message) = server.chat(body.clone()).await.error(400);
        let path = told.split('[').next().unwrap_or_default();
        assert!(told == param || param == "messages" && path == "messages", "{told}: {message}");
        assert!(!message.is_empty());
    }
    let (_, message) = server.chat(about(&["data:a", "data:b"])).await.error(400);
    assert!(message.contains("content[0]") && message.contains("content[1]"), "all are told: {message}");
}

#[tokio::test]
async fn a_completion_that_cannot_be_names_its_field() {
    let server = Server::simple(&["red"]).await;
    let body = |more: Value| {
        let mut body = json!({ "model": MODEL, "prompt": "a" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, param) in [
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": [[]] }), "prompt"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": [1, "a"] }), "prompt"),
        (json!({ "prompt": [[1, -1]] }), "prompt[0][1]"),
        (json!({ "prompt": [4096] }), "prompt"),
        (json!({ "prompt": [1.5] }), "prompt[0]"),
        (json!({ "prompt": vec![1; POSITIONS + 1] }), "prompt"),
        (json!({ "prompt": vec!["a"; 65] }), "prompt"),
        (json!({ "prompt": vec!["a"; 17] }), "n"),
        (json!({ "echo": "yes" }), "echo"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_tokens": 0, "echo": false }), "max_tokens"),
        (json!({ "suffix": "b" }), "suffix"),
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "echo": true, "logprobs": 21 }), "logprobs"),
    ] {
        let (told, message) = server.post("/v1/completions", body(more.clone())).await.error(400);
        assert_eq!(told, param, "{more}: {message}");
    }
    let neutral = json!({ "suffix": null, "best_of": 1, "echo": null, "logprobs": null });
    server.post("/v1/completions", body(neutral)).await.json(200);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let server = Server::simple(&["red"]).await;
    for body in ["", "{", "not json", "{\"temperature\": NaN}", &"[".repeat(1 << 20)] {
        let (_, message) = server.post("/v1/chat/completions", body).await.error(400);
        assert!(message.contains("JSON"), "{message}");
    }
    let (param, _) = server.chat(question(json!({ "model": "gpt-4o" }))).await.error(404);
    assert_eq!(param, "model");
    server.get("/v1/nothing").await.error(404);
    server.get("/v1/chat/completions").await.error(405);
    let mut other = request(Method::POST, "/v1/chat/completions", question(json!({})).to_string());
    other.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    server.send(other).await.error(415);
    let mut other = request(Method::GET, "/v1/models", String::new());
    other.headers_mut().insert("host", "example.org".parse().unwrap());
    server.send(other).await.error(403);
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_picture_for_a_model_without_eyes_is_refused() {
    let server = Server::start(false, 8, says(&["red"]), Limits::default(), Access::default()).await;
    server.chat(question(json!({}))).await.json(200);
    let (param, message) = server.chat(about(&[&picture(2, 2)])).await.error(400);
    assert_eq!(param, "messages[0].content[0].image_url.url");
    assert!(message.contains("sees no pictures"), "{message}");
}

/// A PNG file that promises this many pixels and holds none.
fn promising(width: u32, height: u32) -> String {
    use base64::Engine as _;
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes().into_iter().chain(height.to_be_bytes()).chain([8, 2, 0, 0, 0]));
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    file.extend(&header);
    file.extend(crc32(&header).to_be_bytes());
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(file))
}

/// The checksum of a chunk, as the PNG specification computes it (annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[tokio::test]
async fn a_picture_of_ten_gigapixels_is_refused_by_its_header() {
    let limits = Limits { pixels: 10_000, ..Limits::default() };
    let server = Server::start(true, 8, says(&["red"]), limits, Access::default()).await;
    let (_, message) = server.chat(about(&[&promising(100_000, 100_000)])).await.error(400);
    assert!(message.contains("100000x100000 pixels"), "{message}");
    let (_, message) = server.chat(about(&[&promising(101, 100)])).await.error(400);
    assert!(message.contains("10100 pixels; the limit is 10000"), "{message}");
    server.chat(about(&[&picture(100, 100)])).await.json(200);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let limits = Limits { body: 1000, ..Limits::default() };
    let server = Server::start(true, 8, says(&["red"]), limits, Access::default()).await;
    let fits = question(json!({ "user": "x".repeat(500) }));
    server.chat(fits).await.json(200);
    server.chat(question(json!({ "user": "x".repeat(1000) }))).await.error(413);
    // A body that is promised, and never sent.
    let head = tokio::time::timeout(
        Duration::from_secs(5),
        server.raw_head(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 1000000000\r\n\r\n",
        ),
    );
    assert!(head.await.unwrap().starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn bodies_have_a_budget_of_all_together() {
    let limits = Limits { bodies: 2 << 10, ..Limits::default() };
    let server = Server::start(true, 8, says(&["red"]), limits, Access::default()).await;
    let said = server.chat(question(json!({ "user": "x".repeat(4000) }))).await;
    said.error(429);
    assert_eq!(said.headers["retry-after"], "1");
    for _ in 0..5 {
        // What was taken is given back.
        server.chat(question(json!({ "user": "x".repeat(1000) }))).await.json(200);
    }
}

#[tokio::test]
async fn a_full_queue_and_too_many_requests_are_to_be_tried_again() {
    let slow = || slowly(Duration::from_millis(20), 1000);
    let server = Server::start(true, 1, slow(), Limits::default(), Access::default()).await;
    let ask =
        || request(Method::POST, "/v1/chat/completions", question(json!({ "stream": true })).to_string());
    let first = server.open(ask()).await;
    server.until("the first is answered", |stats| stats.live == 1).await;
    let second = server.open(ask()).await;
    let said = server.chat(question(json!({}))).await;
    let (_, message) = said.error(429);
    assert!(message.contains("queue") && said.headers["retry-after"] == "1", "{message}");
    drop((first, second));
    server.until("all left", |stats| stats.live == 0 && stats.waiting == 0).await;

    let limits = Limits { requests: 1, ..Limits::default() };
    let server = Server::start(true, 8, slow(), limits, Access::default()).await;
    let first = server.open(ask()).await;
    let (_, message) = server.chat(question(json!({}))).await.error(429);
    assert!(message.contains("too many requests"), "{message}");
    assert_eq!(server.get("/health").await.status, 200);
    drop(first);
    server.until("it left", |stats| stats.live == 0).await;
}

#[tokio::test]
async fn a_key_is_wanted_where_there_is_one() {
    let access = Access { key: Some("right".to_owned()), hosts: Vec::new() };
    let server = Server::start(true, 8, says(&["red"]), Limits::default(), access).await;
    let with = async |key: &str, path: &str| {
        let mut asked = request(Method::GET, path, String::new());
        asked.headers_mut().insert("authorization", key.parse().unwrap());
        server.send(asked).await
    };
    for path in ["/v1/models", "/metrics"] {
        let said = server.get(path).await;
        let (_, message) = said.error(401);
        assert!(message.contains("Bearer") && said.headers["www-authenticate"] == "Bearer", "{message}");
        for wrong in ["Bearer wrong", "Bearer righ", "Basic right", "right", "Bearer"] {
            with(wrong, path).await.error(401);
        }
        assert_eq!(with("Bearer right", path).await.status, 200);
    }
    // The key comes first: nothing else is told.
    server.chat(json!({})).await.error(401);
    for path in ["/", "/health"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn no_other_site_is_let_in() {
    let server = Server::simple(&["red"]).await;
    let mut asked = request(Method::OPTIONS, "/v1/chat/completions", String::new());
    asked.headers_mut().insert("origin", "https://example.org".parse().unwrap());
    asked.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
    let said = server.send(asked).await;
    said.error(405);
    assert!(
        said.headers.keys().all(|name| !name.as_str().starts_with("access-control")),
        "{:?}",
        said.headers
    );
}
