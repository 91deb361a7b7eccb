//! Graphs that luminal users write with luminal's own tensors lift, compile, and run as luminal runs them.

use crossloom_graph::luminal::nn::norm::RMSNorm;
use crossloom_graph::luminal::prelude::*;
use crossloom_graph::luminal::shape::symbolic::Expression;
use crossloom_graph::{CrossloomCompiler, DeviceRegions, Interpreter, RegionCompiler, lift};
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

/// Builds a graph of one tensor and runs it on luminal, then compiled for every backend.
fn check<S: Shape>(what: &str, build: impl Fn(&mut Graph) -> GraphTensor<S>) {
    let cpu = DeviceRegions(crossloom_cpu::CpuDevice::shared());
    let backends: [(&str, &dyn RegionCompiler); 2] = [("interpreter", &Interpreter), ("cpu", &cpu)];
    for (backend, regions) in backends {
        let what = format!("{what} ({backend})");
        let graph = &mut Graph::new();
        let mut result = build(graph);
        result.retrieve();
        graph.execute();
        let expected = result.data();
        assert!(!expected.is_empty() && expected.iter().all(|x| x.is_finite()), "{what}: {expected:?}");
        result.drop();
        let before = result.id;
        let compiler = CrossloomCompiler::new(regions);
        graph.compile(&compiler, &mut result);
        assert!(compiler.last_error().is_none(), "{what}: {}", compiler.last_error().unwrap());
        assert_ne!(result.id, before, "{what}: the handle follows the result");
        let regions = graph.graph.node_weights().filter(|op| format!("{op:?}").starts_with("region"));
        assert_eq!(regions.count(), 1, "{what}");
        graph.execute();
        assert_same(&what, &result.data(), &expected);
    }
}

#[test]
fn matrix_products() {
    check("2d matmul", |cx| {
        let a = cx.tensor::<R2<2, 3>>().set(numbers(6));
        let b = cx.tensor::<R2<3, 4>>().set(numbers(12));
        a.matmul(b)
    });
    check("batched matmul", |cx| {
        let a = cx.tensor::<R3<2, 3, 4>>().set(numbers(24));
        let b = cx.tensor::<R3<2, 4, 5>>().set(numbers(40));
        a.matmul(b)
    });
}

#[test]
fn softmax_and_norms() {
    check("softmax", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        a.softmax::<1>()
    });
    check("softmax over the first axis", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        a.softmax::<0>()
    });
    check("layer norm", |cx| {
        let a = cx.tensor::<R3<2, 3, 4>>().set(numbers(24));
        a.layer_norm::<2, _>(1e-5)
    });
    check("luminal's RMSNorm module", |cx| {
        let model: RMSNorm<4> = InitModule::initialize(cx);
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        model.forward(a)
    });
}

#[test]
fn activations() {
    check("swish of tanh", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        (a.tanh().swish().sin().abs().sqrt().exp() % 0.7).recip()
    });
    check("relu, log", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        (a.relu() + 1.0).ln().cos()
    });
}

#[test]
fn views() {
    check("unary of a transposed view", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        let turned: GraphTensor<R2<4, 3>> = a.permute();
        turned.exp2()
    });
    check("reshape of a transposed view", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        let turned: GraphTensor<R2<4, 3>> = a.permute();
        turned.exp2().reshape::<R1<12>>()
    });
    check("concat", |cx| {
        let (a, b) = (cx.tensor::<R2<3, 4>>().set(numbers(12)), cx.tensor::<R2<3, 2>>().set(numbers(6)));
        a.concat_along::<R2<3, 6>, Axis<1>, _>(b)
    });
    check("slice", |cx| {
        let a = cx.tensor::<R2<3, 4>>().set(numbers(12));
        a.slice((Expression::from(1).., ..Expression::from(3))).realize::<R2<2, 3>>() + 1.0
    });
    check("cumulative sum, through overlapping windows", |cx| {
        let a = cx.tensor::<R1<6>>().set(numbers(6));
        a.cumsum_last_dim()
    });
    check("max over a repeated view", |cx| {
        let a = cx.tensor::<R1<3>>().set(numbers(3));
        let spread: GraphTensor<R3<2, 3, 4>> = a.expand();
        spread.max_reduce::<R2<3, 4>, Axis<0>>()
    });
}

#[test]
fn luminals_counters_and_gather() {
    check("arange", Graph::arange::<Const<7>>);
    check("tril", |cx| cx.tril::<Const<5>>(0));
    check("gather", |cx| {
        let ids = cx.tensor::<R1<3>>().set(vec![4.0, 0.0, 2.0]);
        let table = cx.tensor::<R2<5, 2>>().set(numbers(10));
        table.gather(ids)
    });
}

#[test]
fn dynamic_dimensions_are_taken_as_they_are_set() {
    let build = |cx: &mut Graph| {
        let a = cx.tensor::<(Dyn<'s'>, Const<3>)>();
        let b = cx.tensor::<R2<3, 2>>().set(numbers(6));
        (a, a.matmul(b))
    };
    check("dynamic rows", |cx| {
        let (a, y) = build(cx);
        a.set_dyn(numbers(12), &[4, 3]);
        y
    });

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
    let build = |cx: &mut Graph| {
        let x = cx.tensor::<R2<3, 4>>().set(numbers(12));
        let w = cx.tensor::<R2<2, 3>>().set(numbers(6));
        let turned: GraphTensor<R2<4, 3>> = x.permute();
        let types = vec![TensorType::f32([4, 3]), TensorType::f32([2, 3])];
        let linear =
            IrOperator::new(Linear::default(), types, Scope::new("mixed"), FailureCell::new()).unwrap();
        let id = cx.add_op(linear).input(turned.id, 0, turned.shape).input(w.id, 0, w.shape).finish();
        let y = GraphTensor::<R2<4, 2>>::from_id(id, ShapeTracker::new(&[4.into(), 2.into()]), cx);
        let by_luminal = turned.matmul(w.permute::<R2<3, 2>, _>());
        (y, (y - by_luminal).abs().sum_reduce::<R0, Axes2<0, 1>>())
    };
    let mut cx = Graph::new();
    let (_, difference) = build(&mut cx);
    difference.retrieve();
    cx.execute();
    assert_same("difference", &difference.data(), &[0.0]);
    check("a mixed graph", |cx| {
        let (y, difference) = build(cx);
        y.softmax::<1>() + difference.expand()
    });
}
