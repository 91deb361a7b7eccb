//! What of a model is trained, tensor by tensor.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::good;
use crossloom_recipe::{KeptIn, LoadOptions, Part, Recipe, Selection, load_text};

fn recipe(sets: &[&str]) -> Recipe {
    good("base.toml", sets).unwrap_or_else(|e| panic!("{e}")).variants[0].recipe.clone()
}

const Q: &str = "language_model.model.layers.1.self_attn.q_proj";

#[test]
fn lora_freezes_the_part_itself_and_trains_pairs_with_the_settings_of_the_part() {
    let recipe = recipe(&[
        "train.weight_decay=0.1",
        "train.parts.language={ lr_scale = 2, lora = { rank = 8, targets = ['q_proj', 'layers.1.mlp.up_proj'] } }",
    ]);
    let language = &recipe.train.parts.language;
    assert!(!language.trainable && language.learns() && language.keeps());
    let lora = language.lora.as_ref().unwrap();
    assert_eq!(
        (lora.rank, lora.alpha, lora.scale()),
        (8, 8.0, 1.0),
        "alpha is the rank where it is not said"
    );
    let selection = Selection::new(&recipe.train);
    assert_eq!(selection.group_of(Part::Language, &format!("{Q}.weight")), None);
    let group = &selection.groups()[selection.pairs_of(Part::Language).unwrap()];
    assert_eq!((group.name.as_str(), group.lr, group.weight_decay), ("language", 2e-3, 0.1));
    assert_eq!(selection.pairs_of(Part::Vision), None);
    assert!(selection.group_of(Part::Vision, "vision_tower.x").is_some(), "other parts are as they were");
}

#[test]
fn a_target_is_the_last_parts_of_a_name() {
    let sets = ["train.parts.language.lora={ rank = 8, targets = ['q_proj', 'layers.1.mlp.up_proj'] }"];
    let lora = recipe(&sets).train.parts.language.lora.unwrap();
    assert_eq!(lora.target_of(Q), Some(0));
    assert_eq!(lora.target_of("q_proj"), Some(0));
    assert_eq!(lora.target_of("language_model.model.layers.1.mlp.up_proj"), Some(1));
    assert_eq!(lora.target_of("language_model.model.layers.11.mlp.up_proj"), None, "11 is not 1");
    assert_eq!(lora.target_of("x.my_q_proj"), None, "a part of a part is no part");
}

#[test]
fn a_tensor_belongs_to_the_first_set_that_matches_it() {
    let recipe = recipe(&[
        "train.weight_decay=0.1",
        "train.parts.language={ dtype = 'bf16', lr_scale = 2, tensors = [{ match = '*.embed_tokens.*', trainable = false }, \
         { match = '*norm*', lr_scale = 0.5, weight_decay = 0 }, { match = '*layers.{0,1}.*', weight_decay = 0.2 }] }",
    ]);
    let selection = Selection::new(&recipe.train);
    let group = |name: &str| {
        selection.group_of(Part::Language, name).map(|index| {
            let group = &selection.groups()[index];
            (group.name.as_str(), group.lr, group.weight_decay)
        })
    };
    let embeddings = "language_model.model.embed_tokens.weight";
    assert_eq!(group(embeddings), None);
    assert_eq!(selection.kept_in(Part::Language, embeddings), Some(KeptIn::Bf16));
    let norm = "language_model.model.layers.0.input_layernorm.weight";
    assert_eq!(group(norm), Some(("language.2", 5e-4, 0.0)));
    assert_eq!(selection.kept_in(Part::Language, norm), None, "what is trained is f32");
    assert_eq!(group(&format!("{Q}.weight")), Some(("language.3", 2e-3, 0.2)));
    assert_eq!(group("language_model.model.layers.2.mlp.up_proj.weight"), Some(("language", 2e-3, 0.1)));
}

#[test]
fn sets_without_a_tensor_are_found_and_told_from_those_that_earlier_ones_hide() {
    let recipe = recipe(&[
        "train.parts.language.tensors=[{ match = '*weight' }, { match = '*q_proj*' }, { match = '*qproj*' }]",
    ]);
    let names = [(Part::Language, "a.q_proj.weight"), (Part::Vision, "b.qproj.weight")];
    let empty = Selection::new(&recipe.train).empty_sets(&names);
    let told: Vec<_> = empty.iter().map(|set| (set.pattern.as_str(), set.hidden)).collect();
    assert_eq!(told, [("*q_proj*", true), ("*qproj*", false)]);
    assert_eq!(empty[1].names, ["a.q_proj.weight"]);
}

#[test]
fn a_resolved_recipe_with_lora_and_sets_is_itself_a_recipe() {
    let sets = [
        "train.parts.vision={ lora = { rank = 4, alpha = 8, targets = ['q_proj'] }, dtype = 'bf16' }",
        "train.parts.language.tensors=[{ match = '*\"norm*', trainable = false }, { match = '*', lr_scale = 0.5 }]",
    ];
    let loaded = good("base.toml", &sets).unwrap();
    let text = loaded.variants[0].resolved_toml_with_provenance();
    let again = load_text(std::path::Path::new("again.toml"), &text, &LoadOptions::default())
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(again.variants[0].recipe, loaded.variants[0].recipe);
    assert_eq!(again.training_hash().len(), 64);
    assert_ne!(
        loaded.variants[0].recipe.training_hash(),
        recipe(&sets[..1]).training_hash(),
        "sets are part of what is trained"
    );
}

#[test]
fn a_variant_may_adapt_what_the_recipe_freezes() {
    let recipe = recipe(&[
        "train.parts.language.trainable=false",
        "train.parts.language.lora={ rank = 4, targets = ['q_proj'] }",
    ]);
    assert!(recipe.train.parts.language.learns());
}
