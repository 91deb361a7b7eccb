//! The generation engine on tiny published models: what it reads and predicts is what transformers does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossloom_data::chat::Message;
use crossloom_data::image::{Image, ImageLimits};
use crossloom_recipe::{LoadOptions, Recipe, load_with};
use crossloom_run::engine::{Engine, Event, Limits, PromptError, Request, Served, Token};
use crossloom_run::start::architecture;
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    every: usize,
    checkpoints: BTreeMap<String, Vec<Case>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    pictures: Vec<String>,
    messages: Vec<Message>,
    ids: Vec<i32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llava")
}

/// A recipe that is a checkpoint and nothing else.
fn recipe(checkpoint: &str) -> Recipe {
    let (input, anyres) = match checkpoint {
        "llava" => ("block.3", ""),
        _ => ("block.4", "vision.anyres = { side = 3, most_tiles = 2 }"),
    };
    let text = format!(
        "name = '{checkpoint}'\n[model]\nweights = '{}'\n{anyres}\n[topology]\ninput = '{input}'\n\
         [data]\ntokenizer = 'model'\ntext_positions = 64\n\
         source = {{ kind = 'files', format = 'llava', train = ['train.json'], test = ['test.json'], pictures = '.' }}\n\
         [train]\nsteps = 1\nbatch_size = 2\nlr = 1e-3\n",
        fixtures().join(checkpoint).display()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load_with(&path, &LoadOptions::default(), &architecture);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).variants[0].recipe.clone()
}

fn pictures(case: &Case) -> Vec<Image> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-data/tests/processors");
    let open = |name: &String| Image::open(&folder.join(name), &ImageLimits::default()).unwrap();
    case.pictures.iter().map(open).collect()
}

/// The logits of transformers at every few positions of a conversation.
fn logits() -> BTreeMap<String, Vec<f32>> {
    let file = std::fs::read(fixtures().join("logits.safetensors")).unwrap();
    let all = safetensors::SafeTensors::deserialize(&file).unwrap();
    let of_four = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    all.iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.data().chunks(4).map(of_four).collect()))
        .collect()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
    row.iter().map(|&logit| f64::from(logit) - sum.ln()).collect()
}

