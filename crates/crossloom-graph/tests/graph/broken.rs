//! Broken graphs give errors, not panics, and all of them at once.

use crossloom_graph::luminal::op::{Add, Contiguous, Exp2, Function, MaxReduce, Print, SumReduce};
use crossloom_graph::luminal::prelude::{
    Dependency, Graph, NodeIndex, ShapeTracker, Tensor as LuminalTensor,
};
use crossloom_graph::{CrossloomCompiler, GraphBuilder, GraphError, Interpreter, lift};
use crossloom_ir::op::{Linear, UnaryKind};
use crossloom_ir::{Role, TensorType};

use crate::common::transformer;

fn view(dims: &[usize]) -> ShapeTracker {
    ShapeTracker::new(&dims.iter().map(|&dim| dim.into()).collect::<Vec<_>>())
}

fn load(graph: &mut Graph, elements: usize) -> NodeIndex {
    let values = vec![1.0_f32; elements];
    let function = Function("x Load".to_owned(), Box::new(move |_| vec![LuminalTensor::new(values.clone())]));
    graph.add_op(function).finish()
}

fn errors_of(graph: &Graph) -> String {
    lift(graph, "f").unwrap_err().to_string()
}

#[test]
fn building_checks_type_rules_and_says_where() {
    let mut b = GraphBuilder::new("f");
    let x = b.param("x", Role::Input, TensorType::f32([2, 3]));
    let w = b.param("w", Role::Weight, TensorType::f32([4, 5]));
    let error = b.scoped("vision.block.7", |b| b.linear(x, w, None)).unwrap_err().to_string();
    assert!(
        error.contains("linear") && error.contains("vision.block.7") && error.contains("f32[4, 5]"),
        "{error}"
    );
    assert_eq!(b.scope().as_str(), "", "the scope is left again");
    let op = Linear { bias: true, ..Linear::default() };
    assert!(b.one(op, &[x, w]).is_err(), "too few operands");
}

#[test]
fn tensors_of_another_graph_are_refused() {
    let mut other = GraphBuilder::new("other");
    let foreign = other.param("x", Role::Input, TensorType::f32([2]));
    let mut b = GraphBuilder::new("f");
    let own = b.param("x", Role::Input, TensorType::f32([2]));
    let error = b.add(own, foreign).unwrap_err().to_string();
    assert!(error.contains("operand 1 belongs to another graph"), "{error}");
    assert_eq!(b.shape(foreign), [0_usize; 0]);
    b.result("y", foreign);
    let mut graph = b.finish();
    assert!(graph.execute().unwrap_err().to_string().contains("result `y` belongs to another graph"));
}

#[test]
fn doubled_names_and_wrong_updates_are_all_reported_by_the_finished_graph() {
    let mut b = GraphBuilder::new("f");
    let x = b.param("x", Role::Input, TensorType::f32([2]));
    let s = b.param("s", Role::State, TensorType::f32([3]));
    let again = b.param("x", Role::Input, TensorType::f32([2]));
    b.result("y", x);
    b.result("y", again);
    b.update(x, again);
    b.update(s, x);
    let mut graph = b.finish();
    let errors = graph.lift().unwrap_err();
    assert_eq!(errors.0.len(), 4, "{errors}");
    for part in
        ["two parameters `x`", "two results `y`", "weight or state", "`s` is f32[3], its update f32[2]"]
    {
        assert!(errors.to_string().contains(part), "{part} in {errors}");
    }
    assert!(graph.execute().is_err());
    assert!(graph.compile_region(&Interpreter).is_err());
    assert!(graph.compile_luminal_cpu().is_err());
}

