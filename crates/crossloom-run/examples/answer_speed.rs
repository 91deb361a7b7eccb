//! How long answers take: by a cache of keys and values, and by running the whole sequence again for every token.
//!
//! ```text
//! cargo run --release -p crossloom-run --example answer_speed -- recipes/quickstart.toml cli [KEY=VALUE …]
//! ```
//!
//! The model is not trained, so its answers mostly have the longest length, `eval.max_new_tokens`. Both ways answer the same
//! questions in one process, in turns; the best time of each is printed, and their answers are compared.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossloom_data::packing::{AnswerMode, EvaluationPacker, ImageMode, PackedBatch, PackingPlan};
use crossloom_model::BatchShape;
use crossloom_recipe::{LoadOptions, Recipe, load};
use crossloom_run::{Data, Model, Pools, Processor, evaluate, load_batch};
use crossloom_runtime::Session;

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, variant, sets @ ..] = args.as_slice() else {
        return Err("usage: answer_speed RECIPE VARIANT [KEY=VALUE …]".into());
    };
    let loaded = load(Path::new(path), &LoadOptions { sets: sets.to_vec() }).map_err(|e| e.to_string())?;
    let recipe = &loaded.variant(variant).ok_or("no such variant")?.recipe;
    let data = Data::load(recipe, Path::new(path).parent().unwrap_or(Path::new(".")), &mut |_| ())?;
    let plan = data.plan(recipe)?;
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    let (mut by_cache, mut by_recomputation) = (Duration::MAX, Duration::MAX);
    let (mut texts, mut tokens) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        // A model that has seen no picture yet.
        let mut model = Model::new(recipe, shape, plan.vocab_size)?;
        let start = Instant::now();
        let evaluation = evaluate(recipe, &data, &plan, &mut model, &AtomicBool::new(false), &mut |_, _| ())?;
        by_cache = by_cache.min(start.elapsed());
        let evaluation = evaluation.ok_or("nobody asked for a stop")?;
        texts = evaluation.records.into_iter().map(|record| record.answer.unwrap_or_default()).collect();
        let mut whole = model.whole(recipe, shape, plan.vocab_size)?;
        let start = Instant::now();
        let again;
        (again, tokens) = recompute(recipe, &data, &plan, &mut whole)?;
        by_recomputation = by_recomputation.min(start.elapsed());
        let differ = texts.iter().zip(&again).filter(|(one, other)| one != other).count();
        if differ > 0 {
            return Err(format!("{differ} of {} answers differ", texts.len()).into());
        }
    }
    println!(
        "{} answers, {tokens} tokens: by cache {:.1} ms, by recomputation {:.1} ms, {:.2} times as fast",
        texts.len(),
        1e3 * by_cache.as_secs_f64(),
        1e3 * by_recomputation.as_secs_f64(),
        by_recomputation.as_secs_f64() / by_cache.as_secs_f64()
    );
    Ok(())
}

/// All answers of the evaluation split, and how many tokens they have.
fn recompute(
    recipe: &Recipe,
    data: &Data,
    plan: &PackingPlan,
    whole: &mut Session,
) -> Result<(Vec<String>, usize), Box<dyn Error>> {
    let pools = Pools::of(recipe);
    let (split, encoded) = data.images(recipe.eval.split);
    let normalization = Processor::of(recipe).normalization();
    let packer = EvaluationPacker::new(plan, encoded, split.images(), &normalization, ImageMode::Shown)?;
    let mut batch = PackedBatch::new(plan);
    let (mut answers, mut tokens) = (vec![String::new(); split.examples().len()], 0);
    for index in 0..packer.batches() {
        packer.fill(index, AnswerMode::Awaited, &mut batch)?;
        loop {
            load_batch(whole, &batch, &pools)?;
            whole.run()?;
            let predicted = whole.read::<i32>("predictions")?;
            let of =
                |q: &crossloom_data::packing::PackedQuestion| predicted[q.row * plan.targets + q.first_slot];
            let next: Vec<i32> = batch.questions().iter().map(of).collect();
            if batch.append_generated(&next)? == 0 {
                break;
            }
        }
        for (place, question) in batch.questions().iter().enumerate() {
            tokens += batch.generated(place).len();
            if let Some(number) = question.example {
                answers[number] = data.tokenizer.decode(batch.generated(place))?;
            }
        }
    }
    let examples = encoded.examples();
    Ok((examples.into_iter().map(|number| std::mem::take(&mut answers[number])).collect(), tokens))
}
