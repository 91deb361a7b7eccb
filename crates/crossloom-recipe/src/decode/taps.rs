//! Visual sources, and where a recipe names them: taps, the input, pairs of a wiring.

use std::collections::BTreeMap;

use super::fields::{Cx, Fields, Kinds};
use super::scalars::Decode;
use super::sets::{Depth, address, peek, set};
use crate::diagnostic::{Finding, did_you_mean, listed};
use crate::schema::{MmFuser, Sampling, Tap, TapSource, TapSources, VisionAddress, is_source_name};
use crate::tree::{Node, Value};

pub(crate) const SOURCE: Kinds = Kinds {
    path: "topology.sources.NAME",
    all: &[
        ("mean", &["of"]),
        ("channels", &["of"]),
        ("stacks", &["of", "side", "sampling"]),
        ("mmfuser", &["query", "of", "heads", "points"]),
    ],
    absent: None,
};

/// How many times larger pictures are than what the encoder reads at once, read ahead without reporting anything.
pub(super) fn magnification(root: &Node) -> usize {
    let sources = root.get("topology.sources").and_then(Node::table).into_iter().flatten();
    sources.filter_map(|(_, entry)| stacked(&entry.node)).max().unwrap_or(1)
}

/// Tiles along a side of a source of stacks.
fn stacked(source: &Node) -> Option<usize> {
    let side = match source.get("side").map(|side| &side.value) {
        Some(Value::Integer(side @ 2..=8)) => *side as usize,
        _ => 2,
    };
    (source.get("kind").and_then(Node::string) == Some("stacks")).then_some(side)
}

/// What may be named as a tap.
pub(super) struct Names {
    /// Vision states.
    pub(super) depth: Depth,
    /// Heads of the encoder.
    heads: Option<usize>,
    /// Sources, with how many taps each is.
    sources: BTreeMap<String, usize>,
}

impl Names {
    /// Reads ahead what there is to name, without reporting anything.
    pub(super) fn peek(root: &Node) -> Self {
        let written = root.get("topology.sources").and_then(Node::table).into_iter().flatten();
        let sources =
            written.map(|(name, entry)| (name.clone(), stacked(&entry.node).map_or(1, |side| side * side)));
        Self {
            depth: Depth::peek(root, "model.vision.layers"),
            heads: peek(root, "model.vision.heads"),
            sources: sources.collect(),
        }
    }

    /// One tap. `None` after the reason has been reported.
    pub(super) fn tap(&self, node: &Node, path: &str, cx: &mut Cx) -> Option<Tap> {
        let text = String::decode(node, path, cx)?;
        let (name, number) = match text.split_once('.') {
            Some((name, number)) => (name, number.parse::<usize>().ok()),
            None => (text.as_str(), None),
        };
        let Some(&count) = self.sources.get(name) else {
            if is_source_name(name) && text.parse::<Tap>().is_ok() {
                let known = self.sources.keys().map(String::as_str);
                let help = did_you_mean(name, known.clone()).unwrap_or_else(|| {
                    let states = "vision states are `embed`, `block.1` … `block.last` and `post_norm`";
                    if self.sources.is_empty() {
                        states.to_owned()
                    } else {
                        format!("{states}; sources are {}", listed(known))
                    }
                });
                let message = format!("`{text}` is neither a vision state nor one of `topology.sources`");
                cx.report(Finding::error(node.span, message).help(help));
                return None;
            }
            return address::<VisionAddress>(node, path, self.depth, cx).map(Tap::State);
        };
        let problem = match (count, number, text.contains('.')) {
            (1, _, false) => return Some(Tap::Source(text)),
            (2.., Some(number), _) if number < count => {
                return Some(Tap::Source(format!("{name}.{number}")));
            }
            (1, ..) => format!("`{name}` is one source, without numbers"),
            _ => format!("`{name}` is {count} sources: `{name}.0` to `{name}.{}`", count - 1),
        };
        let help = if count == 1 { format!("write `{name}`") } else { format!("write `{name}.0`") };
        cx.report(Finding::error(node.span, problem).help(help));
        None
    }

