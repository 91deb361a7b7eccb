//! What is injected: the keys that `[topology]` and every table of `[topology.injections]` have.

use std::collections::BTreeMap;

use super::adapter::adapter;
use super::fields::{Cx, Fields};
use super::fusion::fusion;
use super::gate::gate;
use super::scalars::choice;
use super::sets::{Depth, address, set};
use super::taps::Names;
use crate::diagnostic::{Finding, did_you_mean, listed};
use crate::schema::{Injection, NamedWiring, PointAddress, TAKEN, Tap, Wiring, is_small_name};
use crate::tree::{Node, Table, Value};

/// The keys of an injection.
pub(crate) const KEYS: [&str; 8] = ["taps", "points", "wiring", "adapter", "fusion", "gate", "mask", "phase"];

/// Most injections with a name that a topology may have.
const MOST: usize = 16;

/// A recipe's tree as the injection with a name sees it: what that says stands in `[topology]`, beside what all injections share.
pub(crate) fn seen_by(root: &Node, name: &str) -> Node {
    let mut tree = root.clone();
    let own = root.get(&format!("topology.injections.{name}"));
    if let (Some(topology), Some(own)) = (tree.get_mut("topology"), own) {
        topology.span = own.span;
        if let Some(table) = topology.table_mut() {
            table.retain(|key, _| key != "injections" && !KEYS.contains(&key.as_str()));
            let said = own.table().into_iter().flatten().filter(|(key, _)| KEYS.contains(&key.as_str()));
            table.extend(said.map(|(key, entry)| (key.clone(), entry.clone())));
        }
    }
    tree
}

impl Cx {
    /// Reads or checks what an injection with a name says, so that findings speak of the place where it stands.
    pub(crate) fn injection<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.findings.len();
        let value = read(self);
        let texts =
            self.findings[before..].iter_mut().flat_map(|found| [&mut found.message, &mut found.help]);
        for text in texts {
            for key in KEYS {
                *text =
                    text.replace(&format!("topology.{key}"), &format!("topology.injections.{name}.{key}"));
            }
        }
        value
    }
}

/// The injections with names, as their tables say. `None` after the reasons have been reported.
pub(super) fn named(
    root: &Node,
    names: &Names,
    language: Depth,
    cx: &mut Cx,
) -> Option<BTreeMap<String, Injection>> {
    let Some(node) = root.get("topology.injections") else { return Some(BTreeMap::new()) };
    let Some(table) = node.table() else {
        let message = format!("`topology.injections` must be a table, found {}", node.value.type_name());
        cx.report(Finding::error(node.span, message).help(FORM));
        return None;
    };
    if table.len() > MOST {
        let message = format!("a topology has at most {MOST} injections with a name, found {}", table.len());
        cx.report(Finding::error(node.span, message).help("give points that are fed alike to one of them"));
        return None;
    }
    let mut read = Vec::with_capacity(table.len());
    for (name, entry) in table {
        let Some(said) = entry.node.table() else {
            let found = entry.node.value.type_name();
            let message = format!("`topology.injections.{name}` must be a table, found {found}");
            cx.report(Finding::error(entry.node.span, message).help(FORM));
            read.push(None);
            continue;
        };
        let well_named = is_injection_name(name);
        if !well_named {
            let taken = listed(TAKEN);
            let help = format!(
                "a name is up to 32 small letters, digits and `_` and starts with a letter; {taken} are taken"
            );
            cx.report(Finding::error(entry.key, format!("`{name}` cannot name an injection")).help(help));
        }
        unknown(name, said, cx);
        let tree = seen_by(root, name);
        let own = cx.injection(name, |cx| injection(&tree, names, language, cx));
        read.push(own.filter(|_| well_named).map(|own| (name.clone(), own)));
    }
    read.into_iter().collect()
}

/// A hint: what the table of an injection looks like.
const FORM: &str =
    "write `[topology.injections.NAME]` on a line of its own, and `taps`, `points` and the like below it";

