#![allow(clippy::unwrap_used)]

mod injecting;

use crossloom_recipe::{Architecture, VisionAddress};
use serde_json::json;

use super::*;
use crate::family;
use crate::peft::Pair;

const CLIP_LLAMA: [&str; 2] = ["clip_vision_model", "llama"];
const SIGLIP_QWEN2: [&str; 2] = ["siglip_vision_model", "qwen2"];
const DINOV2_QWEN3: [&str; 2] = ["dinov2", "qwen3"];

/// A small LLaVA of an encoder and a language model.
fn architecture([vision, text]: [&str; 2]) -> Architecture {
    let strategy = if vision == SIGLIP_QWEN2[0] { "full" } else { "default" };
    let config = json!({
        "model_type": "llava", "vision_feature_layer": -2, "vision_feature_select_strategy": strategy,
        "text_config": {
            "model_type": text, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 2, "intermediate_size": 12, "vocab_size": 20, "rms_norm_eps": 1e-5,
            "rope_theta": 5000.0, "max_position_embeddings": 64
        },
        "vision_config": {
            "model_type": vision, "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 12, "mlp_ratio": 2, "image_size": 4, "patch_size": 2
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
        add(format!("{tower}.encoder.layers.{layer}.mlp.fc1.weight"), &[12, dv]);
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

fn in_f32(_: &str) -> DType {
    DType::F32
}

const BASE: peft::Base<'_> = peft::Base { scope: Scope::Language, tower: peft::Tower::Clip, path: None };
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
    let families = [CLIP_LLAMA, SIGLIP_QWEN2, DINOV2_QWEN3];
    for (family, scope) in families.into_iter().flat_map(|family| Scope::ALL.map(|scope| (family, scope))) {
        let architecture = architecture(family);
        let tensors = of(scope, &tensors(&architecture));
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("out");
        model(&folder, scope, &architecture, TOKENS, &tensors, &in_f32, &Beside::new()).unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing is left beside it");
        let read = Pretrained::open(&folder).unwrap_or_else(|e| panic!("{family:?} {scope:?}: {e}"));
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
    let mut odd = architecture(CLIP_LLAMA);
    odd.vision.as_mut().unwrap().pre_norm = false;
    odd.projector.as_mut().unwrap().hidden = 16;
    odd.taps = vec![VisionAddress::PostNorm];
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    let error =
        model(&folder, Scope::Whole, &odd, TOKENS, &tensors(&odd), &in_f32, &Beside::new()).unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    let mut stray = Tensors::new();
    stray.insert("injection.gate.controller.bias".to_owned(), Values { shape: vec![1], values: vec![0.0] });
    let error =
        model(&folder, Scope::Whole, &architecture(CLIP_LLAMA), TOKENS, &stray, &in_f32, &Beside::new())
            .unwrap_err()
            .to_string();
    assert!(error.contains("`injection.gate.controller.bias` has no name"), "{error}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    std::fs::create_dir(&folder).unwrap();
    let fine = architecture(CLIP_LLAMA);
    assert!(
        model(&folder, Scope::Whole, &fine, TOKENS, &tensors(&fine), &in_f32, &Beside::new()).is_err(),
        "it is there already"
    );
}

#[test]
fn an_adapter_is_merged_into_its_base_and_into_no_other() {
    let architecture = architecture(CLIP_LLAMA);
    let all = tensors(&architecture);
    let place = tempfile::tempdir().unwrap();
    let [base, adapter, out] = ["base", "adapter", "out"].map(|name| place.path().join(name));
    let linear = "language_model.model.layers.1.mlp.gate_proj";
    let half = |shape: [usize; 2]| Values { shape: shape.to_vec(), values: vec![0.5; shape[0] * shape[1]] };
    let pair = Pair { linear: linear.to_owned(), a: half([2, 8]), b: half([12, 2]), alpha: 4.0 };
    let base_tensors = of(Scope::Language, &all);
    model(&base, Scope::Language, &architecture, TOKENS, &base_tensors, &in_f32, &Beside::new()).unwrap();
    peft::write(&adapter, BASE, &[pair]).unwrap();
    assert_eq!(merged(&out, &Pretrained::open(&base).unwrap(), &adapter, KeptIn::F32).unwrap(), 1);
    let read = Pretrained::open(&out).unwrap();
    for (name, before) in &base_tensors {
        let (ty, bytes) = read.tensor(name).unwrap();
        let values = to_f32(ty.dtype, bytes.as_ref()).unwrap();
        let added = if *name == format!("{linear}.weight") { 1.0 } else { 0.0 };
        assert!(values.iter().zip(&before.values).all(|(after, before)| *after == before + added), "{name}");
    }
    let encoder = place.path().join("encoder");
    model(&encoder, Scope::Vision, &architecture, TOKENS, &of(Scope::Vision, &all), &in_f32, &Beside::new())
        .unwrap();
    let elsewhere = place.path().join("elsewhere");
    let error = merged(&elsewhere, &Pretrained::open(&encoder).unwrap(), &adapter, KeptIn::F32)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`model.layers.1.mlp.gate_proj`, which the vision does not have"), "{error}");
    assert!(!elsewhere.exists());
}

#[test]
fn a_base_in_16_bits_is_given_back_in_them_where_that_is_asked_for() {
    let architecture = architecture(CLIP_LLAMA);
    let tensors = of(Scope::Language, &tensors(&architecture));
    let place = tempfile::tempdir().unwrap();
    let [base, adapter, same, wide] = ["base", "adapter", "same", "wide"].map(|name| place.path().join(name));
    let dtype = |folder: &Path| table(&folder.join(CONFIG)).unwrap()["dtype"].as_str().unwrap().to_owned();
    model(&base, Scope::Language, &architecture, TOKENS, &tensors, &|_| DType::Bf16, &Beside::new()).unwrap();
    assert_eq!(dtype(&base), "bfloat16");
    let linear = "language_model.model.layers.0.self_attn.k_proj";
    let half = |shape: [usize; 2]| Values { shape: shape.to_vec(), values: vec![0.25; shape[0] * shape[1]] };
    let pair = Pair { linear: linear.to_owned(), a: half([2, 8]), b: half([4, 2]), alpha: 2.0 };
    peft::write(&adapter, BASE, &[pair]).unwrap();
    let opened = Pretrained::open(&base).unwrap();
    merged(&same, &opened, &adapter, KeptIn::File).unwrap();
    merged(&wide, &opened, &adapter, KeptIn::F32).unwrap();
    assert_eq!((dtype(&same).as_str(), dtype(&wide).as_str()), ("bfloat16", "float32"));
    let (same, wide) = (Pretrained::open(&same).unwrap(), Pretrained::open(&wide).unwrap());
    for name in opened.names() {
        let [before, after, exact] = [&opened, &same, &wide].map(|model| model.tensor(name).unwrap());
        assert_eq!((after.0.dtype, exact.0.dtype), (DType::Bf16, DType::F32), "{name}");
        let rounded = converted(DType::F32, exact.1.as_ref(), DType::Bf16).unwrap();
        assert_eq!(after.1.as_ref(), rounded, "{name}");
        let adapted = *name == format!("{linear}.weight");
        assert_eq!(before.1.as_ref() == after.1.as_ref(), !adapted, "{name}");
    }
    // One tensor in f32 among others in 16 bits: loaded as the one type that holds both.
    let mixed = place.path().join("mixed");
    let type_of = |name: &str| if name.contains("norm") { DType::F32 } else { DType::F16 };
    model(&mixed, Scope::Language, &architecture, TOKENS, &tensors, &type_of, &Beside::new()).unwrap();
    assert_eq!(dtype(&mixed), "float32");
    assert_eq!(written_in(KeptIn::File, Some(DType::Q4K)), DType::F32);
}
