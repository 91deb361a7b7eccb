//! Stages: over the recipe, by layers, by variant, by override; what each of them is known by.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

use crate::support::Files;
use crossloom_recipe::{LoadOptions, LoadedRecipe, Part, Recipe, load_text};

const TWO: &str = r#"
extends = ["base.toml"]
name = "two"

[train]
clip_norm = 1.0

[[stage]]
name = "align"
[stage.train]
steps = 20
lr = 1e-2
parts.language.trainable = false
[stage.data]
source = { kind = "synthetic", train_images = 8 }

[[stage]]
name = "tune"
[stage.train]
steps = 50
"#;

fn load(text: &str, sets: &[&str]) -> Result<LoadedRecipe, String> {
    Files::new(&[("a.toml", text)]).load("a.toml", sets)
}

fn two(sets: &[&str]) -> Recipe {
    load(TWO, sets).unwrap_or_else(|e| panic!("{e}")).variants[0].recipe.clone()
}

fn steps(recipe: &Recipe) -> Vec<(String, u64)> {
    recipe.stages.iter().map(|stage| (stage.name.clone(), stage.train.steps)).collect()
}

#[test]
fn a_stage_says_what_differs_and_has_the_rest_from_the_recipe() {
    let recipe = two(&[]);
    let [align, tune] = &recipe.by_stage()[..] else { panic!("two stages") };
    assert_eq!((align.train.steps, tune.train.steps, recipe.all_steps()), (20, 50, 70));
    assert_eq!((align.train.lr, align.train.clip_norm), (1e-2, Some(1.0)));
    assert_eq!((tune.train.clip_norm, tune.train.batch_size), (Some(1.0), align.train.batch_size));
    assert!(!align.train.parts.language.trainable && tune.train.parts.language.trainable);
    assert_ne!(align.data.source, tune.data.source);
    assert_eq!(align.model, tune.model);
    assert_eq!(
        (&recipe.train, &recipe.data),
        (&tune.train, &tune.data),
        "what is evaluated is the last stage"
    );
    assert_eq!((align.stage(), align.stages.len(), tune.stage()), (Some("align"), 1, Some("tune")));
}

#[test]
fn a_recipe_without_stages_is_its_only_stage_and_no_setting_is_missing_where_all_stages_have_it() {
    let loaded = load("extends = [\"base.toml\"]\nname = \"one\"", &[]).unwrap();
    let recipe = &loaded.variants[0].recipe;
    assert_eq!((recipe.by_stage(), recipe.stage()), (vec![recipe.clone()], None));
    assert_eq!((recipe.all_steps(), recipe.order_seed()), (recipe.train.steps, recipe.data.seed));
    assert!(!loaded.variants[0].resolved_toml_with_provenance().contains("stage"));
    let text = std::fs::read_to_string(crate::support::folder("good").join("base.toml")).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("steps")).collect();
    let without = without.join("\n");
    assert!(without.len() + 1 < text.len());
    let stages = "\n[[stage]]\nname = \"a\"\ntrain.steps = 40\n[[stage]]\nname = \"b\"\ntrain.steps = 60\n";
    assert_eq!(load(&format!("{without}{stages}"), &[]).unwrap().variants[0].recipe.all_steps(), 100);
    assert!(load(&without, &[]).unwrap_err().contains("`train` lacks `steps`"));
}

#[test]
fn overrides_variants_and_sweeps_reach_into_one_stage_and_lists_replace() {
    let named = |name: &str, steps: u64| (name.to_owned(), steps);
    let set = two(&["stage.align.train.steps=7", "train.eps=1e-6"]);
    assert_eq!(steps(&set), [named("align", 7), named("tune", 50)]);
    assert!(set.stages.iter().all(|stage| stage.train.eps == 1e-6));
    assert_eq!(steps(&two(&["stage=[{ name = 'only' }]"])).len(), 1);

    let text = format!(
        "{TWO}{}",
        r#"
        [variants.both]
        [variants.longer]
        stage.tune.train.steps = 90
        [variants.one]
        stage = []
        train.steps = 60
        [variants.other]
        stage = [{ name = "first", train.steps = 5 }, { name = "tune" }]
        [sweep]
        variants = ["both"]
        matrix."stage.tune.train.lr" = [0.25, 0.5]
        matrix.stage.align.train.lr = [0.125]
        "#
    );
    let loaded = load(&text, &["stage.align.train.batch_size=3"]).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = loaded.variants.iter().map(|variant| variant.name.as_str()).collect();
    let [low, high] =
        ["both,tune.train.lr=0.25,align.train.lr=0.125", "both,tune.train.lr=0.5,align.train.lr=0.125"];
    assert_eq!(names, [low, high, "longer", "one", "other"]);
    let of = |name: &str| loaded.variant(name).unwrap().recipe.clone();
    assert_eq!((of(high).train.lr, of(high).stages[0].train.lr), (0.5, 0.125));
    assert_eq!(steps(&of("longer")), [named("align", 20), named("tune", 90)]);
    assert_eq!((of("one").stages.len(), of("one").train.steps), (0, 60));
    assert_eq!(steps(&of("other"))[0], named("first", 5));
    assert_eq!((of("longer").stages[0].train.batch_size, of("other").stages[0].train.batch_size), (3, 4));
    // A file that extends one with stages says more of them, or has its own.
    let files = Files::new(&[
        ("a.toml", TWO),
        ("b.toml", "extends = [\"a.toml\"]\nname = \"b\"\nstage.tune.train.steps = 5"),
        ("c.toml", "extends = [\"a.toml\"]\nname = \"c\"\n[[stage]]\nname = \"x\""),
    ]);
    let b = files.load("b.toml", &[]).unwrap().variants[0].recipe.clone();
    assert_eq!(steps(&b), [named("align", 20), named("tune", 5)]);
    assert_eq!(files.load("c.toml", &[]).unwrap().variants[0].recipe.stages.len(), 1);
}

