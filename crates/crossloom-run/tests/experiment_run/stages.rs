//! Stages: what goes over from one to the next, what each is resumed from, and what is not trained twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_data::image::Normalization;
use crossloom_data::packing::{PackedBatch, PackingPlan, TrainingOptions, TrainingPacker};
use crossloom_recipe::{LoadOptions, LoadedRecipe, Part, Recipe, Schedule, Selection, Split, load};
use crossloom_run::backends::Resources;
use crossloom_run::export::{Export, export};
use crossloom_run::{
    DataSets, Experiment, Finished, Job, Model, ModelStep, Pools, RunOutcome, RunProgress, Trained,
    TrainingBatch, Unheard, resolved,
};
use crossloom_train::groups::GroupRates;
use crossloom_train::metrics::read_metrics;
use crossloom_train::progress::{Phase, Progress, ProgressUpdate};
use crossloom_train::run_dir::{RunDir, RunStatus};
use crossloom_train::schedule::RateCurve;
use crossloom_train::step::{MicroStep, TrainStep as _, Update, share_of_targets};
use crossloom_weights::export::Scope;
use safetensors::SafeTensors;

use crate::models::{model, weights};
use crate::support::{Entry, finish, request, try_run};

/// A dozen pictures and a handful of steps for each stage.
const SMALL: [&str; 9] = [
    "data.source={ kind = 'synthetic', train_images = 12, test_images = 6, questions_per_image = 4 }",
    "data.questions_per_sequence=4",
    "stage.align.data={ source = { kind = 'synthetic', train_images = 9, questions_per_image = 2 }, questions_per_sequence = 2 }",
    "train.batch_size=4",
    "train.warmup=1",
    "train.log_every=1",
    "stage.align.train.steps=4",
    "stage.tune.train.steps=5",
    "eval.permutations=100",
];

fn recipe(sets: &[&str]) -> LoadedRecipe {
    try_recipe(sets).unwrap_or_else(|e| panic!("{e}"))
}

fn try_recipe(sets: &[&str]) -> Result<LoadedRecipe, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/two-stages.toml");
    let sets = SMALL.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    load(&path, &LoadOptions { sets }).map_err(|e| e.to_string())
}

fn staged(loaded: &LoadedRecipe) -> &Recipe {
    &loaded.variant("in_two").unwrap().recipe
}

fn folder(run: &Path, stage: &str, step: u64) -> PathBuf {
    run.join("in_two/stages").join(stage).join("checkpoints").join(format!("step-{step}"))
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let names = ["model.safetensors", "optimizer.safetensors", "state.json"];
    names.map(|file| std::fs::read(folder.join(file)).unwrap()).to_vec()
}

/// The weights of a checkpoint, as bits.
fn held(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Stops after so many steps of a stage.
struct StopIn<'s> {
    stage: &'static str,
    steps: u64,
    here: bool,
    stop: &'s AtomicBool,
}

impl Progress for StopIn<'_> {
    fn update(&mut self, update: &ProgressUpdate) {
        if self.here && update.phase == Phase::Train && update.step == self.steps {
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}

impl RunProgress for StopIn<'_> {
    fn begin(&mut self, variant: &str, _: crossloom_run::Activity) {
        self.here = variant.ends_with(self.stage);
    }
}

fn interrupt(loaded: &LoadedRecipe, out: &Path, entry: Entry, stage: &'static str, steps: u64) -> PathBuf {
    let stop = AtomicBool::new(false);
    let mut progress = StopIn { stage, steps, here: false, stop: &stop };
    match request(loaded, &["in_two"], out, entry).run(&mut progress, &stop).unwrap_or_else(|e| panic!("{e}"))
    {
        RunOutcome::Interrupted { dir } => dir,
        RunOutcome::Finished(_) | RunOutcome::Trained { .. } => panic!("the run does not stop"),
    }
}

