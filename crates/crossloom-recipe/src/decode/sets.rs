//! Sets of addresses: a list, a range, a stride or a count.

use std::fmt::Display;

use super::RULES;
use super::fields::{Cx, Fields};
use super::scalars::Decode;
use crate::diagnostic::{Finding, Span, listed};
use crate::schema::{AddressError, PointAddress, VisionAddress};
use crate::tree::{Node, Value};

/// How many layers there are to address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    /// Absent when the model could not be read; addresses are then only checked for their spelling.
    pub(super) layers: Option<usize>,
    /// Where it is written.
    span: Option<Span>,
}

impl Depth {
    /// Reads the depth ahead of its section, without reporting anything.
    pub(super) fn peek(root: &Node, path: &str) -> Self {
        Self {
            layers: peek(root, path).filter(|&layers| layers <= 1024),
            span: root.get(path).map(|node| node.span),
        }
    }
}

/// A dimension of a model that is read ahead of its section, without reporting anything.
pub(super) fn peek(root: &Node, path: &str) -> Option<usize> {
    match root.get(path)?.value {
        Value::Integer(number @ 1..=1_048_576) => usize::try_from(number).ok(),
        _ => None,
    }
}

/// Addresses that can be counted through.
pub(super) trait Layered: Copy + PartialEq + Display {
    /// Reads an address as it is written.
    fn read(text: &str, depth: usize) -> Result<Self, AddressError>;
    /// The axis it is on and its number there. `None` when it is on none.
    fn index(self) -> Option<(Axis, usize)>;
    /// The address with that number.
    fn at(axis: Axis, index: usize) -> Self;
    /// The first and the last number of an axis, by default.
    fn ends(depth: usize) -> (usize, usize);
}

/// Rows of layers that a set can run through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Vision,
    Before,
    Attention,
    Inside,
    After,
}

impl Layered for VisionAddress {
    fn read(text: &str, depth: usize) -> Result<Self, AddressError> {
        Self::parse(text, depth)
    }
    fn index(self) -> Option<(Axis, usize)> {
        match self {
            Self::Embed => Some((Axis::Vision, 0)),
            Self::Block(block) => Some((Axis::Vision, block)),
            Self::PostNorm => None,
        }
    }
    fn at(_: Axis, index: usize) -> Self {
        if index == 0 { Self::Embed } else { Self::Block(index) }
    }
    fn ends(depth: usize) -> (usize, usize) {
        (1, depth)
    }
}

impl Layered for PointAddress {
    fn read(text: &str, depth: usize) -> Result<Self, AddressError> {
        match Self::parse(text, depth)? {
            Self::Input => Err(AddressError {
                message: "`input` is not a place for an injection".to_owned(),
                help: "`topology.input` names the vision state at the input; to add to the embeddings, \
                       write `before layer.0`"
                    .to_owned(),
                beyond: false,
            }),
            address => Ok(address),
        }
    }
    fn index(self) -> Option<(Axis, usize)> {
        match self {
            Self::Input => None,
            Self::Before(layer) => Some((Axis::Before, layer)),
            Self::Attention(layer) => Some((Axis::Attention, layer)),
            Self::Inside(layer) => Some((Axis::Inside, layer)),
            Self::After(layer) => Some((Axis::After, layer)),
        }
    }
    fn at(axis: Axis, index: usize) -> Self {
        match axis {
            Axis::After => Self::After(index),
            Axis::Inside => Self::Inside(index),
            Axis::Attention => Self::Attention(index),
            Axis::Before | Axis::Vision => Self::Before(index),
        }
    }
    fn ends(depth: usize) -> (usize, usize) {
        (0, depth.saturating_sub(1))
    }
}

/// One address. `None` after the reason has been reported, or when the depth is unknown.
pub(super) fn address<A: Layered>(node: &Node, path: &str, depth: Depth, cx: &mut Cx) -> Option<A> {
    let text = String::decode(node, path, cx)?;
    match A::read(&text, depth.layers.unwrap_or(usize::MAX)) {
        Ok(address) => depth.layers.map(|_| address),
        Err(error) => {
            let beyond = error.beyond.then_some(depth.span).flatten();
            cx.report(
                Finding::error(node.span, error.message).help(error.help).related("the depth is set", beyond),
            );
            None
        }
    }
}

