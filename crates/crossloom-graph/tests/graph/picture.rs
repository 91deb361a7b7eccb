//! Pictures follow the scopes, from one box per node to one per part of the model.

use crossloom_graph::describe::NodeKind;
use crossloom_graph::picture::{Node, func_nodes};
use crossloom_graph::{Depth, Picture};

use crate::common::transformer;
use crate::describe::small;

fn op(label: &str, scope: &str, inputs: &[usize]) -> Node {
    Node {
        label: label.to_owned(),
        scope: scope.to_owned(),
        inputs: inputs.iter().map(|&index| (index, 0)).collect(),
        bytes: vec![1536],
        ..Node::default()
    }
}

/// Two layers of two nodes and a head that reads both of the second's.
fn layers() -> Vec<Node> {
    vec![
        op("norm {eps = 1}", "model.layer.0.attn", &[]),
        op("linear", "model.layer.0.mlp", &[0]),
        op("norm {eps = 1}", "model.layer.1.attn", &[1]),
        op("norm {eps = 2}", "model.layer.1.mlp", &[2]),
        op("linear", "head", &[2, 3, 3]),
    ]
}

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
fn a_depth_puts_a_scope_into_one_box_and_counts_what_goes_between() {
    let expected = "flowchart TD\n  \
          n2[\"head<br/>1 op<br/>linear<br/>writes 1.5 KiB\"]\n  \
          subgraph s1[\"model\"]\n    \
            n0[\"layer.0<br/>2 ops<br/>norm<br/>linear<br/>writes 3.0 KiB\"]\n    \
            n1[\"layer.1<br/>2 ops<br/>2 × norm<br/>writes 3.0 KiB\"]\n  \
          end\n  \
          n0 -->|\"1.5 KiB\"| n1\n  \
          n1 -->|\"2 · 3.0 KiB\"| n2\n";
    assert_eq!(Picture::new("layers", &layers(), Depth::Scopes(3)).to_mermaid(), expected);
    let boxes = |depth| Picture::new("layers", &layers(), depth).boxes();
    let depths = [1, 2, 3, 4].map(|parts| boxes(Depth::Scopes(parts)));
    assert_eq!((depths, boxes(Depth::Nodes)), ([2, 2, 3, 5], 5));
}

/// The number after `name="` at the start of what follows `from`.
fn number(svg: &str, from: &str, name: &str) -> f64 {
    let at = svg.find(from).unwrap_or_else(|| panic!("no {from} in {svg}"));
    let start = at + svg[at..].find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    svg[start..].split('"').next().unwrap().parse().unwrap()
}

#[test]
fn in_an_svg_layers_lie_below_what_they_read_and_inside_their_frame() {
    let svg = Picture::new("layers", &layers(), Depth::Scopes(3)).to_svg();
    let place = |name: &str, of: &str| {
        let tail = &svg[svg.find(&format!("<title>{name}\n")).unwrap()..];
        number(tail, "<rect ", of)
    };
    let bottom = place("model.layer.0", " y") + place("model.layer.0", " height");
    assert!(bottom < place("model.layer.1", " y"), "{svg}");
    // The head lies beside the model, which it reads from.
    assert!(place("model.layer.1", " x") + place("model.layer.1", " width") < place("head", " x"), "{svg}");
    let frame = &svg[svg.find("fill=\"none\" stroke=").unwrap() - 120..];
    let frame_at = |of: &str| number(frame, "<rect ", of);
    assert!(frame_at(" x") < place("model.layer.0", " x") && frame_at(" y") < place("model.layer.0", " y"));
    let end = frame_at(" y") + frame_at(" height");
    assert!(end > place("model.layer.1", " y") + place("model.layer.1", " height"), "{svg}");
    assert!(svg.contains("<title>model.layer.1 → head: 2 values, 3.0 KiB</title>"), "{svg}");
}

#[test]
fn whatever_is_written_is_escaped() {
    let evil = "</svg><script>\"&'\u{1}\n#;\u{7}";
    let mut node = op(evil, evil, &[]);
    node.types = vec![evil.to_owned()];
    let nodes = [node, op("x", "b", &[0])];
    for depth in [Depth::Nodes, Depth::Scopes(3)] {
        let picture = Picture::new(evil, &nodes, depth);
        let svg = picture.to_svg();
        assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1, "{svg}");
        assert!(!svg.contains('\u{1}') && !svg.contains("\"&'"), "{svg}");
        let mermaid = picture.to_mermaid();
        assert!(
            !mermaid.contains("<script") && mermaid.lines().all(|line| line.matches('"').count() % 2 == 0)
        );
        let dot = picture.to_dot();
        let quotes = dot.replace("\\\\", "").replace("\\\"", "");
        assert!(quotes.lines().all(|line| line.matches('"').count() % 2 == 0), "{dot}");
    }
}

#[test]
fn scopes_that_take_turns_are_drawn_all_the_same() {
    let nodes = [op("a", "x", &[]), op("b", "y", &[0]), op("c", "x", &[1]), op("d", "y", &[2])];
    let picture = Picture::new("turns", &nodes, Depth::Scopes(1));
    assert_eq!(picture.boxes(), 2);
    let svg = picture.to_svg();
    assert_eq!(svg.matches("stroke-dasharray").count(), 1, "the way back is dashed: {svg}");
}

#[test]
fn a_training_step_has_its_gradients_in_a_section() {
    let text = "func @step {\n  input  %0 \"x\": f32[2]\n  weight %1 \"w\": f32[2]\n\n  model:\n    \
                %2 = mul %0, %1 : f32[2]\n    %3 = reduce_sum %2 {axes = [0]} : f32[]\n    \
                %4 = mul %0, %0 : f32[2]\n\n  optimizer.adamw:\n    %5 = sub %1, %4 : f32[2]\n\n  \
                return \"loss\" = %3\n  update %1 = %5\n}\n";
    let func = crossloom_ir::text::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let nodes = func_nodes(&func, |_, inst| Some((inst.op.mnemonic().to_owned(), Vec::new())));
    let sections: Vec<Option<&str>> =
        (nodes.iter().filter(|node| node.kind == NodeKind::Op)).map(|node| node.section.as_deref()).collect();
    assert_eq!(sections, [None, None, Some("gradients"), Some("optimizer")]);
    let svg = Picture::new("step", &nodes, Depth::Scopes(3)).to_svg();
    assert!(svg.contains("<title>gradients.model\n") && svg.contains(">optimizer</text>"), "{svg}");
}

#[test]
fn what_only_renames_memory_is_not_drawn_and_hides_no_edge() {
    let func = transformer().lift().unwrap();
    let all = func_nodes(&func, |_, inst| Some((inst.op.mnemonic().to_owned(), Vec::new())));
    let view = |mnemonic: &str| mnemonic == "reshape" || mnemonic == "transpose";
    let some = func_nodes(&func, |_, inst| {
        (!view(inst.op.mnemonic())).then(|| (inst.op.mnemonic().to_owned(), Vec::new()))
    });
    assert!(some.len() < all.len(), "the graph has views");
    for (index, node) in some.iter().enumerate() {
        assert!(node.inputs.iter().all(|(source, _)| *source < index), "{index}");
        assert!(node.kind != NodeKind::Result || !node.inputs.is_empty());
    }
}

#[test]
fn pictures_are_the_same_every_time() {
    for depth in [Depth::Nodes, Depth::Scopes(2)] {
        assert_eq!(transformer().picture(depth).to_svg(), transformer().picture(depth).to_svg());
    }
}
