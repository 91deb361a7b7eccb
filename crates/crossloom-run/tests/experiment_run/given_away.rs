//! A training on conversations as `crossloom train` does it, a picture in tiles among them, given away as `crossloom model export` does.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossloom_data::image::{Image, ImageLimits};
use crossloom_ir::DType;
use crossloom_recipe::{KeptIn, LoadOptions, load_with};
use crossloom_run::engine::{Engine, Event, Limits, Request, Served};
use crossloom_run::export::{Export, export};
use crossloom_run::start::architecture;
use crossloom_run::{Experiment, Job, RunOutcome, Unheard, located, settled};
use crossloom_train::run_dir::RunDir;
use crossloom_weights::export::{Beside, Scope, Tensors, tensors as write};
use serde_json::json;

use crate::conversations::{Asked, fixtures, given_to, recipe, recipe_on, tensors};
use crate::support::{Entry, request};

/// What is said to a picture in tiles, to two of it, and to none: tokens with all log-probabilities.
fn said(served: Served, picture: &Image) -> Vec<Event> {
    let limits = Limits { slots: 2, pictures: 2, positions: Some(1024), ..Limits::default() };
    let engine = Engine::start(served, limits).unwrap();
    let client = engine.client();
    let ask = |pictures: usize| {
        let prompt = client.card().question("What is this?", vec![picture.clone(); pictures]).unwrap();
        let request = Request { logprobs: Some(100), ..Request::new(prompt, 4) };
        let mut running = client.submit(request).unwrap();
        std::iter::from_fn(move || running.wait()).collect::<Vec<_>>()
    };
    [1, 2, 0].into_iter().flat_map(ask).collect()
}

/// `tests/peers/llava.py` loads it in transformers.
#[test]
fn what_a_run_trained_on_conversations_is_given_away_and_read_back_bit_for_bit() {
    let place = tempfile::tempdir().unwrap();
    let out = given_to(place.path());
    let rows = [vec!["coffee.png"], vec!["coffee.png", "astronaut.png"], vec![]].map(|shown| {
        let asked = format!("{}What is this?", "<image>\n".repeat(shown.len()));
        json!({ "image": shown, "conversations": [
            { "from": "human", "value": asked }, { "from": "gpt", "value": "coffee" },
        ] })
        .to_string()
    });
    std::fs::write(place.path().join("talks.jsonl"), rows.join("\n")).unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-data/tests/processors");
    let text = format!(
        "name = 'talks'\n[model]\nweights = '{}'\nvision.anyres = {{ side = 3, most_tiles = 2 }}\n[topology]\ninput = 'block.4'\n\
         [data]\ntokenizer = 'model'\ntext_positions = 128\n\
         source = {{ kind = 'conversations', of = [{{ format = 'llava', files = ['talks.jsonl'], pictures = '{}' }}], views = [2, 10] }}\n\
         [train]\nsteps = 6\nbatch_size = 1\nlr = 1e-3\n",
        fixtures().join("onevision").display(),
        pictures.display()
    );
    let path = place.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load_with(&path, &LoadOptions::default(), &architecture).unwrap_or_else(|e| panic!("{e}"));
    let loaded = settled(located(loaded).unwrap()).unwrap();
    let job = Experiment { job: Job::Train, ..request(&loaded, &[], &place.path().join("run"), Entry::New) };
    let RunOutcome::Trained { dir } =
        job.run(&mut Unheard, &AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"))
    else {
        panic!("nothing is evaluated")
    };
    let (run, variant) = (RunDir::open(dir).unwrap(), &loaded.variants[0]);
    let dir = run.variant_path(&variant.name).unwrap();
    let folder = out.join("run-given-away");
    let exported = export(&dir, &variant.recipe, Export::Merged(Scope::Whole, KeptIn::F32), &folder).unwrap();
    assert_eq!(exported.steps, 6);
    let bundle = place.path().join("bundle");
    export(&dir, &variant.recipe, Export::Bundle, &bundle).unwrap();
    let shown = Image::open(&pictures.join("coffee.png"), &ImageLimits::default()).unwrap();
    let expected = said(Served::trained(&dir, &variant.recipe).unwrap(), &shown);
    for given in [&folder, &bundle] {
        let served = Served::in_folder(given, &[]).unwrap();
        assert_eq!(said(served, &shown), expected, "{}", given.display());
    }

    let plain = recipe("onevision", "", &[]);
    let asked = Asked::new(&plain, "onevision");
    let model = asked.model(&plain);
    let before = asked.logits(&model, &plain);
    for (name, values) in tensors(&dir.path().join("checkpoints/step-6/model.safetensors")) {
        model.store.write(&name, &values).unwrap();
    }
    let trained = asked.logits(&model, &plain);
    assert_ne!(trained, before);
    let again = recipe_on(&folder, "onevision", "", &[]);
    assert!(asked.logits(&asked.model(&again), &again) == trained);
    let mut found = Tensors::new();
    asked.add("run-given-away", trained, &mut found);
    write(&out.join("found-of-run"), &found, &|_| DType::F32, &Beside::new()).unwrap();
}
