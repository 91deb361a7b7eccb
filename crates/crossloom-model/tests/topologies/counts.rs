//! Parameter counts of published models, and of CLI on them against closed formulas.

use crossloom_model::BatchShape;
use crossloom_recipe::Recipe;

use crate::support::{graph, published};

const LONG: BatchShape = BatchShape { batch: 1, tokens: 800, targets: 1, views: None };

/// Vision and language model, and their widths.
pub(crate) const MODELS: [(&str, &str, usize, usize); 3] = [
    ("siglip-so400m-patch14-384-26", "qwen2-0.5b", 1152, 896),
    ("siglip-so400m-patch14-384-26", "qwen2-7b", 1152, 3584),
    ("clip-vit-large-patch14-336", "vicuna-7b-v1.5", 1024, 4096),
];

/// Elements of all parameters whose names begin so.
pub(crate) fn elements(recipe: &Recipe, prefix: &str) -> usize {
    let params = graph(recipe, LONG).params;
    params.iter().filter(|p| p.name.starts_with(prefix)).map(|p| p.shape.iter().product::<usize>()).sum()
}

#[test]
fn base_models_have_the_parameters_of_the_published_ones() {
    // LLaVA-1.5-7B and LLaVA-OneVision-7B and -0.5B, vocabularies as their checkpoints have them, without the post-norm of
    // the vision tower, which no recipe here reads, and without the newline of OneVision; DINOv2 with it, without its mask token.
    for (vision, language, vocab, [tower, projector, decoder]) in [
        (
            "clip-vit-large-patch14-336",
            "vicuna-7b-v1.5",
            32_064,
            [303_507_456 - 2 * 1024, 20_979_712, 6_738_939_904],
        ),
        (
            "siglip-so400m-patch14-384-26",
            "qwen2-7b",
            152_128,
            [397_747_744 - 2 * 1152, 16_980_992, 7_616_075_264],
        ),
        (
            "siglip-so400m-patch14-384-26",
            "qwen2-0.5b",
            152_000,
            [397_747_744 - 2 * 1152, 1_836_800, 494_090_112],
        ),
        (
            "dinov2-small-patch14",
            "qwen3-0.6b",
            151_936,
            [22_056_576 - 384, 1024 * (384 + 1) + 1024 * (1024 + 1), 596_049_920],
        ),
        (
            "dinov2-base-patch14",
            "qwen3-0.6b",
            151_936,
            [86_580_480 - 768, 1024 * (768 + 1) + 1024 * (1024 + 1), 596_049_920],
        ),
    ] {
        let vocab = format!("model.language.vocab_size={vocab}");
        let recipe = published(vision, language, "projector", &[&vocab, "topology.input=block.last"]);
        for (prefix, count) in
            [("vision_tower.", tower), ("multi_modal_projector.", projector), ("language_model.", decoder)]
        {
            assert_eq!(elements(&recipe, prefix), count, "{vision}, {language}: {prefix}");
        }
    }
}

#[test]
fn low_rank_branches_cost_their_rank_times_both_widths() {
    let table = [
        (8, [16_384, 37_888, 40_960]),
        (16, [32_768, 75_776, 81_920]),
        (32, [65_536, 151_552, 163_840]),
        (64, [131_072, 303_104, 327_680]),
        (128, [262_144, 606_208, 655_360]),
    ];
    for (rank, counts) in table {
        for ((vision, language, dv, d), count) in MODELS.into_iter().zip(counts) {
            assert_eq!(rank * (dv + d), count);
            let recipe = published(vision, language, "cli", &[&format!("topology.adapter.rank={rank}")]);
            let taps = recipe.topology.main.taps.len();
            assert_eq!(taps, 4);
            assert_eq!(elements(&recipe, "injection.adapter."), taps * count, "{language}, rank {rank}");
            for tap in &recipe.topology.main.taps {
                assert_eq!(elements(&recipe, &format!("injection.adapter.{tap}.")), count);
            }
        }
    }
}

#[test]
fn branches_on_each_linear_layer_and_whole_projectors() {
    for ((vision, language, ..), (rank8, rank64, whole)) in MODELS.into_iter().zip([
        (30_720, 245_760, 1_836_800),
        (95_232, 761_856, 16_980_992),
        (106_496, 851_968, 20_979_712),
    ]) {
        for (rank, count) in [(8, rank8), (64, rank64)] {
            let sets =
                [format!("topology.adapter.rank={rank}"), "topology.adapter.attach=per_linear".to_owned()];
            let recipe = published(vision, language, "cli", &[&sets[0], &sets[1]]);
            assert_eq!(elements(&recipe, "injection.adapter."), 4 * count, "{language}, rank {rank}");
        }
        let recipe = published(vision, language, "full-projector-per-tap", &[]);
        assert_eq!(elements(&recipe, "injection.adapter."), 4 * whole, "{language}");
        assert_eq!(elements(&recipe, "multi_modal_projector."), whole, "{language}");
        let shared = published(vision, language, "agf-only", &[]);
        assert_eq!(elements(&shared, "injection.adapter."), 0);
    }
}

#[test]
fn gates_cost_two_queries_their_attention_and_a_controller() {
    // Attention, granularity, counts with a key bias, number of key biases. There is none: softmax does not see it.
    let table = [
        ("none", "scalar", [3_585, 14_337, 16_385], 0),
        ("none", "channel", [1_608_320, 25_700_864, 33_566_720], 0),
        ("shared", "scalar", [3_218_433, 51_408_897, 67_141_633], 1),
        ("separate", "scalar", [6_433_281, 102_803_457, 134_266_881], 2),
        ("shared", "channel", [4_823_168, 77_095_424, 100_691_968], 1),
        ("separate", "channel", [8_038_016, 128_489_984, 167_817_216], 2),
    ];
    for (attention, granularity, counts, biases) in table {
        for ((vision, language, _, d), with_bias) in MODELS.into_iter().zip(counts) {
            let gate = format!(
                "topology.gate={{kind='agf', attention='{attention}', granularity='{granularity}', share='global'}}"
            );
            let recipe = published(vision, language, "cli", &[&gate]);
            let given = elements(&recipe, "injection.gate.");
            assert_eq!(given, with_bias - biases * d, "{language}: {attention}, {granularity}");
            let projections = biases * (4 * d * d + 3 * d);
            let outputs = if granularity == "channel" { d } else { 1 };
            assert_eq!(given, 2 * d + projections + outputs * (2 * d + 1));
        }
    }
}

#[test]
fn a_gate_per_point_or_per_edge_is_as_many_gates() {
    let count = |share: &str| {
        let set = format!("topology.gate.share={share}");
        let recipe = published(MODELS[0].0, MODELS[0].1, "cli", &[&set]);
        let (taps, points) = (recipe.topology.main.taps.len(), recipe.topology.main.points.len());
        (elements(&recipe, "injection.gate."), taps, points)
    };
    let (one, taps, points) = count("global");
    assert_eq!((taps, points), (4, 12));
    assert_eq!(count("point").0, points * one);
    assert_eq!(count("edge").0, points * taps * one);
}
