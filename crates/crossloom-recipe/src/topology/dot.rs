//! The topology in Graphviz' language.

use super::graph::{EdgeKind, Topology};

impl Topology {
    /// A directed graph: taps left, points right; the input edge is bold.
    pub fn to_dot(&self) -> String {
        let mut text =
            format!("digraph {:?} {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n", self.title);
        text.push_str("  subgraph cluster_vision {\n    label=\"vision encoder\";\n");
        for state in self.states() {
            text.push_str(&format!("    \"{state}\";\n"));
        }
        text.push_str("  }\n  subgraph cluster_language {\n    label=\"language model\";\n");
        for place in self.places() {
            text.push_str(&format!("    \"{place}\";\n"));
        }
        text.push_str("  }\n");
        for edge in self.edges() {
            let style = match edge.kind {
                EdgeKind::Input => ", style=bold",
                EdgeKind::Injection => "",
            };
            text.push_str(&format!(
                "  \"{}\" -> \"{}\" [id=\"{}\"{style}];\n",
                edge.tap,
                edge.point,
                edge.name()
            ));
        }
        text.push_str("}\n");
        text
    }
}
