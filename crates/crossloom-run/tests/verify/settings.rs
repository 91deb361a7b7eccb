//! Settings of every kind pass, so that what `verify` finds is a bug and no setting.

use crossloom_run::verify::{Built, verify};

use crate::support::{SEVERAL, said, variant};

/// Settings of the variant `cli` of `synthetic.toml`, which has four taps, three decoder layers and eight questions per picture.
const SETTINGS: [&[&str]; 24] = [
    &["variants.cli.topology.fusion='convex'"],
    &["variants.cli.topology.fusion={ kind = 'gated_add', order = 'sequential' }"],
    &["variants.cli.topology.fusion={ kind = 'convex', order = 'sequential' }"],
    &["variants.cli.topology.gate={ kind = 'agf', pool = 'image', granularity = 'channel' }"],
    &["variants.cli.topology.gate={ kind = 'agf', pool = 'image', share = 'edge', attention = 'none' }"],
    &[
        "variants.cli.topology.gate={ kind = 'agf', pool = 'image', share = 'global', attention = 'separate' }",
    ],
    &["variants.cli.topology.gate={ kind = 'agf', pool = 'prompt' }", "data.questions_per_sequence=1"],
    &["variants.cli.topology.gate='none'", "variants.cli.topology.fusion='add'"],
    &["variants.cli.topology.adapter={ kind = 'amp', attach = 'per_linear', rank = 4, tap_norm = 'layer' }"],
    &["variants.cli.topology.adapter={ kind = 'per_edge', tap_norm = 'layer' }"],
    &["variants.cli.topology.points=['after layer.0', 'before layer.1', 'before layer.0']"],
    &["variants.cli.topology.points=['inside layer.1', 'before layer.1', 'after layer.1']"],
    &["model.projector.merge=2", "variants.cli.topology.adapter={ kind = 'per_tap', tap_norm = 'merged' }"],
    &[
        "train.parts.language={ trainable = false, lora = { rank = 2, alpha = 8, targets = ['q_proj', 'down_proj'] } }",
    ],
    &["train.parts.vision.trainable=false", "train.parts.projector.trainable=false"],
    &["train.accumulate=2", "train.precision='bf16'"],
    &["variants.cli.topology.input='none'"],
    &[
        "variants.cli.topology.stream={ from = 'before layer.1', to = 'after layer.1' }",
        "variants.cli.topology.points=['before layer.1']",
    ],
    &["model.projector={ merge = 2, merging = 'mean' }"],
    &[
        "variants.cli.topology.conditioning={ kind = 'sentence', weights = 'x', width = 8 }",
        "variants.cli.topology.input={ kind = 'weighted', of = ['block.1', 'block.2'], weights = { kind = 'question', hidden = 8 } }",
        "data.questions_per_sequence=1",
    ],
    &["train.precision='bf16'", "train.parts.vision={ trainable = false, dtype = 'bf16' }"],
    &["variants.cli.topology.gate={ kind = 'static', init = 0.1 }", "variants.cli.topology.fusion='convex'"],
    SEVERAL,
    &[
        "variants.cli.topology.taps=[]",
        "variants.cli.topology.points=[]",
        "variants.cli.topology.gate='none'",
        "variants.cli.topology.injections.only={ taps = ['block.2'], points = ['before layer.0'], gate = { kind = 'constant', \
         value = 0.5 } }",
    ],
];

#[test]
fn every_kind_of_adapter_gate_and_fusion_is_wired_as_it_says() {
    let mut wrong = String::new();
    for sets in SETTINGS {
        let recipe = variant("synthetic.toml", "cli", sets);
        let verified = verify(&recipe, &Built).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
        if !verified.holds() {
            wrong += &format!("{sets:?}\n{}", said(&verified));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
