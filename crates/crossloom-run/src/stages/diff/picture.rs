//! Two topologies in one picture.

use crossloom_picture::{Column, Columns, Link, Picture, Plate};

use super::Diff;

/// The ground of all plates.
const PLATE: &str = "#3b4a6b";
/// An edge that both have.
const KEPT: &str = "#8c959f";
/// One that only the first has.
const REMOVED: &str = "#cf222e";
/// One that only the second has.
const ADDED: &str = "#1a7f37";
/// One that leads elsewhere.
const MOVED: &str = "#9a6700";

impl Diff {
    /// Every tap and every place of both, with the edges of both: those that went are broken lines.
    pub(super) fn picture(&self) -> Picture {
        let edges = &self.edges;
        let moved = |end: fn(&super::Move) -> &String| edges.moved.iter().map(end);
        let groups: [(Vec<&String>, &str, bool); 5] = [
            (edges.kept.iter().collect(), KEPT, false),
            (edges.removed.iter().collect(), REMOVED, true),
            (moved(|edge| &edge.from).collect(), MOVED, true),
            (edges.added.iter().collect(), ADDED, false),
            (moved(|edge| &edge.to).collect(), MOVED, false),
        ];
        let ends = || groups.iter().flat_map(|(names, ..)| names).filter_map(|name| name.split_once("->"));
        let (taps, points) = (distinct(ends().map(|ends| ends.0)), distinct(ends().map(|ends| ends.1)));
        let mut links = Vec::new();
        for (names, tint, dashed) in &groups {
            for name in names {
                let Some((tap, point)) = name.split_once("->") else { continue };
                let place = |column: &[&str], label: &str| column.iter().position(|known| *known == label);
                let (Some(from), Some(to)) = (place(&taps, tap), place(&points, point)) else { continue };
                let (name, tint, dashed) = ((*name).clone(), Some((*tint).to_owned()), *dashed);
                links.push(Link { name, from, to, tint, dashed, ..Link::default() });
            }
        }
        let column = |head: &str, labels: &[&str]| Column {
            head: head.to_owned(),
            plates: labels
                .iter()
                .map(|label| Plate { label: (*label).to_owned(), tint: PLATE.to_owned() })
                .collect(),
        };
        Picture::of_columns(&Columns {
            title: format!("{} → {}", self.first, self.second),
            left: column("vision encoder", &taps),
            right: column("language model", &points),
            links,
            notes: vec![
                format!("green: {} added · red, broken: {} removed", edges.added.len(), edges.removed.len()),
                format!(
                    "amber: {} moved, broken where they were · grey: {} in both",
                    edges.moved.len(),
                    edges.kept.len()
                ),
            ],
        })
    }
}

/// Each label once, `input` first, then as a reader counts: `layer.2` before `layer.10`.
fn distinct<'l>(labels: impl Iterator<Item = &'l str>) -> Vec<&'l str> {
    let mut all: Vec<&str> = Vec::new();
    for label in labels {
        if !all.contains(&label) {
            all.push(label);
        }
    }
    let key = |label: &str| {
        let parts = label.split('.').map(|part| (part.parse::<u64>().unwrap_or(0), part.to_owned()));
        (label != "input", parts.collect::<Vec<_>>())
    };
    all.sort_by_key(|label| key(label));
    all
}
