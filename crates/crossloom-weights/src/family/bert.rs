//! BERT as a sentence encoder: what its own configuration says, and what sentence-transformers writes beside it.

use crossloom_recipe::TextEncoder;
use serde_json::{Map, Value, json};

use super::{Architecture, activation};
use crate::config::Config;

/// The encoder. What follows it is as it commonly is, until [`sentences`] says otherwise: a vector of length 1, of a text that is as
/// long as there are positions.
pub(super) fn encoder(config: &Config<'_>) -> Architecture {
    for (key, supported) in [
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", Value::Bool(false)),
        ("add_cross_attention", Value::Bool(false)),
    ] {
        config.must_be(key, &supported);
    }
    let hidden = config.count("hidden_size", Some(768));
    let heads = config.count("num_attention_heads", Some(12));
    if !hidden.is_multiple_of(heads) {
        config.problem(format!("`hidden_size` is {hidden}, which {heads} heads do not divide"));
    }
    let max_positions = config.count("max_position_embeddings", Some(512));
    let text_encoder = TextEncoder {
        hidden,
        layers: config.count("num_hidden_layers", Some(12)),
        heads,
        mlp: config.count("intermediate_size", Some(3072)),
        activation: activation(config, "hidden_act", "gelu"),
        norm_eps: config.number("layer_norm_eps", 1e-12),
        vocab_size: config.count("vocab_size", Some(30522)),
        max_positions,
        types: config.count("type_vocab_size", Some(2)),
        max_tokens: max_positions,
        normalized: true,
    };
    Architecture { text_encoder: Some(text_encoder), ..Architecture::default() }
}

/// What stands beside the configuration of an encoder of sentences; a file that is not there says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sentences {
    /// `modules.json`: what a text passes, in order.
    pub modules: Option<Vec<Value>>,
    /// `1_Pooling/config.json`.
    pub pooling: Option<Map<String, Value>>,
    /// `sentence_bert_config.json`.
    pub limits: Option<Map<String, Value>>,
}

impl Sentences {
    /// Brings it into what the configuration alone says.
    ///
    /// # Errors
    /// A pooling that is not the mean over tokens; modules that are not built; limits beyond the positions that there are.
    pub fn complete(&self, encoder: &mut TextEncoder) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        if let Some(modules) = &self.modules {
            let kind = |module: &Value| {
                let name = module.get("type").and_then(Value::as_str).unwrap_or_default();
                name.rsplit('.').next().unwrap_or_default().to_owned()
            };
            let kinds: Vec<String> = modules.iter().map(kind).collect();
            let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
            match kinds[..] {
                ["Transformer", "Pooling", "Normalize"] => encoder.normalized = true,
                ["Transformer", "Pooling"] => encoder.normalized = false,
                _ => problems.push(format!(
                    "`modules.json` lists {kinds:?}; Transformer, Pooling and perhaps Normalize are supported"
                )),
            }
        }
        for (key, value) in self.pooling.iter().flatten() {
            let wanted = key == "pooling_mode_mean_tokens";
            if key.starts_with("pooling_mode_") && *value != Value::Bool(wanted) {
                problems.push(format!("`{key}` is {value}; only the mean over tokens is supported"));
            }
        }
        if let Some(most) = self.limits.as_ref().and_then(|limits| limits.get("max_seq_length")) {
            match most.as_u64().and_then(|most| usize::try_from(most).ok()) {
                Some(most) if (1..=encoder.max_positions).contains(&most) => encoder.max_tokens = most,
                None if most.is_null() => {}
                _ => problems.push(format!(
                    "`max_seq_length` is {most}; there are positions for {}",
                    encoder.max_positions
                )),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
