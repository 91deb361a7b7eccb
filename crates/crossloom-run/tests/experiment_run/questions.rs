//! A run whose model reads vectors of questions: from the encoder's folder to an answer.

use std::path::Path;

use crossloom_data::image::Image;
use crossloom_recipe::{LoadOptions, Split, load_with};
use crossloom_run::backends::Resources;
use crossloom_run::engine::Served;
use crossloom_run::{Asked, Data, Entry, generate, settled, start};

use crate::support::{finish, sets};

#[test]
fn a_model_that_reads_sentences_is_trained_scored_and_asked() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let encoder = crates.join("tests/fixtures/sentences");
    let conditioning =
        format!("topology.conditioning={{ kind = 'sentence', weights = '{}' }}", encoder.display());
    let mut options = LoadOptions {
        sets: sets(&[
            &conditioning,
            "topology.input={ kind = 'weighted', of = ['block.1', 'block.2'], weights = { kind = 'question', hidden = 8 } }",
            "data.questions_per_sequence=1",
            "data.validation=0.2",
        ]),
    };
    let recipe = crates.join("../../recipes/synthetic.toml");
    let loaded = settled(load_with(&recipe, &options, &start::architecture).unwrap()).unwrap();
    let own = &loaded.variant("projector").unwrap().recipe;
    assert_eq!(own.topology.conditioning.given_width(), Some(24), "the weights say it");
    let hash = own.topology.conditioning.files().unwrap().1.hash.clone().unwrap();

    let out = tempfile::tempdir().unwrap();
    let finished = finish(&loaded, &["projector"], out.path(), Entry::New);
    let picture = out.path().join("picture.png");
    std::fs::write(&picture, Image::new(8, 8, vec![90; 192]).unwrap().to_png().unwrap()).unwrap();
    let data = Data::load(own, Path::new("."), &mut |_| ()).unwrap();
    let questions = [data.images(Split::Test).0.examples()[0].question.clone()];
    let dir = &finished.variants[0].dir;
    let asked = generate(
        Served::trained(dir, own).unwrap(),
        &Asked::about(&picture, &questions),
        Resources::default(),
    );
    let answered = asked.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answered[0].question, questions[0]);

    // The tokenizer is part of what questions become.
    let other = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "modules.json", "sentence_bert_config.json"] {
        std::fs::copy(encoder.join(file), other.path().join(file)).unwrap();
    }
    std::fs::create_dir(other.path().join("1_Pooling")).unwrap();
    std::fs::copy(encoder.join("1_Pooling/config.json"), other.path().join("1_Pooling/config.json")).unwrap();
    let words = std::fs::read_to_string(encoder.join("tokenizer.json")).unwrap();
    let cased = words.replace("\"lowercase\": true", "\"lowercase\": false");
    assert_ne!(cased, words);
    std::fs::write(other.path().join("tokenizer.json"), cased).unwrap();
    options.sets.push(format!("topology.conditioning.weights='{}'", other.path().display()));
    let loaded = settled(load_with(&recipe, &options, &start::architecture).unwrap()).unwrap();
    let changed = &loaded.variant("projector").unwrap().recipe;
    assert_ne!(changed.topology.conditioning.files().unwrap().1.hash.as_ref(), Some(&hash));
    assert_ne!(changed.training_hash(), own.training_hash());
}
