//! The topology as JSON.

use serde_json::{Value, json};

use super::graph::Topology;

impl Topology {
    /// Taps, points, edges with their names, and how they are joined.
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
            "wiring": self.spec.wiring,
            "adapter": self.spec.adapter,
            "gate": self.spec.gate,
            "fusion": self.spec.fusion,
            "mask": self.spec.mask,
            "phase": self.spec.phase,
            "input": self.spec.input,
            "stream": self.spec.stream,
            "sources": self.spec.sources,
            "edges": edges,
        })
    }
}