fn data(loaded: &LoadedRecipe) -> DataSets {
    DataSets::of_variants(&loaded.variants, Path::new("."), &AtomicBool::new(false), &mut |_| ()).unwrap()
}

/// A training by hand: its own loop over packed batches, from given weights.
fn by_hand(
    stage: &Recipe,
    data: &DataSets,
    before: &BTreeMap<String, Vec<u8>>,
) -> BTreeMap<String, Vec<f32>> {
    let data = data.of(stage).unwrap();
    let plan: PackingPlan = data.plan(stage).unwrap();
    let alone = Recipe { stages: Vec::new(), ..stage.clone() };
    let mut model: Model = model(&alone, &plan);
    for (name, bytes) in before {
        model.store.write(name, &floats(bytes)).unwrap();
    }
    let (split, encoded) = data.images(Split::Train);
    let options = TrainingOptions {
        seed: stage.order_seed(),
        normalization: Normalization::HALF,
        ..TrainingOptions::default()
    };
    let mut packer = TrainingPacker::new(&plan, encoded, split.images(), options).unwrap();
    let train = &stage.train;
    assert_eq!((train.schedule, train.accumulate), (Schedule::Cosine, 1));
    let curve = RateCurve {
        shape: train.schedule,
        warmup_steps: train.warmup_steps(),
        total_steps: train.steps,
        min_ratio: train.min_lr_ratio,
    };
    let groups = Selection::new(train);
    let mut step = ModelStep::new(&mut model, Pools::of(&alone), train.betas, 1).unwrap();
    for number in 1..=train.steps {
        let mut batch = PackedBatch::new(&plan);
        packer.fill(&mut batch).unwrap();
        let batch = [TrainingBatch::new(batch)];
        let rates =
            groups.groups().iter().map(|group| (group.name.clone(), group.lr * curve.factor(number - 1)));
        let update = Update { step: number, rates: GroupRates::new(rates) };
        let micro = MicroStep {
            step: number,
            index: 0,
            count: 1,
            weight: share_of_targets(&batch, 0) as f32,
            update: Some(&update),
        };
        step.micro_step(&batch[0], &micro).unwrap();
    }
    weights(&model)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_run_in_two_stages_is_two_trainings_of_which_the_second_starts_from_the_weights_of_the_first() {
    let out = tempfile::tempdir().unwrap();
    let loaded = recipe(&[]);
    let finished = finish(&loaded, &["in_two"], out.path(), Entry::New);
    let run = finished.dir.path();
    let [align, tune] = &staged(&loaded).by_stage()[..] else { panic!("two stages") };
    let data = data(&loaded);
    let after_align = held(&folder(run, "align", 4));
    let start: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let hand = by_hand(align, &data, &start);
    assert!(hand.keys().eq(after_align.keys()));
    for (name, values) in &hand {
        assert_eq!(bits(values), bits(&floats(&after_align[name])), "{name} after align");
    }
    let after_tune = held(&folder(run, "tune", 5));
    for (name, values) in by_hand(tune, &data, &after_align) {
        assert_eq!(bits(&values), bits(&floats(&after_tune[&name])), "{name} after tune");
    }
    // Each stage trains what it says.
    let plan = data.of(align).unwrap().plan(align).unwrap();
    let untrained = model(&Recipe { stages: Vec::new(), ..align.clone() }, &plan);
    let at_start = weights(&untrained);
    for param in &untrained.params {
        let name = &param.name;
        let moved = [
            bits(&at_start[name]) != bits(&floats(&after_align[name])),
            after_align[name] != after_tune[name],
        ];
        let expected = match param.part {
            Part::Projector => [true, true],
            Part::Language => [false, true],
            _ => [false, false],
        };
        assert!(moved == expected, "{name}: {moved:?}");
    }
    let record = finished.dir.read_record().unwrap();
    let entry = &record.variants["in_two"];
    assert_eq!((entry.steps, &entry.status), (9, &RunStatus::Finished));
    let stages: Vec<(&str, u64)> =
        entry.stages.iter().map(|(name, stage)| (name.as_str(), stage.steps)).collect();
    assert_eq!(stages, [("align", 4), ("tune", 5)]);
    assert!(entry.stages["align"].trainable_parameters < entry.stages["tune"].trainable_parameters);
    assert_eq!(entry.stages["tune"].checkpoint.as_deref(), Some("in_two/stages/tune/checkpoints/step-5"));
    assert_eq!(record.data.len(), 2, "both data sets are on record");
    let page = std::fs::read_to_string(&finished.report).unwrap();
    assert!(page.contains("align") && page.contains("tune"));
}

#[test]
fn a_run_that_is_stopped_in_any_stage_goes_on_there_and_is_bitwise_the_same() {
    for sets in [&[][..], &["train.precision=bf16", "stage.align.train.parts.language.dtype=bf16"]] {
        let loaded = recipe(sets);
        let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let expected = finish(&loaded, &["in_two"], whole.path(), Entry::New);
        let run = interrupt(&loaded, parts.path(), Entry::New, "align", 2);
        assert!(!run.join("in_two/stages/tune").exists());
        interrupt(&loaded, parts.path(), Entry::Resume, "align", 3);
        interrupt(&loaded, parts.path(), Entry::Resume, "tune", 0);
        let align = files(&folder(&run, "align", 4));
        let times = |run: &Path| std::fs::metadata(folder(run, "align", 4)).unwrap().modified().unwrap();
        let written = times(&run);
        interrupt(&loaded, parts.path(), Entry::Resume, "tune", 3);
        let record = RunDir::open(&run).unwrap().read_record().unwrap();
        assert_eq!((record.variants["in_two"].steps, record.status), (7, RunStatus::Interrupted));
        let given = finish(&loaded, &["in_two"], parts.path(), Entry::Resume);
        assert_eq!(given.dir.path(), run);
        for (stage, step) in [("align", 4), ("tune", 5)] {
            let [a, b] = [&run, &expected.dir.path().to_owned()].map(|run| files(&folder(run, stage, step)));
            assert!(a == b, "{stage} of {sets:?}");
            let curve = |run: &Path| -> Vec<(u64, f64)> {
                let path = run.join("in_two/stages").join(stage).join("metrics.jsonl");
                read_metrics(&path).unwrap().iter().map(|m| (m.step, m.scalars["loss"])).collect()
            };
            assert_eq!(curve(&run), curve(expected.dir.path()), "{stage} of {sets:?}");
        }
        assert_eq!(given.variants[0].records, expected.variants[0].records);
        assert!(
            files(&folder(&run, "align", 4)) == align && times(&run) == written,
            "a finished stage is left alone"
        );
        // A run that is done is not trained again either.
        finish(&loaded, &["in_two"], parts.path(), Entry::Resume);
        assert_eq!(times(&run), written);
    }
}

/// Copies a folder with all that it holds.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_run_that_is_killed_after_any_step_of_any_stage_ends_as_it_would_have() {
    let loaded = recipe(&["train.checkpoint_every=1", "train.keep_checkpoints=9"]);
    let out = tempfile::tempdir().unwrap();
    let whole = finish(&loaded, &["in_two"], out.path(), Entry::New);
    let last = files(&folder(whole.dir.path(), "tune", 5));
    for (stage, steps) in [("align", 0), ("align", 2), ("align", 4), ("tune", 0), ("tune", 1), ("tune", 4)] {
        // What is on the disk after that step: no later checkpoint, lines of a log that were written ahead, no answers.
        let killed = tempfile::tempdir().unwrap();
        let run = killed.path().join(whole.dir.id());
        copy(whole.dir.path(), &run);
        let own = run.join("in_two/stages").join(stage);
        for step in steps + 1..=5 {
            drop(std::fs::remove_dir_all(own.join("checkpoints").join(format!("step-{step}"))));
        }
        if stage == "align" {
            std::fs::remove_dir_all(run.join("in_two/stages/tune")).unwrap();
        }
        let dir = RunDir::open(&run).unwrap();
        let mut record = dir.read_record().unwrap();
        record.status = RunStatus::Running;
        let entry = record.variants.get_mut("in_two").unwrap();
        (entry.status, entry.steps) = (RunStatus::Running, 0);
        entry.evaluated_as.clear();
        entry.stages.get_mut(stage).unwrap().steps = 0;
        if stage == "align" {
            entry.stages.shift_remove("tune");
        }
        dir.write_record(&record).unwrap();
        // Without any checkpoint there is nothing to go on with, and it begins anew.
        let entry = if (stage, steps) == ("align", 0) { Entry::Replace } else { Entry::Resume };
        let given = finish(&loaded, &["in_two"], killed.path(), entry);
        assert_eq!(given.dir.path(), run);
        assert!(files(&folder(&run, "tune", 5)) == last, "killed after step {steps} of {stage}");
        let record = given.dir.read_record().unwrap();
        let stages: Vec<(&str, u64)> = record.variants["in_two"]
            .stages
            .iter()
            .map(|(name, stage)| (name.as_str(), stage.steps))
            .collect();
        assert_eq!(stages, [("align", 4), ("tune", 5)], "killed after step {steps} of {stage}");
        for (stage, steps) in stages {
            let metrics = read_metrics(&run.join("in_two/stages").join(stage).join("metrics.jsonl")).unwrap();
            let logged: Vec<u64> = metrics.iter().map(|m| m.step).collect();
            assert_eq!(logged, (1..=steps).collect::<Vec<u64>>());
        }
    }
}

