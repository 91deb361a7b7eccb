//! Graphs that luminal users write with luminal's own tensors lift, compile, and run as luminal runs them.

use crossloom_graph::luminal::nn::norm::RMSNorm;
use crossloom_graph::luminal::prelude::*;
use crossloom_graph::luminal::shape::symbolic::Expression;
use crossloom_graph::{CrossloomCompiler, Interpreter, lift};
use crossloom_ir::Role;

use crate::common::TOLERANCE;

fn assert_same(what: &str, given: &[f32], expected: &[f32]) {
    assert_eq!(given.len(), expected.len(), "{what}");
    for (i, (x, y)) in given.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= TOLERANCE * y.abs().max(1.0), "{what}[{i}]: {x}, luminal gives {y}");
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 23) as f32 / 11.5 - 0.9).collect()
}

/// Runs a graph of one retrieved tensor on luminal, then compiled.
fn check<S: Shape>(what: &str, graph: &mut Graph, mut result: GraphTensor<S>) {
    result.retrieve();
    graph.execute();
    let expected = result.data();
    assert!(!expected.is_empty() && expected.iter().all(|x| x.is_finite()), "{what}: {expected:?}");
    result.drop();
    let before = result.id;
    let compiler = CrossloomCompiler::new(Interpreter);
    graph.compile(&compiler, &mut result);
    assert!(compiler.last_error().is_none(), "{what}: {}", compiler.last_error().unwrap());
    assert_ne!(result.id, before, "{what}: the handle follows the result");
    assert_eq!(graph.graph.node_weights().filter(|op| format!("{op:?}").starts_with("region")).count(), 1);
    graph.execute();
    assert_same(what, &result.data(), &expected);
}

#[test]
fn matrix_products() {
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<2, 3>>().set(numbers(6));
    let b = cx.tensor::<R2<3, 4>>().set(numbers(12));
    check("2d matmul", &mut cx, a.matmul(b));
    let mut cx = Graph::new();
    let a = cx.tensor::<R3<2, 3, 4>>().set(numbers(24));
    let b = cx.tensor::<R3<2, 4, 5>>().set(numbers(40));
    check("batched matmul", &mut cx, a.matmul(b));
}

#[test]
fn softmax_and_norms() {
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    check("softmax", &mut cx, a.softmax::<1>());
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    check("softmax over the first axis", &mut cx, a.softmax::<0>());
    let mut cx = Graph::new();
    let a = cx.tensor::<R3<2, 3, 4>>().set(numbers(24));
    check("layer norm", &mut cx, a.layer_norm::<2, _>(1e-5));
    let mut cx = Graph::new();
    let model: RMSNorm<4> = InitModule::initialize(&mut cx);
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    let y = model.forward(a);
    check("luminal's RMSNorm module", &mut cx, y);
}

#[test]
fn activations() {
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    check("swish of tanh", &mut cx, (a.tanh().swish().sin().abs().sqrt().exp() % 0.7).recip());
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    check("relu, log", &mut cx, (a.relu() + 1.0).ln().cos());
}

#[test]
fn views() {
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    let turned: GraphTensor<R2<4, 3>> = a.permute();
    check("unary of a transposed view", &mut cx, turned.exp2());
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    let turned: GraphTensor<R2<4, 3>> = a.permute();
    check("reshape of a transposed view", &mut cx, turned.exp2().reshape::<R1<12>>());
    let mut cx = Graph::new();
    let (a, b) = (cx.tensor::<R2<3, 4>>().set(numbers(12)), cx.tensor::<R2<3, 2>>().set(numbers(6)));
    check("concat", &mut cx, a.concat_along::<R2<3, 6>, Axis<1>, _>(b));
    let mut cx = Graph::new();
    let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
    check(
        "slice",
        &mut cx,
        a.slice((Expression::from(1).., ..Expression::from(3))).realize::<R2<2, 3>>() + 1.0,
    );
    let mut cx = Graph::new();
    let a = cx.tensor::<R1<6>>().set(numbers(6));
    check("cumulative sum, through overlapping windows", &mut cx, a.cumsum_last_dim());
    let mut cx = Graph::new();
    let a = cx.tensor::<R1<3>>().set(numbers(3));
    let spread: GraphTensor<R3<2, 3, 4>> = a.expand();
    check("max over a repeated view", &mut cx, spread.max_reduce::<R2<3, 4>, Axis<0>>());
}

