//! How long the engine takes to read a prompt, and for every token behind it: of one request, and of several at once.
//!
//! ```text
//! cargo run --release -p crossloom-run --example decode_speed -- recipes/smol/smol.toml projector_block9 [--prompt N] [--tokens N] \
//!     [--requests N] [KEY=VALUE …]
//! ```
//!
//! The model is as it was published, and its prompts are one word again and again, which it repeats, so that no answer ends early. Prints one line of JSON:
//! medians in milliseconds of reading a prompt of N tokens and of one token behind it, and tokens a second of one short request and of N at once,
//! from asking to the last token.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use crossloom_recipe::{LoadOptions, load_with};
use crossloom_run::engine::{Client, Engine, Event, Limits, Prompt, Request, Running, Served};
use crossloom_run::settled;
use crossloom_run::start::architecture;

/// Tokens of a short prompt.
const SHORT: usize = 16;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str, default: usize| {
        let Some(at) = args.iter().position(|arg| arg == name).filter(|at| at + 1 < args.len()) else {
            return Ok(default);
        };
        args.remove(at);
        args.remove(at).parse::<usize>().map(|number| number.max(2))
    };
    let (length, tokens, requests) =
        (option("--prompt", 256)?, option("--tokens", 64)?, option("--requests", 8)?);
    let [path, variant, sets @ ..] = args.as_slice() else {
        return Err(
            "usage: decode_speed RECIPE VARIANT [--prompt N] [--tokens N] [--requests N] [KEY=VALUE …]"
                .into(),
        );
    };
    let loaded = load_with(Path::new(path), &LoadOptions { sets: sets.to_vec() }, &architecture);
    let loaded = settled(loaded.map_err(|problems| problems.to_string())?)?;
    let recipe = &loaded.variant(variant).ok_or("no such variant")?.recipe;
    let limits = Limits { slots: requests, positions: Some(length + tokens), ..Limits::default() };
    let engine = Engine::start(Served::untrained(recipe)?, limits)?;
    let client = engine.client();
    let asked = |length: usize| -> Result<Request, Box<dyn Error>> {
        Ok(Request::new(prompt(&client, length)?, tokens))
    };
    let (long, short) = (asked(length)?, asked(SHORT)?);
    let (mut prefill, mut decode, mut alone, mut together) = (vec![], vec![], vec![], vec![]);
    for round in 0..=ROUNDS {
        let (read, times) = heard(client.submit(long.clone())?)?;
        if times.len() + 1 < tokens {
            return Err(format!("the answer ended after {} tokens", times.len() + 1).into());
        }
        let one = rate(&client, &short, 1)?;
        let all = rate(&client, &short, requests)?;
        // The first round compiles what it needs.
        if round > 0 {
            prefill.push(read);
            decode.extend(times);
            alone.push(one);
            together.push(all);
        }
    }
    let (prefill, decode, alone, together) =
        (median(prefill), median(decode), median(alone), median(together));
    println!(
        "{{\"prefill_ms\": {prefill:.2}, \"token_ms\": {decode:.3}, \"alone_tokens_per_s\": {alone:.1}, \
         \"together_tokens_per_s\": {together:.1}}}"
    );
    Ok(engine.finish()?)
}

/// Words of so many tokens.
fn prompt(client: &Client, length: usize) -> Result<Prompt, Box<dyn Error>> {
    let prompt = client.card().text(&" time".repeat(length), Vec::new())?;
    if prompt.positions() == length { Ok(prompt) } else { Err("a word is not a token".into()) }
}

/// Milliseconds until the first token, and between all that follow.
fn heard(mut running: Running) -> Result<(f64, Vec<f64>), Box<dyn Error>> {
    let (mut last, mut times) = (Instant::now(), Vec::new());
    while let Some(event) = running.wait() {
        match event {
            Event::Started { .. } => {}
            Event::Token(_) => {
                times.push(1e3 * last.elapsed().as_secs_f64());
                last = Instant::now();
            }
            Event::Done { .. } if !times.is_empty() => {
                let prefill = times.remove(0);
                return Ok((prefill, times));
            }
            Event::Done { .. } => break,
            Event::Failed(problem) => return Err(problem.into()),
        }
    }
    Err("no token was told".into())
}

/// Tokens a second of so many requests that are asked at once.
fn rate(client: &Client, request: &Request, requests: usize) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let running: Vec<Running> =
        (0..requests).map(|_| client.submit(request.clone())).collect::<Result<_, _>>()?;
    let mut tokens = 0;
    for running in running {
        tokens += running.answer()?.usage.completion_tokens;
    }
    Ok(tokens as f64 / begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
