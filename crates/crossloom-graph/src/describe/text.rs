//! One line per node.

use std::fmt::Write as _;

use super::{Described, NodeInfo, NodeKind};

impl Described {
    /// `%7 = linear {bias = true} %3, %4, %5 : f32[2, 16]  ; vision.block.0`, one line per node.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("graph {}\n", self.name);
        for node in &self.nodes {
            let inputs: Vec<String> = node.inputs.iter().map(|input| self.operand(input)).collect();
            let kind = match node.kind {
                NodeKind::Input => "input ",
                NodeKind::Weight => "weight ",
                NodeKind::State => "state ",
                NodeKind::Result => "result ",
                NodeKind::Op | NodeKind::Constant | NodeKind::Region => "",
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "%{} = {kind}{}", node.index, node.op);
            if !inputs.is_empty() {
                let _ = write!(text, " {}", inputs.join(", "));
            }
            if !node.shapes.is_empty() {
                let _ = write!(text, " : {}", node.shapes.join(", "));
            }
            if !node.scope.is_empty() {
                let _ = write!(text, "  ; {}", node.scope);
            }
            text.push('\n');
        }
        text
    }

    fn operand(&self, input: &super::InputInfo) -> String {
        let several = self.nodes.get(input.index).is_some_and(|node: &NodeInfo| node.shapes.len() > 1);
        let output = if several { format!(".{}", input.output) } else { String::new() };
        format!("%{}{output}{}", input.index, input.view.as_deref().unwrap_or_default())
    }
}