#[test]
fn a_stage_that_another_run_or_variant_has_trained_is_taken_over_and_a_changed_one_is_not() {
    let out = tempfile::tempdir().unwrap();
    let first = finish(&recipe(&[]), &["in_two"], out.path(), Entry::New);
    let align = files(&folder(first.dir.path(), "align", 4));

    let changed = recipe(&["stage.tune.train.lr=0.01"]);
    let second = finish(&changed, &["in_two"], out.path(), Entry::New);
    assert_ne!(second.dir, first.dir);
    assert!(files(&folder(second.dir.path(), "align", 4)) == align);
    let record = second.dir.read_record().unwrap();
    let own = &record.variants["in_two"].stages;
    assert!(
        own["align"].taken_from.as_ref().unwrap().contains(&first.dir.id())
            && own["tune"].taken_from.is_none()
    );
    assert!(record.notes.iter().any(|note| note.contains("stage `align`") && note.contains(&first.dir.id())));
    // It is what it would have been if it had been trained.
    let alone = tempfile::tempdir().unwrap();
    let expected = finish(&changed, &["in_two"], alone.path(), Entry::New);
    let [a, b] = [&second, &expected].map(|run| files(&folder(run.dir.path(), "tune", 5)));
    assert!(a == b);
    let curves = [&second, &expected].map(|run| {
        let path = run.dir.path().join("in_two/stages/align/metrics.jsonl");
        read_metrics(&path).unwrap().iter().map(|m| m.scalars["loss"]).collect::<Vec<_>>()
    });
    assert_eq!(curves[0], curves[1]);

    // Other pictures of a later stage leave it what it is too, where its words stay what they are: here no more are asked about.
    let more = recipe(&["stage.tune.data.test_limit=5", "variants.at_once.data.test_limit=5"]);
    let third = finish(&more, &["in_two"], out.path(), Entry::New);
    assert!(third.dir.read_record().unwrap().variants["in_two"].stages["align"].taken_from.is_some());

    // What the first stage trains on or how, and whatever both share, makes it another.
    for set in
        ["stage.align.train.lr=0.02", "train.clip_norm=0.5", "stage.align.data.questions_per_sequence=1"]
    {
        let other = finish(&recipe(&[set]), &["in_two"], out.path(), Entry::New);
        assert!(
            other.dir.read_record().unwrap().variants["in_two"].stages["align"].taken_from.is_none(),
            "{set}"
        );
    }
    // Work that is thrown away is not looked for elsewhere, and damaged work is trained again.
    let replaced = finish(&changed, &["in_two"], out.path(), Entry::Replace);
    assert!(replaced.dir.read_record().unwrap().variants["in_two"].stages["align"].taken_from.is_none());

    // Variants that share a stage train it once.
    let text = "extends = [\"two-stages.toml\"]\nname = \"both\"\n[variants.in_two]\n[variants.at_once]\n[variants.slow]\n\
                extends = [\"methods/projector.toml\"]\nstage.tune.train.lr = 1e-4\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/both.toml");
    let sets = SMALL.iter().map(|set| (*set).to_owned()).collect();
    let both =
        crossloom_recipe::load_text(&path, text, &LoadOptions { sets }).unwrap_or_else(|e| panic!("{e}"));
    let alone = tempfile::tempdir().unwrap();
    let run = finish(&both, &["in_two", "slow"], alone.path(), Entry::New);
    let record = run.dir.read_record().unwrap();
    assert_eq!(record.variants["slow"].stages["align"].taken_from.as_deref(), Some("in_two"));
    assert_eq!(run.variants.len(), 2);
}

