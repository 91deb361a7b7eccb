//! What a run gives away is what it trained: read back, it computes the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use crossloom_data::image::Image;
use crossloom_data::packing::{PackedBatch, TrainingOptions, TrainingPacker};
use crossloom_model::BatchShape;
use crossloom_recipe::{KeptIn, LoadOptions, LoadedRecipe, Part, Recipe, Split, Topology, load_with};
use crossloom_run::engine::{Engine, Event, Limits, Request, Served};
use crossloom_run::export::{Export, export};
use crossloom_run::start::architecture;
use crossloom_run::{Model, Pools, load_batch, settled};
use crossloom_train::checkpoint::{Checkpoints, RestorePart};
use crossloom_train::run_dir::VariantDir;
use crossloom_weights::export::Scope;
use crossloom_weights::layout::Dims;
use crossloom_weights::peft;

use crate::models::{data, model};
use crate::support::{Entry, finish, recipe, sets};

const ADAPTED: [&str; 4] = [
    "train.lr=0.02",
    "train.parts.language={ dtype = 'bf16', lora = { rank = 3, alpha = 6, targets = ['q_proj', 'down_proj'] }, \
     tensors = [{ match = '*norm*' }] }",
    "train.parts.vision.lora={ rank = 2, alpha = 1, targets = ['fc1'] }",
    "train.parts.projector.lora={ rank = 4, targets = ['linear_2'] }",
];

/// A trained variant and the model that its newest checkpoint holds.
pub(crate) struct Run {
    pub(crate) recipe: Recipe,
    pub(crate) dir: VariantDir,
    pub(crate) model: Model,
    _folder: tempfile::TempDir,
}

fn trained(variant: &str, more: &[&str]) -> Run {
    finished(&recipe(more), variant)
}

/// Trains a variant of a recipe.
pub(crate) fn finished(loaded: &LoadedRecipe, variant: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let finished = finish(loaded, &[variant], folder.path(), Entry::New);
    let recipe = loaded.variant(variant).unwrap().recipe.clone();
    let (_, plan) = data(&recipe);
    let mut model = model(&recipe, &plan);
    let dir = finished.dir.variant(variant).unwrap();
    let checkpoints = Checkpoints::new(dir.stage(None).checkpoints_path(), 0);
    checkpoints.newest().unwrap().unwrap().restore_model(&mut model, RestorePart::Parameters).unwrap();
    Run { recipe, dir, model, _folder: folder }
}

/// All weights, whatever type they are kept in.
fn weights(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let value = |name: &str| {
        let dtype = model.store.info(name).unwrap().ty.dtype;
        crossloom_weights::values::to_f32(dtype, &model.store.read_bytes(name).unwrap()).unwrap()
    };
    model.params.iter().map(|param| (param.name.clone(), value(&param.name))).collect()
}

/// Logits of one batch of training questions.
pub(crate) fn logits(model: &Model, recipe: &Recipe) -> Vec<f32> {
    let (data, plan) = data(recipe);
    let (split, encoded) = data.images(Split::Train);
    let mut packer = TrainingPacker::new(&plan, encoded, split.images(), TrainingOptions::default()).unwrap();
    let mut batch = Rc::new(PackedBatch::new(&plan));
    packer.fill(Rc::make_mut(&mut batch)).unwrap();
    let shape =
        BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views: None };
    let mut whole = model.whole(recipe, shape, plan.vocab_size).unwrap();
    load_batch(&mut whole, &batch, &Pools::of(recipe)).unwrap();
    whole.run().unwrap();
    whole.read::<f32>("logits").unwrap()
}

pub(crate) fn quoted(folder: &Path) -> String {
    format!("'{}'", folder.display())
}

/// What a model says of pictures: tokens, log-probabilities of all words, and gates.
fn said(served: Served, pictures: &[Image]) -> Vec<Event> {
    let engine = Engine::start(served, Limits::default()).unwrap();
    let client = engine.client();
    let ask = |picture: &Image| {
        let prompt = client.card().question("what color is the shape?", vec![picture.clone()]).unwrap();
        let given = vec![5, 6, 7];
        let request = Request { gates: true, given, logprobs: Some(100), ..Request::new(prompt, 4) };
        let mut running = client.submit(request).unwrap();
        std::iter::from_fn(move || running.wait()).collect::<Vec<_>>()
    };
    pictures.iter().flat_map(ask).collect()
}

