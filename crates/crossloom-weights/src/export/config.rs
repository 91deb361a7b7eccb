//! `config.json`: dimensions in the words of Hugging Face.

use crossloom_recipe::{Architecture, LanguageFamily, LanguageModel, MlpActivation, VisionModel};
use serde_json::{Value, json};

use super::whole::Kind;
use super::{Scope, Tensors, TokenIds};

/// The configuration of a scope of a model.
///
/// # Errors
/// Every reason why no family computes what it does.
pub(super) fn of(
    scope: Scope,
    architecture: &Architecture,
    tokens: TokenIds,
    tensors: &Tensors,
) -> Result<Value, Vec<String>> {
    let mut problems = Vec::new();
    let config = match scope {
        Scope::Language => {
            part(architecture.language.as_ref(), "language model", &mut problems).map(|language| {
                let mut config = decoder(language, tensors, tokens, &mut problems);
                config["architectures"] = json!([class(language)]);
                config
            })
        }
        Scope::Vision => part(architecture.vision.as_ref(), "vision encoder", &mut problems).map(|vision| {
            let mut config = encoder(vision, &mut problems);
            config["architectures"] = json!([Tower::of(vision).class()]);
            config
        }),
        Scope::Whole => Kind::of(architecture).config(architecture, tokens, tensors, &mut problems),
    };
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

/// A part, or that there is none.
pub(super) fn part<'p, T>(part: Option<&'p T>, what: &str, problems: &mut Vec<String>) -> Option<&'p T> {
    if part.is_none() {
        problems.push(format!("has no {what}"));
    }
    part
}

/// What Granite scales, by its key; nothing where the model scales nothing.
fn multipliers(language: &LanguageModel) -> Option<[(&'static str, f64); 4]> {
    let given = [
        language.embedding_multiplier,
        language.residual_multiplier,
        language.attention_multiplier,
        language.logits_scaling,
    ];
    given.iter().any(Option::is_some).then(|| {
        let or_one = |multiplier: Option<f64>| multiplier.unwrap_or(1.0);
        [
            ("embedding_multiplier", or_one(language.embedding_multiplier)),
            ("residual_multiplier", or_one(language.residual_multiplier)),
            ("attention_multiplier", language.attention_scale()),
            ("logits_scaling", or_one(language.logits_scaling)),
        ]
    })
}

/// The name of its model type: the family's, but that Llama with multipliers is Granite.
fn model_type(language: &LanguageModel) -> String {
    if multipliers(language).is_some() {
        return "granite".to_owned();
    }
    serde_json::to_value(language.family)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn class(language: &LanguageModel) -> String {
    let name = model_type(language);
    let (first, rest) = name.split_at(name.len().min(1));
    format!("{}{rest}ForCausalLM", first.to_uppercase())
}

/// A language model's own configuration.
pub(super) fn decoder(
    language: &LanguageModel,
    tensors: &Tensors,
    tokens: TokenIds,
    problems: &mut Vec<String>,
) -> Value {
    if language.rope_sections.is_some() {
        problems.push(
            "its decoder turns by time, row and column, which only Qwen3-VL as a whole does".to_owned(),
        );
    }
    let multipliers = multipliers(language);
    if multipliers.is_some() && language.family != LanguageFamily::Llama {
        problems
            .push("its decoder has multipliers, which of all families only Granite has, a Llama".to_owned());
    }
    let words = tensors.get("language_model.model.embed_tokens.weight").and_then(|words| words.shape.first());
    let mut config = json!({
        "model_type": model_type(language),
        "hidden_size": language.hidden,
        "num_hidden_layers": language.layers,
        "num_attention_heads": language.heads,
        "num_key_value_heads": language.kv_heads,
        "head_dim": language.head_dim,
        "intermediate_size": language.mlp,
        "hidden_act": "silu",
        "rms_norm_eps": language.norm_eps,
        "rope_theta": language.rope_theta,
        "rope_parameters": { "rope_theta": language.rope_theta, "rope_type": "default" },
        "max_position_embeddings": language.max_positions,
        "tie_word_embeddings": language.tie_embeddings,
        "vocab_size": words.copied().or(language.vocab_size),
        "bos_token_id": null,
        "eos_token_id": tokens.eos,
        "pad_token_id": tokens.pad,
    });
    for (key, value) in multipliers.into_iter().flatten() {
        config[key] = json!(value);
    }
    config
}

/// The families of encoders, by what tells them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tower {
    Clip,
    Siglip,
    Dinov2,
}

impl Tower {
    fn of(vision: &VisionModel) -> Self {
        match (vision.layer_scale, vision.class_token) {
            (true, _) => Self::Dinov2,
            (false, true) => Self::Clip,
            (false, false) => Self::Siglip,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Clip => "CLIPVisionModel",
            Self::Siglip => "SiglipVisionModel",
            Self::Dinov2 => "Dinov2Model",
        }
    }

    fn model_type(self) -> &'static str {
        match self {
            Self::Clip => "clip_vision_model",
            Self::Siglip => "siglip_vision_model",
            Self::Dinov2 => "dinov2",
        }
    }

    fn processor(self) -> &'static str {
        match self {
            Self::Clip => "CLIPImageProcessor",
            Self::Siglip => "SiglipImageProcessor",
            Self::Dinov2 => "BitImageProcessor",
        }
    }

    /// Its `class_token`, `pre_norm`, `patch_bias` and `qkv_bias`.
    fn settings(self) -> [bool; 4] {
        match self {
            Self::Clip => [true, true, false, true],
            Self::Siglip => [false, false, true, true],
            Self::Dinov2 => [true, false, true, true],
        }
    }
}

