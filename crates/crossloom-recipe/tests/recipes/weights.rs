//! Recipes that name pretrained weights: whose dimensions count, and what identifies them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::Files;
use crossloom_recipe::{
    Architecture, Diagnostics, LanguageModel, LoadOptions, LoadedRecipe, Lora, Part, Recipe, load, load_text,
    load_with,
};

/// The base recipe without weights.
fn base() -> Recipe {
    crate::support::good("base.toml", &[]).unwrap().base
}

/// What the weights of a test are: the models of the base recipe, 128 wide the one and with five layers the other.
fn published(path: &Path) -> Result<Architecture, Vec<String>> {
    let mut model = base().model;
    model.vision.hidden = 128;
    model.language = LanguageModel { layers: 5, vocab_size: Some(300), rope_theta: 1e6, ..model.language };
    let architecture = Architecture {
        vision: Some(model.vision),
        projector: Some(model.projector),
        language: Some(model.language),
        ..Architecture::default()
    };
    match path.file_name().unwrap().to_str().unwrap() {
        "whole" => Ok(architecture),
        // Pairs beside the language model's layers.
        "adapter" => {
            let targets = vec!["q_proj".to_owned(), "v_proj".to_owned()];
            let pairs = BTreeMap::from([(
                Part::Language,
                Lora { weights: None, rank: 4, alpha: 8.0, targets, trainable: true },
            )]);
            Ok(Architecture { pairs, ..Architecture::default() })
        }
        "encoder" => Ok(Architecture { language: None, projector: None, ..architecture }),
        _ => Err(vec!["holds no `config.json`".to_owned(), "holds no weights".to_owned()]),
    }
}

fn loaded(text: &str, sets: &[&str]) -> Result<LoadedRecipe, Diagnostics> {
    let text = format!("name = \"x\"\nextends = [\"base.toml\"]\n{text}");
    let files = Files::new(&[("x.toml", &text)]);
    load_with(&files.path("x.toml"), &crate::support::options(sets), &published)
}

#[test]
fn dimensions_are_those_of_the_weights_and_earlier_layers_give_way() {
    let recipe = loaded("model.vision.weights = \"encoder\"", &[]).unwrap();
    let vision = &recipe.base.model.vision;
    assert_eq!((vision.hidden, vision.layers), (128, 4));
    assert_eq!(vision.weights.as_ref().unwrap().path, "encoder");
    assert_eq!(recipe.base.model.language, base().model.language);
    let origin = recipe.provenance.get("model.vision.hidden").unwrap();
    assert_eq!(origin.to_string(), "weights encoder, over base.toml:8");

    let whole = loaded("model.weights = { path = \"whole\" }", &[]).unwrap().base.model;
    assert_eq!((whole.vision.hidden, whole.language.layers, whole.language.vocab_size), (128, 5, Some(300)));
    assert!(whole.weights.is_some() && whole.vision.weights.is_none());
    // A part with weights of its own is not that of the whole.
    let text = "model.weights = \"whole\"\nmodel.language = { weights = \"whole\", max_positions = 99 }";
    assert_eq!(loaded(text, &[]).unwrap().base.model.language.max_positions, 99);
}

#[test]
fn what_contradicts_the_weights_is_told_with_both_values() {
    let beside = "[model.language]\nweights = \"whole\"\npreset = \"smollm2-135m\"\nrope_theta = 1000000";
    let told = loaded(beside, &[]).unwrap_err().to_string();
    assert!(told.contains("`model.language.layers` is 30, but the weights `whole` have 5"), "{told}");
    assert!(told.contains("preset smollm2-135m"), "{told}");
    // An integer and a float of the same value are the same.
    assert!(!told.contains("rope_theta"), "{told}");
    let later = loaded("model.vision.weights = \"encoder\"", &["model.vision.hidden=96"]);
    let told = later.unwrap_err().to_string();
    assert!(told.contains("`model.vision.hidden` is 96, but the weights `encoder` have 128"), "{told}");
    // What is done to a picture, and how far a sequence may go, is not fixed by weights.
    let free = loaded("model.vision.weights = \"encoder\"", &["model.vision.image_mean=[0.1, 0.2, 0.3]"]);
    assert_eq!(free.unwrap().base.model.vision.image_mean, [0.1, 0.2, 0.3]);
}

