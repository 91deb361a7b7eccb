//! A DOT digraph.

use super::scopes::ScopeTree;
use super::{Described, NodeKind};

impl Described {
    pub(crate) fn to_dot(&self) -> String {
        let mut text = format!("digraph {} {{\n  node [shape=box];\n", quoted(&self.name));
        let mut boxes = 0;
        self.dot_scope(&ScopeTree::of(self), 1, &mut boxes, &mut text);
        for (from, to) in self.drawn_edges() {
            text += &format!("  n{from} -> n{to};\n");
        }
        text + "}\n"
    }

    fn dot_scope(&self, scope: &ScopeTree, depth: usize, boxes: &mut usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        for &index in &scope.nodes {
            let node = &self.nodes[index];
            let label = [node.op.as_str(), &node.shapes.join(", ")].join("\n");
            let shape = match node.kind {
                NodeKind::Input | NodeKind::Weight | NodeKind::State => ", shape=parallelogram",
                NodeKind::Result => ", shape=oval",
                NodeKind::Region => ", shape=box3d",
                NodeKind::Op | NodeKind::Constant => "",
            };
            *text += &format!("{indent}n{index} [label={}{shape}];\n", quoted(label.trim_end()));
        }
        for child in &scope.children {
            *boxes += 1;
            *text +=
                &format!("{indent}subgraph cluster_{boxes} {{\n{indent}  label={};\n", quoted(&child.part));
            self.dot_scope(child, depth + 1, boxes, text);
            *text += &format!("{indent}}}\n");
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
