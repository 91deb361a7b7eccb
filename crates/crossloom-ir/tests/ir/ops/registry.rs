//! What holds for the registry as a whole.

use std::collections::BTreeSet;

use crossloom_ir::Op;
use crossloom_ir::attrs::Attrs;

#[test]
fn mnemonics_are_unique_words() {
    let names = Op::mnemonics();
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(
        names
            .iter()
            .all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
    );
}

#[test]
fn the_contract_is_complete() {
    let names = Op::mnemonics();
    for name in [
        "layer_norm",
        "layer_norm_grad",
        "add_layer_norm",
        "rms_norm",
        "rms_norm_grad",
        "add_rms_norm",
        "softmax",
        "attention",
        "attention_grad",
        "rope",
        "cache_write",
        "cached_attention",
        "deformable_attention",
        "deformable_attention_grad",
        "embedding",
        "embedding_grad",
        "gather_rows",
        "scatter_rows",
        "mix_rows",
        "mix_rows_grad",
        "cross_entropy",
        "cross_entropy_grad",
        "argmax",
        "attn_pool",
        "attn_pool_grad",
        "amp_project",
        "agf_gate",
        "agf_inject",
        "agf_inject_grad",
        "adamw",
        "multi_adamw",
        "global_norm",
        "to_float",
        "to_int",
        "fused_elementwise",
    ] {
        assert!(names.contains(&name), "{name} is missing");
    }
}

#[test]
fn unknown_words_are_refused() {
    assert_eq!(Op::from_text("conv", Attrs::new()).unwrap_err(), "there is no op `conv`");
    let error = Op::from_text("scatter_rows", Attrs::new().word("mode", "max")).unwrap_err();
    assert_eq!(error, "attribute `mode` cannot be `max`");
    let error = Op::from_text("rope", Attrs::new().int("head_dim", 4)).unwrap_err();
    assert_eq!(error, "attribute `theta` is missing");
    let gate = Attrs::new().int("heads", 1).word("attention", "both");
    assert_eq!(Op::from_text("agf_gate", gate).unwrap_err(), "attribute `attention` cannot be `both`");
}
