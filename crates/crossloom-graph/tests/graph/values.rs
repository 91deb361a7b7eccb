//! Values go in and out by name; mistakes are errors, and a graph survives them.

use crossloom_graph::{GraphBuilder, GraphError, Interpreter, LuminalGraph, decompose};
use crossloom_ir::op::{Argmax, Embedding, Unary, UnaryKind};
use crossloom_ir::{Role, TensorType};

use crate::common::{interpreted, outputs, transformer};

fn lookup() -> LuminalGraph {
    let mut b = GraphBuilder::new("lookup");
    let table = b.param("table", Role::Weight, TensorType::f32([3, 2]));
    let ids = b.param("ids", Role::Input, TensorType::i32([2]));
    let rows = b.scoped("embed", |b| b.one(Embedding, &[table, ids])).unwrap();
    let best = b.one(Argmax, &[rows]).unwrap();
    b.result("rows", rows);
    b.result("best", best);
    b.finish()
}

const TABLE: [f32; 6] = [1.0, 2.0, 4.0, 3.0, 5.0, 6.0];

#[test]
fn ids_go_in_and_out_as_whole_numbers() {
    let mut graph = lookup();
    graph.set("table", &TABLE).unwrap();
    graph.set_ids("ids", &[2, 1]).unwrap();
    graph.execute().unwrap();
    assert_eq!(graph.get("rows").unwrap(), [5.0, 6.0, 4.0, 3.0]);
    assert_eq!(graph.get_ids("best").unwrap(), [1, 0]);
}

#[test]
fn every_run_computes_anew_from_the_current_values() {
    let mut variants = [lookup(), lookup(), lookup()];
    variants[1].compile_region(&Interpreter).unwrap();
    variants[2] = decompose(&variants[2].lift().unwrap()).unwrap();
    for graph in &mut variants {
        graph.set("table", &TABLE).unwrap();
        graph.set_ids("ids", &[0, 0]).unwrap();
        graph.execute().unwrap();
        assert_eq!(graph.get("rows").unwrap(), [1.0, 2.0, 1.0, 2.0]);
        graph.set_ids("ids", &[1, 2]).unwrap();
        graph.execute().unwrap();
        assert_eq!(graph.get("rows").unwrap(), [4.0, 3.0, 5.0, 6.0]);
        graph.set("table", &[0.0; 6]).unwrap();
        graph.execute().unwrap();
        assert_eq!(graph.get("rows").unwrap(), [0.0; 4]);
        assert_eq!(graph.get("table").unwrap(), [0.0; 6]);
    }
}

#[test]
fn values_given_before_compiling_move_into_the_region() {
    let mut graph = lookup();
    graph.set("table", &TABLE).unwrap();
    graph.set_ids("ids", &[2, 2]).unwrap();
    graph.compile_region(&Interpreter).unwrap();
    assert_eq!(graph.region().unwrap().get("table").unwrap(), TABLE);
    assert!(graph.luminal().tensors.is_empty(), "luminal holds no copy of the weights");
    graph.execute().unwrap();
    assert_eq!(graph.get("rows").unwrap(), [5.0, 6.0, 5.0, 6.0]);
}

#[test]
fn an_operator_that_cannot_compute_is_reported_and_the_graph_survives() {
    for compiled in [false, true] {
        let mut graph = lookup();
        graph.set("table", &TABLE).unwrap();
        graph.set_ids("ids", &[0, 7]).unwrap();
        if compiled {
            graph.compile_region(&Interpreter).unwrap();
        }
        let error = graph.execute().unwrap_err();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text += &cause.to_string();
            source = cause.source();
        }
        assert!(text.contains("embedding") && text.contains("in embed") && text.contains('7'), "{text}");
        assert!(matches!(graph.get("rows"), Err(GraphError::NotComputed { .. })));
        graph.set_ids("ids", &[0, 1]).unwrap();
        graph.execute().unwrap();
        assert_eq!(graph.get("rows").unwrap(), [1.0, 2.0, 4.0, 3.0]);
    }
}

#[test]
fn state_is_updated_by_every_run() {
    let build = || {
        let mut b = GraphBuilder::new("counter");
        let state = b.param("sum", Role::State, TensorType::f32([2]));
        let x = b.param("x", Role::Input, TensorType::f32([2]));
        let next = b.add(state, x).unwrap();
        let before = b.affine(state, 1.0, 0.0).unwrap();
        b.update(state, next);
        b.result("before", before);
        b.finish()
    };
    let mut variants = [build(), build(), decompose(&build().lift().unwrap()).unwrap()];
    variants[1].compile_region(&Interpreter).unwrap();
    for graph in &mut variants {
        graph.set("sum", &[0.0, 1.0]).unwrap();
        graph.set("x", &[1.0, 2.0]).unwrap();
        for run in 0..3_u8 {
            graph.execute().unwrap();
            let n = f32::from(run);
            assert_eq!(graph.get("before").unwrap(), [n, 1.0 + 2.0 * n]);
            assert_eq!(graph.get("sum").unwrap(), [n + 1.0, 3.0 + 2.0 * n]);
        }
    }
}

