//! A GGUF file in all formats at once, against what transformers makes of it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crossloom_ir::DType;
use crossloom_recipe::{LanguageFamily, Part};
use crossloom_weights::{Pretrained, WeightBytes, values};

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

#[test]
fn its_numbers_are_those_that_transformers_reads() {
    let bytes = std::fs::read(tiny().with_extension("safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let model = Pretrained::open(&tiny()).unwrap();
    let mut compared = 0;
    for (name, expected) in file.tensors() {
        // The head is tied: transformers names the word embedding twice.
        if ["ids", "logits", "lm_head.weight"].contains(&name.as_str()) {
            continue;
        }
        let (ty, bytes) = model.tensor(&format!("language_model.{name}")).unwrap();
        assert_eq!(ty.shape, expected.shape(), "{name}");
        let given = values::to_f32(ty.dtype, bytes.as_ref()).unwrap();
        let expected = values::to_f32(DType::F32, expected.data()).unwrap();
        assert!(given.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
        compared += 1;
    }
    assert_eq!(compared, model.names().count());
}

#[test]
fn what_is_no_such_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    for (bytes, part) in [
        (b"".to_vec(), "x.gguf"),
        (b"GGUF\x03\0\0\0".to_vec(), "x.gguf"),
        // As many tensors as fit in no file.
        ([&b"GGUF\x03\0\0\0"[..], &[0xff; 8], &[0; 8]].concat(), "tensors"),
        // An array of arrays of arrays.
        (nested(), "nesting"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Pretrained::open(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(
        Pretrained::open(&folder.path().join("none.gguf")).unwrap_err().to_string().contains("none.gguf")
    );
    let text = folder.path().join("model.txt");
    std::fs::write(&text, "x").unwrap();
    assert!(Pretrained::open(&text).unwrap_err().to_string().contains("no `.gguf`"));
}

/// A file whose one value is an array in an array in an array, and so on.
fn nested() -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.push(b'k');
    bytes.extend(9_u32.to_le_bytes());
    for _ in 0..40 {
        // An array of one array.
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
    }
    bytes
}

#[test]
fn another_architecture_is_an_error_with_those_that_are_known() {
    let mut bytes = std::fs::read(tiny()).unwrap();
    let at = bytes.windows(5).position(|window| window == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"lamas");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    let error = Pretrained::open(&path).unwrap_err().to_string();
    assert!(error.contains("`lamas`") && error.contains("llama, qwen2, qwen3"), "{error}");
}
