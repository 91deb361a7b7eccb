//! A Mermaid flow chart, which Markdown hosts draw.

use crate::tree::Tree;
use crate::{Arrangement, Cell, Kind, Picture};

impl Picture {
    /// The picture as a Mermaid flow chart.
    pub fn to_mermaid(&self) -> String {
        let direction = match self.arrangement {
            Arrangement::Layers => "TD",
            Arrangement::Columns => "LR",
        };
        let mut text = format!("flowchart {direction}\n");
        self.mermaid_frame(&self.tree, 1, &mut 0, &mut text);
        for edge in &self.edges {
            let arrow = if edge.strong { "==>" } else { "-->" };
            let label =
                edge.label.as_ref().map_or(String::new(), |label| format!("|\"{}\"|", escaped(label)));
            text += &format!("  n{} {arrow}{label} n{}\n", edge.from, edge.to);
        }
        for (number, edge) in self.edges.iter().enumerate() {
            let tint = edge.tint.as_ref().map(|tint| format!("stroke:{tint}"));
            let dashes = edge.dashed.then(|| "stroke-dasharray:5 4".to_owned());
            let style: Vec<String> = tint.into_iter().chain(dashes).collect();
            if !style.is_empty() {
                text += &format!("  linkStyle {number} {}\n", style.join(","));
            }
        }
        text
    }

    fn mermaid_frame(&self, frame: &Tree, depth: usize, frames: &mut usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        for &index in &frame.cells {
            *text += &format!("{indent}n{index}{}\n", cell(&self.boxes[index]));
        }
        for inner in &frame.frames {
            if inner.label.is_empty() {
                self.mermaid_frame(inner, depth, frames, text);
                continue;
            }
            *frames += 1;
            *text += &format!("{indent}subgraph s{frames}[\"{}\"]\n", escaped(&inner.label));
            self.mermaid_frame(inner, depth + 1, frames, text);
            *text += &format!("{indent}end\n");
        }
    }
}

fn cell(cell: &Cell) -> String {
    let lines: Vec<String> =
        std::iter::once(&cell.title).chain(&cell.lines).map(|line| escaped(line)).collect();
    let label = lines.join("<br/>");
    match cell.kind {
        Kind::Given | Kind::Kept => format!("[/\"{label}\"/]"),
        Kind::Result => format!("([\"{label}\"])"),
        Kind::Region => format!("[[\"{label}\"]]"),
        Kind::Op => format!("[\"{label}\"]"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('#', "#35;")
        .replace('"', "#quot;")
        .replace('<', "#lt;")
        .replace('>', "#gt;")
        .replace('\n', " ")
}