/// The set at `path`; an absent one is `None` inside.
pub(super) fn set<A: Layered>(
    root: &Node,
    path: &'static str,
    depth: Depth,
    cx: &mut Cx,
) -> Option<Option<Vec<A>>> {
    let Some(node) = root.get(path) else { return Some(None) };
    match &node.value {
        Value::Array(items) => list(items, path, depth, cx).map(Some),
        Value::Table(_) => by_rule(root, path, depth, cx).map(Some),
        other => {
            let message =
                format!("`{path}` must be a list of addresses or a set, found {}", other.type_name());
            cx.report(Finding::error(node.span, message).help("for example `{ every = 2 }`, or a list"));
            None
        }
    }
}

pub(super) fn list<A: Layered>(items: &[Node], path: &str, depth: Depth, cx: &mut Cx) -> Option<Vec<A>> {
    let mut addresses: Vec<Option<A>> = Vec::with_capacity(items.len());
    for item in items {
        let read = address(item, path, depth, cx);
        if let Some(read) = read
            && addresses.contains(&Some(read))
        {
            cx.report(
                Finding::error(item.span, format!("`{read}` is listed twice")).help("remove one of the two"),
            );
        }
        addresses.push(read);
    }
    addresses.into_iter().collect()
}

fn by_rule<A: Layered>(root: &Node, path: &'static str, depth: Depth, cx: &mut Cx) -> Option<Vec<A>> {
    let mut f = Fields::open(root, path, cx)?;
    let written = |key: &'static str, f: &mut Fields<'_, '_>| f.ask(key).is_some();
    let chosen: Vec<&str> = RULES.into_iter().filter(|key| written(key, &mut f)).collect();
    let [rule] = chosen[..] else {
        let span = root.place(path);
        let (message, help) = match chosen.len() {
            0 => {
                let help = "for example `{ every = 2 }`, `{ count = 4 }`, or a range of two addresses";
                (format!("`{path}` needs one of `every`, `range`, `count` and `part`"), help)
            }
            _ => (format!("`{path}` has {}, which exclude each other", listed(chosen)), "keep one of them"),
        };
        f.cx.report(Finding::error(span, message).help(help));
        return None;
    };
    let every = f.optional_in::<usize>("every", 1..=1024);
    let count = f.optional_in::<usize>("count", 1..=1024);
    let part = f.optional::<[usize; 2]>("part");
    let (from, to) = if rule == "range" {
        let range: Option<(A, A)> = f.ask("range").and_then(|node| pair(node, path, depth, f.cx));
        (range.map(|(from, _)| Some(from)), range.map(|(_, to)| Some(to)))
    } else {
        (end(&mut f, "from", depth), end(&mut f, "to", depth))
    };
    f.finish();
    let (every, count, part, from, to) = (every?, count?, part?, from?, to?);
    let (axis, first, last) = ends(root, path, from, to, depth.layers?, cx)?;
    let indices: Vec<usize> = match (count, part) {
        (Some(count), _) => spread(root, path, first, last, count, cx)?,
        (None, Some(part)) => share(root, path, first, last, part, cx)?,
        (None, None) => (first..=last).step_by(every.unwrap_or(1)).collect(),
    };
    Some(indices.into_iter().map(|index| A::at(axis, index)).collect())
}

/// An optional end of a set.
fn end<A: Layered>(f: &mut Fields<'_, '_>, key: &'static str, depth: Depth) -> Option<Option<A>> {
    let path = f.full(key);
    match f.ask(key) {
        None => Some(None),
        Some(node) => address(node, &path, depth, f.cx).map(Some),
    }
}

/// Both ends of a range.
fn pair<A: Layered>(node: &Node, path: &str, depth: Depth, cx: &mut Cx) -> Option<(A, A)> {
    let full = format!("{path}.range");
    if let Value::Array(items) = &node.value
        && let [from, to] = &items[..]
    {
        let (from, to) = (address(from, &full, depth, cx), address(to, &full, depth, cx));
        return Some((from?, to?));
    }
    let example = A::ends(depth.layers.unwrap_or(1));
    let example = [example.0, example.1].map(|index| A::at(Axis::Before, index));
    let message = format!("`{full}` must be a list of two addresses, the first and the last");
    let help = format!("for example `[\"{}\", \"{}\"]`", example[0], example[1]);
    cx.report(Finding::error(node.span, message).help(help));
    None
}

