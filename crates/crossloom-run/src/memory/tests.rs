#![allow(clippy::unwrap_used)]

use std::path::Path;

use crossloom_compiler::{NullTarget, Plan, Target};
use crossloom_recipe::{LoadOptions, Part, load};
use crossloom_runtime::NullDevice;

use super::*;

/// What the process of these tests holds, as far as they are concerned: what it really holds changes with the tests that run beside.
const HELD: u64 = 100 << 20;

fn recipe(sets: &[&str]) -> Recipe {
    of("synthetic.toml", sets)
}

fn of(file: &str, sets: &[&str]) -> Recipe {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(file);
    let options = LoadOptions { sets: sets.iter().map(|&set| set.to_owned()).collect() };
    load(&path, &options).unwrap().variant("cli").unwrap().recipe.clone()
}

fn programs(recipe: &Recipe) -> Programs {
    let shapes = Shapes::of(recipe).unwrap();
    Programs::to_train(recipe, shapes.batch, shapes.vocab, None, &NullTarget).unwrap()
}

#[test]
fn sessions_share_weights_and_the_largest_arena_and_have_inputs_of_their_own() {
    let programs = programs(&recipe(&["train.accumulate=2", "data.validation=0.1"]));
    let need = need(&programs, DataNeed::default());
    let plans: Vec<&Plan> = programs.plans().collect();
    assert_eq!(plans.len(), 7, "encode, connect, prefill, decode, step, apply, held out");
    let largest = plans.iter().filter_map(|plan| plan.arena_bytes()).max().unwrap();
    assert_eq!(need.of("activations and gradients") + need.of("scratch"), largest as u64);
    let inputs = plans.iter().flat_map(|plan| {
        let inputs = plan.func.params().iter().filter(|param| param.role == Role::Input);
        inputs.map(|param| plan.func.ty(param.value).bytes() as u64)
    });
    assert_eq!(need.of("inputs"), inputs.sum::<u64>());
    let weights: usize = programs.params.iter().map(|param| 4 * param.shape.iter().product::<usize>()).sum();
    assert_eq!(need.of("weights"), weights as u64);
}

#[test]
fn what_is_frozen_has_no_moments_no_gradients_and_no_accumulators() {
    let all = programs(&recipe(&["train.accumulate=2"]));
    let frozen = programs(&recipe(&["train.accumulate=2", "train.parts.vision.trainable=false"]));
    let vision: Vec<&str> =
        all.params.iter().filter(|p| p.part == Part::Vision).map(|p| p.name.as_str()).collect();
    assert!(!vision.is_empty());
    let state_of = |programs: &Programs| {
        let params = programs.plans().flat_map(|plan| plan.func.params());
        let states = params.filter(|param| param.role == Role::State).map(|param| param.name.clone());
        let of_vision = states.filter(|name| vision.iter().any(|weight| name.ends_with(weight)));
        of_vision.collect::<Vec<_>>()
    };
    assert!(!state_of(&all).is_empty());
    assert_eq!(state_of(&frozen), Vec::<String>::new());
    let (all, frozen) = (need(&all, DataNeed::default()), need(&frozen, DataNeed::default()));
    assert!(frozen.of("optimizer") < all.of("optimizer"));
    assert!(frozen.of("activations and gradients") < all.of("activations and gradients"));
    assert_eq!(frozen.of("weights"), all.of("weights"));
}

#[test]
fn a_budget_of_zero_and_a_full_machine_are_refused_with_their_source() {
    let programs = programs(&recipe(&[]));
    let memory = Memory::new(&programs, DataNeed::default(), HELD);
    let error = memory.check(&NullDevice::default(), &[]).unwrap_err();
    assert!(error.to_string().contains("device `null`"), "{error}");
    let cpu = Backend::Cpu.device().unwrap();
    assert_eq!(memory.check(&*cpu, &[]), Ok(()));
    let error = memory.check(&*cpu, &[Limit::budget(0)]).unwrap_err();
    assert_eq!(error.need.total(), memory.need.total(), "all of it counts on the processor");
    assert!(error.to_string().contains("the memory budget"), "{error}");
    // What the process has already is part of the need, and of what it may have.
    let rest = memory.need.total() - memory.held;
    assert_eq!(memory.check(&*cpu, &[Limit::budget(rest)]), Ok(()));
    assert!(memory.check(&*cpu, &[Limit::budget(rest - 1)]).is_err());
}

