//! How connectors begin, and which scores are taken. That they are their equations, `tests/methods` shows.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use crossloom_graph::Tensor as Node;
use crossloom_ir::interp::run;
use crossloom_ir::{Role, Tensor, TensorType};
use crossloom_recipe::{LoadOptions, MmFuser, Part, Recipe, VisionAddress, load_text};

use super::mmfuser::Fuser;
use super::top_k::{TopK, top_k};
use crate::params::Params;
use crate::{Init, initial_value};

fn recipe() -> Recipe {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let text = std::fs::read_to_string(recipes.join("synthetic.toml")).unwrap();
    let loaded = load_text(&recipes.join("under-test.toml"), &text, &LoadOptions::default());
    loaded.unwrap_or_else(|e| panic!("{e}")).variants[0].recipe.clone()
}

fn declare(p: &mut Params, name: &str, shape: &[usize]) -> Node {
    p.graph.param(name, Role::Input, TensorType::f32(shape))
}

#[test]
fn mmfuser_begins_as_its_query() {
    let mut p = Params::new(&recipe());
    let (query, state) = (declare(&mut p, "query", &[1, 4, 6]), declare(&mut p, "state", &[1, 4, 6]));
    let (query_address, of) = (VisionAddress::Block(2), vec![VisionAddress::Block(1)]);
    let spec = MmFuser { query: query_address, of, heads: 2, points: 2 };
    let fuser = Fuser { of: (Part::Projector, "fuser"), spec: &spec, side: 2 };
    let fused = fuser.fuse(&mut p, query, &[state]).unwrap();
    p.graph.result("fused", fused);
    let (graph, specs, _) = p.finish();
    let func = graph.finish().lift().unwrap();
    let values = |name: &str, elements: usize| match specs.iter().find(|spec| spec.name == name) {
        Some(spec) => initial_value(spec.init, elements, 1, name),
        None => initial_value(Init::Uniform { std: 1.0 }, elements, 1, name),
    };
    let args: Vec<Tensor<f32>> = func
        .params()
        .iter()
        .map(|param| {
            let ty = func.ty(param.value);
            Tensor::new(ty.shape.clone(), values(&param.name, ty.elements())).unwrap()
        })
        .collect();
    assert_eq!(run(&func, &args).unwrap()[0].data, args[0].data);
}

#[test]
fn of_equal_scores_the_first_are_taken() {
    let scores = [[3.0, 1.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0], [-5.0, -1.0, -9.0, -1.0], [1.0, 2.0, 3.0, 4.0]];
    let expected = [[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]];
    let mut p = Params::new(&recipe());
    let input = declare(&mut p, "scores", &[4, 4]);
    let TopK { taken, shares } = top_k(&mut p, input, 2).unwrap();
    p.graph.result("taken", taken);
    p.graph.result("shares", shares);
    let func = p.finish().0.finish().lift().unwrap();
    let arg = Tensor::new([4, 4], scores.concat()).unwrap();
    let results = run(&func, &[arg]).unwrap();
    assert_eq!(results[0].data, expected.concat().iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    for (row, shares) in scores.iter().zip(results[1].data.chunks(4)) {
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let taken: Vec<usize> = (0..4).filter(|&i| shares[i] > 0.0).collect();
        assert_eq!(taken.len(), 2);
        let ratio = (row[taken[0]] - row[taken[1]]).exp();
        assert!((shares[taken[0]] / shares[taken[1]] - ratio).abs() < 1e-12);
    }
}
