#![allow(clippy::unwrap_used)]

use crossloom_recipe::{Architecture, VisionAddress};
use serde_json::json;

use super::*;
use crate::family;
use crate::peft::Pair;

/// A small LLaVA of CLIP and Llama, or, with `siglip`, of SigLIP and Qwen2.
fn architecture(siglip: bool) -> Architecture {
    let vision = if siglip { "siglip_vision_model" } else { "clip_vision_model" };
    let text = if siglip { "qwen2" } else { "llama" };
    let strategy = if siglip { "full" } else { "default" };
    let config = json!({
        "model_type": "llava", "vision_feature_layer": -2, "vision_feature_select_strategy": strategy,
        "text_config": {
            "model_type": text, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 20, "rms_norm_eps": 1e-5,
            "rope_theta": 5000.0, "max_position_embeddings": 64
        },
        "vision_config": {
            "model_type": vision, "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 10, "image_size": 4, "patch_size": 2
        }
    });
    let read = family::architecture(config.as_object().unwrap()).unwrap();
    Architecture { taps: vec![VisionAddress::Block(1)], ..read }
}

fn tensors(architecture: &Architecture) -> Tensors {
    let (vision, language) = (architecture.vision.as_ref().unwrap(), architecture.language.as_ref().unwrap());
    let (dv, d) = (vision.hidden, language.hidden);
    let tower = "vision_tower.vision_model";
    let mut all = Tensors::new();
    let mut add = |name: String, shape: &[usize]| {
        let start = all.len() as f32;
        let values = (0..shape.iter().product()).map(|i: usize| start + i as f32 / 64.0).collect();
        all.insert(name, Values { shape: shape.to_vec(), values });
    };
    add(format!("{tower}.embeddings.patch_embedding.weight"), &[dv, 3, 2, 2]);
    if vision.class_token {
        add(format!("{tower}.embeddings.class_embedding"), &[dv]);
    }
    add(
        format!("{tower}.embeddings.position_embedding.weight"),
        &[vision.tokens() + usize::from(vision.class_token), dv],
    );
    for layer in 0..2 {
        add(format!("{tower}.encoder.layers.{layer}.mlp.fc1.weight"), &[10, dv]);
        add(format!("{tower}.encoder.layers.{layer}.self_attn.q_proj.weight"), &[dv, dv]);
        let layer = format!("language_model.model.layers.{layer}");
        add(format!("{layer}.self_attn.q_proj.weight"), &[8, d]);
        add(format!("{layer}.self_attn.k_proj.weight"), &[4, d]);
        add(format!("{layer}.mlp.gate_proj.weight"), &[12, d]);
    }
    add("multi_modal_projector.linear_1.weight".to_owned(), &[d, dv]);
    add("multi_modal_projector.linear_2.weight".to_owned(), &[d, d]);
    add("language_model.model.embed_tokens.weight".to_owned(), &[20, d]);
    add("language_model.model.norm.weight".to_owned(), &[d]);
    add("language_model.lm_head.weight".to_owned(), &[20, d]);
    all
}

const TOKENS: TokenIds = TokenIds { eos: 3, pad: 0, image: 1 };

fn of(scope: Scope, tensors: &Tensors) -> Tensors {
    let part = |name: &str| match name {
        _ if name.starts_with("vision") => Part::Vision,
        _ if name.starts_with("language") => Part::Language,
        _ => Part::Projector,
    };
    tensors.iter().filter(|(name, _)| scope.holds(part(name))).map(|(n, v)| (n.clone(), v.clone())).collect()
}

