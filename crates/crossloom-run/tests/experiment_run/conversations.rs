//! Conversations with several pictures, one in tiles, or none: what a model makes of them is what transformers makes of them, and it is
//! trained on batches of any shape.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossloom_data::chat::Message;
use crossloom_data::image::{Image, ImageLimits};
use crossloom_data::packing::{PackedBatch, PackingPlan, VISUAL_PARTS};
use crossloom_ir::DType;
use crossloom_model::{BatchShape, ViewShape};
use crossloom_recipe::{Architecture, LoadOptions, Part, Recipe, load_with};
use crossloom_run::start::architecture;
use crossloom_run::{Model, ModelProcessor, ModelStep, Pools, Prepared, TrainingBatch, load_batch};
use crossloom_train::groups::GroupRates;
use crossloom_train::step::{Dtype, MicroStep, ModelState, StateTensor, TrainStep, Update};
use crossloom_weights::export::{self, Beside, Scope, Tensors, TokenIds, Values};
use serde::Deserialize;
use serde_json::json;

/// What transformers was asked.
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

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llava")
}

fn cases() -> Cases {
    serde_json::from_slice(&std::fs::read(fixtures().join("cases.json")).unwrap()).unwrap()
}

/// The models that are compared: a name, its checkpoint, and what is injected.
const MODELS: [(&str, &str, &str); 3] =
    [("llava", "llava", ""), ("onevision", "onevision", ""), ("injected", "onevision", CLI)];

/// A recipe on one of the checkpoints. `topology` is what it injects, if anything.
pub(crate) fn recipe(checkpoint: &str, topology: &str, sets: &[&str]) -> Recipe {
    recipe_on(&fixtures().join(checkpoint), checkpoint, topology, sets)
}

/// The same on a folder of that kind.
pub(crate) fn recipe_on(weights: &Path, checkpoint: &str, topology: &str, sets: &[&str]) -> Recipe {
    let (input, anyres) = match checkpoint {
        "llava" => ("block.3", ""),
        _ => ("block.4", "vision.anyres = { side = 3, most_tiles = 2 }"),
    };
    let text = format!(
        "name = 'conversations'\n\
         [model]\nweights = '{}'\n{anyres}\n\
         [topology]\ninput = '{input}'\n{topology}\n\
         [data]\ntokenizer = 'model'\ntext_positions = 64\n\
         source = {{ kind = 'files', format = 'llava', train = ['train.json'], test = ['test.json'], pictures = '.' }}\n\
         [train]\nsteps = 1\nbatch_size = 5\nlr = 1e-3\n",
        weights.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let loaded = load_with(&path, &LoadOptions { sets }, &architecture);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).variants[0].recipe.clone()
}

const CLI: &str = "taps = ['block.1', 'block.2', 'block.4']\npoints = ['before layer.1', 'before layer.3']\nwiring = 'dense'\n\
                   adapter = { kind = 'amp', rank = 2 }\ngate = { kind = 'agf', pool = 'image', heads = 4, bias_init = -1.0 }\n\
                   fusion = 'gated_add'";

/// The conversations of a checkpoint as its own processor prepares them.
fn prepared(checkpoint: &str) -> Vec<(Case, Prepared)> {
    let processor = ModelProcessor::open(&fixtures().join(checkpoint)).unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-data/tests/processors");
    let open = |name: &String| Image::open(&pictures.join(name), &ImageLimits::default()).unwrap();
    let of = |case: Case| {
        let shown = case.pictures.iter().map(open).collect();
        let made = processor.conversation(&case.name, &case.messages, shown).unwrap();
        (case, made)
    };
    cases().checkpoints.remove(checkpoint).unwrap().into_iter().map(of).collect()
}

/// The sizes of a batch.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    tokens: usize,
    targets: usize,
    views: usize,
    visual: usize,
}

fn plan(recipe: &Recipe, sizes: Sizes) -> PackingPlan {
    let vision = &recipe.model.vision;
    serde_json::from_value(json!({
        "batch_size": sizes.rows, "sequence_len": sizes.tokens, "visual_tokens": sizes.visual, "views": sizes.views,
        "targets": sizes.targets, "image_width": vision.image_size, "image_height": vision.image_size,
        "questions_per_sequence": 1, "max_new_tokens": 1, "vocab_size": recipe.model.language.vocab_size,
        "special": { "pad": 0, "image": 3, "unk": 0, "eos": 2, "answer": 2 },
    }))
    .unwrap()
}

