//! The topology as a picture: vision states left, decoder places right, one edge each.

use std::collections::BTreeMap;

use crossloom_picture::{Column, Columns, Link, Picture, Plate};

use super::graph::{EdgeKind, Topology};
use crate::schema::PointAddress;

/// A weight from 0 to 1 for some edges, by name; for example the mean gate of each.
pub type EdgeWeights = BTreeMap<String, f64>;

/// The places in the decoder.
const POINT: &str = "#3b4a6b";
/// The input's place and edge.
const INPUT: &str = "#8a6d3b";

impl Topology {
    /// The picture. Edges with a weight are drawn as wide and as opaque as it is large; without any weights all edges that
    /// inject look alike. The input's edge is thick.
    pub fn picture(&self, weights: Option<&EdgeWeights>) -> Picture {
        let (states, places) = (self.sources(), self.places());
        let taps = states
            .iter()
            .enumerate()
            .map(|(index, state)| Plate { label: state.to_string(), tint: tint(index, states.len()) });
        let points = places.iter().map(|place| Plate {
            label: place.to_string(),
            tint: if *place == PointAddress::Input { INPUT } else { POINT }.to_owned(),
        });
        let links = self.edges().iter().filter_map(|edge| {
            Some(Link {
                name: edge.name(),
                from: states.iter().position(|state| *state == edge.tap)?,
                to: places.iter().position(|place| *place == edge.point)?,
                strong: edge.kind == EdgeKind::Input,
                weight: weights.and_then(|weights| weights.get(&edge.name())).copied(),
                ..Link::default()
            })
        });
        let mut notes = Vec::new();
        for injection in self.spec.injections() {
            let (of, name) = (injection.of, injection.name.map_or(String::new(), |name| format!("{name}: ")));
            notes.push(format!("{name}{} wiring · adapter {}", of.wiring_words(), of.adapter_words()));
            notes.push(format!("{name}gate {}", of.gate_words()));
        }
        if self.spec.injects() && weights.is_some_and(|weights| !weights.is_empty()) {
            notes.push("line width: weight W from 0 to 1".to_owned());
        }
        Picture::of_columns(&Columns {
            title: self.title.clone(),
            left: Column { head: "vision encoder".to_owned(), plates: taps.collect() },
            right: Column { head: "language model".to_owned(), plates: points.collect() },
            links: links.collect(),
            notes,
        })
    }
}

/// From teal for the first vision state to violet for the last.
fn tint(index: usize, count: usize) -> String {
    let share = index as f64 / (count.max(2) - 1) as f64;
    let mix = |from: f64, to: f64| (from + (to - from) * share).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(13.0, 124.0), mix(128.0, 77.0), mix(120.0, 190.0))
}