#[test]
fn a_gate_that_pools_a_pretrained_hidden_state_is_told_to_norm_it() {
    let gated = |model: &str, norm: &str| {
        let topology = format!(
            "[topology]\ntaps = [\"block.1\"]\npoints = [\"before layer.1\"]\nadapter = {{ kind = \"amp\", rank = 2 }}\n\
             gate = {{ kind = \"agf\"{norm} }}\nfusion = \"gated_add\"\n"
        );
        let told = loaded(&format!("{model}\n{topology}"), &[]).unwrap().warnings;
        told.iter().map(|one| one.message.clone()).collect::<Vec<_>>()
    };
    for model in ["model.language.weights = \"whole\"", "model.weights = \"whole\""] {
        let told = gated(model, "");
        assert!(
            matches!(&told[..], [one] if one.contains("pools the hidden state of a pretrained")),
            "{told:?}"
        );
        assert!(gated(model, ", norm = \"rms\"").is_empty());
    }
    assert!(gated("model.vision.weights = \"encoder\"", "").is_empty());
}

#[test]
fn weights_that_cannot_be_read_or_are_of_another_part_are_told_at_their_place() {
    let told = loaded("model.language.weights = \"nowhere\"\ntrain.steps = 0", &[]).unwrap_err();
    let text = told.to_string();
    assert!(text.contains("holds no `config.json`") && text.contains("holds no weights"), "{text}");
    assert!(text.contains("train.steps"), "other errors are told as well: {text}");
    let halves = loaded("model.weights = \"encoder\"", &[]).unwrap_err().to_string();
    assert!(halves.contains("have nothing for `model.language`"), "{halves}");
    for (text, reason) in [
        ("model.vision.weights = \"../encoder\"", "leaves the recipe's folder"),
        ("model.vision.weights = \"\"", "is empty"),
        ("model.vision.weights = { path = \"encoder\", hash = \"12\" }", "is no hash of weights"),
        ("data.tokenizer_hash = \"12\"", "`data.tokenizer_hash` is no hash of a tokenizer"),
        ("model.vision.weights = { hash = \"12\" }", "lacks `path`"),
        ("model.vision.weights = 3", "must be a table"),
    ] {
        let told = loaded(text, &[]).unwrap_err().to_string();
        assert!(told.contains(reason), "{text}: {told}");
    }
    let none = "data.source={ kind = 'files', format = 'llava', train = [], test = ['a'] }";
    let told = loaded("", &[none]).unwrap_err().to_string();
    assert!(told.contains("`data.source.train` names no file"), "{told}");
}

#[test]
fn an_adapter_says_rank_factor_and_targets_itself() {
    let lora = |text: &str| loaded(text, &[]).map(|loaded| loaded.base.train.parts.language.lora.unwrap());
    let read = lora("train.parts.language.lora = { weights = \"adapter\" }").unwrap();
    assert_eq!((read.rank, read.alpha, read.targets.join(" ").as_str()), (4, 8.0, "q_proj v_proj"));
    let same = "train.parts.language.lora = { weights = { path = \"adapter\" }, alpha = 8, rank = 4 }";
    assert_eq!(lora(same).unwrap(), read);
    let told =
        lora("train.parts.language.lora = { weights = \"adapter\", rank = 16, targets = [\"o_proj\"] }");
    let told = told.unwrap_err().to_string();
    assert!(
        told.contains("`train.parts.language.lora.rank` is 16, but the weights `adapter` have 4"),
        "{told}"
    );
    assert!(
        told.contains(
            "lora.targets` is [\"o_proj\"], but the weights `adapter` have [\"q_proj\",\"v_proj\"]"
        ),
        "{told}"
    );
    for (text, reason) in [
        ("train.parts.vision.lora = { weights = \"adapter\" }", "have nothing for `train.parts.vision.lora`"),
        ("train.parts.language.lora = { weights = \"whole\" }", "an adapter as PEFT writes it is expected"),
        ("train.parts.language.lora = { weights = \"nowhere\" }", "holds no weights"),
        ("train.parts.language.lora = { weights = \"../adapter\" }", "leaves the recipe's folder"),
        ("model.language.weights = \"adapter\"", "have nothing for `model.language`"),
    ] {
        let told = loaded(text, &[]).unwrap_err().to_string();
        assert!(told.contains(reason), "{text}: {told}");
    }
    // What lies there identifies a training, not where it lies; and a resolved recipe needs nobody to look there.
    let pinned = |path: &str| {
        let hash = "0".repeat(64);
        let text = format!("[train.parts.language.lora.weights]\npath = \"{path}\"\nhash = \"{hash}\"");
        loaded(&text, &[]).unwrap()
    };
    let (one, two) = (pinned("adapter"), pinned("elsewhere/adapter"));
    assert_eq!(one.training_hash(), two.training_hash());
    let resolved = one.variants[0].resolved_toml_with_provenance();
    let again = load_text(Path::new("again.toml"), &resolved, &LoadOptions::default()).unwrap();
    assert_eq!(again.base, one.base);
}

