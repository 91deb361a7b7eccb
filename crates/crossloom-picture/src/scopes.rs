//! Nodes in the frames of their scopes: a box stands for one node, or, below a [`Depth`], for all nodes of a scope, and an
//! edge between two boxes carries every value that one computes and the other reads. What is kept between runs (weights)
//! is not drawn: it would drown everything else. Boxes are in the order of their middle nodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Tree;
use crate::{Arrangement, Cell, Edge, Kind, Picture};

/// How much of a graph is drawn as one box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every node is a box.
    Nodes,
    /// A box for each scope, told apart by so many parts of the path.
    Scopes(usize),
}

/// A node to be drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// What it is; decides the shape.
    pub kind: Kind,
    /// What is written on it.
    pub label: String,
    /// Types of its outputs.
    pub types: Vec<String>,
    /// Dotted path of the part of the model it belongs to.
    pub scope: String,
    /// A part of the whole that is drawn below the others, such as the gradients of a training step.
    pub section: Option<String>,
    /// The values it reads, each a node and one of its outputs.
    pub inputs: Vec<(usize, usize)>,
    /// Bytes of each output, where they are known.
    pub bytes: Vec<u64>,
}

impl Node {
    /// Several lists of nodes in one, the second and later ones as sections with a name.
    pub fn joined<'n>(lists: impl IntoIterator<Item = (&'n str, Vec<Self>)>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (number, (name, nodes)) in lists.into_iter().enumerate() {
            let offset = all.len();
            all.extend(nodes.into_iter().map(|mut node| {
                for (source, _) in &mut node.inputs {
                    *source += offset;
                }
                if number > 0 {
                    node.section = Some(name.to_owned());
                }
                node
            }));
        }
        all
    }
}

/// Inputs and results.
const DATA: &str = "#8a6d3b";
/// Of the outermost frames, in order of appearance.
const TINTS: [&str; 7] = ["#0d7f78", "#7c4dbe", "#3b4a6b", "#a0456e", "#4f7a28", "#2f6db5", "#8a5a2b"];
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
    Data(Option<&'n str>, &'static str),
    /// A scope within a section.
    Scope(Option<&'n str>, Vec<&'n str>),
}

impl Picture {
    /// The picture of nodes, which read only nodes of the same list.
    pub fn of_nodes(title: &str, nodes: &[Node], depth: Depth) -> Self {
        let (mut boxes, flows) = group(nodes, depth);
        tint(&mut boxes);
        let edges = flows.iter().map(|flow| flow.edge(&boxes)).collect();
        let tree = Tree::of(&boxes);
        Self {
            title: title.to_owned(),
            arrangement: Arrangement::Layers,
            boxes,
            edges,
            tree,
            notes: Vec::new(),
        }
    }
}

/// Values that go from one box to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    from: usize,
    to: usize,
    /// How many values.
    values: usize,
    /// Their bytes, where known.
    bytes: u64,
}

impl Flow {
    /// What is written beside it: nothing for one value of unknown size.
    fn label(&self) -> Option<String> {
        match (self.values, self.bytes) {
            (..=1, 0) => None,
            (values, 0) => Some(values.to_string()),
            (..=1, bytes) => Some(size(bytes)),
            (values, bytes) => Some(format!("{values} · {}", size(bytes))),
        }
    }

    /// An edge that is wider the more values it carries.
    fn edge(&self, boxes: &[Cell]) -> Edge {
        let values = if self.values == 1 { "1 value".to_owned() } else { format!("{} values", self.values) };
        let mut tip = format!("{} → {}: {values}", boxes[self.from].name(), boxes[self.to].name());
        if self.bytes > 0 {
            tip += &format!(", {}", size(self.bytes));
        }
        Edge {
            from: self.from,
            to: self.to,
            name: None,
            label: self.label(),
            tip,
            strong: false,
            width: 1.0 + 0.6 * (self.values.max(1) as f64).log2().min(6.0),
            opacity: 0.6,
            rank: 0.0,
            tint: None,
            dashed: false,
        }
    }
}

/// A colour for every outermost frame, and one for what goes in and out.
fn tint(boxes: &mut [Cell]) {
    let mut known: Vec<String> = Vec::new();
    for cell in boxes {
        if matches!(cell.kind, Kind::Given | Kind::Result) {
            DATA.clone_into(&mut cell.tint);
            continue;
        }
        let part = cell.path.first().unwrap_or(&cell.title);
        let at = known.iter().position(|other| other == part).unwrap_or_else(|| {
            known.push(part.clone());
            known.len() - 1
        });
        TINTS[at % TINTS.len()].clone_into(&mut cell.tint);
    }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" || value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// Boxes in the order of their middle nodes (passes move single nodes of a scope far forward or back), and what flows
/// between them in the order of targets and sources.
fn group(nodes: &[Node], depth: Depth) -> (Vec<Cell>, Vec<Flow>) {
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
            Key::Data(_, title) => several(nodes, members, title, Vec::new()),
            Key::Scope(_, parts) => scope(nodes, members, parts),
        })
        .collect();
    (cells, flows(nodes, &cell_of))
}

fn is_drawn(node: &Node) -> bool {
    node.kind != Kind::Kept
}

fn key(index: usize, node: &Node, depth: Depth) -> Key<'_> {
    let Depth::Scopes(depth) = depth else { return Key::Node(index) };
    let section = node.section.as_deref();
    match node.kind {
        Kind::Given => Key::Data(section, "inputs"),
        Kind::Result => Key::Data(section, "results"),
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
        tint: String::new(),
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
    if matches!(first.kind, Kind::Given | Kind::Result) {
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
    let (kind, section) = (first.kind, first.section.clone());
    Cell { kind, title: title.to_owned(), lines, section, path, tint: String::new() }
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

fn flows(nodes: &[Node], cell_of: &[Option<usize>]) -> Vec<Flow> {
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
        .map(|((to, from), values)| Flow {
            from,
            to,
            values: values.len(),
            bytes: values.iter().map(bytes).sum(),
        })
        .collect()
}