#[test]
fn a_cycle_is_found_and_named() {
    let mut graph = Graph::new();
    let a = graph.add_op(Exp2).finish();
    let b = graph.add_op(Exp2).input(a, 0, view(&[2])).finish();
    let edge = Dependency::Data { input_order: 0, output_order: 0, shape: view(&[2]) };
    graph.graph.add_edge(b, a, edge);
    graph.retrieve_tensors(b);
    let text = errors_of(&graph);
    assert!(
        text.contains("wait for each other") && text.contains("node 0") && text.contains("node 1"),
        "{text}"
    );
    let nodes = graph.graph.node_count();
    let error = CrossloomCompiler::new(Interpreter).try_compile(&mut graph, ()).unwrap_err();
    assert!(matches!(error, GraphError::Malformed(_)));
    assert_eq!(graph.graph.node_count(), nodes);

    let mut ours = transformer();
    let (logits, _) = ours.node_of("logits").unwrap();
    let (x, _) = ours.node_of("x").unwrap();
    ours.luminal_mut().graph.add_edge(logits, x, edge);
    assert!(ours.execute().unwrap_err().to_string().contains("wait for each other"));
    assert!(ours.lift().is_err());
    assert!(!ours.describe().is_empty(), "even a cyclic graph can be looked at");
}

#[test]
fn missing_and_surplus_operands_are_found() {
    let mut graph = Graph::new();
    let x = load(&mut graph, 2);
    let half = graph.add_op(Add).input(x, 0, view(&[2])).finish();
    let nothing = graph.add_op(Exp2).finish();
    let double = graph.add_op(Exp2).input(x, 0, view(&[2])).input(x, 0, view(&[2])).finish();
    let beyond = graph.add_op(Exp2).input(x, 3, view(&[2])).finish();
    let gap = graph.add_op(Add).finish();
    for (order, from) in [(0, x), (2, x)] {
        graph.graph.add_edge(
            from,
            gap,
            Dependency::Data { input_order: order, output_order: 0, shape: view(&[2]) },
        );
    }
    for node in [half, nothing, double, beyond, gap] {
        graph.retrieve_tensors(node);
    }
    let after = graph.add_op(Exp2).input(half, 0, view(&[2])).finish();
    graph.retrieve_tensors(after);
    let errors = lift(&graph, "f").unwrap_err();
    assert_eq!(errors.0.len(), 5, "one each, and none for what comes after: {errors}");
    for node in [half, nothing, double, beyond, gap] {
        assert!(errors.to_string().contains(&format!("(node {})", node.index())), "{errors}");
    }
}

#[test]
fn views_that_luminal_computes_inconsistently_are_refused_by_name() {
    let mut graph = Graph::new();
    let x = load(&mut graph, 4);
    let mut padded_and_cut = view(&[4]);
    padded_and_cut.padding[0] = (2.into(), 0.into());
    padded_and_cut.slices[0] = (1.into(), 5.into());
    let mut padded = view(&[4]);
    padded.padding[0] = (0.into(), 1.into());
    let mut both_ends = view(&[4]);
    both_ends.slices[0] = (2.into(), 3.into());
    let mut nothing = view(&[4]);
    nothing.slices[0] = (3.into(), 3.into());
    let first = graph.add_op(Exp2).input(x, 0, view(&[4])).finish();
    let wrong = [
        (graph.add_op(Contiguous).input(first, 0, padded_and_cut).finish(), "padded and cut"),
        (graph.add_op(MaxReduce(0)).input(first, 0, padded).finish(), "padded view"),
        (graph.add_op(SumReduce(0)).input(first, 0, both_ends).finish(), "miscounts"),
        (graph.add_op(Contiguous).input(first, 0, nothing).finish(), "empty"),
        (graph.add_op(Contiguous).input(first, 0, view(&[5])).finish(), "reads 5 elements of 4"),
        (graph.add_op(SumReduce(1)).input(first, 0, view(&[4])).finish(), "axis 1"),
        (
            graph.add_op(Add).input(first, 0, view(&[4])).input(first, 0, view(&[3])).finish(),
            "different numbers",
        ),
    ];
    for (node, _) in &wrong {
        graph.retrieve_tensors(*node);
    }
    let errors = lift(&graph, "f").unwrap_err();
    assert_eq!(errors.0.len(), wrong.len(), "{errors}");
    for ((node, message), error) in wrong.iter().zip(&errors.0) {
        let text = error.to_string();
        assert!(
            text.contains(message) && text.contains(&format!("(node {})", node.index())),
            "{message}: {text}"
        );
    }
}