#[test]
fn a_variant_that_another_run_has_trained_is_taken_over_and_evaluated() {
    let named = |name: &str, set: &[&str]| {
        let text = format!("extends = [\"two-stages.toml\"]\nname = \"{name}\"\n[variants.at_once]\n");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(format!("{name}.toml"));
        let sets = SMALL.iter().chain(&["train.steps=6"]).chain(set).map(|set| (*set).to_owned()).collect();
        crossloom_recipe::load_text(&path, &text, &LoadOptions { sets }).unwrap_or_else(|e| panic!("{e}"))
    };
    let out = tempfile::tempdir().unwrap();
    let taken = |run: &Finished| {
        run.dir.read_record().unwrap().variants["at_once"].taken_from.clone().unwrap_or_default()
    };
    let first = finish(&named("one", &[]), &["at_once"], out.path(), Entry::New);
    assert_eq!(taken(&first), "");
    let second = finish(&named("two", &[]), &["at_once"], out.path(), Entry::New);
    assert!(taken(&second).contains(&first.dir.id()), "{}", taken(&second));
    let record = second.dir.read_record().unwrap();
    assert!(
        record.notes.iter().any(|note| note.contains("its training is that of at_once")),
        "{:?}",
        record.notes
    );
    let answers = |run: &Finished| std::fs::read(run.dir.path().join("at_once/samples.jsonl")).unwrap();
    assert!(!answers(&first).is_empty() && answers(&first) == answers(&second));
    let [before, now] =
        [&first, &second].map(|run| run.dir.read_record().unwrap().variants["at_once"].clone());
    assert_eq!((before.status, before.steps, before.step_ms), (now.status, now.steps, now.step_ms));
    // It goes on where it ends, and not from there where anything differs.
    let again = finish(&named("two", &[]), &["at_once"], out.path(), Entry::Resume);
    assert_eq!(taken(&again), taken(&second));
    for set in ["train.seed=5", "train.lr=0.02"] {
        assert_eq!(
            taken(&finish(&named("other", &[set]), &["at_once"], out.path(), Entry::New)),
            "",
            "{set}"
        );
    }
    let replaced = finish(&named("two", &[]), &["at_once"], out.path(), Entry::Replace);
    assert_eq!(taken(&replaced), "");
}

