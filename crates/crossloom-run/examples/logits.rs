//! What a finished run computes from given tokens and pictures: its logits, to be compared with another program's.
//!
//! ```text
//! cargo run --release -p crossloom-run --example logits -- RUN_FOLDER VARIANT INPUTS.safetensors OUT.safetensors
//! ```
//!
//! The first file holds the inputs of the model's graph by their names (`pixels` `[B, C, H, W]`, `tokens` `[B, T]`, `target_index`
//! `[B, M]`, and so on), in f32 and i32. Of the newest checkpoint of the last stage, `logits` `[B, M, V]` is written.

use std::error::Error;
use std::path::Path;

use crossloom_model::{BatchShape, inputs};
use crossloom_run::backends::Backend;
use crossloom_run::programs::Programs;
use crossloom_run::{Interface, Model, Start, resolved};
use crossloom_train::checkpoint::Checkpoints;
use crossloom_train::run_dir::RunDir;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, variant, given, out] = arguments.as_slice() else {
        return Err("usage: logits RUN_FOLDER VARIANT INPUTS.safetensors OUT.safetensors".into());
    };
    write(Path::new(run), variant, Path::new(given), Path::new(out))
}

fn write(run: &Path, variant: &str, given: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let run = RunDir::open(run)?;
    let loaded = resolved::load(&run, &[])?;
    let recipe = &loaded.variant(variant).ok_or("the run has no such variant")?.recipe;
    let dir = run.variant_path(variant)?.stage(recipe.stage());
    let (Interface { shapes, .. }, _) = Interface::read(&dir, recipe)?;

    let bytes = std::fs::read(given)?;
    let given = SafeTensors::deserialize(&bytes)?;
    let extents = |name: &str| -> Result<[usize; 2], Box<dyn Error>> {
        let shape = given.tensor(name)?.shape().to_vec();
        Ok(shape
            .try_into()
            .map_err(|shape| format!("`{name}` has the shape {shape:?}, two axes are expected"))?)
    };
    let ([batch, tokens], [_, targets]) = (extents(inputs::TOKENS)?, extents(inputs::TARGET_INDEX)?);
    let shape = BatchShape { batch, tokens, targets, views: None };

    let device = Backend::default().running()?;
    let programs = Programs::to_predict(recipe, shape, shapes.vocab_size, None, device.target())?;
    let start = Start::new(recipe, &programs.params)?;
    let checkpoints = Checkpoints::new(dir.checkpoints_path(), recipe.train.keep_checkpoints);
    let newest = checkpoints.newest()?.ok_or("the variant has no checkpoint")?;
    let model = Model::restored(programs, start, &device, &newest)?;
    let mut whole = model.whole(recipe, shape, shapes.vocab_size)?;
    for (name, tensor) in given.iter() {
        let words = tensor.data().as_chunks::<4>().0.iter().copied();
        match tensor.dtype() {
            Dtype::F32 => whole.write(name, &words.map(f32::from_le_bytes).collect::<Vec<_>>())?,
            Dtype::I32 => whole.write(name, &words.map(i32::from_le_bytes).collect::<Vec<_>>())?,
            other => return Err(format!("`{name}` is {other:?}; f32 and i32 are read").into()),
        }
    }
    whole.run()?;
    let logits: Vec<f32> = whole.read("logits")?;
    let bytes: Vec<u8> = logits.iter().flat_map(|value| value.to_le_bytes()).collect();
    // The word embeddings of pretrained weights may be more than the tokenizer has words.
    let vocab = logits.len() / (batch * targets).max(1);
    let view = TensorView::new(Dtype::F32, vec![batch, targets, vocab], &bytes)?;
    safetensors::serialize_to_file([("logits", view)], None, out)?;
    Ok(())
}