#[test]
fn wrong_names_lengths_and_elements_are_errors() {
    let mut graph = lookup();
    let text = |error: GraphError| error.to_string();
    assert!(text(graph.set("tabel", &TABLE).unwrap_err()).contains("did you mean `table`"));
    assert!(text(graph.get("row").unwrap_err()).contains("did you mean `rows`"));
    assert!(!text(graph.get("xyzzy").unwrap_err()).contains("did you mean"));
    let length = text(graph.set("table", &[1.0]).unwrap_err());
    assert!(length.contains("f32[3, 2]") && length.contains('6') && length.contains('1'), "{length}");
    assert!(matches!(graph.set("ids", &[1.0, 2.0]), Err(GraphError::WrongElement { .. })));
    assert!(matches!(graph.set_ids("table", &[1; 6]), Err(GraphError::WrongElement { .. })));
    assert!(matches!(graph.set_ids("ids", &[0, (1 << 24) + 1]), Err(GraphError::IdRange { index: 1, .. })));
    assert!(matches!(graph.get("rows"), Err(GraphError::NotComputed { .. })));
    assert!(matches!(graph.get("table"), Err(GraphError::Unset { .. })));
    graph.set_ids("ids", &[0, 1]).unwrap();
    let Err(GraphError::Unset { names }) = graph.execute() else { panic!("runs without a table") };
    assert_eq!(names, ["table"]);
    graph.compile_region(&Interpreter).unwrap();
    assert!(matches!(graph.execute(), Err(GraphError::Unset { names }) if names == ["table"]));
    graph.set("table", &TABLE).unwrap();
    graph.execute().unwrap();
    assert_eq!(graph.get("rows").unwrap(), TABLE[..4]);
}

#[test]
fn luminal_users_can_extend_a_graph() {
    use crossloom_graph::luminal::op::Exp2;
    use crossloom_graph::luminal::prelude::ShapeTracker;
    let mut graph = transformer();
    let (node, output) = graph.node_of("logits").unwrap();
    let view = ShapeTracker::new(&[2.into(), 3.into(), 5.into()]);
    let luminal = graph.luminal_mut();
    let power = luminal.add_op(Exp2).input(node, output, view).finish();
    luminal.retrieve_tensors(power);
    let results = outputs(&mut graph);
    let powers = graph.luminal().get_tensor_ref(power, 0).unwrap();
    let powers = powers.data.as_any().downcast_ref::<Vec<f32>>().unwrap();
    assert!(results[1].iter().zip(powers).all(|(x, power)| (x.exp2() - power).abs() < 1e-5));
    let func = graph.lift().unwrap();
    let names: Vec<_> = func.results().iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["hidden", "logits", "out0"]);
    assert_eq!(interpreted(&func).len(), 3);
}

#[test]
fn what_is_computed_of_a_weight_alone_can_be_kept_until_the_weight_is_set() {
    let mut b = GraphBuilder::new("f");
    let x = b.param("x", Role::Input, TensorType::f32([2]));
    let w = b.param("w", Role::Weight, TensorType::f32([2]));
    let root = b.one(Unary(UnaryKind::Sqrt), &[w]).unwrap();
    let y = b.mul(x, root).unwrap();
    b.result("y", y);
    let mut graph = decompose(&b.finish().lift().unwrap()).unwrap();
    let (weight, _) = graph.node_of("w").unwrap();
    let behind = graph.luminal().graph.neighbors(weight).next().unwrap();
    let held = |graph: &LuminalGraph| graph.luminal().get_tensor_ref(behind, 0).is_some();
    let run = |graph: &mut LuminalGraph, x: [f32; 2], w: Option<[f32; 2]>| {
        graph.set("x", &x).unwrap();
        if let Some(w) = w {
            graph.set("w", &w).unwrap();
        }
        graph.execute().unwrap();
        graph.get("y").unwrap()
    };
    assert_eq!(run(&mut graph, [1.0, 2.0], Some([4.0, 9.0])), [2.0, 6.0]);
    assert!(!held(&graph));
    graph.keep_copies();
    assert_eq!(run(&mut graph, [1.0, 2.0], None), [2.0, 6.0]);
    assert!(held(&graph));
    assert_eq!(run(&mut graph, [3.0, 4.0], None), [6.0, 12.0]);
    assert_eq!(run(&mut graph, [1.0, 1.0], Some([16.0, 25.0])), [4.0, 5.0]);
    graph.set("w", &[1.0, 1.0]).unwrap();
    assert!(!held(&graph));
}
