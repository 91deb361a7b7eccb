//! Runs on a stream of conversations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crossloom_recipe::{LoadOptions, LoadedRecipe, load_with};
use crossloom_run::backends::Resources;
use crossloom_run::memory::DataNeed;
use crossloom_run::start::architecture;
use crossloom_run::{
    Asked, DataSets, Experiment, ExperimentError, Job, ModelProcessor, PictureBudget, RunOutcome, Trained,
    Unheard, conversation_stream, located, preview, settled, survey,
};
use crossloom_train::metrics::{DrawnSamples, read_metrics};
use crossloom_train::run_dir::RunDir;
use serde_json::json;

use crate::support::{Entry, StopAfter, finish, request};
use crate::tokens::{language, loaded};

/// Pictures `0.png` to `5.png` of one colour each, conversations about them, and questions to test on.
fn files(folder: &Path, more: &[&str]) {
    std::fs::create_dir_all(folder.join("pictures")).unwrap();
    for number in 0..6_u8 {
        let rgb = [40 * number, 200, 255 - 40 * number].repeat(48 * 40);
        let picture = crossloom_data::image::Image::new(48, 40, rgb).unwrap();
        std::fs::write(folder.join(format!("pictures/{number}.png")), picture.to_png().unwrap()).unwrap();
    }
    let row = |number: usize| {
        let turn = |question: &str, answer: &str| {
            [json!({ "from": "human", "value": question }), json!({ "from": "gpt", "value": answer })]
        };
        let mut turns = turn(
            if number.is_multiple_of(3) { "what is there" } else { "<image>\nwhat is the color" },
            "red",
        )
        .to_vec();
        for _ in 0..number % 4 {
            turns.extend(turn("is the shape a circle", "yes"));
        }
        let image: Vec<String> =
            (!number.is_multiple_of(3)).then(|| format!("{}.png", number % 6)).into_iter().collect();
        json!({ "image": image, "conversations": turns }).to_string()
    };
    let rows: Vec<String> = (0..14).map(row).chain(more.iter().map(|&row| row.to_owned())).collect();
    std::fs::write(folder.join("talks.jsonl"), rows.join("\n")).unwrap();
    let question = |number: usize| {
        json!({ "image": format!("{number}.png"), "question": "what is the color", "answer": "red" })
            .to_string()
    };
    std::fs::write(folder.join("test.jsonl"), (0..6).map(question).collect::<Vec<_>>().join("\n")).unwrap();
}

fn source(at: &Path, more: &str) -> String {
    let at = at.display();
    format!(
        "data.source={{ kind = 'conversations', of = [{{ format = 'llava', files = ['{at}/talks.jsonl'], pictures = '{at}/pictures' }}], \
         test = {{ format = 'questions', files = ['{at}/test.jsonl'], pictures = '{at}/pictures' }}{more} }}"
    )
}

fn recipe(language: &Path, source: &str, more: &[&str]) -> LoadedRecipe {
    let own = [source, "data.questions_per_sequence=1"];
    loaded(language, &[&own[..], more].concat()).unwrap()
}

fn train(
    recipe: &LoadedRecipe,
    out: &Path,
    entry: Entry,
    stop_after: Option<u64>,
) -> Result<RunDir, ExperimentError> {
    let stop = AtomicBool::new(false);
    let mut stopping = StopAfter { steps: stop_after.unwrap_or(u64::MAX), stop: &stop };
    let job = Experiment { job: Job::Train, ..request(recipe, &["cli"], out, entry) };
    match job.run(&mut stopping, &stop)? {
        RunOutcome::Trained { dir } | RunOutcome::Interrupted { dir } => Ok(RunDir::open(dir).unwrap()),
        RunOutcome::Finished(_) => panic!("nothing is evaluated"),
    }
}

fn bytes(run: &RunDir) -> Vec<u8> {
    std::fs::read(run.path().join("cli/checkpoints/step-6/model.safetensors")).unwrap()
}

