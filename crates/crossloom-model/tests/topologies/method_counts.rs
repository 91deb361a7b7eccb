//! Parameter counts of published methods on the models that they were published for.

use crossloom_recipe::Recipe;

use crate::counts::{MODELS, elements};
use crate::support::published;

/// LLaVA-1.5-7B, whose projector has so many parameters.
const LLAVA: (&str, &str, usize) = ("clip-vit-large-patch14-336", "vicuna-7b-v1.5", 20_979_712);

fn on_llava(method: &str, sets: &[&str]) -> Recipe {
    published(LLAVA.0, LLAVA.1, method, sets)
}

fn projector(recipe: &Recipe) -> usize {
    elements(recipe, "multi_modal_projector.")
}

#[test]
fn qwen3_vl_has_the_parameters_of_the_published_ones() {
    // 2B, 4B and 8B: encoder, merger, what is merged of three blocks, decoder.
    let (large, so400m) = ("qwen3-vl-large-patch16", "qwen3-vl-so400m-patch16");
    for (vision, language, taps, counts, all) in [
        (
            large,
            "qwen3-vl-2b",
            [6, 12, 18],
            [306_242_560, 25_174_016, 75_540_480, 1_720_574_976],
            2_127_532_032,
        ),
        (
            large,
            "qwen3-vl-4b",
            [6, 12, 18],
            [306_242_560, 27_271_680, 81_833_472, 4_022_468_096],
            4_437_815_808,
        ),
        (
            so400m,
            "qwen3-vl-8b",
            [9, 17, 25],
            [415_891_440, 40_119_040, 120_377_856, 8_190_735_360],
            8_767_123_696,
        ),
    ] {
        let taps = format!("topology.taps={:?}", taps.map(|block| format!("block.{block}")));
        let recipe = published(vision, language, "qwen3-vl", &[&taps]);
        let prefixes = ["vision_tower.", "multi_modal_projector.", "injection.adapter.", "language_model."];
        assert_eq!(prefixes.map(|prefix| elements(&recipe, prefix)), counts, "{language}");
        assert_eq!(counts.iter().sum::<usize>(), all, "{language}");
    }
    // Beside other decoders.
    for (width, merger) in [(2048, 30_686_720), (2560, 33_046_528), (3584, 37_766_144), (5120, 44_845_568)] {
        let width = format!("model.language.hidden={width}");
        let recipe = published(so400m, "qwen3-vl-8b", "qwen3-vl", &[&width, "model.language.layers=4"]);
        for tap in &recipe.topology.main.taps {
            assert_eq!(elements(&recipe, &format!("injection.adapter.{tap}.")), merger, "{width}");
        }
    }
}

#[test]
fn a_fuser_has_the_parameters_of_the_published_one() {
    let recipe = on_llava("mmfuser", &[]);
    assert_eq!(elements(&recipe, "injection.connector.fused."), 5_190_592);
    assert_eq!(projector(&recipe), LLAVA.2);
}

#[test]
fn dense_connectors_have_a_wider_projector_or_none_of_their_own() {
    for method in ["dense-connector-sci", "dense-connector-dci", "lsf-external-direct"] {
        let recipe = on_llava(method, &[]);
        assert_eq!(projector(&recipe), 29_368_320, "{method}");
        assert_eq!(projector(&recipe), LLAVA.2 + 8_388_608, "{method}");
        assert_eq!(elements(&recipe, "injection."), 0, "{method}");
    }
    let recipe = published(MODELS[1].0, LLAVA.1, "dense-connector-dci", &[]);
    assert_eq!(projector(&recipe), 30_941_184);
    let tokens = on_llava("dense-connector-sti", &[]);
    assert_eq!((projector(&tokens), elements(&tokens, "injection.")), (LLAVA.2, 0));
}

#[test]
fn igva_has_the_parameters_of_the_published_one() {
    // Its vectors are those of all-mpnet-base-v2, 768 wide.
    let vectors = "topology.conditioning={ kind = 'precomputed', vectors = 'questions.safetensors', width = 768 }";
    let recipe = on_llava("igva", &[vectors]);
    assert_eq!(elements(&recipe, "injection.connector.allocator."), 27_047_940);
    assert_eq!(projector(&recipe), 25_174_016);
    assert_eq!(projector(&recipe), LLAVA.2 + 4_194_304);
    // As it is shipped, a question is as wide as the language model's embeddings.
    let shipped = on_llava("igva", &[]);
    let wider = (shipped.model.language.hidden - 768) * shipped.model.vision.hidden;
    assert_eq!(elements(&shipped, "injection.connector.allocator."), 27_047_940 + wider);
}

#[test]
fn tgif_has_the_parameters_of_the_published_one() {
    // Over all 24 states; its encoder is as wide as CLIP's.
    let states: Vec<String> = (1..=24).map(|block| format!("block.{block}")).collect();
    let recipe = on_llava("tgif", &[&format!("topology.input.of={states:?}")]);
    assert_eq!(elements(&recipe, "injection."), 2_112_024);
    assert_eq!(projector(&recipe), LLAVA.2);
}

#[test]
fn stacks_of_deepstack_and_shallow_layers_have_no_parameters() {
    for method in ["deepstack", "deepstack-broadcast", "sli"] {
        assert_eq!(elements(&on_llava(method, &[]), "injection."), 0, "{method}");
    }
}

#[test]
fn internal_fusion_has_projectors_and_layers_of_the_published_size() {
    // MobileLLaMA 1.4B behind CLIP.
    let small = ["hidden=2048", "layers=24", "heads=16", "kv_heads=16", "head_dim=128", "mlp=5632"];
    let small = small.map(|set| format!("model.language.{set}"));
    let taps = "topology.taps=['block.3', 'block.18', 'block.23']";
    let of = |method: &str, points: &str| {
        let points = format!("topology.points=[{points}]");
        let sets: Vec<&str> = small.iter().map(String::as_str).chain([taps, &points]).collect();
        on_llava(method, &sets)
    };
    let direct = of("lsf-internal-direct", "'before layer.2', 'before layer.17', 'before layer.22'");
    let per_tap = 1024 * 2048 + 2048 + 2048 * 2048 + 2048;
    assert_eq!(elements(&direct, "injection."), 3 * per_tap);
    let modular =
        of("lsf-internal-modular", "'attention layer.2', 'attention layer.17', 'attention layer.22'");
    for layer in [2, 17, 22] {
        assert_eq!(elements(&modular, &format!("injection.fusion.layer.{layer}.attention.")), 51_380_226);
    }
    assert_eq!(elements(&modular, "injection."), 3 * (per_tap + 51_380_226));
}
