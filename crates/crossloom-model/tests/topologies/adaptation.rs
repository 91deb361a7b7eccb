//! Low-rank pairs beside linear layers: what they compute, and what of a recipe's names is refused.

use std::collections::BTreeMap;

use crossloom_compiler::autodiff;
use crossloom_ir::interp::run_all;
use crossloom_ir::{Func, Role, Tensor, Value};
use crossloom_model::{Init, ModelError, ModelGraph, Outputs, build, initial_value};
use crossloom_recipe::{Recipe, Topology};

use crate::support::{SHAPE, VOCAB, arguments, farthest, logits, small};

const LANGUAGE: &str =
    "train.parts.language.lora={ rank = 3, alpha = 6, targets = ['q_proj', 'mlp.down_proj'] }";
const VISION: &str =
    "train.parts.vision.lora={ rank = 2, alpha = 5, targets = ['v_proj', 'fc1', 'layers.1.mlp.fc2'] }";
const PROJECTOR: &str =
    "train.parts.projector.lora={ rank = 4, alpha = 2, targets = ['linear_1', 'linear_2'] }";

fn model(recipe: &Recipe, outputs: Outputs) -> Result<ModelGraph, ModelError> {
    let topology = Topology::new(recipe).unwrap();
    let edges: Vec<_> = topology.pairs();
    build(recipe, &edges, SHAPE, VOCAB, outputs)
}

/// Every tensor that may start at zero is busy, so that nothing is equal because nothing happens.
fn busy(name: &str, values: Vec<f32>) -> Vec<f32> {
    if name.ends_with("lora_B.weight") {
        return initial_value(Init::Uniform { std: 0.2 }, values.len(), 7, name);
    }
    values
}

/// The values of every parameter of a model.
fn values(model: &ModelGraph) -> BTreeMap<String, Vec<f32>> {
    let value = |spec: &crossloom_model::ParamSpec| {
        let start = initial_value(spec.init, spec.elements() as usize, 5, &spec.name);
        (spec.name.clone(), busy(&spec.name, start))
    };
    model.params.iter().map(value).collect()
}

/// `scale B A` of every adapted layer, by the name of its weight.
fn products(model: &ModelGraph, recipe: &Recipe) -> BTreeMap<String, Vec<f32>> {
    let values = values(model);
    let mut products = BTreeMap::new();
    for spec in model.params.iter().filter(|spec| spec.name.ends_with(".lora_A.weight")) {
        let Some(linear) = &spec.beside else { continue };
        let lora = recipe.train.parts.get(spec.part).lora.as_ref().unwrap();
        let (rank, fan_in) = (spec.shape[0], spec.shape[1]);
        assert_eq!(rank, lora.rank);
        let (a, b) = (&values[&spec.name], &values[&format!("{linear}.lora_B.weight")]);
        let product = (0..b.len() / rank * fan_in).map(|i| {
            let (row, column) = (i / fan_in, i % fan_in);
            let sum: f64 =
                (0..rank).map(|r| f64::from(b[row * rank + r]) * f64::from(a[r * fan_in + column])).sum();
            (lora.scale() * sum) as f32
        });
        products.insert(format!("{linear}.weight"), product.collect());
    }
    products
}

#[test]
fn pairs_add_nothing_at_first_and_then_what_their_product_adds_to_the_weight() {
    let methods: [(&str, &[&str]); 5] = [
        ("projector", &[]),
        ("agf-only", &[]),
        ("cli", &[]),
        ("cli", &["topology.adapter.attach=per_linear"]),
        ("full-projector-per-tap", &[]),
    ];
    for (method, sets) in methods {
        let plain = small(method, sets);
        let adapted = small(method, &[sets, &[LANGUAGE, VISION, PROJECTOR]].concat());
        let products = products(&model(&adapted, Outputs::Loss).unwrap(), &adapted);
        assert_eq!(products.len(), 3 * 2 + 4 * 2 + 1 + 2, "{:?}", products.keys());
        // AMP's own branches are busy in both; LoRA's pairs are not.
        let still = |name: &str, values: Vec<f32>| {
            if name.starts_with("injection.") { busy(name, values) } else { values }
        };
        let start = logits(&plain, still);
        assert!(farthest(&start, &logits(&adapted, still)) < 1e-12, "{method} {sets:?}");
        let merged = logits(&plain, |name, values| {
            let values = busy(name, values);
            match products.get(name) {
                Some(product) => values.iter().zip(product).map(|(w, p)| w + p).collect(),
                None => values,
            }
        });
        assert!(farthest(&start, &merged) > 1e-3, "{method} {sets:?}: the pairs are connected");
        let off = farthest(&merged, &logits(&adapted, busy));
        assert!(off < 1e-5, "{method} {sets:?}: {off}");
    }
}

/// Gradients of all weights by name, by the reference interpreter in f64.
fn gradients(recipe: &Recipe, weight: impl Fn(&str, Vec<f32>) -> Vec<f32>) -> BTreeMap<String, Tensor<f64>> {
    let model = model(recipe, Outputs::Loss).unwrap();
    let forward = model.graph.lift().unwrap();
    let wrt: Vec<Value> =
        forward.params().iter().filter(|p| p.role == Role::Weight).map(|p| p.value).collect();
    let func: Func = autodiff::gradient(&forward, "loss", &wrt).unwrap();
    let values = run_all(&func, &arguments(&model, &func, weight)).unwrap_or_else(|e| panic!("{e}"));
    let gradient = |result: &crossloom_ir::func::ResultDef| {
        let name = result.name.strip_prefix("grad.")?.to_owned();
        Some((name, values[result.value.index()].clone().unwrap()))
    };
    func.results().iter().filter_map(gradient).collect()
}