#[test]
fn pairs_of_a_stage_may_come_out_of_an_adapter_and_stay_in_later_ones() {
    let stages = |second: &str| {
        let hash = "0".repeat(64);
        let adapter = format!("{{ path = \"adapter\", hash = \"{hash}\" }}");
        let first =
            format!("[[stage]]\nname = \"one\"\ntrain.parts.language.lora = {{ weights = {adapter} }}\n");
        loaded(&format!("{first}[[stage]]\nname = \"two\"\n{second}"), &[])
    };
    let read = stages("").unwrap();
    let pairs = |stage: usize| read.base.stages[stage].train.parts.language.lora.clone().unwrap();
    assert_eq!((pairs(0).rank, pairs(0).trainable), (4, true));
    assert_eq!((pairs(1).rank, pairs(1).trainable), (4, false));
    // Its place is no part of what identifies a stage.
    let elsewhere = |stage: usize| {
        let mut moved = read.base.clone();
        for stage in &mut moved.stages {
            let weights = stage.train.parts.language.lora.as_mut().and_then(|lora| lora.weights.as_mut());
            weights.unwrap().path = "elsewhere".to_owned();
        }
        moved.by_stage()[stage].training_hash()
    };
    assert_eq!(elsewhere(0), read.base.by_stage()[0].training_hash());
    // Pairs are there already: those of another adapter would be ignored.
    let told = stages("train.parts.language.lora.weights = \"elsewhere/adapter\"").unwrap_err().to_string();
    assert!(
        told.contains("the stage `two` has pairs out of an adapter, but those that `one` has go over"),
        "{told}"
    );
}

#[test]
fn a_pattern_that_is_none_is_told_at_its_place() {
    let text =
        "model.vision.weights = { path = \"encoder\", missing = [\"a.*\", \"a.{b\"], unexpected = [\"[\"] }";
    let told = loaded(text, &[]).unwrap_err().to_string();
    assert!(told.contains("`a.{b` is no pattern of names") && told.contains("`[` is no pattern"), "{told}");
    assert!(!told.contains("`a.*`"), "{told}");
    assert!(told.contains("x.toml:3:"), "{told}");
}

#[test]
fn with_a_hash_the_place_is_no_part_of_what_identifies_a_training() {
    let hash = "0".repeat(64);
    let recipe = |path: &str, hash: &str| {
        let text = format!("[model.vision.weights]\npath = \"{path}\"\n{hash}");
        loaded(&text, &[]).unwrap().base
    };
    let pinned = |path: &str| recipe(path, &format!("hash = \"{hash}\""));
    assert_eq!(pinned("encoder").training_hash(), pinned("elsewhere/encoder").training_hash());
    assert_ne!(recipe("encoder", "").training_hash(), recipe("elsewhere/encoder", "").training_hash());
    let other = recipe("encoder", &format!("hash = \"{}\"", "1".repeat(64)));
    assert_ne!(pinned("encoder").training_hash(), other.training_hash());
}

#[test]
fn a_resolved_recipe_says_all_dimensions_and_needs_no_weights_to_be_read() {
    let text = "model.vision.weights = { path = \"encoder\", unexpected = [\"a.*\"] }";
    let first = loaded(text, &[]).unwrap();
    let resolved = first.variants[0].resolved_toml_with_provenance();
    let again = load_text(Path::new("again.toml"), &resolved, &LoadOptions::default()).unwrap();
    assert_eq!(again.base, first.base);
    // A recipe that leaves its dimensions to the weights cannot be read without them.
    let text = "name = \"x\"\nmodel.vision.weights = \"encoder\"";
    let files = Files::new(&[("x.toml", text)]);
    let told = load(&files.path("x.toml"), &LoadOptions::default()).unwrap_err().to_string();
    assert!(told.contains("`model.vision` lacks"), "{told}");
}
