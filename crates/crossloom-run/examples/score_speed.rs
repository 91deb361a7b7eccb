//! How long the options of a multiple choice take to score: read with their prompt, and decoded token by token.
//!
//! ```text
//! cargo run --release -p crossloom-run --example score_speed -- RUN_FOLDER VARIANT PICTURE [--options N] [--tokens N]
//! ```
//!
//! N options of N tokens each (4, 20) stand behind one question about the picture, a slot for each. Decoding writes as many tokens for as many
//! requests, whichever the model draws, with their log-probabilities. Prints one line of JSON: medians in milliseconds, from asking to the last token.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use crossloom_data::image::{Image, ImageLimits};
use crossloom_run::engine::{Client, Engine, Limits, Request, Running, Sampling, Served};
use crossloom_run::resolved;
use crossloom_train::run_dir::RunDir;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str, default: usize| {
        let Some(at) = args.iter().position(|arg| arg == name).filter(|at| at + 1 < args.len()) else {
            return Ok(default);
        };
        args.remove(at);
        args.remove(at).parse::<usize>().map(|number| number.max(1))
    };
    let (options, tokens) = (option("--options", 4)?, option("--tokens", 20)?);
    let [run, variant, picture] = args.as_slice() else {
        return Err("usage: score_speed RUN_FOLDER VARIANT PICTURE [--options N] [--tokens N]".into());
    };
    let run = RunDir::open(Path::new(run))?;
    let recipe = resolved::to_ask(&run, &[])?;
    let known = recipe.variant(variant).ok_or("the run has no such variant")?;
    let served = Served::trained(&run.variant_path(variant)?, &known.recipe)?;
    let engine = Engine::start(served, Limits { slots: options, ..Limits::default() })?;
    let client = engine.client();
    let picture = Image::open(Path::new(picture), &ImageLimits::default())?;
    let prompt = client.card().question("what is shown in the picture?", vec![picture])?;
    let asked = |option: usize, given: bool| -> Result<Request, Box<dyn Error>> {
        let words = client
            .card()
            .tokens("a picture of some thing that nobody has seen before and that has no name")?;
        let words = words.iter().copied().cycle().skip(option).take(tokens).collect();
        let request = Request { logprobs: Some(1), ..Request::new(prompt.clone(), tokens) };
        if given {
            return Ok(Request { given: words, max_new_tokens: 0, ..request });
        }
        // Far from the best token, so that no end comes early.
        let sampling = Sampling { temperature: 4.0, seed: option as u64, ..Sampling::default() };
        Ok(Request { sampling, ..request })
    };
    let asked = |given: bool| (0..options).map(|option| asked(option, given)).collect::<Result<Vec<_>, _>>();
    let (given, drawn) = (asked(true)?, asked(false)?);
    let (mut read, mut decoded) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let times = [answered(&client, &given, tokens)?, answered(&client, &drawn, tokens)?];
        // The first round compiles what it needs.
        if round > 0 {
            read.push(times[0]);
            decoded.push(times[1]);
        }
    }
    println!("{{\"read_ms\": {:.1}, \"decoded_ms\": {:.1}}}", median(read), median(decoded));
    Ok(engine.finish()?)
}

/// Milliseconds until all answers, of so many tokens, are there.
fn answered(client: &Client, requests: &[Request], tokens: usize) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let running: Vec<Running> =
        requests.iter().map(|request| client.submit(request.clone())).collect::<Result<_, _>>()?;
    for running in running {
        let answer = running.answer()?;
        if answer.logprobs.len() != tokens {
            return Err(format!("an answer ended after {} tokens", answer.logprobs.len()).into());
        }
    }
    Ok(1e3 * begun.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
