//! From nodes to boxes and the edges between them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, Depth, Edge, Node, size};
use crate::describe::NodeKind;

/// How many kinds of nodes a box names.
const NAMED: usize = 3;

/// What computes nothing is named last.
const MOVES: [&str; 7] = ["reshape", "transpose", "broadcast", "slice", "pad", "concat", "constant"];

/// What makes nodes share a box.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'n> {
    /// A node of its own.
    Node(usize),
    /// All inputs or all results of a section.
    Kind(Option<&'n str>, &'static str),
    /// A scope within a section.
    Scope(Option<&'n str>, Vec<&'n str>),
}

/// Boxes in the order of their middle nodes (passes move single nodes of a scope far forward or back), and edges in order of their targets and sources.
pub(super) fn group(nodes: &[Node], depth: Depth) -> (Vec<Cell>, Vec<Edge>) {
    let mut by_key: BTreeMap<Key<'_>, Vec<usize>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate().filter(|(_, node)| is_drawn(node)) {
        by_key.entry(key(index, node, depth)).or_default().push(index);
    }
    let mut groups: Vec<(Key<'_>, Vec<usize>)> = by_key.into_iter().collect();
    groups.sort_by_key(|(_, members)| members.get(members.len() / 2).copied());
    let mut cell_of: Vec<Option<usize>> = vec![None; nodes.len()];
    for (cell, (_, members)) in groups.iter().enumerate() {
        for &index in members {
            cell_of[index] = Some(cell);
        }
    }
    let cells = (groups.iter())
        .map(|(key, members)| match key {
            Key::Node(index) => single(&nodes[*index]),
            Key::Kind(_, title) => several(nodes, members, title, Vec::new()),
            Key::Scope(_, parts) => scope(nodes, members, parts),
        })
        .collect();
    (cells, edges(nodes, &cell_of))
}

fn is_drawn(node: &Node) -> bool {
    !matches!(node.kind, NodeKind::Weight | NodeKind::State)
}

fn key(index: usize, node: &Node, depth: Depth) -> Key<'_> {
    let Depth::Scopes(depth) = depth else { return Key::Node(index) };
    let section = node.section.as_deref();
    match node.kind {
        NodeKind::Input => Key::Kind(section, "inputs"),
        NodeKind::Result => Key::Kind(section, "results"),
        _ => {
            let parts = node.scope.split('.').filter(|part| !part.is_empty()).take(depth.max(1));
            Key::Scope(section, parts.collect())
        }
    }
}

fn single(node: &Node) -> Cell {
    let parts: Vec<&str> = node.scope.split('.').filter(|part| !part.is_empty()).collect();
    let mut lines = Vec::new();
    if !node.types.is_empty() {
        lines.push(node.types.join(", "));
    }
    lines.extend(bytes_line(node.bytes.iter().sum()));
    Cell {
        kind: node.kind,
        title: node.label.clone(),
        lines,
        section: node.section.clone(),
        path: frames(&parts),
    }
}

/// The box of a scope, in the frames of the scopes around it.
fn scope(nodes: &[Node], members: &[usize], parts: &[&str]) -> Cell {
    let mut path = frames(parts);
    let title = path.pop().unwrap_or_else(|| "other".to_owned());
    several(nodes, members, &title, path)
}

fn several(nodes: &[Node], members: &[usize], title: &str, path: Vec<String>) -> Cell {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for &index in members {
        let name = nodes[index].label.split([' ', '{']).next().unwrap_or_default();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let first = &nodes[members[0]];
    let mut lines = Vec::new();
    if matches!(first.kind, NodeKind::Input | NodeKind::Result) {
        lines.extend(counts.iter().map(|(name, _)| (*name).to_owned()));
        let more = lines.len().saturating_sub(2 * NAMED);
        if more > 1 {
            lines.truncate(2 * NAMED);
            lines.push(format!("and {more} more"));
        }
    } else {
        // The most frequent first; the sort keeps the order of appearance among equals.
        counts.sort_by_key(|(name, count)| (MOVES.contains(name), std::cmp::Reverse(*count)));
        lines.push(if members.len() == 1 { "1 op".to_owned() } else { format!("{} ops", members.len()) });
        lines.extend(counts.iter().take(NAMED).map(|(name, count)| match count {
            1 => (*name).to_owned(),
            _ => format!("{count} × {name}"),
        }));
        if counts.len() > NAMED {
            lines.push("…".to_owned());
        }
    }
    lines.extend(bytes_line(members.iter().flat_map(|&index| &nodes[index].bytes).sum()));
    Cell { kind: first.kind, title: title.to_owned(), lines, section: first.section.clone(), path }
}

fn bytes_line(bytes: u64) -> Option<String> {
    (bytes > 0).then(|| format!("writes {}", size(bytes)))
}

/// Labels of the frames of a path: a number stays with the name before it, as in `block.7`.
fn frames(parts: &[&str]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for part in parts {
        let numbered = part.bytes().all(|byte| byte.is_ascii_digit());
        match labels.last_mut() {
            Some(last) if numbered => *last = format!("{last}.{part}"),
            _ => labels.push((*part).to_owned()),
        }
    }
    labels
}

fn edges(nodes: &[Node], cell_of: &[Option<usize>]) -> Vec<Edge> {
    let mut carried: BTreeMap<(usize, usize), BTreeSet<(usize, usize)>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let Some(to) = cell_of[index] else { continue };
        for &(source, output) in &node.inputs {
            let Some(from) = cell_of.get(source).copied().flatten() else { continue };
            if from != to {
                carried.entry((to, from)).or_default().insert((source, output));
            }
        }
    }
    let bytes = |&(source, output): &(usize, usize)| nodes[source].bytes.get(output).copied().unwrap_or(0);
    (carried.into_iter())
        .map(|((to, from), values)| Edge {
            from,
            to,
            values: values.len(),
            bytes: values.iter().map(bytes).sum(),
        })
        .collect()
}