/// The configuration of an encoder that can stand alone.
pub(super) fn encoder(vision: &VisionModel, problems: &mut Vec<String>) -> Value {
    let tower = Tower::of(vision);
    if vision.rope_theta.is_some() || vision.temporal_patch > 1 {
        problems.push(
            "its encoder turns patches or reads several frames, as Qwen3-VL's does, which is written only with all of that"
                .to_owned(),
        );
    }
    let settings = [vision.class_token, vision.pre_norm, vision.patch_bias, vision.qkv_bias];
    if settings != tower.settings() {
        problems.push(format!(
            "its encoder has class_token, pre_norm, patch_bias, qkv_bias = {settings:?}: CLIP has {:?}, SigLIP {:?}, DINOv2, \
             whose blocks are scaled, {:?}",
            Tower::Clip.settings(),
            Tower::Siglip.settings(),
            Tower::Dinov2.settings()
        ));
    }
    let mut config = json!({
        "model_type": tower.model_type(),
        "hidden_size": vision.hidden,
        "num_hidden_layers": vision.layers,
        "num_attention_heads": vision.heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "num_channels": vision.channels,
        "hidden_act": activation(vision.activation),
        "layer_norm_eps": vision.norm_eps,
    });
    if tower == Tower::Dinov2 {
        // The size of its positions; pictures of others resample them.
        let grid = vision.position_grid.unwrap_or(vision.grid());
        config["image_size"] = json!(grid * vision.patch_size);
        config["mlp_ratio"] = json!(vision.mlp.checked_div(vision.hidden));
        config["use_mask_token"] = json!(false);
        if !vision.mlp.is_multiple_of(vision.hidden) {
            problems.push(format!(
                "its encoder's feed-forward layers are {} wide, which is no multiple of {}, as DINOv2's are",
                vision.mlp, vision.hidden
            ));
        }
        return config;
    }
    config["intermediate_size"] = json!(vision.mlp);
    if tower == Tower::Siglip {
        config["vision_use_head"] = json!(false);
    }
    if vision.position_grid.is_some_and(|grid| grid != vision.grid()) {
        problems.push(
            "its encoder resamples its positions, as DINOv2 does and CLIP and SigLIP do not".to_owned(),
        );
    }
    config
}

/// The name that configurations have for an activation.
pub(super) fn activation(activation: MlpActivation) -> &'static str {
    match activation {
        MlpActivation::GeluTanh => "gelu_pytorch_tanh",
        MlpActivation::GeluErf => "gelu",
        MlpActivation::QuickGelu => "quick_gelu",
    }
}

/// What becomes of a picture before the encoder reads it.
pub(super) fn processor(vision: &VisionModel) -> Value {
    crate::processor::written(vision, Tower::of(vision).processor())
}
