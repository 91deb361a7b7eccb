//! The topology as a Mermaid flow chart, which Markdown hosts draw.

use super::graph::{EdgeKind, Topology};

impl Topology {
    /// A flow chart: taps left, points right; the input edge is thick.
    pub fn to_mermaid(&self) -> String {
        let id = |side: &str, name: &str| format!("{side}_{}", name.replace('.', "_"));
        let mut text = "flowchart LR\n  subgraph vision[\"vision encoder\"]\n".to_owned();
        for state in self.states() {
            let state = state.to_string();
            text.push_str(&format!("    {}[\"{state}\"]\n", id("tap", &state)));
        }
        text.push_str("  end\n  subgraph language[\"language model\"]\n");
        for place in self.places() {
            text.push_str(&format!("    {}[\"{place}\"]\n", id("point", &place.name())));
        }
        text.push_str("  end\n");
        for edge in self.edges() {
            let arrow = match edge.kind {
                EdgeKind::Input => "==>",
                EdgeKind::Injection => "-->",
            };
            let (tap, point) = (id("tap", &edge.tap.to_string()), id("point", &edge.point.name()));
            text.push_str(&format!("  {tap} {arrow} {point}\n"));
        }
        text
    }
}
