//! A Graphviz digraph.

use crate::tree::Tree;
use crate::{Arrangement, Cell, Edge, Kind, Picture};

impl Picture {
    /// The picture in Graphviz' language.
    pub fn to_dot(&self) -> String {
        let mut text = format!("digraph {} {{\n", quoted(&self.title));
        if self.arrangement == Arrangement::Columns {
            text += "  rankdir=LR;\n";
        }
        text += "  node [shape=box];\n";
        self.dot_frame(&self.tree, 1, &mut 0, &mut text);
        for edge in &self.edges {
            text += &format!("  n{} -> n{}{};\n", edge.from, edge.to, attributes(edge));
        }
        text + "}\n"
    }

    fn dot_frame(&self, frame: &Tree, depth: usize, frames: &mut usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        for &index in &frame.cells {
            *text += &format!("{indent}{}\n", cell(index, &self.boxes[index]));
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
        Kind::Given | Kind::Kept => ", shape=parallelogram",
        Kind::Result => ", shape=oval",
        Kind::Region => ", shape=box3d",
        Kind::Op => "",
    };
    let label = [std::slice::from_ref(&cell.title), &cell.lines[..]].concat().join("\n");
    format!("n{index} [label={}{shape}];", quoted(&label))
}

fn attributes(edge: &Edge) -> String {
    let name = edge.name.as_ref().map(|name| format!("id={}", quoted(name)));
    let label = edge.label.as_ref().map(|label| format!("label={}", quoted(label)));
    let style = match (edge.strong, edge.dashed) {
        (_, true) => Some("style=dashed".to_owned()),
        (true, false) => Some("style=bold".to_owned()),
        (false, false) => None,
    };
    let colour = edge.tint.as_ref().map(|tint| format!("color={}", quoted(tint)));
    let all: Vec<String> = [name, label, style, colour].into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!(" [{}]", all.join(", ")) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
