#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use crossloom_data::image::Image;
use crossloom_ir::Role;
use crossloom_model::{Init, initial_value};
use crossloom_recipe::{LoadOptions, Precision, Recipe, Split, load_text};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::load::load;
use super::*;
use crate::Data;
use plain::compared::{in_a_models_tokens, recipe};

mod cache;
mod chunks;
mod company;
mod panics;
mod pictures;
pub(crate) mod plain;
mod requests;
mod scores;
mod scoring;
mod together;
mod whole;

/// A text that no answer has. A request that would end by it panics when it takes a token.
const PANICS: &str = "\u{10FFFF} panics";

/// Panics in the middle of a request's work, if that is asked for.
pub(super) fn may_panic(request: &Request) {
    assert!(!request.stop.iter().any(|stop| stop == PANICS), "as it was asked to");
}

/// Limits of a small engine.
fn limits(slots: usize) -> Limits {
    Limits { slots, queue: 256, pictures: 3, ..Limits::default() }
}

/// A recipe's model, whose weights are far from their start, so that answers differ by question and picture.
fn busy(recipe: &Recipe, data: &Data, limits: &Limits) -> Parts {
    let served = Served::starting(recipe, data.tokenizer.clone());
    let mut parts = load(served, limits).unwrap();
    let store = &parts.model.store;
    for tensor in store.tensors().into_iter().filter(|tensor| tensor.role == Role::Weight) {
        let mut values = store.read::<f32>(&tensor.name).unwrap();
        let noise = initial_value(Init::Uniform { std: 0.25 }, values.len(), 3, &tensor.name);
        values.iter_mut().zip(noise).for_each(|(value, noise)| *value += noise);
        store.write(&tensor.name, &values).unwrap();
    }
    parts.intake.encoding = parts.model.phases.encoding().unwrap();
    parts
}

/// A method of the folder, in small, on drawn pictures.
fn of_method(method: &str) -> Recipe {
    let text = format!(
        "name = 'engine'\n[model.vision]\nfamily = 'vit'\nimage_size = 32\npatch_size = 8\nhidden = 16\nlayers = 4\nheads = 2\nmlp = 32\n\
         post_norm = true\n[model.language]\nfamily = 'llama'\nhidden = 16\nlayers = 5\nheads = 2\nmlp = 32\nmax_positions = 256\n[train]\n\
         steps = 1\nbatch_size = 2\nlr = 1e-3\n[data]\nquestions_per_sequence = 1\n\
         source = {{ kind = 'synthetic', train_images = 12, test_images = 5, questions_per_image = 6 }}\n\
         [variants.it]\nextends = ['methods/{method}.toml']\n"
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/under-test.toml");
    let loaded = load_text(&path, &text, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    loaded.variant("it").unwrap().recipe.clone()
}

fn data(recipe: &Recipe) -> Data {
    Data::load(recipe, Path::new("."), &mut |_| ()).unwrap()
}

/// A question of the test split with its picture.
fn example(data: &Data, number: usize) -> (String, Image) {
    let split = data.images(Split::Test).0;
    let example = &split.examples()[number % split.examples().len()];
    (example.question.clone(), split.images().image(example.image).unwrap())
}

/// An engine whose rounds a test runs. Its model lives as long as the tests.
struct ByHand {
    engine: InPlace<'static>,
    client: Client,
}

impl ByHand {
    fn new(parts: Parts, limits: &Limits) -> Self {
        let Parts { model, intake } = parts;
        let model = Box::leak(Box::new(model));
        let engine = InPlace::new(&mut model.phases, &model.gates, intake, limits.queue);
        Self { client: engine.client().clone(), engine }
    }

    fn of(recipe: &Recipe, data: &Data, slots: usize) -> Self {
        Self::new(busy(recipe, data, &limits(slots)), &limits(slots))
    }

    /// One round of the engine's thread; whether there is more to do.
    fn round(&mut self) -> bool {
        self.engine.round()
    }

    /// All events of a request that has no company.
    fn alone(&mut self, request: Request) -> Vec<Event> {
        let running = self.client.submit(request).unwrap();
        while self.round() {}
        events(running)
    }

    fn answer(&mut self, request: Request) -> Answer {
        let running = self.client.submit(request).unwrap();
        while self.round() {}
        running.answer().unwrap()
    }
}

/// All events of a request that has ended.
fn events(mut running: Running) -> Vec<Event> {
    std::iter::from_fn(|| running.wait()).collect()
}
