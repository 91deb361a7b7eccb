//! Pictures of graphs: boxes in the frames of their scopes.

use crossloom_ir::picture::nodes;
use crossloom_picture::{Depth, Kind};

use crate::common::transformer;
use crate::describe::small;

#[test]
fn every_node_is_a_box_in_the_frames_of_its_scope_and_weights_are_left_out() {
    let picture = small().picture(Depth::Nodes);
    let expected = "flowchart TD\n  \
          n0[/\"pixels<br/>f32[2, 3]\"/]\n  \
          n3([\"y #quot;quoted#quot;<br/>f32[2, 4]\"])\n  \
          subgraph s1[\"vision\"]\n    \
            subgraph s2[\"block.0\"]\n      \
              n1[\"linear {act = silu}<br/>f32[2, 4], f32[2, 4]\"]\n    \
            end\n  \
          end\n  \
          subgraph s3[\"head\"]\n    \
            n2[\"add<br/>f32[2, 4]\"]\n  \
          end\n  \
          n0 --> n1\n  \
          n1 -->|\"2\"| n2\n  \
          n2 --> n3\n";
    assert_eq!(picture.to_mermaid(), expected);
    let dot = picture.to_dot();
    assert!(dot.starts_with("digraph \"small\" {\n") && dot.ends_with("}\n"));
    assert!(dot.contains("n3 [label=\"y \\\"quoted\\\"\\nf32[2, 4]\", shape=oval];"), "{dot}");
    assert!(dot.contains("subgraph cluster_3") && dot.contains("n1 -> n2 [label=\"2\"];"), "{dot}");
    assert_eq!(dot.matches(" {\n").count(), dot.matches("}\n").count());
}

#[test]
fn what_only_renames_memory_is_not_drawn_and_hides_no_edge() {
    let func = transformer().lift().unwrap();
    let all = nodes(&func, |_, inst| Some((inst.op.mnemonic().to_owned(), Vec::new())));
    let view = |mnemonic: &str| mnemonic == "reshape" || mnemonic == "transpose";
    let some = nodes(&func, |_, inst| {
        (!view(inst.op.mnemonic())).then(|| (inst.op.mnemonic().to_owned(), Vec::new()))
    });
    assert!(some.len() < all.len(), "the graph has views");
    for (index, node) in some.iter().enumerate() {
        assert!(node.inputs.iter().all(|(source, _)| *source < index), "{index}");
        assert!(node.kind != Kind::Result || !node.inputs.is_empty());
    }
}

#[test]
fn pictures_are_the_same_every_time() {
    for depth in [Depth::Nodes, Depth::Scopes(2)] {
        assert_eq!(transformer().picture(depth).to_svg(), transformer().picture(depth).to_svg());
    }
}
