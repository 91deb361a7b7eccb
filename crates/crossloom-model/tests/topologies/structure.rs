//! Nodes of the luminal graph, names and shapes of parameters, dead vision layers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crossloom_compiler::Context;
use crossloom_compiler::passes::by_name;
use crossloom_graph::describe::NodeKind;
use crossloom_ir::Func;
use crossloom_model::ModelGraph;
use crossloom_recipe::Recipe;

use crate::support::{SHAPE, graph, recipes, small};

/// How often every op stands in the luminal graph.
fn nodes(model: &ModelGraph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in model.graph.describe().into_iter().filter(|node| node.kind == NodeKind::Op) {
        let end = node.op.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(node.op.len());
        *counts.entry(node.op[..end].to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Method, nodes `amp_project`, `agf_gate`, `agf_inject`, and the operands that gate and adapter add.
const METHODS: [(&str, [usize; 3]); 14] = [
    ("cli", [1, 2, 2]),
    ("cli-dense", [1, 3, 3]),
    ("cli-medium", [1, 1, 1]),
    ("cli-sparse", [1, 1, 1]),
    ("amp-only", [1, 0, 2]),
    ("broadcast-last-agf", [1, 2, 2]),
    ("constant-gate", [1, 0, 2]),
    ("diagonal-agf", [1, 3, 3]),
    ("full-projector-per-tap", [0, 2, 2]),
    ("agf-only", [1, 2, 2]),
    ("static-gate", [1, 0, 2]),
    ("deepstack-broadcast", [1, 0, 2]),
    ("projector", [0, 0, 0]),
    ("sli", [1, 0, 3]),
];

#[test]
fn adapters_and_gates_are_single_nodes() {
    let files = |folder: &Path| -> BTreeSet<String> {
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let fixtures = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/methods/fixtures"));
    let shipped = files(&recipes().join("methods"));
    let apart: BTreeSet<String> = shipped.difference(&fixtures).cloned().collect();
    let rows = METHODS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        apart, rows,
        "every method has a row, or its weights are compared by their names in `tests/methods`"
    );
    for (method, expected) in METHODS {
        let counts = nodes(&graph(&small(method, &[]), SHAPE));
        let given = ["amp_project", "agf_gate", "agf_inject"].map(|op| counts.get(op).copied().unwrap_or(0));
        assert_eq!(given, expected, "{method}: {counts:?}");
        // What every model has: 4 + 3 layers of attention, norms, a lookup, the input's scatter.
        for (op, count) in [
            ("attention", 7),
            ("layer_norm", 9),
            ("rms_norm", 7),
            ("rope", 6),
            ("embedding", 1),
            ("scatter_rows", 1),
        ] {
            assert_eq!(counts.get(op), Some(&count), "{method}: {op}");
        }
    }
}

type Shapes = BTreeMap<String, Vec<usize>>;

fn params(recipe: &Recipe) -> (Shapes, Shapes) {
    let all = graph(recipe, SHAPE).params;
    let names: BTreeSet<&String> = all.iter().map(|p| &p.name).collect();
    assert_eq!(names.len(), all.len(), "names are unique");
    all.into_iter().map(|p| (p.name, p.shape)).partition(|(name, _)| name.starts_with("injection."))
}

fn linear(shapes: &mut Shapes, name: &str, out: usize, fan_in: usize, bias: bool) {
    shapes.insert(format!("{name}.weight"), vec![out, fan_in]);
    if bias {
        shapes.insert(format!("{name}.bias"), vec![out]);
    }
}

/// Parameters of a method's injection on vision width 32, projector width 32 and language width 32.
fn injected(method: &str, recipe: &Recipe) -> Shapes {
    let (mut shapes, d) = (Shapes::new(), 32);
    let taps: Vec<String> = recipe.topology.main.taps.iter().map(ToString::to_string).collect();
    let points: Vec<String> = recipe.topology.main.points.iter().map(|point| point.name()).collect();
    let inner = recipe.model.projector.hidden;
    for tap in &taps {
        let adapter = format!("injection.adapter.{tap}");
        match method {
            "cli" | "cli-dense" | "cli-medium" | "cli-sparse" | "amp-only" | "broadcast-last-agf"
            | "constant-gate" | "diagonal-agf" | "static-gate" => {
                linear(&mut shapes, &format!("{adapter}.lora_A"), 16, d, false);
                linear(&mut shapes, &format!("{adapter}.lora_B"), d, 16, false);
            }
            "full-projector-per-tap" => {
                linear(&mut shapes, &format!("{adapter}.projector.linear_1"), inner, d, true);
                linear(&mut shapes, &format!("{adapter}.projector.linear_2"), d, inner, true);
            }
            _ => {}
        }
    }
    for point in &points {
        let gate = format!("injection.gate.{point}");
        match method {
            "cli"
            | "cli-dense"
            | "cli-medium"
            | "cli-sparse"
            | "broadcast-last-agf"
            | "diagonal-agf"
            | "full-projector-per-tap"
            | "agf-only" => {
                for query in ["query_vision", "query_hidden"] {
                    shapes.insert(format!("{gate}.{query}"), vec![d]);
                }
                for (name, bias) in [("q_proj", true), ("k_proj", false), ("v_proj", true), ("o_proj", true)]
                {
                    linear(&mut shapes, &format!("{gate}.attn.{name}"), d, d, bias);
                }
                linear(&mut shapes, &format!("{gate}.controller"), 1, 2 * d, true);
            }
            "static-gate" => {
                shapes.extend(taps.iter().map(|tap| (format!("{gate}.{tap}.weight"), vec![1])));
            }
            _ => {}
        }
    }
    shapes
}

#[test]
fn parameters_have_the_documented_names_and_shapes() {
    let (none, base) = params(&small("projector", &[]));
    assert!(none.is_empty(), "{none:?}");
    for (method, _) in METHODS {
        let recipe = small(method, &[]);
        let (given, own_base) = params(&recipe);
        assert_eq!(own_base, base, "{method} changes the base model");
        assert_eq!(given, injected(method, &recipe), "{method}");
    }
    for (name, shape) in [
        ("vision_tower.vision_model.embeddings.patch_embedding.weight", &[32, 3, 8, 8][..]),
        ("vision_tower.vision_model.encoder.layers.3.self_attn.out_proj.bias", &[32]),
        ("vision_tower.vision_model.post_layernorm.weight", &[32]),
        ("multi_modal_projector.linear_2.weight", &[32, 32]),
        ("language_model.model.layers.0.self_attn.k_proj.weight", &[16, 32]),
        ("language_model.model.layers.2.mlp.down_proj.weight", &[32, 64]),
        ("language_model.model.norm.weight", &[32]),
    ] {
        assert_eq!(base.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }
}

#[test]
fn edges_with_gates_of_their_own_carry_the_tap_in_their_names() {
    let recipe = small("cli", &["topology.gate.share=edge"]);
    let (given, _) = params(&recipe);
    let tap = recipe.topology.main.taps[1].to_string();
    assert!(given.contains_key(&format!("injection.gate.layer.2.{tap}.attn.q_proj.weight")), "{given:?}");
    assert!(!given.keys().any(|name| name.starts_with("injection.gate.layer.2.attn")));
    let (one, _) = params(&small("cli", &["topology.gate.share=global"]));
    assert_eq!(one.keys().filter(|name| name.ends_with("controller.weight")).count(), 1);
    let (normed, _) = params(&small("cli", &["topology.adapter.tap_norm=layer"]));
    assert_eq!(normed.get(&format!("injection.adapter.{tap}.norm.weight")), Some(&vec![32]));
}

fn blocks(func: &Func) -> BTreeSet<String> {
    let scopes = func.insts().iter().map(|inst| inst.scope.as_str());
    scopes
        .filter_map(|s| s.strip_prefix("vision."))
        .map(|s| s.trim_end_matches(".attn").trim_end_matches(".mlp").to_owned())
        .collect()
}

#[test]
fn vision_layers_behind_the_last_tap_disappear() {
    let dce = by_name("dce").unwrap();
    let live = |sets: &[&str]| -> BTreeSet<String> {
        let func = graph(&small("sli", sets), SHAPE).graph.lift().unwrap();
        assert!(blocks(&func).contains("block.4"));
        blocks(&dce.run(&func, &Context::default()).unwrap())
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let all = names(&["embed", "block.1", "block.2", "block.3", "block.4", "post_norm"]);
    assert_eq!(live(&[]), all);
    // SLI taps the first three blocks.
    assert_eq!(live(&["topology.input=block.1"]), names(&["embed", "block.1", "block.2", "block.3"]));
    assert_eq!(
        live(&["topology.input=block.last"]),
        names(&["embed", "block.1", "block.2", "block.3", "block.4"])
    );
}