#[test]
fn a_bundle_says_what_its_run_says_whatever_the_topology() {
    let place = tempfile::tempdir().unwrap();
    for (variant, sets) in [("cli", &[][..]), ("projector", &ADAPTED[..])] {
        let run = trained(variant, sets);
        let (data, _) = data(&run.recipe);
        let pictures = [0, 1].map(|picture| data.images(Split::Test).0.images().image(picture).unwrap());
        let folder = place.path().join(variant);
        let exported = export(&run.dir, &run.recipe, Export::Bundle, &folder).unwrap();
        assert_eq!(exported.tensors, run.model.params.len());
        let expected = said(Served::trained(&run.dir, &run.recipe).unwrap(), &pictures);
        assert!(expected.iter().any(|event| matches!(event, Event::Token(_))));
        // It stands by itself.
        drop(run);
        assert_eq!(said(Served::in_folder(&folder, &[]).unwrap(), &pictures), expected, "{variant}");
    }
    let folder = place.path().join("cli");
    let refused = |folder: &Path, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        match Served::in_folder(folder, &sets) {
            Ok(served) => Engine::start(served, Limits::default()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    };
    for sets in [["train.lr=0.5"], ["topology.gate.bias_init=2"]] {
        assert!(refused(&folder, &sets).contains("another model"), "{sets:?}");
    }
    // A bundle without one of its files, or with one that is damaged or of another model, is refused, and told.
    for file in ["recipe.toml", "interface.json", "tokenizer.json", "model.safetensors"] {
        let other = place.path().join(file);
        std::fs::create_dir(&other).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
        }
        let whole = std::fs::read(other.join(file)).unwrap();
        std::fs::remove_file(other.join(file)).unwrap();
        let error = refused(&other, &[]);
        assert!(error.contains(&format!("holds no {file}")) && error.contains("--bundle"), "{error}");
        std::fs::write(other.join(file), &whole[..whole.len() / 2]).unwrap();
        let error = refused(&other, &[]);
        assert!(error.contains(file), "{error}");
    }
    let mixed = place.path().join("model.safetensors");
    for file in ["recipe.toml", "interface.json", "tokenizer.json"] {
        std::fs::copy(folder.join(file), mixed.join(file)).unwrap();
    }
    std::fs::copy(place.path().join("projector/model.safetensors"), mixed.join("model.safetensors")).unwrap();
    let error = refused(&mixed, &[]);
    assert!(error.contains("missing     injection.") && error.contains("unexpected  "), "{error}");
}