fn drawn(run: &RunDir) -> Vec<DrawnSamples> {
    let text = std::fs::read_to_string(run.path().join("cli/drawn.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_on_conversations_goes_on_bit_for_bit_wherever_they_lie_and_is_evaluated() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    files(&own, &[]);
    let first = recipe(&model, &source(&own, ""), &[]);
    let whole = train(&first, &place.path().join("whole"), Entry::New, None).unwrap();
    let out = place.path().join("stopped");
    train(&first, &out, Entry::New, Some(3)).unwrap();

    let moved = place.path().join("moved");
    std::fs::rename(&own, &moved).unwrap();
    let again = recipe(&model, &source(&moved, ""), &[]);
    assert_eq!(first.training_hash(), again.training_hash());
    let resumed = train(&again, &out, Entry::Resume, None).unwrap();
    assert!(bytes(&whole) == bytes(&resumed));
    let of_steps = drawn(&whole);
    assert_eq!(of_steps, drawn(&resumed));
    let steps: Vec<u64> = of_steps.iter().map(|drawn| drawn.step).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    assert!(
        of_steps
            .iter()
            .all(|drawn| drawn.samples.len() == 4 && drawn.samples[0].id.starts_with("talks.jsonl, line "))
    );
    for drawn in &of_steps {
        let losses: Vec<f64> = drawn.samples.iter().map(|sample| sample.loss.unwrap()).collect();
        let (least, most) =
            (losses.iter().fold(f64::MAX, |a, &b| a.min(b)), losses.iter().fold(0.0, |a, &b| b.max(a)));
        assert!(least > 0.0 && (least..=most).contains(&drawn.loss.unwrap()), "{drawn:?}");
    }

    let record = resumed.read_record().unwrap();
    let variant = &record.variants["cli"];
    assert!(variant.data_wait.is_some_and(|share| (0.0..=1.0).contains(&share)));
    assert_eq!(record.data[0].splits["train"], 14);
    let metrics = read_metrics(&resumed.path().join("cli/metrics.jsonl")).unwrap();
    assert!(metrics.iter().all(|record| record.scalars.contains_key("data_wait")));
    assert_eq!(metrics.last().unwrap().scalars["samples_left_out"], 0.0);

    // Test samples are asked as those of any data are.
    let finished = finish(&again, &["cli"], &out, Entry::Resume);
    assert_eq!(finished.variants[0].records.len(), 6);
    crossloom_run::resolved::load(&finished.dir, &[]).unwrap();

    // A run that is asked needs its own folder and the weights that it did not train.
    let away = [moved.join("talks.jsonl"), moved.join("test.jsonl"), model.join("tokenizer.json")];
    let asked = crossloom_run::resolved::to_ask(&finished.dir, &[]).unwrap();
    let ask = |loaded: &LoadedRecipe| {
        let dir = finished.dir.variant_path("cli").unwrap();
        let recipe = &loaded.variant("cli").unwrap().recipe;
        let trained = Trained::load(&dir, recipe, Resources::default()).unwrap();
        let picture = moved.join("pictures/1.png");
        trained.ask(&Asked::about(&picture, &["what is the color".to_owned()])).unwrap()
    };
    let answered = ask(&asked);
    for path in &away {
        std::fs::rename(path, path.with_extension("away")).unwrap();
    }
    assert!(crossloom_run::resolved::load(&finished.dir, &[]).is_err());
    assert_eq!(ask(&crossloom_run::resolved::to_ask(&finished.dir, &[]).unwrap()), answered);
    for path in &away {
        std::fs::rename(path.with_extension("away"), path).unwrap();
    }

    // Other samples are another run.
    let rows = std::fs::read_to_string(moved.join("talks.jsonl")).unwrap();
    std::fs::write(moved.join("talks.jsonl"), rows.replace("\"red\"", "\"blue\"")).unwrap();
    assert_ne!(first.training_hash(), recipe(&model, &source(&moved, ""), &[]).training_hash());
}

#[cfg(feature = "parquet")]
#[test]
fn rows_in_parquet_are_checked_trained_on_and_asked() {
    let of_crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let fixtures = of_crates.join("crossloom-run/tests/fixtures/llava/llava");
    let rows = of_crates.join("crossloom-data/tests/parquet").canonicalize().unwrap();
    let place = tempfile::tempdir().unwrap();
    let text = format!(
        "name = 'rows'\n[model]\nweights = '{}'\n[topology]\ninput = 'block.3'\n[data]\ntokenizer = 'model'\ntext_positions = 128\n\
         source = {{ kind = 'conversations', of = [{{ format = 'parquet', files = ['{at}/llava.parquet'] }}], \
         test = {{ format = 'parquet', files = ['{at}/questions.parquet'] }} }}\n\
         [train]\nsteps = 6\nbatch_size = 2\nlr = 1e-3\n[eval]\nmax_new_tokens = 3\n",
        fixtures.display(),
        at = rows.display()
    );
    let path = place.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load_with(&path, &LoadOptions::default(), &architecture).unwrap_or_else(|e| panic!("{e}"));
    let loaded = settled(located(loaded).unwrap()).unwrap();
    let sets =
        DataSets::of_variants(&loaded.variants, place.path(), &AtomicBool::new(false), &mut |_| ()).unwrap();
    let recipe = &loaded.variants[0].recipe;
    let found = survey(recipe, sets.of(recipe).unwrap()).unwrap().unwrap();
    assert_eq!((found.samples, found.left_out, found.truncated), (8, 0, 0), "{found:?}");
    assert_eq!(found.by_pictures.into_iter().collect::<Vec<_>>(), [(0, 3), (1, 5)]);
    let finished = finish(&loaded, &[], &place.path().join("run"), Entry::New);
    assert_eq!(finished.variants[0].records.len(), 5);
    let dir = finished.dir.variant_path(&loaded.variants[0].name).unwrap();
    let drawn = std::fs::read_to_string(dir.path().join("drawn.jsonl")).unwrap();
    assert_eq!(drawn.matches("llava.parquet, row ").count(), 12, "{drawn}");
}

/// Six pictures, of which four are shown by the samples; every sample is drawn twice.
#[test]
fn pictures_of_a_stream_are_encoded_once_where_the_encoder_is_frozen() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    files(&own, &[]);
    let run = |name: &str, steps: u64, memory: u64| {
        let (cache, steps) = (place.path().join(format!("cache-{name}")), format!("train.steps={steps}"));
        let cache = format!("data.cache='{}'", cache.display());
        let loaded =
            recipe(&model, &source(&own, ""), &["train.parts.vision.trainable=false", &cache, &steps]);
        let out = place.path().join(name);
        let mut job = Experiment { job: Job::Train, ..request(&loaded, &["cli"], &out, Entry::New) };
        job.resources.pictures = PictureBudget { memory: Some(memory), disk: None };
        let RunOutcome::Trained { dir } = job.run(&mut Unheard, &AtomicBool::new(false)).unwrap() else {
            panic!()
        };
        let run = RunDir::open(dir).unwrap();
        let pictures = run.read_record().unwrap().variants["cli"].pictures.unwrap();
        (drawn(&run).into_iter().map(|of| (of.samples, of.loss)).collect::<Vec<_>>(), pictures)
    };
    let (losses, held) = run("held", 7, 1 << 20);
    let shown: BTreeSet<&str> =
        losses.iter().flat_map(|(samples, _)| samples).map(|sample| sample.id.as_str()).collect();
    assert_eq!(shown.len(), 14, "all samples were drawn");
    // And the blank one of rows without a picture.
    assert_eq!(held.encoded, 4 + 1, "{held:?}");
    assert!(held.from_memory > 0 && held.bytes > 0);
    let (same, on_disk) = run("disk", 7, 0);
    assert_eq!((on_disk.encoded, on_disk.bytes), (held.encoded, 0));
    assert!(same == losses && on_disk.from_disk > 0);
    // Where no sample is drawn again, there is nothing to be kept.
    for (steps, views) in [(3, 0), (4, 14)] {
        let loaded = recipe(&model, &source(&own, ""), &[&format!("train.steps={steps}")]);
        let of = &loaded.variant("cli").unwrap().recipe;
        let sets =
            DataSets::of_variants(&loaded.variants, place.path(), &AtomicBool::new(false), &mut |_| ());
        let sets = sets.unwrap();
        let data = sets.of(of).unwrap();
        let need = DataNeed::of(of, data, &data.training_plan(of).unwrap());
        assert_eq!(need.trained, views);
    }
}

#[test]
fn rows_of_several_lengths_pictures_and_samples_are_trained_and_go_on_bit_for_bit() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    let two = json!({ "image": ["1.png", "4.png"], "conversations": [
        { "from": "human", "value": "<image>\n<image>\nwhat is there" }, { "from": "gpt", "value": "circle" },
    ] });
    let two = two.to_string();
    files(&own, &[two.as_str(); 6]);
    let rows = ", lengths = [24], views = [1, 2], samples_per_row = 2";
    let static_gate = "variants.cli.topology.gate={ kind = 'static' }";
    let loaded = recipe(&model, &source(&own, rows), &["train.steps=12", "train.batch_size=2", static_gate]);
    let whole = train(&loaded, &place.path().join("whole"), Entry::New, None).unwrap();
    let out = place.path().join("stopped");
    train(&loaded, &out, Entry::New, Some(5)).unwrap();
    let resumed = train(&loaded, &out, Entry::Resume, None).unwrap();
    let last =
        |run: &RunDir| std::fs::read(run.path().join("cli/checkpoints/step-12/model.safetensors")).unwrap();
    assert!(last(&whole) == last(&resumed));
    let of_steps = drawn(&whole);
    assert_eq!(of_steps, drawn(&resumed));
    let counts: BTreeSet<usize> = of_steps.iter().map(|drawn| drawn.samples.len()).collect();
    assert!(
        counts.iter().any(|&samples| samples > 2) && of_steps.iter().all(|drawn| drawn.loss.is_some()),
        "{counts:?}"
    );
}

