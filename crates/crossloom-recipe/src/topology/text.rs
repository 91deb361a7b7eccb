//! The topology as plain text: a matrix of points and taps, then the edges.

use super::describe::source_words;
use super::graph::{EdgeKind, Topology};

impl Topology {
    /// A matrix with a row per point and a column per tap, as the gate's heat map has them, and a list of the edges.
    pub fn to_text(&self) -> String {
        let (states, places) = (self.sources(), self.places());
        let mut text = format!("topology {}\n", self.title);
        for (name, source) in &self.spec.sources {
            text.push_str(&format!("  {name:<8} {}\n", source_words(source)));
        }
        if !self.spec.injects() {
            text.push_str("  nothing is injected\n");
        }
        for injection in self.spec.injections() {
            let of = injection.of;
            let name = injection.name.map(|name| ("injection", name.to_owned()));
            let facts = [
                ("wiring", of.wiring_words()),
                ("adapter", of.adapter_words()),
                ("gate", of.gate_words()),
                ("fusion", of.fusion_words(&self.spec.stream)),
            ];
            for (name, words) in name.into_iter().chain(facts) {
                text.push_str(&format!("  {name:<8} {words}\n"));
            }
        }

        let first = places.iter().map(|place| place.to_string().len()).max().unwrap_or(0);
        let heads: Vec<String> = states.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\n  {:first$}", ""));
        for head in &heads {
            text.push_str(&format!("  {head}"));
        }
        for place in &places {
            text.push_str(&format!("\n  {:first$}", place.to_string()));
            for (state, head) in states.iter().zip(&heads) {
                let edge = self.edges().iter().find(|edge| edge.tap == *state && edge.point == *place);
                let mark = match edge.map(|edge| edge.kind) {
                    Some(EdgeKind::Input) => "in",
                    Some(EdgeKind::Injection) => "x",
                    None => ".",
                };
                text.push_str(&format!("  {mark:^width$}", width = head.len()));
            }
        }

        let (inputs, injections) = (self.inputs().count(), self.injections().count());
        let edges = if inputs == 1 { "edge" } else { "edges" };
        text.push_str(&format!("\n\n  {inputs} input {edges}, {injections} injection edges\n"));
        for edge in self.edges() {
            text.push_str(&format!("  {}\n", edge.name()));
        }
        let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
        trimmed.join("\n") + "\n"
    }
}
