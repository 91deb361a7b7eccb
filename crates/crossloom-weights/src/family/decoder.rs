//! Llama and what is built like it: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

use crossloom_recipe::{LanguageFamily, LanguageModel};
use serde_json::{Value, json};

use super::Architecture;
use crate::config::Config;

/// What a family has where its configuration is silent.
struct Defaults {
    family: LanguageFamily,
    mlp: usize,
    vocab: usize,
    positions: usize,
    /// The width of a head; none where it is the model's divided by the number of heads.
    head_dim: Option<usize>,
    rope_theta: f64,
}

const LLAMA: Defaults = Defaults {
    family: LanguageFamily::Llama,
    mlp: 11008,
    vocab: 32000,
    positions: 2048,
    head_dim: None,
    rope_theta: 10_000.0,
};

/// Llama, and with it Vicuna and SmolLM2.
pub(super) fn llama(config: &Config<'_>) -> Architecture {
    for key in ["attention_bias", "mlp_bias"] {
        config.must_be(key, &Value::Bool(false));
    }
    decoder(config, &LLAMA)
}

/// Granite, as it is alone and as it is in Granite Vision: Llama with numbers that scale what is added, read and told.
pub(super) fn granite(config: &Config<'_>) -> Architecture {
    let mut architecture = llama(config);
    if let Some(language) = &mut architecture.language {
        let number = |key| Some(config.number(key, 1.0));
        language.embedding_multiplier = number("embedding_multiplier");
        language.residual_multiplier = number("residual_multiplier");
        language.attention_multiplier = number("attention_multiplier");
        language.logits_scaling = number("logits_scaling");
    }
    architecture
}

/// Qwen2: biases on query, key and value.
pub(super) fn qwen2(config: &Config<'_>) -> Architecture {
    config.must_be("use_sliding_window", &Value::Bool(false));
    let defaults = Defaults {
        family: LanguageFamily::Qwen2,
        mlp: 22016,
        vocab: 151_936,
        positions: 32768,
        head_dim: None,
        rope_theta: 10_000.0,
    };
    decoder(config, &defaults)
}

/// Qwen3: norms on the heads of query and key.
pub(super) fn qwen3(config: &Config<'_>) -> Architecture {
    config.must_be("attention_bias", &Value::Bool(false));
    config.must_be("use_sliding_window", &Value::Bool(false));
    decoder(config, &QWEN3)
}

const QWEN3: Defaults = Defaults {
    family: LanguageFamily::Qwen3,
    mlp: 22016,
    vocab: 151_936,
    positions: 32768,
    head_dim: Some(128),
    rope_theta: 10_000.0,
};

/// The decoder of Qwen3-VL: Qwen3, turned by time, row and column.
pub(super) fn qwen3_vl_text(config: &Config<'_>) -> Architecture {
    const SECTIONS: &str = "mrope_section";
    config.must_be("attention_bias", &Value::Bool(false));
    let defaults = Defaults { positions: 128_000, rope_theta: 500_000.0, ..QWEN3 };
    let mut architecture = decoder(config, &defaults);
    let tables = ["rope_scaling", "rope_parameters"].into_iter().filter_map(|key| config.table_if_there(key));
    let mut sections = [24, 20, 20];
    for rope in tables {
        rope.must_be("mrope_interleaved", &Value::Bool(true));
        let numbers = rope.numbers(SECTIONS, &[24, 20, 20]);
        let counts = numbers.iter().map(|&number| usize::try_from(number).ok()).collect::<Option<Vec<_>>>();
        match counts.and_then(|counts| <[usize; 3]>::try_from(counts).ok()) {
            Some(counts) => sections = counts,
            None => {
                config.problem(format!("`{SECTIONS}` is {numbers:?}, three numbers of pairs are expected"));
            }
        }
    }
    if let Some(language) = &mut architecture.language {
        language.rope_sections = Some(sections);
    }
    architecture
}

fn decoder(config: &Config<'_>, defaults: &Defaults) -> Architecture {
    config.must_be("hidden_act", &json!("silu"));
    let hidden = config.count("hidden_size", Some(4096));
    let heads = config.count("num_attention_heads", Some(32));
    // Older files of Qwen2 do not say `num_key_value_heads` where it is the number of heads.
    let language = LanguageModel {
        preset: None,
        weights: None,
        family: defaults.family,
        hidden,
        layers: config.count("num_hidden_layers", Some(32)),
        heads,
        kv_heads: config.count("num_key_value_heads", Some(heads)),
        head_dim: config.count("head_dim", Some(defaults.head_dim.unwrap_or((hidden / heads).max(1)))),
        mlp: config.count("intermediate_size", Some(defaults.mlp)),
        rope_theta: rope_theta(config, defaults.rope_theta),
        rope_sections: None,
        embedding_multiplier: None,
        residual_multiplier: None,
        attention_multiplier: None,
        logits_scaling: None,
        norm_eps: config.number("rms_norm_eps", 1e-6),
        tie_embeddings: config.flag("tie_word_embeddings", false),
        vocab_size: Some(config.count("vocab_size", Some(defaults.vocab))),
        max_positions: config.count("max_position_embeddings", Some(defaults.positions)),
    };
    Architecture { language: Some(language), ..Architecture::default() }
}

/// The base of the rotary frequencies, which older configurations have beside the dimensions and newer ones in a table of
/// their own. Scaled positions would be other positions, and are refused.
fn rope_theta(config: &Config<'_>, default: f64) -> f64 {
    for table in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = config.table_if_there(table) else { continue };
        for key in ["rope_type", "type"] {
            rope.must_be(key, &json!("default"));
        }
        if table == "rope_parameters" {
            return rope.number("rope_theta", config.number("rope_theta", default));
        }
    }
    config.number("rope_theta", default)
}
