//! The metadata of a GGUF file, whose keys begin with the name of the architecture: `llama.block_count`.

use crossloom_recipe::{LanguageFamily, LanguageModel};
use serde_json::{Value, json};

use super::Architecture;
use crate::config::Config;

/// The language models that are read from GGUF, by their architecture.
const KNOWN: &[(&str, LanguageFamily)] =
    &[("llama", LanguageFamily::Llama), ("qwen2", LanguageFamily::Qwen2), ("qwen3", LanguageFamily::Qwen3)];

/// The language model of a file, whose head is its own if the file has one.
pub(super) fn language(metadata: &Config<'_>, has_head: bool) -> Architecture {
    let name = metadata.word("general.architecture", None);
    let Some(&(_, family)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
        metadata.problem(format!(
            "the architecture `{name}` is not read from GGUF files; known are {}",
            known.join(", ")
        ));
        return Architecture::default();
    };
    let key = |what: &str| format!("{name}.{what}");
    for (what, plain) in [("rope.scaling.type", json!("none")), ("expert_count", json!(0))] {
        metadata.must_be(&key(what), &plain);
    }
    let hidden = metadata.count(&key("embedding_length"), None);
    let heads = metadata.count(&key("attention.head_count"), None);
    let head_dim = metadata.count(&key("attention.key_length"), Some((hidden / heads).max(1)));
    for what in ["rope.dimension_count", "attention.value_length"] {
        metadata.must_be(&key(what), &Value::from(head_dim));
    }
    let language = LanguageModel {
        preset: None,
        weights: None,
        family,
        hidden,
        layers: metadata.count(&key("block_count"), None),
        heads,
        kv_heads: metadata.count(&key("attention.head_count_kv"), Some(heads)),
        head_dim,
        mlp: metadata.count(&key("feed_forward_length"), None),
        rope_theta: metadata.number(&key("rope.freq_base"), 10_000.0),
        rope_sections: None,
        embedding_multiplier: None,
        residual_multiplier: None,
        attention_multiplier: None,
        logits_scaling: None,
        norm_eps: metadata.number(&key("attention.layer_norm_rms_epsilon"), 1e-5),
        tie_embeddings: !has_head,
        // The table of words says it.
        vocab_size: None,
        max_positions: metadata.count(&key("context_length"), None),
    };
    Architecture { language: Some(language), ..Architecture::default() }
}