#[test]
fn the_curve_of_a_sample_goes_over_with_a_training_that_was_asked_in_the_same_way() {
    let out = tempfile::tempdir().unwrap();
    let asked = ["eval.every=2", "eval.sample=5"];
    let in_two = |sets: &[&str]| {
        let sets: Vec<&str> = asked.iter().chain(sets).copied().collect();
        let run = finish(&recipe(&sets), &["in_two"], out.path(), Entry::New);
        run.dir.read_record().unwrap().variants["in_two"].clone()
    };
    let first = in_two(&[]);
    let curve = first.sampled.clone().unwrap();
    let [early, late] = [1..=4, 5..=9].map(|steps| {
        let of_stage = curve.scores.iter().filter(|(step, _)| steps.contains(*step));
        of_stage.map(|(step, score)| (*step, *score)).collect::<Vec<_>>()
    });
    assert!(!early.is_empty() && !late.is_empty(), "{curve:?}");
    // The first stage is taken over with its part of the curve; the second is trained.
    let second = in_two(&["stage.tune.train.lr=0.01"]);
    assert!(second.stages["align"].taken_from.is_some() && second.stages["tune"].taken_from.is_none());
    let of_second = second.sampled.unwrap();
    assert_eq!(of_second.questions, curve.questions);
    assert!(early.iter().all(|(step, score)| of_second.scores.get(step) == Some(score)), "{of_second:?}");
    assert_eq!(of_second.scores.keys().collect::<Vec<_>>(), curve.scores.keys().collect::<Vec<_>>());

    // A whole training too; but no curve of another sample.
    let again = |name: &str, sets: &[&str]| {
        let text = format!("extends = [\"two-stages.toml\"]\nname = \"{name}\"\n[variants.at_once]\n");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(format!("{name}.toml"));
        let sets = SMALL.iter().chain(&["train.steps=6"]).chain(&asked).chain(sets);
        let sets = sets.map(|set| (*set).to_owned()).collect();
        let loaded = crossloom_recipe::load_text(&path, &text, &LoadOptions { sets });
        let run = finish(&loaded.unwrap_or_else(|e| panic!("{e}")), &["at_once"], out.path(), Entry::New);
        run.dir.read_record().unwrap().variants["at_once"].clone()
    };
    let of_whole = again("first", &[]);
    assert!(of_whole.taken_from.is_none() && of_whole.sampled.is_some());
    let same = again("same", &[]);
    assert!(same.taken_from.is_some());
    assert_eq!(same.sampled, of_whole.sampled);
    let other = again("other", &["eval.seed=3"]);
    assert!(other.taken_from.is_some() && other.sampled.is_none(), "{:?}", other.sampled);
}