/// Whether an injection may be called so. Its weights are named after it, beside those of the injection without a name.
fn is_injection_name(name: &str) -> bool {
    is_small_name(name) && !TAKEN.contains(&name)
}

/// Keys that an injection does not have.
fn unknown(name: &str, said: &Table, cx: &mut Cx) {
    for (key, entry) in said.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
        let message = format!("unknown key `{key}` in `[topology.injections.{name}]`");
        let shared = ["input", "stream", "conditioning", "sources", "injections"].contains(&key.as_str());
        let help = match did_you_mean(key, KEYS) {
            _ if shared => format!("all injections share it: write it as `topology.{key}`"),
            Some(hint) => hint,
            None => format!("known keys are {}", listed(KEYS)),
        };
        cx.report(Finding::error(entry.key, message).help(help));
    }
}

/// What the tree says of its injection. `None` after the reasons have been reported.
pub(super) fn injection(root: &Node, names: &Names, language: Depth, cx: &mut Cx) -> Option<Injection> {
    // Which keys there are else is told where the whole table is read.
    let mut f = Fields::open(root, "topology", cx)?;
    let (mask, phase) = (f.optional("mask"), f.optional("phase"));
    let taps = names.taps(root, cx);
    let points = set::<PointAddress>(root, "topology.points", language, cx);
    let wiring = wiring(root, names, language, cx);
    let adapter = adapter(root, language, cx);
    let gate = gate(root, cx);
    let fusion = fusion(root, gate.as_ref(), cx);

    let (wiring, fusion) = (wiring?, fusion?);
    let (taps, points) = (taps?, points?);
    let (taps, points) = match &wiring {
        Wiring::Pairs(pairs) => (
            taps.unwrap_or_else(|| distinct(pairs.iter().map(|(tap, _)| tap.clone()))),
            points.unwrap_or_else(|| distinct(pairs.iter().map(|(_, point)| *point))),
        ),
        _ => (taps.unwrap_or_default(), points.unwrap_or_default()),
    };
    let mask = mask?.unwrap_or_else(|| fusion.usual_mask());
    Some(Injection {
        taps,
        points,
        wiring,
        adapter: adapter?,
        fusion,
        gate: gate?,
        mask,
        phase: phase?.unwrap_or_else(|| mask.usual_phase()),
    })
}

fn distinct<A: PartialEq>(addresses: impl Iterator<Item = A>) -> Vec<A> {
    let mut distinct = Vec::new();
    for address in addresses {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

fn wiring(root: &Node, names: &Names, language: Depth, cx: &mut Cx) -> Option<Wiring> {
    let Some(node) = root.get("topology.wiring") else { return Some(Wiring::Dense) };
    let Value::Array(items) = &node.value else {
        return choice::<NamedWiring>(node, "topology.wiring", cx).map(Wiring::from);
    };
    let pairs: Vec<Option<_>> = items.iter().map(|item| wired_pair(item, names, language, cx)).collect();
    for (index, pair) in pairs.iter().enumerate() {
        if let Some((tap, point)) = pair
            && pairs[..index].contains(pair)
        {
            let message = format!("the pair `{tap}`, `{point}` is listed twice");
            cx.report(Finding::error(items[index].span, message).help("remove one of the two"));
        }
    }
    pairs.into_iter().collect::<Option<Vec<_>>>().map(Wiring::Pairs)
}

fn wired_pair(node: &Node, names: &Names, language: Depth, cx: &mut Cx) -> Option<(Tap, PointAddress)> {
    if let Value::Array(items) = &node.value
        && let [tap, point] = &items[..]
    {
        let tap = names.tap(tap, "topology.wiring", cx);
        let point = address(point, "topology.wiring", language, cx);
        return Some((tap?, point?));
    }
    cx.report(
        Finding::error(node.span, "an explicit wiring is a list of pairs of a tap and a point")
            .help("for example `[[\"block.1\", \"before layer.2\"]]`"),
    );
    None
}
