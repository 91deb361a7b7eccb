//! What is done to every layer before layers are merged: a bare string becomes the table that it is short for, presets are written out,
//! and a set of layers that names its rule will replace an earlier set.

use super::files::Loader;
use crate::decode::{RULES, SETS, SHORT};
use crate::diagnostic::{Finding, SourceKind, Sources, did_you_mean, listed};
use crate::preset::{self, Half};
use crate::tree::{Entry, Node, Table, Value, merge, parse_document};

impl Loader<'_> {
    /// Writes out the shorthands of a recipe, but not of its variants.
    pub(super) fn normalise(&mut self, tree: &mut Node) {
        spell_out(tree, "");
        let injections = tree.get_mut("topology.injections").and_then(Node::table_mut);
        for injection in injections.into_iter().flat_map(Table::values_mut) {
            spell_out(&mut injection.node, "topology.");
        }
        let sources = tree.get_mut("topology.sources").and_then(Node::table_mut);
        for source in sources.into_iter().flat_map(Table::values_mut) {
            if let Some(node) = source.node.get_mut("of") {
                whole_with_rule(node);
            }
        }
        self.list_stages(tree);
        for part in Half::ALL {
            expand_preset(tree, part, &mut self.sources, &mut self.findings);
        }
    }

    /// Writes out the shorthands of a recipe's variants.
    pub(super) fn normalise_variants(&mut self, tree: &mut Node) {
        for entry in
            tree.get_mut("variants").and_then(Node::table_mut).into_iter().flat_map(Table::values_mut)
        {
            self.normalise(&mut entry.node);
        }
    }
}

/// Writes out what may be written in short in a table, and marks its sets; `at` is what its paths begin with.
fn spell_out(table: &mut Node, at: &str) {
    for (path, key) in SHORT {
        if let Some(node) = path.strip_prefix(at).and_then(|path| table.get_mut(path)) {
            short(node, key);
        }
    }
    for path in SETS {
        if let Some(node) = path.strip_prefix(at).and_then(|path| table.get_mut(path)) {
            whole_with_rule(node);
        }
    }
}

/// A set that names its rule replaces an earlier one.
fn whole_with_rule(node: &mut Node) {
    let names_rule = |table: &Table| RULES.iter().any(|rule| table.contains_key(*rule));
    node.whole = node.table().is_some_and(names_rule);
}

/// `gate = "none"` is `gate = { kind = "none" }`.
pub(super) fn short(node: &mut Node, key: &str) {
    if node.string().is_none() {
        return;
    }
    let span = node.span;
    let value = std::mem::replace(&mut node.value, Value::Table(Table::new()));
    let entry = Entry { key: span, node: Node::new(value, span) };
    node.value = Value::Table(Table::from([(key.to_owned(), entry)]));
}

/// Puts the dimensions of a preset under the keys that are written beside it.
fn expand_preset(tree: &mut Node, part: Half, sources: &mut Sources, findings: &mut Vec<Finding>) {
    let Some(table) = tree.get_mut(part.table()) else { return };
    let Some(chosen) = table.get("preset") else { return };
    let Some(name) = chosen.string().map(str::to_owned) else { return };
    let Some(text) = preset::text(part, &name) else {
        let names = preset::names(part);
        let help =
            did_you_mean(&name, names.clone()).unwrap_or_else(|| format!("there is {}", listed(names)));
        let message = format!("`{}` has no preset `{name}`", part.table());
        findings.push(Finding::error(chosen.span, message).help(help));
        return;
    };
    let label = format!("preset {name}");
    let source = sources.add(SourceKind::Preset, label.clone(), label, text.to_owned());
    match parse_document(text, source) {
        Ok(mut expanded) => {
            expanded.span = table.span;
            let over = std::mem::replace(table, expanded);
            merge(table, over);
        }
        Err(errors) => findings.extend(errors),
    }
}