#[test]
fn what_is_lost_on_a_sample_does_not_depend_on_those_around_it() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    files(&own, &[]);
    // At such a rate the weights stay as they are.
    let losses = |name: &str, rows: &str| {
        let static_gate = "variants.cli.topology.gate={ kind = 'static' }";
        let sets = ["train.steps=12", "train.batch_size=2", "train.lr=1e-30", static_gate];
        let run =
            train(&recipe(&model, &source(&own, rows), &sets), &place.path().join(name), Entry::New, None);
        let mut losses: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for sample in drawn(&run.unwrap()).into_iter().flat_map(|step| step.samples) {
            losses.entry(sample.id).or_default().push(sample.loss.unwrap());
        }
        losses
    };
    let packed = losses("packed", ", lengths = [24], samples_per_row = 2");
    let alone = losses("alone", "");
    assert!(packed.values().any(|losses| losses.len() > 1) && alone.len() > 8);
    let mut seen = BTreeSet::new();
    for (id, losses) in packed.iter().chain(&alone) {
        let other = alone.get(id).unwrap_or(losses);
        for (a, b) in losses.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
            assert!((a - b).abs() < 1e-5, "{id}: {a} and {b}");
            seen.insert((a * 1e3).round() as i64);
        }
    }
    assert!(seen.len() >= 4, "samples of one to four turns differ: {seen:?}");
}

