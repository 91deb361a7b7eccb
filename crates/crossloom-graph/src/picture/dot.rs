//! A Graphviz digraph.

use super::tree::Tree;
use super::{Cell, Picture};
use crate::describe::NodeKind;

impl Picture {
    /// The picture in Graphviz' language.
    pub fn to_dot(&self) -> String {
        let mut text = format!("digraph {} {{\n  node [shape=box];\n", quoted(&self.title));
        self.dot_frame(&self.tree, 1, &mut 0, &mut text);
        for edge in &self.edges {
            let label = edge.label().map_or(String::new(), |label| format!(" [label={}]", quoted(&label)));
            text += &format!("  n{} -> n{}{label};\n", edge.from, edge.to);
        }
        text + "}\n"
    }

    fn dot_frame(&self, frame: &Tree, depth: usize, frames: &mut usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        for &index in &frame.cells {
            *text += &format!("{indent}{}\n", cell(index, &self.cells[index]));
        }
        for inner in &frame.frames {
            if inner.label.is_empty() {
                self.dot_frame(inner, depth, frames, text);
                continue;
            }
            *frames += 1;
            let label = quoted(&inner.label);
            *text += &format!("{indent}subgraph cluster_{frames} {{\n{indent}  label={label};\n");
            self.dot_frame(inner, depth + 1, frames, text);
            *text += &format!("{indent}}}\n");
        }
    }
}

fn cell(index: usize, cell: &Cell) -> String {
    let shape = match cell.kind {
        NodeKind::Input | NodeKind::Weight | NodeKind::State => ", shape=parallelogram",
        NodeKind::Result => ", shape=oval",
        NodeKind::Region => ", shape=box3d",
        NodeKind::Op | NodeKind::Constant => "",
    };
    let label = [std::slice::from_ref(&cell.title), &cell.lines[..]].concat().join("\n");
    format!("n{index} [label={}{shape}];", quoted(&label))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