fn shape(plan: &PackingPlan) -> BatchShape {
    let views = plan.views.map(|views| ViewShape { views, tokens: plan.visual_tokens });
    BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets, views }
}

/// Lays conversations out, one a row, with the targets that are given for each: positions, and what follows them.
fn packed(recipe: &Recipe, plan: &PackingPlan, rows: &[(&Prepared, Vec<(usize, i32)>)]) -> PackedBatch {
    let normalization = crossloom_run::Processor::of(recipe).normalization();
    let mut batch = PackedBatch::new(plan);
    let of_view = recipe.model.visual_tokens();
    let end = (plan.views.unwrap() * of_view) as i32;
    let mut view = 0;
    for (row, (prepared, targets)) in rows.iter().enumerate() {
        let start = row * plan.sequence_len;
        let positions = start..start + prepared.ids.len();
        batch.tokens_bt[positions.clone()].copy_from_slice(&prepared.ids);
        batch.segments_bt[positions.clone()].fill(1);
        batch.prompt_mask_bt[positions.clone()].fill(1.0);
        for (offset, position) in batch.positions_bt[positions].iter_mut().enumerate() {
            *position = offset as i32;
        }
        let mut token = row * plan.visual_tokens;
        for (place, picture) in prepared.places.iter().zip(&prepared.pictures) {
            for number in 0..picture.layout.tokens() {
                batch.image_index_bn[token] = (place.start + number) as i32;
                let made: Vec<(i32, f32)> = match picture.layout.token(number).unwrap() {
                    [] => vec![(end, 1.0)],
                    parts => (parts.iter())
                        .map(|&(patch, weight)| ((view * of_view) as i32 + patch as i32, weight))
                        .collect(),
                };
                for (part, (from, weight)) in made.into_iter().enumerate() {
                    batch.visual_rows_bn4[token * VISUAL_PARTS + part] = from;
                    batch.visual_weights_bn4[token * VISUAL_PARTS + part] = weight;
                }
                token += 1;
            }
            for image in &picture.processed.pictures {
                let size = image.rgb().len();
                normalization.write_chw(image.rgb(), &mut batch.pixels_bchw[view * size..][..size]).unwrap();
                view += 1;
            }
        }
        for (slot, &(at, next)) in targets.iter().enumerate() {
            batch.target_index_bm[row * plan.targets + slot] = at as i32;
            batch.targets_bm[row * plan.targets + slot] = next;
        }
    }
    batch
}

/// The smallest sizes that hold conversations.
fn fitting(prepared: &[&Prepared], targets: usize) -> Sizes {
    let visual = |one: &&Prepared| one.pictures.iter().map(|picture| picture.layout.tokens()).sum::<usize>();
    let views =
        |one: &&Prepared| one.pictures.iter().map(|picture| picture.processed.pictures.len()).sum::<usize>();
    Sizes {
        rows: prepared.len(),
        tokens: prepared.iter().map(|one| one.ids.len()).max().unwrap().next_multiple_of(8),
        targets,
        views: prepared.iter().map(views).sum(),
        visual: prepared.iter().map(visual).max().unwrap(),
    }
}

/// The tensors of a file, in f32.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let file = std::fs::read(path).unwrap();
    let all = safetensors::SafeTensors::deserialize(&file).unwrap();
    let of_four = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    all.iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.data().chunks(4).map(of_four).collect()))
        .collect()
}

/// All conversations of a checkpoint in one batch, with room for views and tokens that no row has.
pub(crate) struct Asked {
    all: Vec<(Case, Prepared)>,
    plan: PackingPlan,
    every: usize,
}