#[test]
fn pairs_of_a_stage_stay_in_the_model_and_are_given_away_with_it() {
    let out = tempfile::tempdir().unwrap();
    let lora = "stage.align.train.parts.language={ trainable = false, lora = { rank = 2, targets = ['q_proj', 'down_proj'] } }";
    assert!(try_recipe(&[lora]).is_ok());
    let loaded = recipe(&[lora, "stage.tune.train.parts.language.trainable=false"]);
    let finished = finish(&loaded, &["in_two"], out.path(), Entry::New);
    let run = finished.dir.path();
    let (align, tune) = (held(&folder(run, "align", 4)), held(&folder(run, "tune", 5)));
    let pairs: Vec<&String> = align.keys().filter(|name| name.contains("lora_")).collect();
    assert_eq!(pairs.len(), 2 * 2 * 3);
    for name in &pairs {
        assert_eq!(align[*name], tune[*name], "{name} is frozen");
        assert!(floats(&tune[*name]).iter().any(|value| *value != 0.0), "{name} was trained");
    }
    let variant = finished.dir.variant("in_two").unwrap();
    let given = |what, name: &str| export(&variant, staged(&loaded), what, &out.path().join(name)).unwrap();
    let adapter = given(Export::Adapter(Scope::Language), "adapter");
    assert_eq!((adapter.tensors, adapter.steps), (pairs.len(), 9));
    // Everything that any stage trained is given: the pairs of the first, the projector of both.
    assert_eq!(given(Export::Trained, "trained").tensors, pairs.len() + 4);
    // A stage that trains them again starts from them; the base beside them may be trained too.
    let again =
        recipe(&[lora, "stage.tune.train.parts.language={ trainable = false, lora.trainable = true }"]);
    let finished = finish(&again, &["in_two"], out.path(), Entry::New);
    let tune = held(&folder(finished.dir.path(), "tune", 5));
    assert!(pairs.iter().all(|name| align[*name] != tune[*name]));
    let beside = recipe(&[lora]);
    let finished = finish(&beside, &["in_two"], out.path(), Entry::New);
    let tune = held(&folder(finished.dir.path(), "tune", 5));
    let base = "language_model.model.layers.0.self_attn.q_proj.weight";
    assert!(pairs.iter().all(|name| align[*name] == tune[*name]) && align[base] != tune[base]);
}