/// Which is transformers' own, as `conversations.rs` shows.
#[test]
fn tokens_and_views_are_those_of_the_models_own_processor() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llava/onevision");
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-data/tests/processors");
    let place = tempfile::tempdir().unwrap();
    let shown = [vec!["coffee.png"], vec!["coffee.png", "coffee.png"], vec![]];
    let rows = shown.each_ref().map(|shown| {
        let asked = format!("{}what is in the cup?", "<image>\n".repeat(shown.len()));
        json!({ "image": shown, "conversations": [
            { "from": "human", "value": asked }, { "from": "gpt", "value": "coffee" },
            { "from": "human", "value": "and beside it?" }, { "from": "gpt", "value": "a spoon" },
        ] })
        .to_string()
    });
    std::fs::write(place.path().join("talks.json"), format!("[{}]", rows.join(",\n"))).unwrap();
    let text = format!(
        "name = 'talks'\n[model]\nweights = '{}'\nvision.anyres = {{ side = 3, most_tiles = 2 }}\n[topology]\ninput = 'block.4'\n\
         [data]\ntokenizer = 'model'\ntext_positions = 256\n\
         source = {{ kind = 'conversations', of = [{{ format = 'llava', files = ['talks.json'], pictures = '{}' }}], views = [2, 10] }}\n\
         [train]\nsteps = 3\nbatch_size = 1\nlr = 1e-3\n",
        fixtures.display(),
        pictures.display()
    );
    let path = place.path().join("recipe.toml");
    let opened = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let loaded =
            load_with(&path, &LoadOptions::default(), &architecture).unwrap_or_else(|e| panic!("{e}"));
        let loaded = settled(located(loaded).unwrap()).unwrap();
        let sets =
            DataSets::of_variants(&loaded.variants, place.path(), &AtomicBool::new(false), &mut |_| ());
        (loaded, sets)
    };
    let (_, other) = opened(&text.replace("most_tiles = 2", "most_tiles = 4"));
    let error = other.err().unwrap().to_string();
    assert!(error.contains("cuts pictures into other tiles than the recipe says"), "{error}");
    let (loaded, sets) = opened(&text);
    let (recipe, sets) = (&loaded.variants[0].recipe, sets.unwrap());
    let data = sets.of(recipe).unwrap();
    let (processor, samples) = (ModelProcessor::open(&fixtures).unwrap(), data.conversations().unwrap());
    let mut stream = conversation_stream(recipe, data).unwrap().unwrap();
    let mut tiled = 0;
    for _ in 0..6 {
        let drawn = stream.next_batch().unwrap();
        let (batch, plan) = (&drawn.batch, drawn.batch.plan());
        let number = (0..3).find(|&number| samples[0].name(number) == drawn.samples[0]).unwrap();
        let record = samples[0].records.read(number).unwrap();
        let given = samples[0].records.pictures(number, &record).unwrap();
        let prepared = processor.conversation("a", &record.messages, given).unwrap();
        assert_eq!(batch.tokens_bt[..prepared.ids.len()], prepared.ids, "{number}");
        assert!(batch.segments_bt[prepared.ids.len()..].iter().all(|&segment| segment == -1));
        let places: Vec<i32> = prepared.places.iter().cloned().flatten().map(|at| at as i32).collect();
        assert_eq!(batch.image_index_bn[..places.len()], places, "{number}");
        let table = crossloom_data::image::Normalization {
            mean: recipe.model.vision.image_mean.map(|v| v as f32),
            std: recipe.model.vision.image_std.map(|v| v as f32),
        };
        let (table, size) = (table.table().unwrap(), (3 * plan.image_width * plan.image_height) as usize);
        let views = prepared.pictures.iter().flat_map(|picture| &picture.processed.pictures);
        for (view, picture) in views.enumerate() {
            let mut pixels = vec![0.0; size];
            table.write_chw(picture.rgb(), &mut pixels).unwrap();
            assert!(batch.pixels_bchw[view * size..][..size] == pixels, "view {view} of {number}");
            tiled += usize::from(number == 0 && view > 0);
        }
    }
    assert!(tiled > 1, "one picture alone is in tiles");

    let job = Experiment { job: Job::Train, ..request(&loaded, &[], &place.path().join("run"), Entry::New) };
    let RunOutcome::Trained { dir } =
        job.run(&mut Unheard, &AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"))
    else {
        panic!()
    };
    assert_eq!(RunDir::open(dir).unwrap().read_record().unwrap().variants[0].steps, 3);
}