#[test]
fn what_is_written_is_read_back_with_the_same_dimensions_and_values() {
    for (siglip, scope) in [
        (false, Scope::Language),
        (false, Scope::Vision),
        (false, Scope::Whole),
        (true, Scope::Language),
        (true, Scope::Vision),
        (true, Scope::Whole),
    ] {
        let architecture = architecture(siglip);
        let tensors = of(scope, &tensors(&architecture));
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("out");
        model(&folder, scope, &architecture, TOKENS, &tensors).unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing is left beside it");
        let read = Pretrained::open(&folder).unwrap_or_else(|e| panic!("{siglip} {scope:?}: {e}"));
        let (wanted, found) = (&architecture, read.architecture());
        if scope != Scope::Language {
            assert_eq!(found.vision, wanted.vision);
        }
        if scope != Scope::Vision {
            assert_eq!(found.language, wanted.language);
        }
        if scope == Scope::Whole {
            assert_eq!((&found.projector, &found.taps), (&wanted.projector, &wanted.taps));
        }
        for (name, values) in &tensors {
            let (ty, bytes) = read.tensor(name).unwrap();
            assert_eq!(ty.shape, values.shape, "{name}");
            assert_eq!(crate::values::to_f32(ty.dtype, bytes.as_ref()).unwrap(), values.values, "{name}");
        }
    }
}

#[test]
fn a_model_that_no_family_computes_is_refused_with_every_reason_and_nothing_is_written() {
    let mut odd = architecture(false);
    odd.vision.as_mut().unwrap().pre_norm = false;
    odd.projector.as_mut().unwrap().hidden = 16;
    odd.taps = vec![VisionAddress::PostNorm];
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    let error = model(&folder, Scope::Whole, &odd, TOKENS, &tensors(&odd)).unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    let mut stray = Tensors::new();
    stray.insert("injection.gate.controller.bias".to_owned(), Values { shape: vec![1], values: vec![0.0] });
    let error = model(&folder, Scope::Whole, &architecture(false), TOKENS, &stray).unwrap_err().to_string();
    assert!(error.contains("`injection.gate.controller.bias` has no name"), "{error}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    std::fs::create_dir(&folder).unwrap();
    let fine = architecture(false);
    assert!(model(&folder, Scope::Whole, &fine, TOKENS, &tensors(&fine)).is_err(), "it is there already");
}

#[test]
fn an_adapter_is_merged_into_its_base_and_into_no_other() {
    let architecture = architecture(false);
    let all = tensors(&architecture);
    let place = tempfile::tempdir().unwrap();
    let [base, adapter, out] = ["base", "adapter", "out"].map(|name| place.path().join(name));
    let linear = "language_model.model.layers.1.mlp.gate_proj";
    let half = |shape: [usize; 2]| Values { shape: shape.to_vec(), values: vec![0.5; shape[0] * shape[1]] };
    let pair = Pair { linear: linear.to_owned(), a: half([2, 8]), b: half([12, 2]), alpha: 4.0 };
    let base_tensors = of(Scope::Language, &all);
    model(&base, Scope::Language, &architecture, TOKENS, &base_tensors).unwrap();
    peft::write(&adapter, Scope::Language, None, &[pair]).unwrap();
    assert_eq!(merged(&out, &Pretrained::open(&base).unwrap(), &adapter).unwrap(), 1);
    let read = Pretrained::open(&out).unwrap();
    for (name, before) in &base_tensors {
        let (ty, bytes) = read.tensor(name).unwrap();
        let values = to_f32(ty.dtype, bytes.as_ref()).unwrap();
        let added = if *name == format!("{linear}.weight") { 1.0 } else { 0.0 };
        assert!(values.iter().zip(&before.values).all(|(after, before)| *after == before + added), "{name}");
    }
    let encoder = place.path().join("encoder");
    model(&encoder, Scope::Vision, &architecture, TOKENS, &of(Scope::Vision, &all)).unwrap();
    let elsewhere = place.path().join("elsewhere");
    let error = merged(&elsewhere, &Pretrained::open(&encoder).unwrap(), &adapter).unwrap_err().to_string();
    assert!(error.contains("`model.layers.1.mlp.gate_proj`, which the vision does not have"), "{error}");
    assert!(!elsewhere.exists());
}
