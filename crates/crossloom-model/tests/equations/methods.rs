//! The shipped methods compute what is written of them, in words of their own.

use std::collections::BTreeSet;

use crate::compare::compare;
use crate::product::load;
use crate::settings::{
    Activation, Adapter, Agf, Attention, Family, Fusion, Gate, Injection, Language, Multipliers, Norm, Point,
    Projector, Settings, Share, Tap, Vision, Wiring,
};

/// Four vision blocks and four decoder layers, which all methods fit; no two widths are alike.
pub(crate) fn models(injection: Injection) -> Settings {
    Settings {
        vision: Vision {
            image_size: 4,
            patch: 2,
            hidden: 6,
            layers: 4,
            heads: 2,
            mlp: 5,
            activation: Activation::GeluTanh,
            eps: 1e-3,
            class_token: true,
            pre_norm: false,
            post_norm: true,
            qkv_bias: true,
            patch_bias: true,
            layer_scale: false,
            position_grid: None,
            by_corners: false,
            frames: 1,
            theta: None,
        },
        language: Language {
            family: Family::Llama,
            hidden: 4,
            layers: 4,
            heads: 2,
            kv_heads: 1,
            head_dim: 2,
            mlp: 3,
            theta: 100.0,
            eps: 1e-3,
            tied: true,
            sections: None,
            multipliers: Multipliers::default(),
            vocab: 7,
        },
        projector: Projector {
            hidden: 5,
            activation: Activation::GeluErf,
            bias: true,
            merge: 1,
            norm: Norm::None,
            windows: None,
            eps: None,
        },
        injection,
    }
}

/// The gate that CLI's file leaves to the defaults: a module per point, one attention for both queries, as many heads as
/// the decoder has, one number per edge, pooled over the prompt.
pub(crate) const AGF: Gate = Gate::Agf(Agf {
    attention: Attention::Shared,
    heads: 2,
    channel: false,
    bias_init: -4.0,
    norm: false,
    prompt: true,
    share: Share::Point,
});

/// Four vision layers into every second decoder layer, each tap through the shared projector and a low-rank branch whose
/// scale is 1, gated, all at once.
pub(crate) fn cli() -> Injection {
    Injection {
        input: Some(Tap::Block(4)),
        taps: [1, 2, 3, 4].map(Tap::Block).to_vec(),
        points: vec![Point::before(0), Point::before(2)],
        wiring: Wiring::Dense,
        adapter: Adapter::Amp { rank: 16, alpha: 16.0, per_linear: false },
        tap_norm: Norm::None,
        gate: AGF,
        fusion: Fusion::GatedAdd,
        sequential: false,
    }
}

/// Taps that are added as they are, one to one or one to all.
fn added(taps: Vec<Tap>, points: Vec<Point>, wiring: Wiring, adapter: Adapter) -> Injection {
    Injection { taps, points, wiring, adapter, gate: Gate::None, fusion: Fusion::Add, ..cli() }
}

fn methods() -> Vec<(&'static str, Injection)> {
    let blocks = [1, 2, 3].map(Tap::Block).to_vec();
    vec![
        ("projector", added(vec![], vec![], Wiring::Dense, Adapter::Shared)),
        ("cli", cli()),
        ("cli-dense", Injection { points: [0, 1, 2, 3].map(Point::before).to_vec(), ..cli() }),
        ("cli-medium", Injection { points: vec![Point::before(0)], ..cli() }),
        ("cli-sparse", Injection { points: vec![Point::before(0)], ..cli() }),
        ("amp-only", Injection { gate: Gate::None, fusion: Fusion::Add, ..cli() }),
        ("agf-only", Injection { adapter: Adapter::Shared, ..cli() }),
        ("full-projector-per-tap", Injection { adapter: Adapter::PerTap, ..cli() }),
        ("constant-gate", Injection { gate: Gate::Constant(0.25), ..cli() }),
        ("static-gate", Injection { gate: Gate::Static { init: 0.018 }, ..cli() }),
        (
            // Evenly spread and rounded: of four blocks the first, the third and the last.
            "diagonal-agf",
            Injection {
                taps: [1, 3, 4].map(Tap::Block).to_vec(),
                points: [0, 2, 3].map(Point::before).to_vec(),
                wiring: Wiring::Diagonal,
                ..cli()
            },
        ),
        ("broadcast-last-agf", Injection { taps: vec![Tap::Block(4)], wiring: Wiring::Broadcast, ..cli() }),
        (
            // The tokens of the input once more, before every layer but the first.
            "deepstack-broadcast",
            added(
                vec![Tap::Block(4)],
                [1, 2, 3].map(Point::before).to_vec(),
                Wiring::Broadcast,
                Adapter::Shared,
            ),
        ),
        // h_l + P(V_{l+1}), l = 0, 1, 2.
        ("sli", added(blocks, [0, 1, 2].map(Point::before).to_vec(), Wiring::Diagonal, Adapter::Shared)),
    ]
}

#[test]
fn shipped_methods_compute_what_is_written_of_them() {
    let files = |folder: &str| -> BTreeSet<String> {
        let files = std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    // The others are compared with modules in PyTorch.
    let fixtures = files("tests/methods/fixtures");
    let shipped: BTreeSet<String> = files("../../recipes/methods").difference(&fixtures).cloned().collect();
    let written: BTreeSet<String> = methods().iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(shipped, written);
    for (seed, (name, injection)) in methods().into_iter().enumerate() {
        let settings = models(injection);
        let recipe = load(&settings.recipe_extending(&format!("methods/{name}.toml"))).unwrap();
        compare(&recipe, &settings, seed as u64).unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
}
