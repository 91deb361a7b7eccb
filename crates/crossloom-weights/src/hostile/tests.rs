#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::format::tests::{small_gguf, small_onnx, small_safetensors};

const INDEX: &str =
    r#"{"metadata": {"total_size": 8}, "weight_map": {"a": "model-1.safetensors", "b": "../b"}}"#;
const CONFIG: &str = r#"{"model_type": "llava", "vision_feature_layer": [-2, 1], "vision_feature_select_strategy": "default",
"text_config": {"model_type": "qwen3", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 2,
"num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 20, "rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 5e3}},
"vision_config": {"model_type": "dinov2", "hidden_size": 6, "mlp_ratio": 2, "num_hidden_layers": 2, "num_attention_heads": 2,
"image_size": 4, "patch_size": 2}}"#;
const ADAPTER: &str = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8.5, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {},
"target_modules": ["model.layers.0.self_attn.q_proj", "lm_head"], "bias": "none", "use_rslora": true}"#;
const NAME: &[u8] = b"\x02\x00\x04\x03\x01\x02\x03\x04encoder.layer.11.attention.attention.query.weight";

/// What each function is meant for.
fn whole() -> [Vec<u8>; 7] {
    [
        small_safetensors(),
        INDEX.into(),
        small_gguf(),
        small_onnx(),
        CONFIG.into(),
        ADAPTER.into(),
        NAME.to_vec(),
    ]
}

/// What is done to bytes: others in their place, bytes that are missing, a number where a length may be, a piece twice.
#[derive(Clone, Debug)]
struct Damage {
    others: Vec<(usize, u8)>,
    cut: Option<usize>,
    number: Option<(usize, u64)>,
    twice: Option<(usize, usize)>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let numbers = prop::sample::select(vec![0, 1, 0x7f, 0xffff_ffff, 1 << 31, 1 << 62, 1 << 63, u64::MAX]);
    // Digits and signs keep texts texts.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"0919-eE.,:{}[]\"*/_nlw".to_vec())];
    (
        prop::collection::vec((any::<usize>(), byte), 0..4),
        prop::option::weighted(0.2, any::<usize>()),
        prop::option::weighted(0.3, (any::<usize>(), numbers)),
        prop::option::weighted(0.2, (any::<usize>(), 0_usize..40)),
    )
        .prop_map(|(others, cut, number, twice)| Damage { others, cut, number, twice })
}

fn damaged(mut bytes: Vec<u8>, Damage { others, cut, number, twice }: &Damage) -> Vec<u8> {
    for (at, byte) in others {
        let at = at % bytes.len();
        bytes[at] = *byte;
    }
    if let Some((at, number)) = number {
        let at = at % bytes.len();
        let end = bytes.len().min(at + 8);
        bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
    }
    if let Some((at, length)) = twice {
        let at = at % bytes.len();
        let piece = bytes[at..bytes.len().min(at + length)].to_vec();
        bytes.splice(at..at, piece);
    }
    bytes.truncate(cut.map_or(bytes.len(), |cut| cut % bytes.len()));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// `CROSSLOOM_FUZZ_CASES=1000000` for many more.
    #[test]
    fn what_is_damaged_is_refused_or_sound(which in 0..ALL.len(), damage in damage()) {
        let bytes = damaged(whole()[which].clone(), &damage);
        let (name, sound) = ALL[which];
        prop_assert!(sound(&bytes), "{}: {}", name, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_are_refused_or_sound(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (name, sound) in ALL {
            prop_assert!(sound(&bytes), "{}", name);
        }
        prop_assert!(gguf(&[b"GGUF\x03\0\0\0", bytes.as_slice()].concat()));
    }
}

fn cases() -> u32 {
    std::env::var("CROSSLOOM_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
}

#[test]
fn what_is_whole_is_sound_and_gets_as_far_as_it_can() {
    for ((name, sound), bytes) in ALL.into_iter().zip(whole()) {
        assert!(sound(&bytes), "{name}");
    }
    assert!(family::architecture(&table(CONFIG.as_bytes()).unwrap()).is_ok());
    assert!(Settings::of(&table(ADAPTER.as_bytes()).unwrap()).is_ok());
    assert!(gguf::header(&small_gguf()).is_ok() && onnx::header(&small_onnx()).is_ok());
    let name = std::str::from_utf8(&NAME[8..]).unwrap();
    assert!(
        all()
            .any(|layout| layout.of_file(name, &Dims::default()).is_some_and(|found| !found.ours.is_empty()))
    );
}

/// Every function has a target, and every target of this crate a function.
#[test]
fn there_is_a_fuzz_target_for_each() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::read_to_string(path).unwrap().contains("crossloom_weights::"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort();
    let mut names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(targets, names);
    for name in names {
        let source = std::fs::read_to_string(folder.join(format!("targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("hostile::{name}(")), "{source}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no target");
    }
}