#[test]
fn luminals_counters_and_gather() {
    let mut cx = Graph::new();
    let steps = cx.arange::<Const<7>>();
    check("arange", &mut cx, steps);
    let mut cx = Graph::new();
    let mask = cx.tril::<Const<5>>(0);
    check("tril", &mut cx, mask);
    let mut cx = Graph::new();
    let ids = cx.tensor::<R1<3>>().set(vec![4.0, 0.0, 2.0]);
    let table = cx.tensor::<R2<5, 2>>().set(numbers(10));
    check("gather", &mut cx, table.gather(ids));
}

#[test]
fn dynamic_dimensions_are_taken_as_they_are_set() {
    let build = |cx: &mut Graph| {
        let a = cx.tensor::<(Dyn<'s'>, Const<3>)>();
        let b = cx.tensor::<R2<3, 2>>().set(numbers(6));
        (a, a.matmul(b))
    };
    let mut cx = Graph::new();
    let (a, y) = build(&mut cx);
    a.set_dyn(numbers(12), &[4, 3]);
    check("dynamic rows", &mut cx, y);

    let mut cx = Graph::new();
    let (_, y) = build(&mut cx);
    y.retrieve();
    let errors = lift(&cx, "f").unwrap_err().to_string();
    assert!(errors.contains("set the dynamic dimensions"), "{errors}");
}

#[test]
fn kept_loads_are_weights_and_move_into_the_region() {
    let mut cx = Graph::new();
    let x = cx.named_tensor::<R2<2, 3>>("x").set(numbers(6));
    let w = cx.named_tensor::<R2<3, 2>>("w").set(numbers(6)).keep();
    let mut y = x.matmul(w).retrieve();
    let lifted = lift(&cx, "f").unwrap();
    let roles: Vec<_> = lifted.func.params().iter().map(|p| (p.name.as_str(), p.role)).collect();
    assert_eq!(roles, [("x", Role::Input), ("w", Role::Weight)]);
    let region = CrossloomCompiler::new(Interpreter).try_compile(&mut cx, &mut y).unwrap();
    assert!(!cx.graph.contains_node(w.id), "the load of the weight is gone");
    assert!(cx.graph.contains_node(x.id), "the load of the input stays");
    assert_eq!(region.get("w").unwrap(), numbers(6));
    cx.execute();
    let first = y.data();
    y.drop();
    region.set("w", &numbers(6).iter().map(|w| 2.0 * w).collect::<Vec<_>>()).unwrap();
    cx.execute();
    assert_same("twice the weights", &y.data(), &first.iter().map(|y| 2.0 * y).collect::<Vec<_>>());
    x.set(vec![0.0; 6]);
    y.drop();
    cx.execute();
    assert_same("a new input", &y.data(), &[0.0; 4]);
}

#[test]
fn names_of_loads_become_unique() {
    let mut cx = Graph::new();
    let (a, b) = (cx.tensor::<R1<3>>().set(numbers(3)), cx.tensor::<R1<3>>().set(numbers(3)));
    (a + b).retrieve();
    let func = lift(&cx, "f").unwrap().func;
    let names: Vec<_> = func.params().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["Tensor", "Tensor.1"]);
}

#[test]
fn our_operators_read_through_luminals_views_and_may_be_mixed_with_its_own() {
    use crossloom_graph::operator::{FailureCell, IrOperator};
    use crossloom_ir::op::Linear;
    use crossloom_ir::{Scope, TensorType};
    let mut cx = Graph::new();
    let x = cx.tensor::<R2<3, 4>>().set(numbers(12));
    let w = cx.tensor::<R2<2, 3>>().set(numbers(6));
    let turned: GraphTensor<R2<4, 3>> = x.permute();
    let types = vec![TensorType::f32([4, 3]), TensorType::f32([2, 3])];
    let linear = IrOperator::new(Linear::default(), types, Scope::new("mixed"), FailureCell::new()).unwrap();
    let id = cx.add_op(linear).input(turned.id, 0, turned.shape).input(w.id, 0, w.shape).finish();
    let y = GraphTensor::<R2<4, 2>>::from_id(id, ShapeTracker::new(&[4.into(), 2.into()]), &raw mut cx);
    let by_luminal = turned.matmul(w.permute::<R2<3, 2>, _>());
    let difference = (y - by_luminal).abs().sum_reduce::<R0, Axes2<0, 1>>();
    let both = y.softmax::<1>() + difference.expand();
    difference.retrieve();
    cx.execute();
    assert_same("difference", &difference.data(), &[0.0]);
    check("a mixed graph", &mut cx, both);
}