/// The axis and the numbers of both ends.
fn ends<A: Layered>(
    root: &Node,
    path: &str,
    from: Option<A>,
    to: Option<A>,
    depth: usize,
    cx: &mut Cx,
) -> Option<(Axis, usize, usize)> {
    let mut fail = |message: String, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    let mut indices = [None, None];
    for (slot, end) in indices.iter_mut().zip([from, to]) {
        let Some(end) = end else { continue };
        *slot = end.index();
        if slot.is_none() {
            fail(format!("a set cannot count to `{end}`"), "list the addresses instead");
            return None;
        }
    }
    let (first, last) = A::ends(depth);
    let [from, to] = indices;
    let default_axis = A::at(Axis::Before, first).index().map(|(axis, _)| axis)?;
    let axis = from.or(to).map_or(default_axis, |(axis, _)| axis);
    let (from, to) = (from.unwrap_or((axis, first)), to.unwrap_or((axis, last)));
    if from.0 != to.0 {
        fail(
            "a set cannot run from one side of a layer to the other".to_owned(),
            "use `before`, `inside` or `after` for both ends",
        );
        return None;
    }
    if from.1 > to.1 {
        let (from, to) = (A::at(axis, from.1), A::at(axis, to.1));
        fail(format!("the set is empty: `{from}` comes after `{to}`"), "swap the two ends");
        return None;
    }
    Some((axis, from.1, to.1))
}

/// `count` numbers from `first` to `last`, both included, rounded to the nearest.
fn spread(
    root: &Node,
    path: &str,
    first: usize,
    last: usize,
    count: usize,
    cx: &mut Cx,
) -> Option<Vec<usize>> {
    let layers = last - first + 1;
    if count > layers {
        let message = format!("`{path}.count` is {count}, but there are only {layers} layers to choose from");
        let help = format!("`count` is at most {layers} here");
        cx.report(Finding::error(root.place(&format!("{path}.count")), message).help(help));
        return None;
    }
    if count == 1 {
        return Some(vec![last]);
    }
    let gaps = count - 1;
    Some((0..count).map(|i| first + (i * (last - first) * 2 + gaps) / (2 * gaps)).collect())
}

/// The numbers of part i of n from `first` to `last`, all parts as long as they can be alike; the first ones are the shorter.
fn share(
    root: &Node,
    path: &str,
    first: usize,
    last: usize,
    [part, parts]: [usize; 2],
    cx: &mut Cx,
) -> Option<Vec<usize>> {
    let layers = last - first + 1;
    let mut fail = |message: String, help: String| {
        cx.report(Finding::error(root.place(&format!("{path}.part")), message).help(help));
        None
    };
    if part == 0 || part > parts {
        let help = "the first of two halves is `[1, 2]`".to_owned();
        return fail(format!("there is no part {part} of {parts}"), help);
    }
    if parts > layers {
        let message = format!("{layers} layers cannot be cut into {parts} parts");
        return fail(message, format!("there are at most {layers} parts here"));
    }
    let end = |part: usize| first + part * layers / parts;
    Some((end(part - 1)..end(part)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::diagnostic::Span;

    #[test]
    fn a_count_is_spread_evenly_and_keeps_both_ends() {
        let root = Node::new(Value::Boolean(true), Span::whole(0));
        let spread = |first, last, count| super::spread(&root, "x", first, last, count, &mut Cx::default());
        assert_eq!(spread(1, 26, 5).unwrap(), [1, 7, 14, 20, 26]);
        assert_eq!(spread(1, 4, 4).unwrap(), [1, 2, 3, 4]);
        assert_eq!(spread(0, 9, 1).unwrap(), [9]);
        assert_eq!(spread(1, 4, 5), None);
    }

    #[test]
    fn parts_follow_one_another_and_are_as_long_as_they_can_be_alike() {
        let root = Node::new(Value::Boolean(true), Span::whole(0));
        let share = |first, last, part| super::share(&root, "x", first, last, part, &mut Cx::default());
        assert_eq!(share(1, 24, [1, 4]).unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(share(1, 24, [4, 4]).unwrap(), [19, 20, 21, 22, 23, 24]);
        let parts: Vec<usize> = (1..=3).flat_map(|part| share(0, 10, [part, 3]).unwrap()).collect();
        assert_eq!(parts, (0..=10).collect::<Vec<_>>());
        assert_eq!(share(0, 10, [2, 3]).unwrap().len(), 4);
        for wrong in [[0, 2], [3, 2], [1, 5], [1, 0]] {
            assert_eq!(share(1, 4, wrong), None, "{wrong:?}");
        }
    }
}
