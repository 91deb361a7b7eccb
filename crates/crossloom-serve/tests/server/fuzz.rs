//! Any request is answered or refused with a reason: whole bodies with values of other kinds in any place, then with bytes changed.

use std::cell::Cell;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::Request;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{MODEL, about, paths, picture, question};

/// How many requests; `CROSSLOOM_FUZZ_CASES` says another number.
fn cases() -> u32 {
    std::env::var("CROSSLOOM_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000)
}

/// Whole requests, with every field that is read.
fn whole() -> Vec<(&'static str, Value)> {
    let (chat, completion) = ("/v1/chat/completions", "/v1/completions");
    let url = picture(3, 2);
    let mut all = about(&[&url, &url]);
    let fields = json!({
        "n": 2, "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1,
        "presence_penalty": 0.1, "frequency_penalty": 0.1, "seed": 1, "stop": ["a", "b"], "logprobs": true,
        "top_logprobs": 2, "stream": true, "stream_options": { "include_usage": true }, "crossloom": { "gates": true },
        "response_format": { "type": "text" }, "modalities": ["text"], "tools": [], "user": "x",
    });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    vec![
        (chat, all),
        (chat, question(json!({}))),
        (chat, about(&[&url])),
        (completion, json!({ "model": MODEL, "prompt": "a b c" })),
        (
            completion,
            json!({ "model": MODEL, "prompt": [[5, 6], [7]], "logprobs": 1, "echo": true, "max_tokens": 0 }),
        ),
        (
            completion,
            json!({ "model": MODEL, "prompt": ["a", "b"], "logprobs": 2, "best_of": 1, "stream": true }),
        ),
    ]
}

/// Values that a field may not expect.
fn strange() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3_i64..40).prop_map(Value::from),
        Just(json!("a".repeat(3000))),
        prop::sample::select(vec![
            "",
            "text",
            "image_url",
            "system",
            "assistant",
            "developer",
            "red",
            "data:image/png;base64,",
            "data:,",
            "\u{0}\u{fffd}😀",
            "<image>",
            "{{ messages }}",
            "https://example.org/a.png",
            "data:image/png;base64,iVBORw0KGgo=",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The place in a value that a number leads to.
fn place<'v>(value: &'v mut Value, at: &Index) -> &'v mut Value {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        }
    }
    fn find<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Array(items) => items.iter_mut().find_map(|item| find(item, left)),
            Value::Object(fields) => fields.values_mut().find_map(|field| find(field, left)),
            _ => None,
        }
    }
    let mut left = at.index(count(value));
    find(value, &mut left).expect("there are as many places as were counted")
}

type Change = (Index, u8, usize);

fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for (at, byte, kind) in changes {
        if body.is_empty() {
            break;
        }
        let at = at.index(body.len());
        match kind {
            0 => body[at] = *byte,
            1 => body.insert(at, *byte),
            2 => drop(body.remove(at)),
            3 => body.truncate(at),
            _ => body.extend_from_within(at..),
        }
    }
    body
}

/// Asks, and checks that the answer is one of the documented.
async fn asked(paths: Router, path: &str, body: Vec<u8>) -> Result<u16, TestCaseError> {
    let request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
    let response = paths.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (status, bytes) =
        (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes());
    let text = String::from_utf8(bytes.to_vec()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    if status == 200 {
        return Ok(status);
    }
    prop_assert!([400, 404].contains(&status), "{status}: {text}");
    let told: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(told["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}");
    Ok(status)
}

#[test]
fn any_request_is_answered_or_refused_with_a_reason() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (paths, _engine) = paths();
    for (path, body) in whole() {
        let status = runtime.block_on(asked(paths.clone(), path, body.to_string().into())).unwrap();
        assert_eq!(status, 200, "{body}");
    }
    let change = (any::<Index>(), any::<u8>(), 0..5_usize);
    let strategy = (
        prop::sample::select(whole()),
        prop::collection::vec((any::<Index>(), strange()), 0..4),
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(change, 1..5)],
    );
    let answered = Cell::new(0_u32);
    let mut runner =
        TestRunner::new(Config { cases: cases(), failure_persistence: None, ..Config::default() });
    let ran = runner.run(&strategy, |((path, mut body), values, changes)| {
        for (at, value) in values {
            *place(&mut body, &at) = value;
        }
        let bytes = changed(body.to_string().into_bytes(), &changes);
        let status = runtime.block_on(asked(paths.clone(), path, bytes))?;
        answered.set(answered.get() + u32::from(status == 200));
        Ok(())
    });
    ran.unwrap();
    assert!(answered.get() > cases() / 50, "hardly any of them is whole: {answered:?}");
}
