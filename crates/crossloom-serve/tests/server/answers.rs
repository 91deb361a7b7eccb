use crossloom_run::engine::testing::Act;
use crossloom_run::engine::{Event, Reason, Usage};
use crossloom_serve::{Access, Limits};
use serde_json::{Value, json};

use crate::support::{MODEL, QUESTION_TOKENS, Server, about, done, picture, question, started, token};

#[tokio::test]
async fn a_conversation_is_answered_in_openais_form() {
    let server = Server::simple(&["red", " blue"]).await;
    let body = server.chat(question(json!({}))).await.json(200);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], MODEL);
    assert!(
        body["id"].as_str().unwrap().starts_with("chatcmpl-") && body["created"].as_u64().unwrap() > 1 << 30
    );
    let choice = json!({
        "index": 0, "logprobs": null, "finish_reason": "stop",
        "message": { "role": "assistant", "content": "red blue", "refusal": null },
    });
    assert_eq!(body["choices"], json!([choice]));
    let prompt = QUESTION_TOKENS;
    let usage = json!({ "prompt_tokens": prompt, "completion_tokens": 2, "total_tokens": prompt + 2 });
    assert_eq!(body["usage"], usage);
    let cut = server.chat(question(json!({ "max_tokens": 1 }))).await.json(200);
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["choices"][0]["message"]["content"], "red");
}