/// Conversations with a picture, one in tiles, two, and none, up to their last picture; what follows is given, and the prompt's own words are told.
/// The ids are those of transformers' processor, and every token is as likely as its model says. All are asked at once; of a recipe, and of the
/// folder alone.
#[test]
fn prompts_and_what_follows_them_are_those_of_transformers() {
    let Cases { every, checkpoints } =
        serde_json::from_slice(&std::fs::read(fixtures().join("cases.json")).unwrap()).unwrap();
    let known = logits();
    for (checkpoint, alone) in [("llava", false), ("llava", true), ("onevision", false), ("onevision", true)]
    {
        let served = if alone {
            Served::in_folder(&fixtures().join(checkpoint), &[]).unwrap()
        } else {
            Served::untrained(&recipe(checkpoint)).unwrap()
        };
        assert_eq!(served.name(), checkpoint);
        let limits = Limits { slots: 3, pictures: 2, positions: Some(512), ..Limits::default() };
        let engine = Engine::start(served, limits).unwrap();
        let client = engine.client();
        let asked = checkpoints[checkpoint].iter().map(|case| {
            // Up to the last message with a picture; all behind it is given.
            let shown = case.messages.iter().rposition(|message| message.pictures() > 0).unwrap_or(0);
            let asked = &case.messages[..=shown];
            let prompt = client.card().chat(asked, pictures(case)).unwrap();
            let start = prompt.positions();
            assert_eq!(prompt.tokens(), &case.ids[..start], "{checkpoint}, {}", case.name);
            let given = case.ids[start..].to_vec();
            let request = Request { given, logprobs: Some(100), echo: true, ..Request::new(prompt, 0) };
            (case, start, client.submit(request).unwrap())
        });
        let (asked, mut compared, mut of_prompts): (Vec<_>, usize, usize) = (asked.collect(), 0, 0);
        let image = client.card().tokenizer().special().image;
        for (case, start, mut running) in asked {
            let (mut tokens, mut told): (Vec<Token>, Vec<Token>) = Default::default();
            while let Some(event) = running.wait() {
                match event {
                    Event::Token(token) => tokens.push(token),
                    Event::Failed(problem) => panic!("{problem}"),
                    Event::Started { prompt, .. } => told = prompt,
                    Event::Done { .. } => {}
                }
            }
            // Every position has its token, but for those of pictures.
            let words = told.into_iter().chain(tokens.iter().cloned());
            let places = (0..case.ids.len()).filter(|&at| at >= start || case.ids[at] != image);
            let all: BTreeMap<usize, Token> = places.zip(words).collect();
            assert!(all.iter().all(|(&at, token)| token.id == case.ids[at]));
            assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), case.ids[start..]);
            let rows = &known[&format!("{checkpoint}.{}", case.name)];
            let vocabulary = client.card().vocabulary();
            // What is predicted at a position is told with the token behind it.
            for (row, at) in (0..case.ids.len() - 1).step_by(every).enumerate() {
                let Some(token) = all.get(&(at + 1)) else { continue };
                let wanted = log_softmax(&rows[row * vocabulary..(row + 1) * vocabulary]);
                for (id, logprob) in token.top.iter().copied().chain([(token.id, token.logprob.unwrap())]) {
                    let wanted = wanted[id as usize];
                    let off = (f64::from(logprob) - wanted).abs();
                    assert!(off < 5e-4, "{checkpoint}, {}, {at}: {id}: {logprob} {wanted}", case.name);
                }
                compared += 1;
                of_prompts += usize::from(at + 1 < start);
            }
        }
        assert!(
            compared - of_prompts > 3 && of_prompts > 3,
            "{checkpoint}: {compared} positions, {of_prompts} of prompts"
        );
        engine.finish().unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_asked_is_refused_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let refused = |folder: &Path, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Served::in_folder(folder, &sets).unwrap_err().to_string()
    };
    let error = refused(place.path(), &[]);
    assert!(error.contains("no config.json") || error.contains("holds a config.json"), "{error}");
    for (file, part) in [
        ("tokenizer.json", "the model has no tokenizer"),
        ("chat_template.jinja", "the model has no chat template"),
        ("preprocessor_config.json", "has no image processor"),
        ("model.safetensors", "safetensors"),
    ] {
        let folder = place.path().join(file);
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(fixtures().join("onevision")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != file {
                std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        let error = refused(&folder, &[]);
        assert!(error.contains(part), "without {file}: {error}");
    }
    let error = refused(&fixtures().join("llava"), &["model.vision.fitting=pad"]);
    assert!(error.contains("fitting"), "{error}");
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-model/tests/reference/fixtures");
    let error = refused(&reference.join("qwen3_vl"), &[]);
    assert!(
        error.contains("adds vision states to layers of its decoder") && error.contains("inspect"),
        "{error}"
    );
    let error = refused(&fixtures().with_file_name("sentences"), &[]);
    assert!(error.contains("is a part of a model"), "{error}");
}

#[test]
fn a_model_without_words_cannot_be_served_untrained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    let loaded = crossloom_recipe::load(&path, &LoadOptions::default()).unwrap();
    let error = Served::untrained(&loaded.variants[0].recipe).unwrap_err().to_string();
    assert!(error.contains("no pretrained weights"), "{error}");
}

#[test]
fn texts_that_name_the_picture_token_are_refused() {
    let limits = Limits { slots: 1, positions: Some(256), ..Limits::default() };
    let engine = Engine::start(Served::untrained(&recipe("llava")).unwrap(), limits).unwrap();
    let error = engine.client().card().question("an <image> of a cat", Vec::new()).unwrap_err();
    assert!(matches!(error, PromptError::Tokenizer(_)), "{error}");
    assert!(error.to_string().contains("place"), "{error}");
}