#[test]
fn operators_without_meaning_in_the_ir_are_named() {
    let mut graph = Graph::new();
    let x = load(&mut graph, 2);
    let print = graph.add_op(Print("look".to_owned())).input(x, 0, view(&[2])).finish();
    graph.no_delete.insert(print);
    let text = errors_of(&graph);
    assert!(text.contains("no meaning in the IR") && text.contains("Print-look"), "{text}");

    let mut graph = Graph::new();
    let x = load(&mut graph, 2);
    let opaque = Function("opaque".to_owned(), Box::new(|_| Vec::new()));
    let y = graph.add_op(opaque).input(x, 0, view(&[2])).finish();
    graph.retrieve_tensors(y);
    assert!(errors_of(&graph).contains("opaque function"));
}

#[test]
fn a_panic_inside_luminal_is_an_error() {
    let mut graph = transformer();
    let (x, _) = graph.node_of("x").unwrap();
    let luminal = graph.luminal_mut();
    let bad = luminal.add_op(Function("bad".to_owned(), Box::new(|_| panic!("no such file")))).input(
        x,
        0,
        view(&[24]),
    );
    let bad = bad.finish();
    luminal.retrieve_tensors(bad);
    crate::common::fill(&mut graph);
    let error = graph.execute().unwrap_err();
    assert!(matches!(&error, GraphError::Panic { message, .. } if message == "no such file"), "{error}");
    assert!(matches!(graph.get("logits"), Err(GraphError::NotComputed { .. })));
    graph.luminal_mut().graph.remove_node(bad);
    graph.execute().unwrap();
    assert!(graph.get("logits").is_ok(), "the graph survives");
}

#[test]
fn a_compiler_that_panics_leaves_an_unusable_graph_that_says_so() {
    use crossloom_graph::luminal::prelude::{Compiler, ToIdsMut};
    struct Panics;
    impl Compiler for Panics {
        fn compile<T: ToIdsMut>(&self, graph: &mut Graph, _: T) {
            graph.graph.clear();
            panic!("half way");
        }
    }
    let mut graph = transformer();
    assert!(graph.compile(Panics).unwrap_err().to_string().contains("half way"));
    assert!(graph.execute().unwrap_err().to_string().contains("unusable"));
    assert!(graph.lift().is_err());
}

#[test]
fn results_of_removed_nodes_are_gone_not_wrong() {
    let mut graph = transformer();
    let (hidden, _) = graph.node_of("hidden").unwrap();
    graph.luminal_mut().graph.remove_node(hidden);
    crate::common::fill(&mut graph);
    graph.execute().unwrap();
    assert!(matches!(graph.get("hidden"), Err(GraphError::NotComputed { .. })));
    assert!(graph.lift().unwrap_err().to_string().contains("node of result `hidden` is gone"));
}

#[test]
fn outputs_of_one_node_may_be_read_in_any_order() {
    // luminal counts consumers over runs of edges; interleaved readers of two outputs make it free a tensor too early.
    let mut b = GraphBuilder::new("f");
    let x = b.param("x", Role::Input, TensorType::f32([2, 3]));
    let w = b.param("w", Role::Weight, TensorType::f32([3, 3]));
    let op = Linear { act: Some(crossloom_ir::op::Activation::Silu), ..Linear::default() };
    let both = b.push(op, &[x, w]).unwrap();
    let mut sum = b.add(both[0], both[1]).unwrap();
    for _ in 0..3 {
        let (first, second) =
            (b.unary(UnaryKind::Sin, both[0]).unwrap(), b.unary(UnaryKind::Sin, both[1]).unwrap());
        let product = b.mul(first, second).unwrap();
        sum = b.add(sum, product).unwrap();
    }
    b.result("sum", sum);
    let mut graph = b.finish();
    let expected = crate::common::interpreted(&graph.lift().unwrap());
    crate::common::assert_close("interleaved", &crate::common::outputs(&mut graph), &expected);
}
