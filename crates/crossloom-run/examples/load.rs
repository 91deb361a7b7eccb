//! How long a pretrained language model takes from its file to its first use, and what it then holds in memory.
//!
//! ```text
//! cargo run --release -p crossloom-run --example load -- FOLDER
//! cargo run --release -p crossloom-run --example load -- --write FOLDER
//! ```
//!
//! With `--write`, a folder is written that has SmolLM2-135M's shapes and no meaning: 538 MB of `f32`. Else the model of a
//! folder is opened, its content hashed, compared with what a recipe builds, every value looked at, mapped, and run once over
//! a short sequence, with a small encoder before it. The resident memory is that of the whole process then.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use crossloom_model::{BatchShape, initial_value, inputs};
use crossloom_recipe::{LoadOptions, LoadedRecipe, load_with};
use crossloom_run::backends::Backend;
use crossloom_run::programs::Programs;
use crossloom_run::start::architecture;
use crossloom_run::{Model, Start, settled};
use crossloom_runtime::limits::resident_bytes;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A language model behind an encoder of a few thousand weights.
const RECIPE: &str = r#"
name = "load"
[model.vision]
family = "vit"
image_size = 32
patch_size = 8
hidden = 32
layers = 1
heads = 4
mlp = 64
post_norm = true
[topology]
input = "post_norm"
[data]
source = "synthetic"
[train]
steps = 1
batch_size = 1
lr = 1e-3
parts.language = { trainable = false }
"#;

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
"num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192,
"rope_theta": 100000.0, "rms_norm_eps": 1e-05, "tie_word_embeddings": true}"#;

const SHAPE: BatchShape = BatchShape { batch: 1, tokens: 32, targets: 1, views: None };

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [flag, folder] if flag == "--write" => write(Path::new(folder)),
        [folder] => measure(folder),
        _ => Err("usage: load FOLDER, or load --write FOLDER".into()),
    }
}

fn recipe(line: &str) -> Result<LoadedRecipe, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("load.toml");
    std::fs::write(&path, format!("{RECIPE}\n{line}\n"))?;
    Ok(load_with(&path, &LoadOptions::default(), &architecture).map_err(|problems| problems.to_string())?)
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let loaded = recipe("[model.language]\npreset = \"smollm2-135m\"")?;
    let backend = Backend::default();
    let programs = Programs::to_predict(&loaded.base, SHAPE, 0, None, backend.target())?;
    let language = programs.params.iter().filter(|param| param.name.starts_with("language_model."));
    let tensors: BTreeMap<&str, (&[usize], Vec<u8>)> = language
        .map(|param| {
            let values = initial_value(param.init, param.shape.iter().product(), 0, &param.name);
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            (param.name.trim_start_matches("language_model."), (&param.shape[..], bytes))
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(&name, (shape, bytes))| Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.json"), CONFIG)?;
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors"))?;
    Ok(())
}

fn measure(folder: &str) -> Result<(), Box<dyn Error>> {
    let bytes: u64 = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|metadata| metadata.len())
        .sum();
    let absolute = std::path::absolute(folder)?;
    let start = Instant::now();
    let mut since = start;
    let mut station = |name: &str| {
        println!("{name:<34} {:>8.0} ms", 1e3 * since.elapsed().as_secs_f64());
        since = Instant::now();
    };
    let loaded = recipe(&format!("[model.language]\nweights = '{}'", absolute.display()))?;
    station("configuration and headers");
    let loaded = settled(loaded)?;
    station("hash of the content");
    let device = Backend::default().running()?;
    let programs = Programs::to_predict(&loaded.base, SHAPE, 0, None, device.target())?;
    station("graphs and plans");
    let weights = Start::new(&loaded.base, &programs.params)?;
    let model = Model::blank(programs, weights, &device)?;
    station("compared, looked through, mapped");
    let mut session = model.whole(&loaded.base, SHAPE, 0)?;
    station("one more plan");
    let places: Vec<i32> = (0..loaded.base.model.visual_tokens() as i32).collect();
    session.write(inputs::IMAGE_INDEX, &places)?;
    session.run()?;
    station("first run over all weights");
    let whole = start.elapsed().as_secs_f64();
    let held = resident_bytes().ok_or("this system does not tell what a process holds")?;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!("{:<34} {:>8.0} ms", "all", 1e3 * whole);
    println!("{:<34} {:>8.1} MB", "files", mb(bytes));
    println!("{:<34} {:>8.1} MB, {:.3} of the files", "resident", mb(held), held as f64 / bytes as f64);
    Ok(())
}