/// With `W' = W + s B A` and the gradient `G` of `W'`: that of A is `s Bᵀ G`, that of B is `s G Aᵀ`.
#[test]
fn gradients_of_a_pair_are_those_of_the_weight_through_the_product() {
    for (method, sets) in [("agf-only", &[][..]), ("cli", &["topology.adapter.attach=per_linear"])] {
        let plain = small(method, sets);
        let adapted = small(method, &[sets, &[LANGUAGE, VISION, PROJECTOR]].concat());
        let specs = model(&adapted, Outputs::Loss).unwrap();
        let (products, values) = (products(&specs, &adapted), values(&specs));
        let of_weights = gradients(&plain, |name, values| {
            let values = busy(name, values);
            match products.get(name) {
                Some(product) => values.iter().zip(product).map(|(w, p)| w + p).collect(),
                None => values,
            }
        });
        let of_pairs = gradients(&adapted, busy);
        let mut compared = 0;
        for spec in specs.params.iter().filter(|spec| spec.name.ends_with(".lora_A.weight")) {
            let Some(linear) = &spec.beside else { continue };
            let scale = adapted.train.parts.get(spec.part).lora.as_ref().unwrap().scale();
            let (rank, fan_in) = (spec.shape[0], spec.shape[1]);
            let (name_a, name_b) = (&spec.name, format!("{linear}.lora_B.weight"));
            let (a, b, g) =
                (&values[name_a], &values[&name_b], &of_weights[&format!("{linear}.weight")].data);
            let out = b.len() / rank;
            let expected_a: Vec<f64> = (0..rank * fan_in)
                .map(|i| {
                    let (r, c) = (i / fan_in, i % fan_in);
                    scale * (0..out).map(|o| f64::from(b[o * rank + r]) * g[o * fan_in + c]).sum::<f64>()
                })
                .collect();
            let expected_b: Vec<f64> = (0..out * rank)
                .map(|i| {
                    let (o, r) = (i / rank, i % rank);
                    scale * (0..fan_in).map(|c| g[o * fan_in + c] * f64::from(a[r * fan_in + c])).sum::<f64>()
                })
                .collect();
            for (name, expected) in [(name_a, expected_a), (&name_b, expected_b)] {
                let largest = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                let off = farthest(&of_pairs[name].data, &expected);
                assert!(off <= 1e-4 * largest + 1e-9, "{name}: {off} of {largest}");
                compared += usize::from(largest > 1e-6);
            }
        }
        assert!(compared > 20, "{compared}");
    }
}

#[test]
fn names_that_the_model_does_not_have_are_all_refused_with_those_that_it_has() {
    let recipe = small(
        "cli",
        &[
            "train.parts.language={ lora = { rank = 20, targets = ['q_prj', 'k_proj', 'attn.k_proj', 'self_attn.k_proj'] }, \
             tensors = [{ match = 'layers.0*' }, { match = '*layers.2.self_attn.*' }, { match = '*.2.self_attn.k_proj*' }] }",
            "train.parts.vision.lora={ rank = 64, targets = ['fc1', 'fc2'] }",
        ],
    );
    let Err(ModelError::Adaptation(problems)) = model(&recipe, Outputs::Loss) else { panic!("built") };
    let text = problems.join("\n");
    for said in [
        "`train.parts.language.lora.targets`: `q_prj` is no linear layer of the part; it has down_proj, gate_proj, k_proj",
        "`train.parts.language.lora.targets`: `attn.k_proj` is no linear layer",
        "what `self_attn.k_proj` names is named by earlier targets already",
        "`train.parts.language.lora.rank` is 20, above the smaller side of \
         language_model.model.layers.0.self_attn.k_proj [16, 32]",
        "`language_model.model.layers.2.self_attn.k_proj.weight` is trained in full",
        "`train.parts.vision.lora.rank` is 64, above the smaller side of",
        "and 17 more",
        "`train.parts.language.tensors`: `layers.0*` matches no tensor; there are language_model.model.embed_tokens.weight",
        "all tensors that match `*.2.self_attn.k_proj*` belong to sets before it",
    ] {
        assert!(text.contains(said), "{said}\n\n{text}");
    }
}

#[test]
fn the_names_are_those_of_peft_under_the_layer_that_is_adapted() {
    let specs = model(&small("projector", &[LANGUAGE]), Outputs::Loss).unwrap().params;
    let pair: Vec<_> = specs
        .iter()
        .filter(|spec| spec.beside.as_deref() == Some("language_model.model.layers.0.mlp.down_proj"))
        .map(|spec| (spec.name.as_str(), spec.shape.as_slice()))
        .collect();
    assert_eq!(
        pair,
        [
            ("language_model.model.layers.0.mlp.down_proj.lora_A.weight", &[3, 64][..]),
            ("language_model.model.layers.0.mlp.down_proj.lora_B.weight", &[32, 3][..]),
        ]
    );
}
