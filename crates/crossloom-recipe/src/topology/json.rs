//! The topology as JSON.

use serde_json::{Value, json};

use super::graph::Topology;

impl Topology {
    /// Taps, points, edges with their names, and how they are joined: by the injection without a name, and by `injections`.
    pub fn to_json(&self) -> Value {
        let edges: Vec<Value> = self
            .edges()
            .iter()
            .map(|edge| json!({ "name": edge.name(), "kind": edge.kind, "tap": edge.tap, "point": edge.point }))
            .collect();
        json!({
            "title": self.title,
            "taps": self.taps(),
            "points": self.points(),
            "wiring": self.spec.main.wiring,
            "adapter": self.spec.main.adapter,
            "gate": self.spec.main.gate,
            "fusion": self.spec.main.fusion,
            "mask": self.spec.main.mask,
            "phase": self.spec.main.phase,
            "injections": self.spec.named,
            "input": self.spec.input,
            "stream": self.spec.stream,
            "sources": self.spec.sources,
            "edges": edges,
        })
    }
}