#[test]
fn samples_that_cannot_be_used_stop_a_training_by_name_or_are_counted_in_its_notes() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    let long = json!({ "conversations": (0..40).map(|turn| match turn % 2 {
        0 => json!({ "from": "human", "value": "is the shape a circle" }),
        _ => json!({ "from": "gpt", "value": "yes" }),
    }).collect::<Vec<_>>() });
    files(&own, &["{\"image\"", &long.to_string()]);
    let out = place.path().join("run");
    let strict = recipe(&model, &source(&own, ""), &["train.steps=12"]);
    let error = train(&strict, &out, Entry::New, None).err().unwrap().to_string();
    assert!(
        error.contains("talks.jsonl`, line 15: no such row") || error.contains("talks.jsonl, line 16 loses"),
        "{error}"
    );

    let lenient = recipe(&model, &source(&own, ", skip = 1, truncate = 1"), &["train.steps=12"]);
    let run = train(&lenient, &out, Entry::New, None).unwrap();
    let notes = run.read_record().unwrap().notes;
    let told = |what: &str| notes.iter().any(|note| note.contains(what));
    assert!(told("line 15: no such row") && told("talks.jsonl, line 16 loses "), "{notes:?}");
    assert!(told("1 cannot be learned from and were left out, and 1 lost turns"), "{notes:?}");
    let last = read_metrics(&run.path().join("cli/metrics.jsonl")).unwrap().pop().unwrap();
    assert_eq!((last.scalars["samples_left_out"], last.scalars["samples_truncated"]), (1.0, 1.0));

    // All of that is known before a training.
    let data = |loaded: &LoadedRecipe| {
        DataSets::of_variants(&loaded.variants, Path::new("."), &AtomicBool::new(false), &mut |_| ()).unwrap()
    };
    let of = &lenient.variant("cli").unwrap().recipe;
    let found = survey(of, data(&lenient).of(of).unwrap()).unwrap().unwrap();
    assert_eq!((found.samples, found.left_out, found.truncated), (16, 1, 1));
    assert_eq!(found.by_pictures.into_iter().collect::<Vec<_>>(), [(0, 6), (1, 9)]);
    let of = &strict.variant("cli").unwrap().recipe;
    let error = survey(of, data(&strict).of(of).unwrap()).unwrap_err().to_string();
    assert!(error.contains("of 16 samples 1 cannot be learned from and 1 lose turns"), "{error}");
}

