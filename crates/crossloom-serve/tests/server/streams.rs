use std::time::Duration;

use crossloom_run::engine::testing::Act;
use crossloom_run::engine::{Event, Reason, Request};
use crossloom_serve::{Access, Limits};
use serde_json::{Value, json};

use crate::support::{MODEL, QUESTION_TOKENS, Server, done, question, slowly, started, token};

fn content(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_stream_tells_the_role_then_the_text_then_why_it_ended() {
    let server = Server::simple(&["red", "", " blue"]).await;
    let said = server.chat(question(json!({ "stream": true }))).await;
    assert_eq!(said.headers["content-type"], "text/event-stream");
    let events = said.events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(content(&events), "red blue");
    // A token without a text of its own is not told.
    assert_eq!(events.len(), 4);
    let last = &events[3]["choices"][0];
    assert_eq!((&last["delta"], &last["finish_reason"]), (&json!({}), &json!("stop")));
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["id"], events[0]["id"]);
        assert_eq!(event.get("usage"), None);
    }
}

#[tokio::test]
async fn a_stream_ends_with_what_it_took_where_that_is_asked_for() {
    let server = Server::simple(&["red"]).await;
    let more = json!({ "stream": true, "stream_options": { "include_usage": true }, "n": 2 });
    let events = server.chat(question(more)).await.events();
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    let prompt = QUESTION_TOKENS;
    let usage = json!({ "prompt_tokens": prompt, "completion_tokens": 2, "total_tokens": prompt + 2 });
    assert_eq!(last["usage"], usage);
    assert!(others.iter().all(|event| event["usage"] == Value::Null));
    for index in 0..2 {
        let of_one = others.iter().filter(|event| event["choices"][0]["index"] == index);
        assert_eq!(of_one.count(), 3, "role, text and end of answer {index}");
    }
}

#[tokio::test]
async fn completions_are_streamed_with_log_probabilities_and_gates() {
    let server = Server::simple(&["red", " blue"]).await;
    let body = json!({ "model": MODEL, "prompt": "a", "stream": true, "logprobs": 1, "crossloom": { "gates": true } });
    let events = server.post("/v1/completions", body).await.events();
    assert_eq!(events[0]["choices"][0]["crossloom"]["gates"][0]["value"], 0.25);
    let offsets: Vec<&Value> =
        events[1..3].iter().map(|event| &event["choices"][0]["logprobs"]["text_offset"]).collect();
    assert_eq!(offsets, [&json!([0]), &json!([3])]);
}

#[tokio::test]
async fn a_failure_in_the_middle_is_the_last_event() {
    let script = |request: &Request| {
        let failed = Event::Failed("a kernel met NaN".to_owned());
        let end =
            if request.max_new_tokens == 1 { done(request, 1, Reason::Length) } else { Act::Tell(failed) };
        vec![started(request), Act::Tell(token(1, "red", request)), end]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let data = server.chat(question(json!({ "stream": true }))).await.data();
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "the model failed: a kernel met NaN");
    assert_eq!(data.len(), 3, "{data:?}");
    // As a whole it is a status.
    server.chat(question(json!({}))).await.error(500);
    // It is that request's matter alone.
    server.chat(question(json!({ "max_tokens": 1 }))).await.json(200);
}

#[tokio::test]
async fn a_prompt_is_streamed_in_front_of_its_completion() {
    let server = Server::simple(&["red", " blue"]).await;
    let body = json!({ "model": MODEL, "prompt": [5, 6], "stream": true, "logprobs": 1, "echo": true });
    let events = server.post("/v1/completions", body).await.events();
    let first = &events[0]["choices"][0];
    assert_eq!(
        (&first["text"], &first["logprobs"]["token_logprobs"]),
        (&json!("[5][6]"), &json!([null, -0.25]))
    );
    let texts: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(texts, "[5][6]red blue");
    let offsets: Vec<&Value> =
        events[..3].iter().map(|event| &event["choices"][0]["logprobs"]["text_offset"]).collect();
    assert_eq!(offsets, [&json!([0, 3]), &json!([6]), &json!([9])]);
}

#[tokio::test]
async fn an_engine_that_is_gone_is_told() {
    let script = |request: &Request| vec![started(request), Act::Die];
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    server.chat(question(json!({}))).await.error(503);
    let said = server.chat(question(json!({}))).await;
    said.error(503);
    assert_eq!(said.headers["retry-after"], "1");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_ended() {
    let limits = Limits { request_time: Duration::from_millis(200), ..Limits::default() };
    let server =
        Server::start(true, 8, slowly(Duration::from_millis(30), 1000), limits, Access::default()).await;
    let (_, message) = server.chat(question(json!({}))).await.error(408);
    assert!(message.contains("out of time"), "{message}");
    server.until("the slot is free", |stats| stats.live == 0 && stats.cancelled == 1).await;
    let data = server.chat(question(json!({ "stream": true }))).await.data();
    assert!(data.last().unwrap().contains("out of time") && data.len() > 2, "{data:?}");
    server.until("the slot is free", |stats| stats.live == 0 && stats.cancelled == 2).await;
}
