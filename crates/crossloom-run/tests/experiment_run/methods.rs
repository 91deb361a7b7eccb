//! Every shipped method trains on the quickstart's data, and is wired as it says. A new file in `recipes/methods` needs no line here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crossloom_data::assets::AssetCache;
use crossloom_recipe::{LoadOptions, LoadedRecipe, load_text};
use crossloom_run::verify::{Built, verify};
use crossloom_train::metrics::read_metrics;

use crate::support::{Entry, finish};

/// Small models; questions one by one, as methods need that read them.
const MODELS: &str = "name = \"methods\"
[model.vision]
family = \"vit\"
image_size = 64
patch_size = 16
hidden = 16
layers = 4
heads = 2
mlp = 32
post_norm = true
[model.language]
family = \"llama\"
hidden = 16
layers = 5
heads = 2
mlp = 32
max_positions = 512
[train]
steps = 24
batch_size = 4
lr = 5e-3
warmup = 2
clip_norm = 1.0
log_every = 1
[eval]
limit = 8
permutations = 100
[data]
questions_per_sequence = 1
";

/// Steps at the beginning and at the end whose losses are compared.
const COMPARED: usize = 4;

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// The quickstart's data where it may be fetched, and shapes like them where not.
fn source() -> String {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() == Ok("1") {
        AssetCache::of_user().unwrap().ensure("easy-vqa", &mut |_| {}).unwrap();
        return "source = \"easy-vqa\"\ntrain_limit = 64\ntest_limit = 8\n".to_owned();
    }
    "source = { kind = \"synthetic\", train_images = 64, test_images = 8 }\n".to_owned()
}

fn load(text: &str) -> Result<LoadedRecipe, String> {
    let path = recipes().join("under-test.toml");
    load_text(&path, text, &LoadOptions::default()).map_err(|error| error.to_string())
}

/// Blocks of the encoder, layers of the decoder and the side of a patch: methods that name deep layers do not fit the first.
const SIZES: [[usize; 3]; 2] = [[4, 5, 16], [24, 28, 8]];

/// A method as a variant in the smallest size that it fits. Where pictures are larger than what the encoder sees, it sees less: all
/// pictures are the data's.
fn variant(base: &str, method: &str) -> String {
    let name = method.replace('-', "_");
    let mut refused = String::new();
    for [blocks, layers, patch] in SIZES {
        let of = |times: usize| {
            let (side, patch) = (64 / times, patch / times);
            format!(
                "[variants.{name}]\nextends = [\"methods/{method}.toml\"]\nmodel.vision.image_size = {side}\n\
                 model.vision.patch_size = {patch}\nmodel.vision.layers = {blocks}\nmodel.language.layers = {layers}\n"
            )
        };
        let times = load(&format!("{base}{}", of(1))).map(|loaded| {
            let topology = &loaded.variants[0].recipe.topology;
            topology.magnification()
        });
        match times {
            Ok(times) => return of(times),
            Err(error) => refused += &error,
        }
    }
    panic!("{method} fits no size:\n{refused}")
}

fn recipe(methods: &[String]) -> LoadedRecipe {
    let base = format!("{MODELS}{}", source());
    let variants: Vec<String> = methods.iter().map(|method| variant(&base, method)).collect();
    load(&format!("{base}{}", variants.concat())).unwrap_or_else(|error| panic!("{error}"))
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// Trains every other method, from the first or the second: so both halves run beside each other.
fn train_every_second(from: usize) {
    let files = std::fs::read_dir(recipes().join("methods")).unwrap();
    let stem = |file: std::io::Result<std::fs::DirEntry>| {
        file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    let mut methods: Vec<String> = files.map(stem).collect();
    methods.sort();
    let methods: Vec<String> = methods.into_iter().skip(from).step_by(2).collect();
    assert!(methods.len() >= 10, "{methods:?}");
    let (loaded, folder) = (recipe(&methods), tempfile::tempdir().unwrap());
    let names: Vec<&str> = loaded.variants.iter().map(|variant| variant.name.as_str()).collect();
    let finished = finish(&loaded, &names, folder.path(), Entry::New);
    let mut wrong = String::new();
    for variant in &loaded.variants {
        let name = &variant.name;
        let metrics = read_metrics(&finished.dir.path().join(name).join("metrics.jsonl")).unwrap();
        let losses: Vec<f64> = metrics.iter().map(|line| line.scalars["loss"]).collect();
        assert_eq!(losses.len(), 24, "{name}");
        let [first, last] = [&losses[..COMPARED], &losses[losses.len() - COMPARED..]].map(mean);
        if last.is_nan() || last > 0.8 * first {
            writeln!(wrong, "{name}: the loss goes from {first} to {last}").unwrap();
        }
        let verified = verify(&variant.recipe, &Built).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (of, problem) in verified.problems() {
            writeln!(wrong, "{name}, {of}: {problem}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_second_shipped_method_trains_and_is_wired_as_it_says() {
    train_every_second(0);
}

#[test]
fn every_other_shipped_method_trains_and_is_wired_as_it_says() {
    train_every_second(1);
}