#[test]
fn what_is_expected_of_data_is_near_what_is_read() {
    let recipe = recipe(&["data.validation=0.1"]);
    let data = Data::load(&recipe, Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(&recipe).unwrap();
    let read = DataNeed::of(&recipe, &data, &plan);
    let expected = DataNeed::expected(&recipe, Shapes::of(&recipe).unwrap().batch);
    let near = |a: u64, b: u64| a.abs_diff(b) as f64 <= 0.1 * a.max(b) as f64;
    assert!(near(read.content, expected.content), "{read:?} {expected:?}");
    assert!(near(read.batches, expected.batches), "{read:?} {expected:?}");
    let pixels = data.images(Split::Train).0.images().bytes() + data.images(Split::Test).0.images().bytes();
    assert!(read.content > pixels);
}

/// What the quickstart's step holds in 16 bits, of what it holds in 32, where every op has a kernel for both.
#[test]
fn a_step_in_16_bits_holds_two_thirds_of_its_activations_at_most() {
    for target in [&NullTarget as &dyn Target, Backend::default().target()] {
        let held = ["f32", "bf16"].map(|precision| {
            let recipe = of("quickstart.toml", &[&format!("train.precision={precision}")]);
            let shapes = Shapes::of(&recipe).unwrap();
            let programs = Programs::to_train(&recipe, shapes.batch, shapes.vocab, None, target).unwrap();
            need(&programs, DataNeed::default())
        });
        let [wide, low] = held.each_ref().map(|need| need.of("activations and gradients") as f64);
        assert!(low <= 0.65 * wide, "{}: {low} of {wide} bytes", target.name());
        let [none, copies] = held.each_ref().map(|need| need.of(limits::COPIES));
        assert!(none == 0 && copies > 0 && 2 * copies <= held[0].of("weights"), "{none}, {copies}");
        assert_eq!(held[0].of("optimizer"), held[1].of("optimizer"));
    }
}

#[test]
fn features_are_those_of_pictures_that_are_asked_about() {
    let features = |sets: &[&str]| {
        let recipe = recipe(sets);
        let shape = Shapes::of(&recipe).unwrap().batch;
        need(&programs(&recipe), DataNeed::expected(&recipe, shape)).of("features")
    };
    let (all, three) = (features(&[]), features(&["eval.limit=3"]));
    assert!(three > 0 && three * 250 == all * 3, "{three} of 3 pictures, {all} of 250");
    assert_eq!(features(&["eval.limit=100000"]), all, "there are not more");
}

#[test]
fn pictures_that_training_reads_are_held_too_up_to_the_budget() {
    let frozen = recipe(&["train.parts.vision.trainable=false", "data.validation=0.1"]);
    let programs = programs(&frozen);
    let data = DataNeed::expected(&frozen, Shapes::of(&frozen).unwrap().batch);
    let held = |memory: Option<u64>| {
        let budget = PictureBudget { memory, disk: None };
        let data = DataNeed { budget, ..data };
        assert_eq!(need(&programs, data).of("features"), data.held(&programs).0);
        data.held(&programs)
    };
    let vision = &frozen.model.vision;
    // The tap that is the input too is held once.
    let states = crossloom_model::tapped(&frozen).len();
    let pictures = data.pictures + data.trained;
    assert!(data.trained > data.pictures && data.pictures > 0);
    let all = (4 * states * vision.tokens() * vision.hidden * pictures) as u64;
    assert_eq!(held(None), (all, false));
    assert_eq!(held(Some(all)), (all, false));
    assert_eq!(held(Some(all - 1)), (all - 1, true), "the rest is for the disk");
}

#[test]
fn what_would_not_fit_computes_again_and_what_cannot_fit_is_refused() {
    let recipe = recipe(&["train.batch_size=64"]);
    let cpu = Backend::Cpu.device().unwrap();
    let name = "cli";
    let held = |budget: Option<u64>| {
        let mut programs = programs(&recipe);
        let resources = Resources { budget, ..Resources::default() };
        fits_beside(HELD, name, &mut programs, DataNeed::default(), &*cpu, resources)
    };
    let whole = held(None).unwrap();
    assert_eq!(whole.notes, Vec::<String>::new());
    let arena = whole.need.of("activations and gradients") + whole.need.of("scratch");
    let fitting = held(Some(whole.need.total() - arena / 3)).unwrap();
    let squeezed = fitting.need.of("activations and gradients") + fitting.need.of("scratch");
    assert!(squeezed < arena * 4 / 5, "{squeezed} of {arena}");
    let [note] = &fitting.notes[..] else { panic!("{:?}", fitting.notes) };
    assert!(note.starts_with("`cli` computes ") && note.contains("% of a step's operations"), "{note}");
    for zero in [0, whole.need.total() - arena] {
        let Err(ExperimentError::DoesNotFit { error, .. }) = held(Some(zero)) else { panic!("{zero} fits") };
        assert!(error.to_string().contains("the memory budget"), "{error}");
        assert!(error.need.total() < whole.need.total(), "the least that is needed is told");
    }
    let forced = Resources { budget: Some(0), force_memory: true, ..Resources::default() };
    let forced = fits_beside(HELD, name, &mut programs(&recipe), DataNeed::default(), &*cpu, forced).unwrap();
    assert!(forced.notes.len() == 2 && forced.notes[1].contains("was tried although"), "{:?}", forced.notes);
}

#[test]
fn what_is_expected_under_a_budget_is_what_a_run_holds() {
    let recipe = recipe(&["train.batch_size=64"]);
    let shapes = Shapes::of(&recipe).unwrap();
    let expect = |budget| {
        let Expected { need, squeezed, .. } = expected(&recipe, shapes, Backend::Cpu, budget).unwrap();
        (need, squeezed)
    };
    let (whole, none) = expect(None);
    assert_eq!((none, expect(Some(whole.total()))), (None, (whole.clone(), None)));
    let budget = whole.total() * 3 / 4;
    let (less, arena) = expect(Some(budget));
    assert!(less.total() <= budget && arena.is_some());
    for purpose in ["weights", "optimizer", "inputs", "data", "features"] {
        assert_eq!(less.of(purpose), whole.of(purpose), "{purpose}");
    }
}
