//! Pictures follow the scopes, from one box per node to one per part of the model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crossloom_picture::{Depth, Node, Picture};

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
fn a_depth_puts_a_scope_into_one_box_and_counts_what_goes_between() {
    let expected = "flowchart TD\n  \
          n2[\"head<br/>1 op<br/>linear<br/>writes 1.5 KiB\"]\n  \
          subgraph s1[\"model\"]\n    \
            n0[\"layer.0<br/>2 ops<br/>norm<br/>linear<br/>writes 3.0 KiB\"]\n    \
            n1[\"layer.1<br/>2 ops<br/>2 × norm<br/>writes 3.0 KiB\"]\n  \
          end\n  \
          n0 -->|\"1.5 KiB\"| n1\n  \
          n1 -->|\"2 · 3.0 KiB\"| n2\n";
    assert_eq!(Picture::of_nodes("layers", &layers(), Depth::Scopes(3)).to_mermaid(), expected);
    let boxes = |depth| Picture::of_nodes("layers", &layers(), depth).boxes();
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
    let svg = Picture::of_nodes("layers", &layers(), Depth::Scopes(3)).to_svg();
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
        let picture = Picture::of_nodes(evil, &nodes, depth);
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
    let picture = Picture::of_nodes("turns", &nodes, Depth::Scopes(1));
    assert_eq!(picture.boxes(), 2);
    let svg = picture.to_svg();
    assert_eq!(svg.matches("stroke-dasharray").count(), 1, "the way back is dashed: {svg}");
}