#[test]
fn a_run_that_is_not_done_is_asked_at_the_newest_stage_that_it_has_come_to() {
    let out = tempfile::tempdir().unwrap();
    let loaded = recipe(&[]);
    let run = interrupt(&loaded, out.path(), Entry::New, "tune", 0);
    std::fs::remove_dir_all(run.join("in_two/stages/tune")).unwrap();
    let request = Experiment { job: Job::Evaluate, ..request(&loaded, &["in_two"], out.path(), Entry::New) };
    let RunOutcome::Finished(evaluated) = request.run(&mut Unheard, &AtomicBool::new(false)).unwrap() else {
        panic!("it is evaluated")
    };
    let record = evaluated.dir.read_record().unwrap();
    assert_eq!((record.status, record.variants["in_two"].steps), (RunStatus::Interrupted, 4));
    let warnings = &evaluated.comparison.as_ref().unwrap().warnings;
    let told = "`in_two` was trained for 4 of 9 steps, up to stage `align`.";
    assert!(warnings.iter().any(|warning| warning == told), "{warnings:?}");
    let kept = resolved::load(&RunDir::open(&run).unwrap(), &[]).unwrap();
    assert_eq!(kept.training_hash(), loaded.training_hash());
    let variant = evaluated.dir.variant("in_two").unwrap();
    let trained = Trained::load(&variant, staged(&kept), Resources::default()).unwrap();
    assert_eq!(trained.stage(), Some("align"));
    // It goes on from there, and answers of a stage that is no longer the newest are not those of the run.
    let finished = finish(&loaded, &["in_two"], out.path(), Entry::Resume);
    assert_eq!(finished.variants[0].steps, 9);
    assert_eq!(Trained::load(&variant, staged(&kept), Resources::default()).unwrap().stage(), Some("tune"));
}

#[test]
fn what_cannot_be_trained_in_a_later_stage_is_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    for (set, told) in [
        (
            "stage.tune.train.parts.language.tensors=[{ match = 'nothing', trainable = false }]",
            "`nothing` matches",
        ),
        ("stage.tune.data.questions_per_sequence=40", "positions"),
    ] {
        let loaded = recipe(&[set]);
        let Err(error) = try_run(&loaded, &["in_two"], out.path(), Entry::New) else { panic!("{set} runs") };
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{set}");
    }
    // A checkpoint of another stage that is put in the place of the first is not taken for it.
    let loaded = recipe(&[]);
    let run = interrupt(&loaded, out.path(), Entry::New, "tune", 0);
    let [align, tune] = [folder(&run, "align", 4), folder(&run, "tune", 0)];
    std::fs::remove_dir_all(&align).unwrap();
    std::fs::rename(&tune, align.parent().unwrap().join("step-0")).unwrap();
    let Err(error) = try_run(&loaded, &["in_two"], out.path(), Entry::Resume) else { panic!("it runs") };
    assert!(error.to_string().contains("recipe"), "{error}");
}
