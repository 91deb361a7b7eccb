//! Edges that came, went or moved.

use crossloom_recipe::Topology;
use serde::Serialize;
use serde_json::Value;

/// The edges of two topologies, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EdgeDiff {
    /// Edges that both have.
    pub kept: Vec<String>,
    /// Edges that only the first has.
    pub removed: Vec<String>,
    /// Edges that only the second has.
    pub added: Vec<String>,
    /// Edges of the first that are one of the second but for the place that they lead to.
    pub moved: Vec<Move>,
}

/// An edge that leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Its name in the first topology.
    pub from: String,
    /// Its name in the second.
    pub to: String,
}

/// An edge of a topology: its name, and what it is besides the place it leads to.
struct Described {
    name: String,
    rest: Value,
}

impl EdgeDiff {
    /// What became of the edges of a topology in another one. An edge has moved if all that is said of it but its point, its tap and
    /// its adapter among that, is said of an edge of the other that was not there before; the nearest in order is taken.
    pub fn of(first: &Topology, second: &Topology) -> Self {
        let (old, new) = (described(first), described(second));
        let has = |edges: &[Described], name: &str| edges.iter().any(|edge| edge.name == name);
        let mut diff = Self::default();
        let mut free: Vec<&Described> = new.iter().filter(|edge| !has(&old, &edge.name)).collect();
        for edge in &old {
            if has(&new, &edge.name) {
                diff.kept.push(edge.name.clone());
            } else if let Some(at) = free.iter().position(|other| other.rest == edge.rest) {
                diff.moved.push(Move { from: edge.name.clone(), to: free.remove(at).name.clone() });
            } else {
                diff.removed.push(edge.name.clone());
            }
        }
        diff.added = free.into_iter().map(|edge| edge.name.clone()).collect();
        diff
    }

    /// Whether both have the same edges.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.moved.is_empty()
    }
}

/// All edges. What a topology says of all its edges at once counts as said of each of those that inject.
fn described(topology: &Topology) -> Vec<Described> {
    let document = topology.to_json();
    let adapter = document.get("adapter").cloned().unwrap_or_default();
    let edges = document.get("edges").and_then(Value::as_array).cloned().unwrap_or_default();
    let described = edges.into_iter().filter_map(|mut edge| {
        let fields = edge.as_object_mut()?;
        let name = fields.remove("name")?.as_str()?.to_owned();
        fields.remove("point");
        fields.entry("adapter").or_insert_with(|| adapter.clone());
        Some(Described { name, rest: edge })
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crossloom_recipe::{LoadOptions, load_text};

    use super::*;

    fn topology(lines: &str) -> Topology {
        let text = format!(
            "name = 'x'\n[model]\nvision.preset = 'vit-tiny-patch8-64'\nlanguage.preset = 'llama-tiny'\n[data]\nsource = 'easy-vqa'\n\
             questions_per_sequence = 1\n[train]\nsteps = 2\nbatch_size = 2\nlr = 1e-3\n[topology]\n{lines}\n"
        );
        let loaded = load_text(std::path::Path::new("x.toml"), &text, &LoadOptions::default()).unwrap();
        Topology::new(&loaded.base).unwrap()
    }

    const ONE: &str = "taps = ['block.1', 'block.2']\npoints = ['before layer.0', 'before layer.1']\nwiring = 'diagonal'\n\
                       adapter = 'shared'\nfusion = 'add'\ngate = 'none'";

    #[test]
    fn an_edge_that_leads_elsewhere_has_moved() {
        let other = ONE.replace("'before layer.1'", "'before layer.2'");
        let found = EdgeDiff::of(&topology(ONE), &topology(&other));
        let moved = [Move { from: "block.2->layer.1".to_owned(), to: "block.2->layer.2".to_owned() }];
        assert_eq!((&found.moved[..], found.kept.len()), (&moved[..], 2));
        assert!(found.added.is_empty() && found.removed.is_empty());
        assert!(EdgeDiff::of(&topology(ONE), &topology(ONE)).is_empty());
    }

    #[test]
    fn with_another_adapter_or_tap_it_went_and_another_came() {
        let elsewhere = ONE.replace("'before layer.1'", "'before layer.2'");
        for other in [elsewhere.replace("'shared'", "'per_tap'"), elsewhere.replace("'block.2'", "'block.3'")]
        {
            let found = EdgeDiff::of(&topology(ONE), &topology(&other));
            assert_eq!((found.removed.len(), found.added.len(), found.moved.len()), (1, 1, 0), "{found:?}");
        }
    }

    #[test]
    fn back_is_the_opposite() {
        let other = ONE.replace("'diagonal'", "'dense'");
        let (there, back) = (
            EdgeDiff::of(&topology(ONE), &topology(&other)),
            EdgeDiff::of(&topology(&other), &topology(ONE)),
        );
        assert_eq!((there.added.len(), &there.added, &there.kept), (2, &back.removed, &back.kept));
    }
}