#[test]
fn merged_parts_that_are_read_back_compute_what_the_run_does_and_pairs_are_those_of_its_checkpoint() {
    let run = trained("projector", &ADAPTED);
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for (name, what) in [
        ("language", Export::Merged(Scope::Language, KeptIn::F32)),
        ("vision", Export::Merged(Scope::Vision, KeptIn::F32)),
        ("pairs", Export::Adapter(Scope::Whole)),
        ("trained", Export::Trained),
    ] {
        let exported =
            export(&run.dir, &run.recipe, what, &at(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(exported.tensors > 0 && exported.steps == 6);
        let again = export(&run.dir, &run.recipe, what, &at(name)).unwrap_err().to_string();
        assert!(again.contains("exists"), "{again}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    let plain = [
        format!("model.language.weights={}", quoted(&at("language"))),
        format!("model.vision.weights={}", quoted(&at("vision"))),
    ];
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let loaded = load_with(&path, &LoadOptions { sets: sets(&plain) }, &architecture).unwrap();
    let loaded = settled(loaded).unwrap();
    let merged_recipe = &loaded.variant("projector").unwrap().recipe;
    let (_, plan) = data(merged_recipe);
    let merged = model(merged_recipe, &plan);
    let pairs = peft::read(&at("pairs"), Scope::Whole, &Dims::default(), |name| {
        run.model.params.iter().find(|param| param.name == name).map(|param| param.shape.clone())
    })
    .unwrap();
    let kept = weights(&run.model);
    assert_eq!(pairs.len(), 3 * 2 + 4 + 1);
    for pair in &pairs {
        assert_eq!(pair.a.values, kept[&format!("{}.lora_A.weight", pair.linear)]);
        assert_eq!(pair.b.values, kept[&format!("{}.lora_B.weight", pair.linear)]);
        let part =
            run.model.params.iter().find(|p| p.name == format!("{}.weight", pair.linear)).unwrap().part;
        assert_eq!(pair.alpha, run.recipe.train.parts.get(part).lora.as_ref().unwrap().alpha);
    }
    // The projector is in neither folder.
    for param in merged.params.iter().filter(|param| param.part == Part::Projector) {
        let linear = param.name.trim_end_matches(".weight");
        let mut values = crossloom_weights::export::Values {
            shape: param.shape.clone(),
            values: kept[&param.name].clone(),
        };
        if let Some(pair) = pairs.iter().find(|pair| pair.linear == linear) {
            pair.merge(&mut values).unwrap();
        }
        merged.store.write(&param.name, &values.values).unwrap();
    }
    let (unmerged, merged) = (logits(&run.model, &run.recipe), logits(&merged, merged_recipe));
    let largest = merged.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (a, b) in unmerged.iter().zip(&merged) {
        assert!((a - b).abs() <= 1e-5 * largest, "{a} and {b}, of {largest}");
    }

    let bytes = std::fs::read(at("trained").join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names: BTreeMap<String, Vec<f32>> = (file.names().into_iter())
        .map(|name| {
            let bytes = file.tensor(name).unwrap().data().to_vec();
            let values = bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
            (name.to_owned(), values)
        })
        .collect();
    for param in &run.model.params {
        let norm = param.part == Part::Language && param.name.contains("norm");
        assert_eq!(names.contains_key(&param.name), norm || param.beside.is_some(), "{}", param.name);
        assert!(names.get(&param.name).is_none_or(|values| *values == kept[&param.name]), "{}", param.name);
    }
}

#[test]
fn a_whole_model_that_a_family_computes_is_given_away_and_one_that_weighs_what_it_injects_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let llava = ["model.projector.hidden=32", "topology.input='block.3'"];
    let of_qwen3_vl = [
        "model.language={ family = 'qwen3', head_dim = 8, rope_sections = [2, 1, 1] }",
        "model.projector={ merge = 2, norm = 'layer', hidden = 128 }",
        "topology={ input = 'block.4' }",
        "variants.projector.topology={ taps = ['block.1', 'block.3'], points = ['after layer.0', 'after layer.1'], wiring = 'diagonal', \
         adapter = { kind = 'per_tap', tap_norm = 'merged' }, fusion = 'add' }",
    ];
    for (name, vision, more) in [
        (
            "clip",
            "model.vision={ class_token = true, pre_norm = true, patch_bias = false, post_norm = false }",
            &llava[..],
        ),
        (
            "dinov2",
            "model.vision={ class_token = true, layer_scale = true, position_grid = 5, post_norm = false }",
            &llava,
        ),
        (
            "qwen3-vl",
            "model.vision={ temporal_patch = 2, position_grid = 5, position_resample = 'bilinear', rope_theta = 10000.0, \
             post_norm = false }",
            &of_qwen3_vl,
        ),
    ] {
        let run = trained("projector", &[&[vision], more].concat());
        let folder = place.path().join(name);
        export(&run.dir, &run.recipe, Export::Merged(Scope::Whole, KeptIn::F32), &folder).unwrap();
        let read = crossloom_weights::Pretrained::open(&folder).unwrap();
        let topology = Topology::new(&run.recipe).unwrap();
        let injected: Vec<_> =
            topology.injections().map(|edge| (edge.tap.state().unwrap(), edge.point)).collect();
        assert_eq!(injected.len(), if name == "qwen3-vl" { 2 } else { 0 });
        assert_eq!(run.recipe.topology.input.taps(), read.architecture().taps);
        assert_eq!(read.architecture().wiring, injected, "{name}");
        for (name, values) in weights(&run.model) {
            let (ty, bytes) = read.tensor(&name).unwrap();
            assert_eq!(
                crossloom_weights::values::to_f32(ty.dtype, bytes.as_ref()).unwrap(),
                values,
                "{name}"
            );
        }
    }
    // A part can be given away whatever the whole reads.
    let means =
        "topology={ sources = { low = { kind = 'mean', of = ['block.1', 'block.2'] } }, input = 'low' }";
    let averaged = trained("projector", &[means]);
    let part = tempfile::tempdir().unwrap();
    let given = |scope| {
        let what = Export::Merged(scope, KeptIn::F32);
        export(&averaged.dir, &averaged.recipe, what, &part.path().join(scope.name()))
    };
    assert!(given(Scope::Whole).unwrap_err().to_string().contains("sources that are made of vision states"));
    assert!(given(Scope::Language).is_ok());
    let injected = trained("cli", &["topology.adapter.attach=per_linear"]);
    let refused = |what, name: &str| {
        export(&injected.dir, &injected.recipe, what, &place.path().join(name)).unwrap_err().to_string()
    };
    assert!(refused(Export::Merged(Scope::Whole, KeptIn::F32), "a").contains("injects"));
    assert!(refused(Export::Adapter(Scope::Language), "b").contains("no low-rank pairs"));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3, "nothing is left of what was refused");

    // What it has are branches: one adapter per tap on the projector.
    let folder = place.path().join("amp");
    export(&injected.dir, &injected.recipe, Export::Branches, &folder).unwrap();
    let kept = weights(&injected.model);
    for tap in &injected.recipe.topology.main.taps {
        let shape = |name: &str| {
            injected.model.params.iter().find(|param| param.name == name).map(|param| param.shape.clone())
        };
        let pairs = peft::read(&folder.join(tap.to_string()), Scope::Whole, &Dims::default(), shape).unwrap();
        assert_eq!(pairs.len(), 2);
        for pair in pairs {
            let layer = pair.linear.trim_start_matches("multi_modal_projector.");
            assert_eq!(pair.b.values, kept[&format!("injection.adapter.{tap}.{layer}.lora_B.weight")]);
        }
    }
}