#[test]
fn a_resolved_recipe_with_stages_is_a_recipe_that_says_where_everything_comes_from() {
    // What one stage has and another has not, stays so.
    let sets =
        ["stage.align.train.parts.vision.dtype=bf16", "stage.align.train.parts.vision.trainable=false"];
    let loaded = load(TWO, &sets).unwrap();
    let variant = &loaded.variants[0];
    let text = variant.resolved_toml_with_provenance();
    let again = load_text(std::path::Path::new("kept"), &text, &LoadOptions::default());
    let again = again.unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(again.base, variant.recipe);
    assert_eq!(again.variants[0].recipe.content_hash(), variant.recipe.content_hash());
    let origin = |path: &str| variant.provenance.get(path).unwrap().to_string();
    assert_eq!(origin("stage.align.train.steps"), "a.toml:11, over base.toml:24");
    assert_eq!(origin("stage.tune.train.clip_norm"), "a.toml:6");
    assert_eq!(origin("train.steps"), origin("stage.tune.train.steps"));
    assert_eq!(origin("stage.align.train.parts.vision.dtype"), "--set");
    let line = text.lines().find(|line| line.starts_with("steps = 20")).unwrap();
    assert!(line.ends_with("# a.toml:11, over base.toml:24"), "{line}");
}

#[test]
fn a_stage_is_known_by_itself_and_those_before_it() {
    let hashes =
        |sets: &[&str]| -> Vec<String> { two(sets).by_stage().iter().map(Recipe::training_hash).collect() };
    let before = hashes(&[]);
    assert_ne!(before[0], before[1]);
    assert_eq!(two(&[]).training_hash(), before[1]);
    for (set, same) in [
        ("stage.tune.train.lr=0.5", [true, false]),
        ("stage.tune.data.train_limit=3", [true, false]),
        ("stage.align.train.lr=0.5", [false, false]),
        ("train.weight_decay=0.5", [false, false]),
        ("model.language.heads=2", [false, false]),
        ("stage.align.train.log_every=7", [true, true]),
        ("train.checkpoint_every=7", [true, true]),
        ("eval.limit=7", [true, true]),
        ("eval.every=1", [true, true]),
        ("eval.sample=7", [true, true]),
        ("eval.cache=bf16", [true, true]),
    ] {
        let after = hashes(&[set]);
        assert_eq!([after[0] == before[0], after[1] == before[1]], same, "{set}");
    }
    // A last stage with a constant rate can be extended; an earlier one is what the later ones start from.
    let constant = ["train.schedule=constant", "train.warmup=2"];
    let extended = |set: &str| hashes(&[constant[0], constant[1], set]);
    let before = hashes(&constant);
    assert_eq!(extended("stage.tune.train.steps=51"), before);
    let after = extended("stage.align.train.steps=21");
    assert_eq!([after[0] == before[0], after[1] == before[1]], [true, false]);
    // The same settings under other names are drawn in another order.
    let renamed = load(&TWO.replace("\"tune\"", "\"more\""), &[]).unwrap();
    assert_ne!(renamed.variants[0].recipe.training_hash(), two(&[]).training_hash());
}

#[test]
fn every_stage_has_an_order_of_its_own_and_the_first_that_of_a_recipe_without() {
    let stages = two(&["data.seed=11"]).by_stage();
    assert_eq!(stages[0].order_seed(), 11);
    assert!(stages[1].order_seed() != 11 && stages[1].order_seed() < 1 << 53);
    assert_ne!(stages[1].order_seed(), two(&["data.seed=12"]).by_stage()[1].order_seed());
}

#[test]
fn pairs_of_a_stage_stay_frozen_in_the_model_until_one_trains_them_again() {
    let lora = "stage.align.train.parts.language={ lora = { rank = 2, targets = ['q_proj'] } }";
    // The language model is not `trainable = false` any more: `lora` says what of it is trained.
    let text = TWO.replace("parts.language.trainable = false\n", "");
    let third = format!(
        "{text}[[stage]]\nname = \"third\"\ntrain.parts.language.lora = {{ rank = 2, targets = ['q_proj', 'v_proj'] }}\n"
    );
    let loaded = load(&third, &[lora]).unwrap_or_else(|e| panic!("{e}"));
    let recipe = &loaded.variants[0].recipe;
    let language = |stage: usize| recipe.stages[stage].train.parts.get(Part::Language);
    assert!(language(0).trains_pairs() && !language(0).trainable);
    let kept = language(1).lora.as_ref().unwrap();
    assert!(!kept.trainable && kept.rank == 2 && kept.targets == ["q_proj"]);
    assert!(language(1).trainable, "the recipe's own word on the language model holds");
    assert!(language(2).trains_pairs() && !language(2).trainable);
    let again = loaded.variants[0].resolved_toml_with_provenance();
    let again = load_text(std::path::Path::new("kept"), &again, &LoadOptions::default()).unwrap();
    assert_eq!(again.base, *recipe);
    assert!(
        load(&text, &[lora, "stage.tune.train.parts.language.lora={ rank = 4, targets = ['q_proj'] }"])
            .is_err()
    );
}
