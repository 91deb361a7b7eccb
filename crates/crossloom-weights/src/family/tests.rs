#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use crossloom_recipe::{
    Adapter, LanguageFamily, LoadOptions, PointAddress, PositionResample, Tap, TapNorm, Topology,
    VisionAddress, load_with,
};
use serde_json::{Value, json};

use super::*;

fn read_json(value: Value) -> Result<Architecture, Vec<String>> {
    let Value::Object(values) = value else { panic!("a table") };
    architecture(&values)
}

/// The configuration of LLaVA-1.5-7B as it is published: most of Vicuna's dimensions are the defaults of Llama.
#[test]
fn llava_1_5_7b_is_what_its_paper_says() {
    let read = read_json(json!({
        "model_type": "llava", "image_token_index": 32000, "projector_hidden_act": "gelu",
        "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
        "tie_word_embeddings": false,
        "text_config": {
            "model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "vocab_size": 32064
        },
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336,
            "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
            "projection_dim": 768, "vocab_size": 32000
        }
    }))
    .unwrap();
    let (vision, language) = (read.vision.unwrap(), read.language.unwrap());
    assert_eq!((vision.hidden, vision.layers, vision.heads, vision.mlp), (1024, 24, 16, 4096));
    assert_eq!((vision.tokens(), vision.class_token, vision.patch_bias), (576, true, false));
    assert_eq!(vision.activation, MlpActivation::QuickGelu);
    assert_eq!((language.hidden, language.layers, language.heads, language.kv_heads), (4096, 32, 32, 32));
    assert_eq!((language.head_dim, language.mlp, language.vocab_size), (128, 11008, Some(32064)));
    assert_eq!((language.rope_theta, language.norm_eps, language.tie_embeddings), (1e4, 1e-5, false));
    assert_eq!(read.projector.unwrap().activation, MlpActivation::GeluErf);
    assert_eq!(read.taps, [VisionAddress::Block(23)]);
}

