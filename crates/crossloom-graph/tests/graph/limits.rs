//! luminal numbers edges with 8 bits: 256 work, more are a clear error.

use crossloom_graph::{GraphBuilder, GraphError, Interpreter, LuminalGraph, decompose};
use crossloom_ir::op::{Activation, Concat, FusedElementwise, Load, Step, UnaryKind};
use crossloom_ir::{Role, TensorType};

use crate::common::{assert_close, interpreted, outputs};

fn concat(count: usize) -> Result<LuminalGraph, GraphError> {
    let mut b = GraphBuilder::new("wide");
    let parts: Vec<_> =
        (0..count).map(|at| b.param(&format!("x{at}"), Role::Input, TensorType::f32([1]))).collect();
    let joined = b.scoped("join", |b| b.one(Concat { axis: 0 }, &parts))?;
    b.result("y", joined);
    Ok(b.finish())
}

#[test]
fn a_node_takes_256_inputs_and_no_more() {
    let mut graph = concat(256).unwrap();
    let expected = interpreted(&graph.lift().unwrap());
    assert_close("256 inputs", &outputs(&mut graph), &expected);
    graph.compile_region(&Interpreter).unwrap();
    assert_close("256 region inputs", &outputs(&mut graph), &expected);
    let error = concat(257).unwrap_err().to_string();
    assert!(error.contains("concat in join has 257 inputs") && error.contains("256"), "{error}");
}

#[test]
fn a_node_gives_256_outputs_and_no_more() {
    let fused = |count: usize| FusedElementwise {
        shape: vec![2],
        loads: vec![Load::Full],
        body: vec![Step::Unary(UnaryKind::Act(Activation::Silu), 0)],
        stores: (0..count).map(|at| at % 2).collect(),
    };
    let mut b = GraphBuilder::new("wide");
    let x = b.param("x", Role::Input, TensorType::f32([2]));
    let error = b.push(fused(257), &[x]).unwrap_err().to_string();
    assert!(error.contains("257 outputs"), "{error}");
    let all = b.push(fused(256), &[x]).unwrap();
    let last = b.add(all[0], all[255]).unwrap();
    b.result("last", last);
    let mut graph = b.finish();
    let expected = interpreted(&graph.lift().unwrap());
    assert_close("256 outputs", &outputs(&mut graph), &expected);
}

#[test]
fn a_region_holds_any_number_of_weights_but_256_inputs_and_results() {
    let wide = |role: Role, results: usize| {
        let mut b = GraphBuilder::new("region");
        let mut sum = b.param("x", Role::Input, TensorType::f32([1]));
        for at in 0..300 {
            let w = b.param(&format!("w{at}"), role, TensorType::f32([1]));
            sum = b.add(sum, w).unwrap();
            if at < results {
                b.result(&format!("y{at}"), sum);
            }
        }
        b.finish()
    };
    let mut graph = wide(Role::Weight, 1);
    let expected = interpreted(&graph.lift().unwrap());
    graph.compile_region(&Interpreter).unwrap();
    assert_close("300 weights", &outputs(&mut graph), &expected);
    let mut graph = wide(Role::Weight, 256);
    graph.compile_region(&Interpreter).unwrap();
    assert_eq!(outputs(&mut graph).len(), 256);
    for (mut graph, kind) in [(wide(Role::Input, 1), "301 inputs"), (wide(Role::Weight, 257), "257 outputs")]
    {
        let error = graph.compile_region(&Interpreter).unwrap_err().to_string();
        assert!(error.contains(kind) && error.contains("region `region`"), "{error}");
        crate::common::fill(&mut graph);
        graph.execute().unwrap();
    }
}

#[test]
fn shapes_that_luminal_cannot_hold_work_with_our_operators() {
    let mut b = GraphBuilder::new("deep");
    let x = b.param("x", Role::Input, TensorType::f32([2, 1, 3, 1, 2, 1, 2]));
    let y = b.transpose(x, &[6, 5, 4, 3, 2, 1, 0]).unwrap();
    let y = b.unary(UnaryKind::Sin, y).unwrap();
    b.result("y", y);
    let mut graph = b.finish();
    let func = graph.lift().unwrap();
    assert_eq!(func.shape(func.result("y").unwrap()), [2, 1, 2, 1, 3, 1, 2]);
    let expected = interpreted(&func);
    assert_close("7 axes", &outputs(&mut graph), &expected);
    assert!(decompose(&func).is_err());
    graph.compile_region(&Interpreter).unwrap();
    assert_close("7 axes, compiled", &outputs(&mut graph), &expected);
}

#[test]
fn empty_tensors_work_with_our_operators() {
    let mut b = GraphBuilder::new("empty");
    let x = b.param("x", Role::Input, TensorType::f32([2, 0]));
    let y = b.unary(UnaryKind::Sin, x).unwrap();
    let sum = b.reduce_sum(y, &[1]).unwrap();
    b.result("y", y);
    b.result("sum", sum);
    let mut graph = b.finish();
    assert_eq!(outputs(&mut graph), [vec![], vec![0.0, 0.0]]);
    graph.compile_region(&Interpreter).unwrap();
    assert_eq!(outputs(&mut graph), [vec![], vec![0.0, 0.0]]);
}
