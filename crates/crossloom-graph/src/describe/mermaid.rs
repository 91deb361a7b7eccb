//! A Mermaid flow chart.

use super::scopes::ScopeTree;
use super::{Described, NodeKind};

impl Described {
    pub(crate) fn to_mermaid(&self) -> String {
        let mut text = "flowchart TD\n".to_owned();
        let mut boxes = 0;
        self.mermaid_scope(&ScopeTree::of(self), 1, &mut boxes, &mut text);
        for (from, to) in self.drawn_edges() {
            text += &format!("  n{from} --> n{to}\n");
        }
        text
    }

    fn mermaid_scope(&self, scope: &ScopeTree, depth: usize, boxes: &mut usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        for &index in &scope.nodes {
            let node = &self.nodes[index];
            let label = node.op.replace('"', "#quot;");
            let shape = match node.kind {
                NodeKind::Input | NodeKind::Weight | NodeKind::State => format!("[/\"{label}\"/]"),
                NodeKind::Result => format!("([\"{label}\"])"),
                NodeKind::Region => format!("[[\"{label}\"]]"),
                NodeKind::Op | NodeKind::Constant => format!("[\"{label}\"]"),
            };
            *text += &format!("{indent}n{index}{shape}\n");
        }
        for child in &scope.children {
            *boxes += 1;
            *text += &format!("{indent}subgraph s{boxes}[\"{}\"]\n", child.part.replace('"', "#quot;"));
            self.mermaid_scope(child, depth + 1, boxes, text);
            *text += &format!("{indent}end\n");
        }
    }
}
