//! A GGUF file in all formats at once, against what transformers makes of it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crossloom_ir::DType;
use crossloom_recipe::{LanguageFamily, Part};
use crossloom_weights::{Pretrained, WeightBytes};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf/tiny.gguf")
}

#[test]
fn a_file_says_what_the_model_is_and_holds_it_as_it_was_quantized() {
    let model = Pretrained::open(&tiny()).unwrap();
    assert!(model.architecture().vision.is_none());
    let language = model.architecture().language.as_ref().unwrap();
    assert_eq!(language.family, LanguageFamily::Llama);
    assert_eq!((language.hidden, language.layers, language.heads, language.kv_heads), (32, 2, 4, 2));
    assert_eq!((language.head_dim, language.mlp, language.vocab_size), (8, 256, Some(64)));
    assert_eq!((language.rope_theta, language.norm_eps), (20_000.0, 1e-5));
    assert_eq!((language.tie_embeddings, language.max_positions), (true, 128));
    assert_eq!(model.names().count(), 20);
    assert_eq!(model.left_out().len(), 0);
    let layer = |n: usize, what: &str| format!("language_model.model.layers.{n}.{what}.weight");
    for (name, dtype, mapped) in [
        ("language_model.model.embed_tokens.weight".to_owned(), DType::Q8_0, true),
        ("language_model.model.norm.weight".to_owned(), DType::F32, true),
        // Rows of queries and keys are moved, so that these are copies.
        (layer(0, "self_attn.q_proj"), DType::Q4_0, false),
        (layer(1, "self_attn.k_proj"), DType::Q8_0, false),
        (layer(0, "self_attn.v_proj"), DType::F16, true),
        (layer(1, "self_attn.o_proj"), DType::Bf16, true),
        (layer(0, "mlp.down_proj"), DType::Q6K, true),
        (layer(1, "mlp.down_proj"), DType::Q4K, true),
    ] {
        let (ty, bytes) = model.tensor(&name).unwrap();
        assert_eq!(ty.dtype, dtype, "{name}");
        assert_eq!(matches!(bytes, WeightBytes::Mapped(_)), mapped, "{name}");
        assert_eq!(bytes.as_ref().len(), ty.bytes(), "{name}");
    }
    let held = model.held();
    assert_eq!(held[&(Part::Language, "q6_k".to_owned())].bytes, 32 * 210);
    assert_eq!(held[&(Part::Language, "q4_k".to_owned())].parameters, 32 * 256);
}