#[tokio::test]
async fn pictures_of_every_kind_are_seen_in_their_order() {
    let script = |request: &crossloom_run::engine::Request| {
        let told = format!("{} pictures, {} tokens", request.prompt.pictures(), request.prompt.positions());
        vec![started(request), Act::Tell(token(1, &told, request)), done(request, 1, Reason::Stop)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let (wide, high) = (picture(12, 3), picture(2, 9));
    let body = server.chat(about(&[&wide, &high])).await.json(200);
    assert_eq!(
        body["choices"][0]["message"]["content"],
        format!("2 pictures, {} tokens", QUESTION_TOKENS + 8)
    );
    let body = server.chat(about(&[&wide])).await.json(200);
    assert_eq!(
        body["choices"][0]["message"]["content"],
        format!("1 pictures, {} tokens", QUESTION_TOKENS + 4)
    );
}

#[tokio::test]
async fn a_conversation_of_several_turns_is_written_by_the_template() {
    let script = |request: &crossloom_run::engine::Request| {
        let told = format!("{:?}", request.prompt.tokens());
        vec![started(request), Act::Tell(token(1, &told, request)), done(request, 1, Reason::Stop)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let said = |messages: serde_json::Value| question(json!({ "messages": messages }));
    let turns = |system: &str| {
        json!([{ "role": system, "content": "a" }, { "role": "user", "content": [{ "type": "text", "text": "b" }] },
            { "role": "assistant", "content": "c" }, { "role": "user", "content": "what" }])
    };
    let told = server.chat(said(turns("system"))).await.json(200)["choices"][0]["message"]["content"].clone();
    assert_eq!(told.as_str().unwrap().split(',').count(), 4 * 4 + 2, "{told}");
    let newer = server.chat(said(turns("developer"))).await.json(200);
    assert_eq!(newer["choices"][0]["message"]["content"], told);
}

#[tokio::test]
async fn several_answers_have_seeds_of_their_own_and_their_prompt_is_counted_once() {
    let script = |request: &crossloom_run::engine::Request| {
        let told = format!("seed {}", request.sampling.seed);
        vec![started(request), Act::Tell(token(1, &told, request)), done(request, 3, Reason::Stop)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let body = server.chat(question(json!({ "n": 3, "seed": 41 }))).await.json(200);
    let told: Vec<&str> =
        (0..3).map(|i| body["choices"][i]["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(told, ["seed 41", "seed 42", "seed 43"]);
    assert_eq!(body["usage"]["prompt_tokens"], QUESTION_TOKENS);
    assert_eq!(body["usage"]["completion_tokens"], 9);
    let body = json!({ "model": MODEL, "prompt": ["a", "b c"], "n": 2, "seed": 7 });
    let body = server.post("/v1/completions", body).await.json(200);
    assert_eq!(body["object"], "text_completion");
    let told: Vec<&str> = (0..4).map(|i| body["choices"][i]["text"].as_str().unwrap()).collect();
    assert_eq!(told, ["seed 7", "seed 8", "seed 7", "seed 8"]);
    assert_eq!(body["usage"], json!({ "prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15 }));
}

#[tokio::test]
async fn log_probabilities_are_those_of_the_engine_in_both_forms() {
    let server = Server::simple(&["red", " blue"]).await;
    let body = server.chat(question(json!({ "logprobs": true, "top_logprobs": 2 }))).await.json(200);
    let content = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 2);
    assert_eq!(content[0]["logprob"], -0.5);
    let token = content[0]["token"].as_str().unwrap();
    assert_eq!(content[0]["bytes"], json!(token.as_bytes()));
    let top = content[1]["top_logprobs"].as_array().unwrap();
    assert_eq!((top.len(), &top[1]["logprob"]), (2, &json!(-1.5)));
    let body = json!({ "model": MODEL, "prompt": "a b", "logprobs": 1 });
    let body = server.post("/v1/completions", body).await.json(200);
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["token_logprobs"], json!([-0.5, -0.5]));
    assert_eq!(logprobs["text_offset"], json!([0, 3]));
    assert_eq!(logprobs["top_logprobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn prompts_are_texts_or_tokens_and_several_are_several_choices() {
    let script = |request: &crossloom_run::engine::Request| {
        let told = format!("{:?} seed {}", request.prompt.tokens(), request.sampling.seed);
        vec![started(request), Act::Tell(token(1, &told, request)), done(request, 1, Reason::Stop)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    for (prompt, wanted) in [
        (json!([5, 6, 7]), vec!["[5, 6, 7] seed 1", "[5, 6, 7] seed 2"]),
        (json!([[5, 6], [7]]), vec!["[5, 6] seed 1", "[5, 6] seed 2", "[7] seed 1", "[7] seed 2"]),
    ] {
        let body = json!({ "model": MODEL, "prompt": prompt, "n": 2, "best_of": 2, "seed": 1 });
        let body = server.post("/v1/completions", body).await.json(200);
        let choices = body["choices"].as_array().unwrap();
        let told: Vec<&str> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(told, wanted);
        let places: Vec<u64> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
        assert_eq!(places, (0..wanted.len() as u64).collect::<Vec<_>>());
    }
    let of = |prompt: Value| json!({ "model": MODEL, "prompt": prompt });
    let text =
        server.post("/v1/completions", of(json!("red blue"))).await.json(200)["choices"][0]["text"].clone();
    let ids: Value = serde_json::from_str(text.as_str().unwrap().split(" seed").next().unwrap()).unwrap();
    let tokens = server.post("/v1/completions", of(ids)).await.json(200)["choices"][0]["text"].clone();
    let head = |text: &Value| text.as_str().unwrap().split(" seed").next().unwrap().to_owned();
    assert_eq!(head(&tokens), head(&text), "a text is its tokens");
}

/// As evaluation harnesses ask for the log-probabilities of a text: nothing, or one token, is written behind it.
#[tokio::test]
async fn a_prompt_is_told_with_its_log_probabilities() {
    let server = Server::simple(&["red"]).await;
    let ask = async |more: Value| {
        let mut body = json!({ "model": MODEL, "prompt": [[5, 6, 7], [8]], "echo": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/completions", body).await.json(200)
    };
    let alone = ask(json!({ "logprobs": 1, "max_tokens": 0, "temperature": 0, "seed": 1234 })).await;
    let first = &alone["choices"][0];
    assert_eq!((&first["text"], &first["finish_reason"]), (&json!("[5][6][7]"), &json!("length")));
    let logprobs = &first["logprobs"];
    assert_eq!(logprobs["token_logprobs"], json!([null, -0.25, -0.25]));
    assert_eq!(logprobs["text_offset"], json!([0, 3, 6]));
    let tops = logprobs["top_logprobs"].as_array().unwrap();
    assert!(tops[0].is_null() && tops[1].as_object().unwrap().len() == 1, "{tops:?}");
    assert_eq!(alone["choices"][1]["logprobs"]["token_logprobs"], json!([null]));
    assert_eq!(alone["usage"], json!({ "prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4 }));
    let one = ask(json!({ "logprobs": 0, "max_tokens": 1 })).await;
    assert_eq!(one["choices"][0]["text"], "[5][6][7]red");
    assert_eq!(one["choices"][0]["logprobs"]["token_logprobs"], json!([null, -0.25, -0.25, -0.5]));
    assert_eq!(one["choices"][0]["logprobs"]["text_offset"], json!([0, 3, 6, 9]));
    let plain = ask(json!({ "max_tokens": 1 })).await;
    assert_eq!(
        (&plain["choices"][1]["text"], &plain["choices"][1]["logprobs"]),
        (&json!("[8]red"), &Value::Null)
    );
}

/// A completion that the model ends has its end among the log-probabilities, so that these are as many as its tokens.
#[tokio::test]
async fn the_end_of_a_completion_is_one_of_its_tokens() {
    let script = |request: &crossloom_run::engine::Request| {
        let Event::Token(end) = token(2, "", request) else { unreachable!() };
        let usage = Usage { prompt_tokens: 1, completion_tokens: 1 };
        let end = request.logprobs.map(|_| end);
        let end = Event::Done { text: String::new(), reason: Reason::Stop, end, usage };
        vec![started(request), Act::Tell(end)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let body = json!({ "model": MODEL, "prompt": [5], "echo": true, "logprobs": 1, "max_tokens": 1 });
    let body = server.post("/v1/completions", body).await.json(200);
    assert_eq!(body["choices"][0]["logprobs"]["token_logprobs"], json!([null, -0.5]));
    assert_eq!(body["choices"][0]["logprobs"]["text_offset"], json!([0, 3]));
    let said = server.chat(question(json!({ "logprobs": true }))).await.json(200);
    assert_eq!(said["choices"][0]["logprobs"], Value::Null, "no token of a conversation's answer is told");
}

#[tokio::test]
async fn what_json_cannot_say_is_a_number_all_the_same() {
    let script = |request: &crossloom_run::engine::Request| {
        let Event::Token(mut token) = token(1, "red", request) else { unreachable!() };
        token.logprob = Some(f32::NEG_INFINITY);
        vec![started(request), Act::Tell(Event::Token(token)), done(request, 1, Reason::Stop)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let body = server.chat(question(json!({ "logprobs": true }))).await.json(200);
    assert_eq!(body["choices"][0]["logprobs"]["content"][0]["logprob"], -9999.0);
}

#[tokio::test]
async fn text_that_was_withheld_ends_the_answer() {
    let script = |request: &crossloom_run::engine::Request| {
        let usage = Usage { prompt_tokens: 6, completion_tokens: 2 };
        let end = Event::Done { text: " st".to_owned(), reason: Reason::Length, end: None, usage };
        vec![started(request), Act::Tell(token(1, "red", request)), Act::Tell(end)]
    };
    let server = Server::start(true, 8, script, Limits::default(), Access::default()).await;
    let body = server.chat(question(json!({ "stop": ["stop"] }))).await.json(200);
    assert_eq!(body["choices"][0]["message"]["content"], "red st");
}

#[tokio::test]
async fn gates_are_told_where_they_are_asked_for() {
    let server = Server::simple(&["red"]).await;
    let body = server.chat(question(json!({}))).await.json(200);
    assert_eq!(body["choices"][0].get("crossloom"), None);
    let body = server.chat(question(json!({ "crossloom": { "gates": true } }))).await.json(200);
    let gate = json!({ "tap": "block.1", "point": "layer.0", "value": 0.75 });
    assert_eq!(body["choices"][0]["crossloom"]["gates"][1], gate);
}

#[tokio::test]
async fn the_model_is_listed_and_the_engine_is_counted() {
    let server = Server::simple(&["red"]).await;
    let list = server.get("/v1/models").await.json(200);
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], MODEL);
    assert_eq!(
        list["data"][0]["crossloom"],
        json!({
            "positions": 64, "pictures": { "least": 0, "most": 3 }, "gates": 2,
        })
    );
    assert_eq!(server.get(&format!("/v1/models/{MODEL}")).await.json(200), list["data"][0]);
    server.get("/v1/models/other").await.error(404);
    assert_eq!(server.get("/health").await.json(200), json!({ "status": "ok" }));
    server.chat(question(json!({}))).await.json(200);
    server.chat(question(json!({ "n": 0 }))).await.error(400);
    server.until("the answer is counted", |stats| stats.done == 1).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "crossloom_http_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "crossloom_http_requests_total{path=\"/v1/chat/completions\",status=\"400\"} 1",
        "crossloom_http_response_seconds_count{path=\"/v1/chat/completions\"} 2",
        "crossloom_http_open_requests 1",
        "crossloom_engine_done_requests_total 1",
        "crossloom_engine_queue_size 8",
        "# EOF",
    ] {
        assert!(metrics.text.lines().any(|told| told == line), "{line} is not in\n{}", metrics.text);
    }
}
