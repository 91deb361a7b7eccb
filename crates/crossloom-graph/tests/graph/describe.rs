//! Listings depend on the graph alone.

use crossloom_graph::describe::NodeKind;
use crossloom_graph::luminal::prelude::*;
use crossloom_graph::{GraphBuilder, Interpreter, LuminalGraph, decompose, describe};
use crossloom_ir::op::{Activation, Linear};
use crossloom_ir::{Role, TensorType};

use crate::common::transformer;

pub(crate) fn small() -> LuminalGraph {
    let mut b = GraphBuilder::new("small");
    let x = b.param("pixels", Role::Input, TensorType::f32([2, 3]));
    let w = b.param("w", Role::Weight, TensorType::f32([4, 3]));
    let op = Linear { act: Some(Activation::Silu), ..Linear::default() };
    let both = b.scoped("vision.block.0", |b| b.push(op, &[x, w])).unwrap();
    let sum = b.scoped("head", |b| b.add(both[0], both[1])).unwrap();
    b.result("y \"quoted\"", sum);
    b.finish()
}

#[test]
fn the_text_has_one_line_per_node() {
    let expected = "graph small\n\
        %0 = input pixels : f32[2, 3]\n\
        %1 = weight w : f32[4, 3]\n\
        %2 = linear {act = silu} %0, %1 : f32[2, 4], f32[2, 4]  ; vision.block.0\n\
        %3 = add %2.0, %2.1 : f32[2, 4]  ; head\n\
        %4 = result y \"quoted\" %3 : f32[2, 4]\n";
    assert_eq!(small().to_text(), expected);
}

#[test]
fn json_reads_back() {
    let json: serde_json::Value = serde_json::from_str(&small().to_json().unwrap()).unwrap();
    assert_eq!(json["name"], "small");
    assert_eq!(json["nodes"][2]["scope"], "vision.block.0");
    assert_eq!(json["nodes"][3]["inputs"][1], serde_json::json!({ "index": 2, "output": 1 }));
    assert_eq!(json["nodes"][1]["kind"], "weight");
}

#[test]
fn listings_are_the_same_every_time_and_do_not_depend_on_indices() {
    assert_eq!(transformer().to_text(), transformer().to_text());
    let mut graph = small();
    let text = graph.to_text();
    // Indices of removed nodes are not handed out again in order.
    let luminal = graph.luminal_mut();
    let holes: Vec<_> = (0..3).map(|_| luminal.add_op(crossloom_graph::luminal::op::Exp2).finish()).collect();
    for hole in holes {
        luminal.graph.remove_node(hole);
    }
    assert_eq!(graph.to_text(), text);
    graph.compile_region(&Interpreter).unwrap();
    let expected = "graph small\n\
        %0 = input pixels : f32[2, 3]\n\
        %1 = region small (2 ops, 2 parameters) %0 : f32[2, 4]\n\
        %2 = result y \"quoted\" %1 : f32[2, 4]\n";
    assert_eq!(graph.to_text(), expected);
}

#[test]
fn luminals_own_nodes_are_described_with_types_and_views() {
    let graph = decompose(&small().lift().unwrap()).unwrap();
    let text = graph.to_text();
    assert!(text.contains("input pixels : f32[2, 3]") && text.contains("SumReduce(2)"), "{text}");
    assert!(text.contains("%0[0:2, x4, 1:3]"), "the repeated axis of the product: {text}");
    assert!(text.contains("result y \"quoted\""), "{text}");
    let mut cx = Graph::new();
    let a = cx.named_tensor::<R2<2, 3>>("a");
    let y = (a * 2.0).exp2().retrieve();
    let nodes = describe(&cx);
    assert_eq!(nodes.len(), cx.graph.node_count());
    assert_eq!(nodes[0].kind, NodeKind::Input);
    let last = nodes.iter().find(|node| node.op == "Exp2").unwrap();
    assert_eq!(last.shapes, ["f32[2, 3]"]);
    assert!(nodes.iter().any(|node| node.kind == NodeKind::Constant));
    let _ = y;
}