impl Asked {
    pub(crate) fn new(recipe: &Recipe, checkpoint: &str) -> Self {
        let (all, every) = (prepared(checkpoint), cases().every);
        let of: Vec<&Prepared> = all.iter().map(|(_, made)| made).collect();
        let longest = of.iter().map(|one| one.ids.len()).max().unwrap().div_ceil(every);
        let sizes = fitting(&of, longest);
        let plan = plan(recipe, Sizes { views: sizes.views + 2, visual: sizes.visual + 3, ..sizes });
        Self { all, plan, every }
    }

    fn batch(&self, recipe: &Recipe, targets: impl Fn(&Prepared) -> Vec<(usize, i32)>) -> PackedBatch {
        let rows: Vec<_> = self.all.iter().map(|(_, made)| (made, targets(made))).collect();
        packed(recipe, &self.plan, &rows)
    }

    pub(crate) fn model(&self, recipe: &Recipe) -> Model {
        Model::new(recipe, shape(&self.plan), self.plan.vocab_size).unwrap()
    }

    /// Of every conversation, the logits at every few of its positions.
    pub(crate) fn logits(&self, model: &Model, recipe: &Recipe) -> Vec<Vec<f32>> {
        let read = |one: &Prepared| (0..one.ids.len()).step_by(self.every).map(|at| (at, -1)).collect();
        let batch = self.batch(recipe, read);
        let mut whole = model.whole(recipe, shape(&self.plan), self.plan.vocab_size).unwrap();
        load_batch(&mut whole, &batch, &Pools::of(recipe)).unwrap();
        whole.run().unwrap();
        let logits = whole.read::<f32>("logits").unwrap();
        let rows = logits.chunks(self.plan.targets * self.plan.vocab_size).zip(&self.all);
        rows.map(|(row, (_, made))| {
            row[..made.ids.len().div_ceil(self.every) * self.plan.vocab_size].to_vec()
        })
        .collect()
    }

    /// Adds the logits of a model to what `tests/peers/llava.py` compares.
    pub(crate) fn add(&self, model: &str, logits: Vec<Vec<f32>>, to: &mut Tensors) {
        for ((case, _), values) in self.all.iter().zip(logits) {
            let shape = vec![values.len() / self.plan.vocab_size, self.plan.vocab_size];
            to.insert(format!("logits.{model}.{}", case.name), Values { shape, values });
        }
    }
}

/// Where `tests/peers/llava.py` has what is given away written, or a folder of the test.
pub(crate) fn given_to(place: &Path) -> PathBuf {
    std::env::var_os("CROSSLOOM_LLAVA_OUT").map_or_else(|| place.to_owned(), PathBuf::from)
}

/// The plain models are transformers' own; the injected one is transformers' with hooks before its layers.
#[test]
fn logits_of_conversations_are_those_of_transformers() {
    let theirs = tensors(&fixtures().join("logits.safetensors"));
    for (name, checkpoint, topology) in MODELS {
        let recipe = recipe(checkpoint, topology, &[]);
        let asked = Asked::new(&recipe, checkpoint);
        for (case, made) in &asked.all {
            assert_eq!(made.ids, case.ids, "{checkpoint}, {}", case.name);
        }
        let model = asked.model(&recipe);
        if !topology.is_empty() {
            for (name, values) in tensors(&fixtures().join("injection.safetensors")) {
                model.store.write(&name, &values).unwrap();
            }
        }
        for ((case, _), found) in asked.all.iter().zip(asked.logits(&model, &recipe)) {
            let wanted = &theirs[&format!("{name}.{}", case.name)];
            assert_eq!(found.len(), wanted.len());
            let size = wanted.iter().map(|x| x.abs()).fold(0.0, f32::max);
            let off = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4 * size, "{name}, {}: {off} of {size}", case.name);
        }
    }
}

/// What is given away of the model that a recipe trains: of its own tensors, or of those that it injects with.
fn held(model: &Model, injects: bool) -> Tensors {
    let of = model.params.iter().filter(|param| param.name.starts_with("injection.") == injects);
    let values = |name: &str| model.store.read::<f32>(name).unwrap();
    of.map(|param| (param.name.clone(), Values { shape: param.shape.clone(), values: values(&param.name) }))
        .collect()
}

