//! Models that inject vision states by themselves.

use crossloom_recipe::{Adapter, TapNorm};
use crossloom_runtime::MappedFile;

use super::*;

/// Every tensor of a model, by our names.
fn all_of(model: &Pretrained) -> Tensors {
    let values = |name: &str| {
        let (ty, bytes) = model.tensor(name).unwrap();
        Values { values: to_f32(ty.dtype, bytes.as_ref()).unwrap(), shape: ty.shape }
    };
    model.names().map(|name| (name.to_owned(), values(name))).collect()
}

/// A folder that transformers wrote.
fn written_by_transformers(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crossloom-model/tests/reference/fixtures").join(name)
}

#[test]
fn a_qwen3_vl_is_given_back_byte_for_byte_and_with_the_same_configuration() {
    let base = Pretrained::open(&written_by_transformers("qwen3_vl")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let vocab = TokenIds { eos: 3, pad: 0, image: 28 };
    model(&out, Scope::Whole, base.architecture(), vocab, &all_of(&base), &in_f32, &Beside::new()).unwrap();
    let [before, after] = [base.path(), &out].map(|folder| MappedFile::open(&folder.join(MODEL)).unwrap());
    assert!(before.header().keys().eq(after.header().keys()));
    for name in before.header().keys() {
        let [(type_before, before), (type_after, after)] =
            [&before, &after].map(|file| file.tensor(name).unwrap());
        assert_eq!((type_before, before.as_ref()), (type_after, after.as_ref()), "{name}");
    }
    assert_eq!(Pretrained::open(&out).unwrap().architecture(), base.architecture());
    let [theirs, ours] = [base.path(), &out].map(|folder| table(&folder.join(CONFIG)).unwrap());
    for (part, keys) in [
        (
            "vision_config",
            &["depth", "num_position_embeddings", "deepstack_visual_indexes", "out_hidden_size"][..],
        ),
        ("text_config", &["rope_parameters", "head_dim", "model_type"]),
    ] {
        for key in keys {
            assert_eq!(ours[part][key], theirs[part][key], "{part}.{key}");
        }
    }
    assert_eq!(ours["image_token_id"], theirs["image_token_id"]);
}

/// Granite Vision in small: one encoder head, and as many of the queries as transformers gives them.
fn granite() -> Architecture {
    let config = json!({
        "model_type": "granite4_vision", "vision_feature_select_strategy": "full", "downsample_rate": "2/4",
        "deepstack_layer_map": [[1, 4], [-1, 1]], "spatial_vision_layer": -2, "spatial_target_layers": [3, 0, 5, 2],
        "tie_word_embeddings": true,
        "text_config": {
            "model_type": "granite4_vision_text", "hidden_size": 8, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 20, "embedding_multiplier": 3.0,
            "attention_multiplier": 0.25, "residual_multiplier": 0.5, "logits_scaling": 2.0
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1,
            "intermediate_size": 12, "image_size": 16, "patch_size": 2
        },
        "qformer_config": { "intermediate_size": 24, "num_attention_heads": 2, "layer_norm_eps": 1e-11 }
    });
    family::architecture(config.as_object().unwrap()).unwrap()
}

#[test]
fn a_granite_vision_keeps_which_projector_belongs_to_which_edge() {
    let granite = granite();
    let mut tensors: Tensors = (tensors(&architecture(SIGLIP_QWEN2)).into_iter())
        .filter(|(name, _)| name.starts_with("language_model.model.") && !name.contains(".layers."))
        .collect();
    let mut add = |name: String, shape: &[usize]| {
        let start = tensors.len() as f32;
        let values = (0..shape.iter().product()).map(|i: usize| start + i as f32 / 64.0).collect();
        tensors.insert(name, Values { shape: shape.to_vec(), values });
    };
    let tower = "vision_tower.vision_model";
    add(format!("{tower}.embeddings.patch_embedding.weight"), &[128, 3, 2, 2]);
    add(format!("{tower}.embeddings.position_embedding.weight"), &[64, 128]);
    for layer in 0..2 {
        add(format!("{tower}.encoder.layers.{layer}.mlp.fc1.weight"), &[12, 128]);
        add(format!("{tower}.encoder.layers.{layer}.self_attn.q_proj.weight"), &[128, 128]);
    }
    for layer in [0, 5] {
        let layer = format!("language_model.model.layers.{layer}");
        add(format!("{layer}.self_attn.q_proj.weight"), &[8, 8]);
        add(format!("{layer}.self_attn.k_proj.weight"), &[4, 8]);
        add(format!("{layer}.mlp.gate_proj.weight"), &[12, 8]);
    }
    for (tap, point) in &granite.wiring {
        add(format!("injection.adapter.{}.{tap}.projector.query", point.name()), &[1, 4, 128]);
        add(format!("injection.adapter.{}.{tap}.norm.weight", point.name()), &[128]);
    }
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    model(&out, Scope::Whole, &granite, TOKENS, &tensors, &in_f32, &Beside::new()).unwrap();
    let read = Pretrained::open(&out).unwrap();
    assert_eq!(read.architecture(), &granite);
    let newline = Values { shape: vec![8], values: vec![0.0; 8] };
    let all = all_of(&read);
    assert_eq!(all["image_newline"], newline, "which the family has and nothing here reads");
    for (name, values) in &tensors {
        assert_eq!(&all[name], values, "{name}");
    }
    let config = table(&out.join(CONFIG)).unwrap();
    assert_eq!(config["deepstack_layer_map"], json!([[1, 4], [2, 1]]));
    assert_eq!(
        (&config["spatial_vision_layer"], &config["spatial_target_layers"]),
        (&json!(1), &json!([3, 0, 5, 2]))
    );

    // The corners' order says which projector is which, whatever the order of the wiring.
    let mut turned = granite.clone();
    turned.wiring.reverse();
    let again = place.path().join("again");
    model(&again, Scope::Whole, &turned, TOKENS, &tensors, &in_f32, &Beside::new()).unwrap();
    let corner = all_of(&Pretrained::open(&again).unwrap());
    let name = "injection.adapter.layer.0.block.1.projector.query";
    assert_eq!(corner[name], tensors[name]);
}

#[test]
fn an_injection_that_no_family_has_is_refused_with_every_reason() {
    let qwen = Pretrained::open(&written_by_transformers("qwen3_vl")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let refused = |architecture: &Architecture| {
        let out = place.path().join("out");
        let error = model(&out, Scope::Whole, architecture, TOKENS, &all_of(&qwen), &in_f32, &Beside::new())
            .unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    let mut other = qwen.architecture().clone();
    other.wiring.reverse();
    other.taps = vec![VisionAddress::Block(1)];
    other.adapter = Some(Adapter::Shared { tap_norm: TapNorm::Merged });
    let error = refused(&other);
    for part in ["behind the layers 0, 1, 2", "other states than the last", "not a projector per tap"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let mut llava = architecture(CLIP_LLAMA);
    llava.wiring = qwen.architecture().wiring.clone();
    assert!(refused(&llava).contains("which no LLaVA does"));
    let mut three = granite();
    three.wiring.pop();
    let error = refused(&three);
    assert!(error.contains("not four points whose queries begin at corners"), "{error}");
}

/// PEFT's adapter over a base that keeps three layers of ours as one, and whose injection has layers too.
#[test]
fn an_adapter_is_merged_into_a_qwen3_vl() {
    let base = Pretrained::open(&written_by_transformers("qwen3_vl")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let [adapter, out] = ["adapter", "out"].map(|name| place.path().join(name));
    std::fs::create_dir(&adapter).unwrap();
    let config = json!({ "peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["qkv"] });
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut pairs = Tensors::new();
    let modules = [
        ("model.visual.blocks.1.attn.qkv", [48, 16]),
        ("model.visual.deepstack_merger_list.1.linear_fc2", [20, 64]),
        ("model.language_model.layers.0.self_attn.v_proj", [20, 20]),
    ];
    for (module, [out, fan_in]) in modules {
        let name = |letter: &str| format!("base_model.model.{module}.lora_{letter}.weight");
        pairs.insert(name("A"), Values { shape: vec![1, fan_in], values: vec![1.0; fan_in] });
        pairs.insert(
            name("B"),
            Values { shape: vec![out, 1], values: (0..out).map(|row| row as f32).collect() },
        );
    }
    save(&adapter.join("adapter_model.safetensors"), &as_they_are(&pairs)).unwrap();
    assert_eq!(merged(&out, &base, &adapter, KeptIn::F32).unwrap(), 5, "three of one, and two");
    let [before, after] = [base.path(), &out].map(|folder| MappedFile::open(&folder.join(MODEL)).unwrap());
    for name in before.header().keys() {
        let [before, after] = [&before, &after].map(|file| {
            let (ty, bytes) = file.tensor(name).unwrap();
            (to_f32(ty.dtype, bytes.as_ref()).unwrap(), ty.shape)
        });
        let adapted = modules.iter().find(|(module, _)| *name == format!("{module}.weight"));
        let width = before.1.last().copied().unwrap_or(1);
        for (at, (before, after)) in before.0.iter().zip(&after.0).enumerate() {
            let added = adapted.map_or(0.0, |_| 2.0 * (at / width) as f64);
            assert_eq!(*after, (f64::from(*before) + added) as f32, "{name}, {at}");
        }
    }
    assert_eq!(Pretrained::open(&out).unwrap().architecture(), base.architecture());
}