#[test]
fn the_first_rows_are_shown_as_the_model_reads_them() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    files(&own, &[]);
    let loaded = recipe(&model, &source(&own, ""), &[]);
    let of = &loaded.variant("cli").unwrap().recipe;
    let sets = DataSets::of_variants(&loaded.variants, Path::new("."), &AtomicBool::new(false), &mut |_| ())
        .unwrap();
    let rows = preview(of, sets.of(of).unwrap(), 4).unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let line: usize = row.samples[0].rsplit(' ').next().unwrap().parse().unwrap();
        let number = line - 1;
        let picture = if number.is_multiple_of(3) {
            "what is there"
        } else {
            "⟨pictures of 16 tokens⟩ what is the color"
        };
        let first = format!("<answer> user {picture} <eos> <answer> assistant ⟦red <eos>⟧");
        let more =
            "<answer> user is the shape a circle <eos> <answer> assistant ⟦yes <eos>⟧".repeat(number % 4);
        let plain = |text: &str| text.replace(' ', "");
        assert_eq!(plain(&row.text), plain(&format!("{first}{more}")), "{row:?}");
        assert_eq!(row.learned, 2 + 2 * (number % 4));
    }
}

#[test]
fn what_is_not_tested_is_trained_and_not_evaluated() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    files(&own, &[]);
    let at = own.display();
    let untested = format!(
        "data.source={{ kind = 'conversations', of = [{{ format = 'llava', files = ['{at}/talks.jsonl'], pictures = '{at}/pictures' }}] }}"
    );
    let loaded = recipe(&model, &untested, &[]);
    let out = place.path().join("run");
    let run = request(&loaded, &["cli"], &out, Entry::New).run(&mut Unheard, &AtomicBool::new(false));
    let error = run.err().unwrap();
    assert!(error.to_string().starts_with("variant `cli` has no test samples to be evaluated on"), "{error}");
    assert!(!out.exists());
    assert_eq!(
        train(&loaded, &out, Entry::New, None).unwrap().read_record().unwrap().variants["cli"].steps,
        6
    );
}

#[test]
fn a_step_that_is_not_finite_names_file_and_line_of_its_samples() {
    let place = tempfile::tempdir().unwrap();
    let (model, own) = (place.path().join("language"), place.path().join("own"));
    language(&model);
    files(&own, &[]);
    let gate = "variants.cli.topology.gate={ kind = 'constant', value = 1e38 }";
    let loaded = recipe(&model, &source(&own, ""), &["train.lr=10", "train.warmup=0", gate]);
    let error = train(&loaded, &place.path().join("run"), Entry::New, None).err().unwrap().to_string();
    assert!(error.contains("(samples talks.jsonl, line "), "{error}");
}