/// `tests/peers/llava.py` has the folders written where it can load them in transformers.
#[test]
fn what_was_trained_on_conversations_is_given_away_and_read_back_bit_for_bit() {
    let place = tempfile::tempdir().unwrap();
    let out = given_to(place.path());
    let mut found = Tensors::new();
    for (name, checkpoint, topology) in MODELS {
        let plain = recipe(checkpoint, topology, &[]);
        let asked = Asked::new(&plain, checkpoint);
        let mut model = asked.model(&plain);
        let before = asked.logits(&model, &plain);
        let mut step = ModelStep::new(&mut model, Pools::of(&plain), plain.train.betas, 1).unwrap();
        let batch = asked.batch(&plain, taught);
        let losses: Vec<f32> = (1..=4).flat_map(|number| train(&mut step, number, &[&batch])).collect();
        drop(step);
        assert!(losses[3] < 0.9 * losses[0], "{name}: {losses:?}");
        let trained = asked.logits(&model, &plain);
        assert_ne!(trained, before);

        let input = plain.topology.input.taps()[0].state().unwrap();
        let architecture = Architecture {
            vision: Some(plain.model.vision.clone()),
            projector: Some(plain.model.projector.clone()),
            language: Some(plain.model.language.clone()),
            taps: vec![input],
            ..Architecture::default()
        };
        let tokens = TokenIds { eos: 2, pad: 0, image: 3 };
        let folder = out.join(name);
        let type_of = |_: &str| DType::F32;
        export::model(
            &folder,
            Scope::Whole,
            &architecture,
            tokens,
            &held(&model, false),
            &type_of,
            &Beside::new(),
        )
        .unwrap();
        let again = recipe_on(&folder, checkpoint, topology, &[]);
        let read = asked.model(&again);
        for (name, values) in held(&model, true) {
            read.store.write(&name, &values.values).unwrap();
            found.insert(name, values);
        }
        assert!(asked.logits(&read, &again) == trained, "{name}");
        asked.add(name, trained, &mut found);
    }
    export::tensors(&out.join("found"), &found, &|_| DType::F32, &Beside::new()).unwrap();
}