#[test]
fn all_minilm_l6_v2_is_a_sentence_encoder_and_what_stands_beside_its_configuration_counts() {
    let config = json!({
        "model_type": "bert", "architectures": ["BertModel"], "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512, "type_vocab_size": 2, "vocab_size": 30522, "position_embedding_type": "absolute"
    });
    let read = read_json(config.clone()).unwrap();
    assert!(read.vision.is_none() && read.language.is_none());
    let plain = read.text_encoder.unwrap();
    assert_eq!((plain.hidden, plain.layers, plain.heads, plain.mlp, plain.types), (384, 6, 12, 1536, 2));
    assert_eq!((plain.vocab_size, plain.max_positions, plain.norm_eps), (30522, 512, 1e-12));
    assert_eq!((plain.activation, plain.max_tokens, plain.normalized), (MlpActivation::GeluErf, 512, true));
    let table = |value: Value| value.as_object().cloned();
    let module = |kind: &str| json!({ "type": format!("sentence_transformers.models.{kind}") });
    let beside = Sentences {
        modules: Some(vec![module("Transformer"), module("Pooling")]),
        pooling: table(json!({ "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false })),
        limits: table(json!({ "max_seq_length": 256 })),
    };
    let mut heeded = plain.clone();
    beside.complete(&mut heeded).unwrap();
    assert_eq!((heeded.max_tokens, heeded.normalized), (256, false));
    let other = Sentences {
        modules: Some(vec![module("Transformer"), module("Pooling"), module("Dense")]),
        pooling: table(json!({ "pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true })),
        limits: table(json!({ "max_seq_length": 513 })),
    };
    assert_eq!(other.complete(&mut heeded).unwrap_err().len(), 4);
    for (key, value) in [
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("hidden_act", json!("relu")),
        ("num_attention_heads", json!(7)),
    ] {
        let mut changed = config.clone();
        changed[key] = value;
        assert_eq!(read_json(changed).unwrap_err().len(), 1, "{key}");
    }
}

#[test]
fn onevision_0_5b_is_siglip_of_26_blocks_and_qwen2() {
    let read = read_json(json!({
        "model_type": "llava_onevision", "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
        "tie_word_embeddings": true,
        "text_config": {
            "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
            "num_hidden_layers": 24, "num_key_value_heads": 2, "rope_theta": 1e6, "vocab_size": 152_000,
            "use_sliding_window": false, "sliding_window": 32768, "rope_scaling": null
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 384,
            "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 26, "patch_size": 14
        }
    }))
    .unwrap();
    let (vision, language) = (read.vision.unwrap(), read.language.unwrap());
    assert_eq!((vision.tokens(), vision.head_dim(), vision.class_token), (729, 72, false));
    assert_eq!(vision.activation, MlpActivation::GeluTanh);
    assert_eq!(language.family, LanguageFamily::Qwen2);
    assert_eq!((language.head_dim, language.kv_heads, language.rope_theta), (64, 2, 1e6));
    assert!(language.tie_embeddings);
    assert_eq!(read.taps, [VisionAddress::Block(26)]);
}

#[test]
fn dinov2_small_keeps_the_positions_of_518_pixels() {
    let read = read_json(json!({
        "model_type": "dinov2", "hidden_size": 384, "image_size": 518, "num_attention_heads": 6, "patch_size": 14,
        "mlp_ratio": 4, "layerscale_value": 1.0, "qkv_bias": true, "use_swiglu_ffn": false, "drop_path_rate": 0.0
    }))
    .unwrap();
    let mut vision = read.vision.unwrap();
    assert_eq!((vision.hidden, vision.layers, vision.heads, vision.mlp), (384, 12, 6, 1536));
    assert!(
        vision.class_token && vision.layer_scale && vision.post_norm && vision.patch_bias && !vision.pre_norm
    );
    assert_eq!((vision.activation, vision.norm_eps), (MlpActivation::GeluErf, 1e-6));
    vision.image_size = 224;
    assert_eq!((vision.tokens(), vision.positions()), (256, 1370));
    let problems = read_json(json!({ "model_type": "dinov2", "use_swiglu_ffn": true })).unwrap_err();
    assert!(problems[0].contains("`use_swiglu_ffn` is true"), "{problems:?}");
}

#[test]
fn qwen3_0_6b_has_heads_of_a_width_of_their_own() {
    let read = read_json(json!({
        "model_type": "qwen3", "attention_bias": false, "head_dim": 128, "hidden_size": 1024, "intermediate_size": 3072,
        "max_position_embeddings": 40960, "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
        "rope_scaling": null, "rope_theta": 1_000_000, "tie_word_embeddings": true, "use_sliding_window": false,
        "vocab_size": 151_936
    }));
    let language = read.unwrap().language.unwrap();
    assert!(language.qk_norm() && !language.qkv_bias() && language.tie_embeddings);
    assert_eq!((language.head_dim, language.heads * language.head_dim, language.hidden), (128, 2048, 1024));
    let silent = read_json(json!({ "model_type": "qwen3", "hidden_size": 1024 })).unwrap().language.unwrap();
    assert_eq!(silent.head_dim, 128);
}

#[test]
fn newer_files_have_rotary_settings_in_a_table() {
    let read = read_json(json!({
        "model_type": "llama", "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3,
        "rope_parameters": { "rope_theta": 100_000.0, "rope_type": "default" }
    }));
    let language = read.unwrap().language.unwrap();
    assert_eq!((language.rope_theta, language.head_dim), (1e5, 64));
}

#[test]
fn a_list_of_layers_gives_as_many_taps_and_0_is_the_embedding() {
    let with = |layers: Value| {
        let vision = json!({ "model_type": "clip_vision_model", "num_hidden_layers": 12 });
        read_json(json!({
            "model_type": "llava", "vision_feature_layer": layers,
            "text_config": { "model_type": "llama" }, "vision_config": vision
        }))
    };
    let block = VisionAddress::Block;
    assert_eq!(
        with(json!([-2, -5, 0, 12])).unwrap().taps,
        [block(11), block(8), VisionAddress::Embed, block(12)]
    );
    for layer in [13, -14] {
        let problems = with(json!(layer)).unwrap_err();
        assert!(problems[0].contains("13 hidden states"), "{problems:?}");
    }
}

/// The configuration of Granite 4.1 Vision in what it maps, without what is as by default.
fn granite_vision() -> Value {
    json!({
        "model_type": "granite4_vision", "deepstack_layer_map": [[-19, 9], [-13, 6], [-7, 3], [-1, 0]],
        "spatial_vision_layer": -1, "spatial_target_layers": [12, 15, 18, 21], "downsample_rate": "4/8",
        "vision_feature_select_strategy": "full",
        "text_config": { "model_type": "granite4_vision_text", "num_hidden_layers": 40, "residual_multiplier": 0.22 },
        "vision_config": {
            "model_type": "siglip_vision_model", "num_hidden_layers": 27, "hidden_size": 1152, "image_size": 384,
            "patch_size": 16
        },
        "qformer_config": {
            "hidden_size": 1152, "num_attention_heads": 18, "encoder_hidden_size": 1152, "num_hidden_layers": 1,
            "cross_attention_frequency": 1, "intermediate_size": 3072
        }
    })
}

#[test]
fn granite_maps_vision_states_to_decoder_layers_and_half_of_them_begin_at_corners() {
    let read = read_json(granite_vision()).unwrap();
    let (block, before) = (VisionAddress::Block, PointAddress::Before);
    let mapped =
        [(block(9), before(9)), (block(15), before(6)), (block(21), before(3)), (block(27), before(0))];
    let spatial = [12, 15, 18, 21];
    assert_eq!(read.wiring[..4], mapped);
    assert_eq!(read.wiring[4..], spatial.map(|layer| (block(27), before(layer))));
    let corners = spatial.map(before).to_vec();
    assert_eq!(read.adapter, Some(Adapter::PerEdge { tap_norm: TapNorm::Layer, corners }));
    assert!(read.taps.is_empty(), "nothing of the picture is at the input");
    let projector = read.projector.unwrap();
    let windows = projector.windows().unwrap();
    assert_eq!((windows.window, windows.queries, windows.heads), (8, 4, 18));
    assert_eq!((projector.hidden, projector.norm_eps), (3072, Some(1e-12)));
    assert_eq!(read.language.unwrap().residual_multiplier, Some(0.22));
}

#[test]
fn what_granite_vision_would_compute_otherwise_is_refused() {
    for (table, key, value, part) in [
        (
            "",
            "deepstack_layer_map",
            json!([[28, 0]]),
            "`deepstack_layer_map` is 28, but the encoder has 28 hidden states",
        ),
        ("", "deepstack_layer_map", json!([[1, 40]]), "names layer 40, but there are 40"),
        ("", "deepstack_layer_map", json!([[1, 12]]), "names layer 12, which is named already"),
        ("", "deepstack_layer_map", json!([[1]]), "a list of pairs"),
        ("", "deepstack_layer_map", json!(null), "`deepstack_layer_map`"),
        ("", "downsample_rate", json!("half"), "is \"half\""),
        ("", "vision_feature_select_strategy", json!("default"), "all patches"),
        ("qformer_config", "num_hidden_layers", json!(2), "only 1 is supported"),
        ("qformer_config", "use_qformer_text_input", json!(true), "only false is supported"),
        ("vision_config", "layer_norm_eps", json!(1e-5), "only 1e-6 is supported"),
    ] {
        let mut config = granite_vision();
        let place = if table.is_empty() { &mut config } else { &mut config[table] };
        place[key] = value;
        let problems = read_json(config).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(part), "{key}: {problems:?}");
    }
}

/// The configuration of Qwen3-VL 4B, without what is as by default.
fn qwen3_vl() -> Value {
    json!({
        "model_type": "qwen3_vl", "tie_word_embeddings": true,
        "text_config": {
            "model_type": "qwen3_vl_text", "hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9728, "rope_theta": 5_000_000,
            "rope_scaling": { "rope_type": "default", "mrope_interleaved": true, "mrope_section": [24, 20, 20] }
        },
        "vision_config": {
            "model_type": "qwen3_vl", "depth": 24, "hidden_size": 1024, "intermediate_size": 4096,
            "out_hidden_size": 2560, "deepstack_visual_indexes": [5, 11, 17]
        }
    })
}

#[test]
fn qwen3_vl_merges_patches_and_adds_chosen_blocks_behind_its_first_layers() {
    let read = read_json(qwen3_vl()).unwrap();
    let (vision, language) = (read.vision.unwrap(), read.language.unwrap());
    assert_eq!((vision.patch_size, vision.temporal_patch, vision.image_size), (16, 2, 768));
    assert_eq!((vision.position_grid, vision.rope_theta), (Some(48), Some(1e4)));
    assert_eq!(vision.position_resample, PositionResample::Bilinear);
    assert!(!vision.class_token && !vision.post_norm && vision.qkv_bias && vision.patch_bias);
    let projector = read.projector.unwrap();
    assert_eq!((projector.merge, projector.hidden, projector.norm), (2, 4096, TapNorm::Layer));
    assert_eq!(language.family, LanguageFamily::Qwen3);
    assert_eq!((language.rope_theta, language.rope_sections), (5e6, Some([24, 20, 20])));
    assert!(language.tie_embeddings);
    let (block, after) = (VisionAddress::Block, PointAddress::After);
    assert_eq!(read.taps, [block(24)]);
    assert_eq!(read.wiring, [(block(6), after(0)), (block(12), after(1)), (block(18), after(2))]);
    assert_eq!(read.adapter, Some(Adapter::PerTap { tap_norm: TapNorm::Merged }));
}

#[test]
fn what_qwen3_vl_would_compute_otherwise_is_refused() {
    for (table, key, value, part) in [
        ("vision_config", "num_position_embeddings", json!(2300), "2300, which are no square"),
        ("vision_config", "out_hidden_size", json!(4096), "only 2560 is supported"),
        (
            "vision_config",
            "rope_parameters",
            json!({ "rope_type": "default" }),
            "only \"axial\" is supported",
        ),
        ("vision_config", "deepstack_visual_indexes", json!([11, 5, 17]), "[11, 5, 17], which do not ascend"),
        ("vision_config", "deepstack_visual_indexes", json!([5, 24]), "names layer 24, but there are 24"),
        ("text_config", "rope_scaling", json!({ "mrope_interleaved": false }), "only true is supported"),
        ("text_config", "rope_scaling", json!({ "mrope_section": [24, 20] }), "three numbers of pairs"),
        ("text_config", "attention_bias", json!(true), "only false is supported"),
    ] {
        let mut config = qwen3_vl();
        config[table][key] = value;
        let problems = read_json(config).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(part), "{key}: {problems:?}");
    }
}

#[test]
fn shipped_methods_are_what_published_configurations_say() {
    let methods = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/methods").canonicalize().unwrap();
    let blocks = "[topology]\ntaps = ['block.6', 'block.12', 'block.18']\n";
    for (method, config, more) in [("granite-vision", granite_vision(), ""), ("qwen3-vl", qwen3_vl(), blocks)]
    {
        let published = read_json(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        let text = format!(
            "name = 'x'\nextends = [{:?}]\nmodel.weights = 'published'\ndata.source = 'easy-vqa'\n\
             train = {{ steps = 1, batch_size = 1, lr = 1, warmup = 0 }}\n{more}",
            methods.join(format!("{method}.toml"))
        );
        std::fs::write(&path, text).unwrap();
        let read = |_: &Path| Ok(published.clone());
        let loaded =
            load_with(&path, &LoadOptions::default(), &read).unwrap_or_else(|error| panic!("{error}"));
        let recipe = &loaded.base;
        assert_eq!(Some(&recipe.model.projector), published.projector.as_ref(), "{method}");
        assert_eq!(Some(&recipe.topology.main.adapter), published.adapter.as_ref(), "{method}");
        let edges: BTreeSet<(Tap, PointAddress)> =
            Topology::new(recipe).unwrap().pairs().into_iter().collect();
        let wired = published.wiring.iter().map(|(state, point)| (Tap::State(*state), *point));
        assert_eq!(edges, wired.collect(), "{method}");
        let taps: Vec<Tap> = published.taps.iter().map(|state| Tap::State(*state)).collect();
        assert_eq!(recipe.topology.input.taps(), taps, "{method}");
    }
}

#[test]
fn granite_scales_embeddings_scores_updates_and_logits() {
    let config = json!({
        "model_type": "granite", "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 49155, "rope_theta": 5_000_000.0,
        "embedding_multiplier": 12.0, "attention_multiplier": 0.015_625, "residual_multiplier": 0.22, "logits_scaling": 8.0
    });
    let language = read_json(config).unwrap().language.unwrap();
    assert_eq!((language.family, language.head_dim), (LanguageFamily::Llama, 64));
    assert_eq!((language.embedding_multiplier, language.residual_multiplier), (Some(12.0), Some(0.22)));
    assert_eq!((language.attention_scale(), language.logits_scaling), (0.015_625, Some(8.0)));
    // What is silent there is 1, the scores too.
    let silent = read_json(json!({ "model_type": "granite" })).unwrap().language.unwrap();
    assert_eq!((silent.attention_scale(), silent.residual_multiplier), (1.0, Some(1.0)));
}

#[test]
fn visual_tokens_are_all_patches_and_nothing_else() {
    let config = |encoder: &str, strategy: &str| {
        read_json(json!({
            "model_type": "llava", "vision_feature_select_strategy": strategy,
            "text_config": { "model_type": "llama" }, "vision_config": { "model_type": encoder }
        }))
    };
    assert!(config("clip_vision_model", "default").is_ok() && config("siglip_vision_model", "full").is_ok());
    for (encoder, strategy) in [("clip_vision_model", "full"), ("siglip_vision_model", "default")] {
        let problems = config(encoder, strategy).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains("all patches")), "{encoder}: {problems:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let problems = read_json(json!({
        "model_type": "llava", "vision_feature_select_strategy": "full", "projector_hidden_act": "relu",
        "text_config": {
            "model_type": "llama", "hidden_size": "4096", "num_hidden_layers": 0, "hidden_act": "gelu",
            "attention_bias": true, "rope_scaling": { "type": "linear", "factor": 2.0 },
            "rms_norm_eps": -1e-5
        },
        "vision_config": { "model_type": "clip_vision_model", "image_size": 1e30 }
    }))
    .unwrap_err();
    for part in [
        "`vision_feature_select_strategy` is \"full\"",
        "\"relu\"",
        "`text_config.hidden_size` is \"4096\"",
        "`text_config.num_hidden_layers` is 0",
        "`text_config.hidden_act` is \"gelu\"",
        "`text_config.attention_bias` is true",
        "`text_config.rope_scaling.type` is \"linear\"",
        "`text_config.rms_norm_eps` is -0.00001",
        "`vision_config.image_size` is 1e30",
    ] {
        let told = problems
            .iter()
            .any(|problem| problem.replace("-1e-5", "-0.00001").replace("1e+30", "1e30").contains(part));
        assert!(told, "{part} is not among {problems:#?}");
    }
}

#[test]
fn a_family_that_is_not_known_is_an_error_with_those_that_are() {
    for (config, part) in [
        (json!({ "model_type": "mamba" }), "`mamba` is not known; known are bert, clip, "),
        (json!({ "model_type": 7 }), "`model_type` is 7"),
        (json!({}), "`model_type` is missing"),
    ] {
        let problems = read_json(config).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}");
    }
}
