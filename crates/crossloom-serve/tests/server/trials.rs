//! Many clients at once, for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossloom_run::engine::testing::Act;
use crossloom_run::engine::{Reason, Request};
use crossloom_serve::{Access, Limits};
use http_body_util::BodyExt as _;
use hyper::Method;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::support::{Server, about, done, picture, question, request, started, token};

/// How long; `CROSSLOOM_TRIAL_SECONDS` says another number.
fn seconds() -> u64 {
    std::env::var("CROSSLOOM_TRIAL_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2)
}

/// Bytes of memory that this process has in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// As many tokens as are asked for, in a third of a millisecond each.
fn script(request: &Request) -> Vec<Act> {
    let mut acts = vec![started(request)];
    for _ in 0..request.max_new_tokens {
        acts.push(Act::Wait(Duration::from_micros(300)));
        acts.push(Act::Tell(token(1, "red ", request)));
    }
    acts.push(done(request, request.max_new_tokens, Reason::Length));
    acts
}

/// Asks again and again; some requests are left in their middle, some are wrong.
async fn client(
    server: Arc<Server>,
    seed: u64,
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
) {
    let mut random = StdRng::seed_from_u64(seed);
    while !over.load(Ordering::Relaxed) {
        let (stream, tokens): (bool, u32) = (random.random(), random.random_range(1..40));
        let side = random.random_range(1..60);
        let more = json!({ "stream": stream, "max_tokens": tokens });
        let mut body = if random.random() { question(more.clone()) } else { about(&[&picture(side, side)]) };
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let wrong = random.random_ratio(1, 10);
        if wrong {
            body["messages"][0]["role"] = "nobody".into();
        }
        let mut response = server.open(request(Method::POST, "/v1/chat/completions", body.to_string())).await;
        let status = response.status().as_u16();
        let outcome = if status == 200 && random.random_ratio(1, 4) {
            _ = response.frame().await;
            "left".to_owned()
        } else {
            let text = response.into_body().collect().await.unwrap().to_bytes();
            let whole = !stream || status != 200 || text.ends_with(b"data: [DONE]\n\n");
            assert!(whole && (status == 400) == wrong || status == 429, "{status}: {text:?}");
            status.to_string()
        };
        *seen.lock().unwrap().entry(outcome).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_with_mixed_lengths_and_disconnects_leave_nothing_behind() {
    let server = Server::start(true, 32, script, Limits::default(), Access::default()).await;
    let (server, over, seen) = (Arc::new(server), Arc::new(AtomicBool::new(false)), Arc::default());
    let clients: Vec<_> = (0..64)
        .map(|seed| tokio::spawn(client(Arc::clone(&server), seed, Arc::clone(&over), Arc::clone(&seen))))
        .collect();
    let (began, time) = (Instant::now(), Duration::from_secs(seconds()));
    // Memory is compared with that of a quarter of the time, when all that is kept for later is there.
    tokio::time::sleep(time / 4).await;
    let early = resident();
    tokio::time::sleep(time / 4 * 3).await;
    let late = resident();
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    server.until("all is free", |stats| stats.live == 0 && stats.waiting == 0).await;
    let seen = seen.lock().unwrap();
    println!("{:?}: {seen:?}; {early} bytes, then {late}", began.elapsed());
    for outcome in ["200", "400", "left"] {
        assert!(seen.get(outcome).is_some_and(|&count| count > 0), "{seen:?}");
    }
    let known = ["200", "400", "429", "left"];
    assert!(seen.keys().all(|outcome| known.contains(&outcome.as_str())), "{seen:?}");
    assert!(late < early + (16 << 20), "{early} bytes grew to {late}");
}