/// A step of micro-batches, each with the positions behind which its conversations go on.
fn train(step: &mut ModelStep<'_>, number: u64, batches: &[&PackedBatch]) -> Vec<f32> {
    let update = Update { step: number, rates: GroupRates::new(Part::ALL.map(|part| (part.name(), 1e-3))) };
    let count = batches.len();
    let run = |(index, batch): (usize, &&PackedBatch)| {
        let update = (index + 1 == count).then_some(&update);
        let micro = MicroStep { step: number, index, count, weight: (count as f32).recip(), update };
        step.micro_step(&TrainingBatch::new((*batch).clone()), &micro).unwrap().loss
    };
    batches.iter().enumerate().map(run).collect()
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// All that a training has learned.
fn state(step: &impl ModelState) -> Vec<Kept> {
    let mut all = Vec::new();
    step.visit_state(&mut |StateTensor { name, dtype, shape, bytes }| {
        all.push(Kept { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes: bytes.to_vec() });
        Ok(())
    })
    .unwrap();
    all
}

fn restore(step: &mut impl ModelState, all: &[Kept]) {
    for Kept { name, dtype, shape, bytes } in all {
        step.load_state(StateTensor { name, dtype: *dtype, shape, bytes }).unwrap();
    }
}

/// Conversations of a checkpoint, each told to learn its last tokens.
fn taught(made: &Prepared) -> Vec<(usize, i32)> {
    let len = made.ids.len();
    (len - 4..len).map(|at| (at - 1, made.ids[at])).collect()
}

fn started(recipe: &Recipe, largest: &PackingPlan) -> Model {
    Model::new(recipe, shape(largest), largest.vocab_size).unwrap()
}

/// One small batch, of conversations without pictures and with a whole one, and one that holds all.
struct Batches {
    largest: PackingPlan,
    small: PackedBatch,
    /// The same conversations with the shape of the largest.
    small_in_large: PackedBatch,
    large: PackedBatch,
}

fn batches(recipe: &Recipe) -> Batches {
    let all = prepared("onevision");
    let named = |name: &str| &all.iter().find(|(case, _)| case.name == name).unwrap().1;
    let few = [named("none"), named("later")];
    let many = [named("one"), named("tall")];
    let rows = |of: [&'_ Prepared; 2]| of.map(taught);
    let [small, large] = [few, many].map(|of| fitting(&of, 4));
    let largest = plan(
        recipe,
        Sizes {
            rows: 2,
            tokens: small.tokens.max(large.tokens),
            targets: 6,
            views: small.views.max(large.views),
            visual: small.visual.max(large.visual),
        },
    );
    let lay = |plan: &PackingPlan, of: [&Prepared; 2]| {
        let rows: Vec<_> = of.into_iter().zip(rows(of)).collect();
        packed(recipe, plan, &rows)
    };
    Batches {
        small: lay(&plan(recipe, small), few),
        small_in_large: lay(&largest, few),
        large: lay(&largest, many),
        largest,
    }
}

#[test]
fn batches_of_several_shapes_train_one_model_bit_for_bit_from_any_step_on() {
    for sets in [&[][..], &["train.parts.vision.trainable=false"], &["train.accumulate=2"]] {
        let recipe = recipe("onevision", CLI, sets);
        let Batches { largest, small, small_in_large, large } = batches(&recipe);
        assert_ne!(small.plan(), large.plan());
        let order: [&[&PackedBatch]; 4] = if recipe.train.accumulate == 2 {
            [&[&small, &large], &[&large, &large], &[&small, &small], &[&large, &small]]
        } else {
            [&[&small], &[&large], &[&large], &[&small]]
        };
        let pools = Pools::of(&recipe);
        let steps = |step: &mut ModelStep<'_>, numbers: std::ops::Range<usize>| -> Vec<f32> {
            numbers.flat_map(|number| train(step, number as u64 + 1, order[number])).collect()
        };
        let mut model = started(&recipe, &largest);
        let mut step = ModelStep::new(&mut model, pools.clone(), recipe.train.betas, 1).unwrap();
        let first = steps(&mut step, 0..2);
        let midway = state(&step);
        let rest = steps(&mut step, 2..4);
        let end = state(&step);
        assert!(first.iter().chain(&rest).all(|loss| loss.is_finite()));
        assert_ne!(midway, end);
        drop(step);
        assert_eq!(model.training.as_ref().unwrap().shapes(), 2);

        // Goes on from there in a process that has compiled nothing but the largest shape.
        let mut model = started(&recipe, &largest);
        let mut step = ModelStep::new(&mut model, pools.clone(), recipe.train.betas, 1).unwrap();
        restore(&mut step, &midway);
        assert_eq!(steps(&mut step, 2..4), rest, "{sets:?}");
        assert!(state(&step) == end, "{sets:?}");
        drop(step);

        // The same conversations among more padding, and more views that nothing shows, are the same batch but for rounding.
        let apart = |batch: &PackedBatch| {
            let mut model = started(&recipe, &largest);
            let mut step = ModelStep::new(&mut model, pools.clone(), recipe.train.betas, 1).unwrap();
            let micro: Vec<&PackedBatch> = vec![batch; recipe.train.accumulate];
            let loss = train(&mut step, 1, &micro)[0];
            (loss, state(&step))
        };
        let (own, padded) = (apart(&small), apart(&small_in_large));
        assert!((own.0 - padded.0).abs() < 1e-4, "{} and {}", own.0, padded.0);
    }
}

#[test]
fn a_recipe_says_the_tiles_that_the_models_own_processor_cuts() {
    let open = |checkpoint: &str| ModelProcessor::open(&fixtures().join(checkpoint)).unwrap();
    for checkpoint in ["llava", "onevision"] {
        let recipe = recipe(checkpoint, "", &[]);
        open(checkpoint).agrees(&recipe).unwrap();
        let other = if checkpoint == "llava" { "onevision" } else { "llava" };
        open(other).agrees(&recipe).unwrap_err();
    }
    let fewer = recipe("onevision", "", &["model.vision.anyres={ side = 3, most_tiles = 9 }"]);
    let error = open("onevision").agrees(&fewer).unwrap_err();
    assert!(error.help().unwrap().contains("{ side = 3, most_tiles = 2 }"), "{error}");
}