    /// A list of taps, each once.
    pub(super) fn list(&self, items: &[Node], path: &str, cx: &mut Cx) -> Option<Vec<Tap>> {
        let mut taps: Vec<Option<Tap>> = Vec::with_capacity(items.len());
        for item in items {
            let read = self.tap(item, path, cx);
            if read.is_some() && taps.contains(&read) {
                let message = format!("`{}` is listed twice", item.string().unwrap_or_default());
                cx.report(Finding::error(item.span, message).help("remove one of the two"));
            }
            taps.push(read);
        }
        taps.into_iter().collect()
    }

    /// `topology.taps`: a list, or a set of vision states. An absent one is `None` inside.
    pub(super) fn taps(&self, root: &Node, cx: &mut Cx) -> Option<Option<Vec<Tap>>> {
        const PATH: &str = "topology.taps";
        match root.get(PATH).map(|node| &node.value) {
            Some(Value::Array(items)) => self.list(items, PATH, cx).map(Some),
            _ => {
                let states = set::<VisionAddress>(root, PATH, self.depth, cx)?;
                Some(states.map(|states| states.into_iter().map(Tap::State).collect()))
            }
        }
    }

    /// `topology.sources`.
    pub(super) fn sources(&self, root: &Node, cx: &mut Cx) -> Option<TapSources> {
        let Some(node) = root.get("topology.sources") else { return Some(TapSources::new()) };
        let Some(table) = node.table() else {
            let message = format!("`topology.sources` must be a table, found {}", node.value.type_name());
            let help = "for example `sources.low = { kind = \"mean\", of = { range = [\"block.1\", \"block.2\"] } }`";
            cx.report(Finding::error(node.span, message).help(help));
            return None;
        };
        let mut sources = TapSources::new();
        let mut whole = true;
        for (name, entry) in table {
            if !is_source_name(name) {
                let help = "a name is up to 32 small letters, digits and `_`, starts with a letter and is no vision state";
                let message = format!("`{name}` cannot name a source");
                cx.report(Finding::error(entry.key, message).help(help));
                whole = false;
                continue;
            }
            match self.source(&entry.node, cx) {
                Some(source) => drop(sources.insert(name.clone(), source)),
                None => whole = false,
            }
        }
        whole.then_some(sources)
    }

    fn source(&self, node: &Node, cx: &mut Cx) -> Option<TapSource> {
        let (mut f, kind) = Fields::item_kind(node, &SOURCE, cx)?;
        let of = f.ask("of");
        if of.is_none() {
            f.lacks("of");
        }
        let source = match kind {
            "mean" => {
                let states = set::<VisionAddress>(node, "of", self.depth, f.cx);
                states.flatten().map(|of| TapSource::Mean { of })
            }
            "mmfuser" => self.mmfuser(node, &mut f).map(TapSource::MmFuser),
            "channels" => match of.map(|of| &of.value) {
                Some(Value::Array(items)) => {
                    self.list(items, "of", f.cx).map(|of| TapSource::Channels { of })
                }
                Some(_) => f.or("of", Vec::<String>::new()).and(None),
                None => None,
            },
            _ => {
                let of = of.and_then(|of| address::<VisionAddress>(of, "of", self.depth, f.cx));
                let (side, sampling) = (f.or_in("side", 2..=8, 2), f.or("sampling", Sampling::Grid2d));
                of.zip(side).zip(sampling).map(|((of, side), sampling)| TapSource::Stacks {
                    of,
                    side,
                    sampling,
                })
            }
        };
        f.finish();
        source
    }

    fn mmfuser(&self, node: &Node, f: &mut Fields<'_, '_>) -> Option<MmFuser> {
        let query = f.ask("query");
        if query.is_none() {
            f.lacks("query");
        }
        let query = query.and_then(|query| address::<VisionAddress>(query, "query", self.depth, f.cx));
        let of = set::<VisionAddress>(node, "of", self.depth, f.cx);
        let (heads, points) = (f.optional_in("heads", 1..=1024), f.or_in("points", 1..=64, 4));
        Some(MmFuser { query: query?, of: of??, heads: heads?.or(self.heads)?, points: points? })
    }
}
