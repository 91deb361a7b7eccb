//! The visitor layer: reads tables key by key, goes on after an error, and knows afterwards which keys nobody asked for.

use std::ops::RangeBounds;

use super::known;
use super::limits::{Number, describe, nearest};
use super::scalars::Decode;
use crate::diagnostic::{Finding, Span, any_of, did_you_mean, listed};
use crate::tree::{Node, Table};

/// What is collected while a tree is read.
#[derive(Default)]
pub(crate) struct Cx {
    pub(crate) findings: Vec<Finding>,
    /// Tables whose missing keys have their reason among the findings already.
    pub(crate) reported: Vec<&'static str>,
}

impl Cx {
    pub(crate) fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// One alternative of a table with a `kind`: its name and the keys it has beside `kind`.
pub(crate) type Kind = (&'static str, &'static [&'static str]);

/// A table whose `kind` decides which other keys it has.
pub(crate) struct Kinds {
    /// Where it stands.
    pub(crate) path: &'static str,
    pub(super) all: &'static [Kind],
    /// The kind of an absent table.
    pub(super) absent: Option<&'static str>,
}

impl Kinds {
    /// Every kind with the keys that it has beside `kind`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Kind> {
        self.all.iter()
    }

    /// The kinds that have all of these keys.
    pub(crate) fn with<'a>(&self, keys: &'a [String]) -> impl Iterator<Item = &'static str> + use<'a> {
        let fits = move |known: &[&str]| keys.iter().all(|key| known.contains(&key.as_str()));
        self.all.iter().filter(move |(_, known)| fits(known)).map(|(name, _)| *name)
    }
}

/// The chosen alternative of a table with a `kind`.
struct Chosen {
    name: &'static str,
    layer: u32,
    all: &'static [Kind],
}

/// A table that is being read. Always end with [`Fields::finish`].
pub(super) struct Fields<'n, 'c> {
    pub(super) cx: &'c mut Cx,
    table: Option<&'n Table>,
    span: Span,
    path: &'static str,
    asked: Vec<&'static str>,
    missing: Vec<&'static str>,
    chosen: Option<Chosen>,
}

impl<'n, 'c> Fields<'n, 'c> {
    /// Opens the table at `path`. An absent table has no keys; `None` when there is something else in its place.
    pub(super) fn open(root: &'n Node, path: &'static str, cx: &'c mut Cx) -> Option<Self> {
        let node = if path.is_empty() { Some(root) } else { root.get(path) };
        let span = if path.is_empty() { root.span } else { root.place(path) };
        Self::at(node, span, path, cx)
    }

    /// Opens the table of a list that stands at `path`.
    pub(super) fn item(node: &'n Node, path: &'static str, cx: &'c mut Cx) -> Option<Self> {
        Self::at(Some(node), node.span, path, cx)
    }

    fn at(node: Option<&'n Node>, span: Span, path: &'static str, cx: &'c mut Cx) -> Option<Self> {
        let table = match node {
            None => None,
            Some(node) => {
                let table = node.table();
                if table.is_none() {
                    let message = format!("`{path}` must be a table, found {}", node.value.type_name());
                    let help = format!("write `[{path}]` on a line of its own, and its keys below it");
                    cx.report(Finding::error(node.span, message).help(help));
                    return None;
                }
                table
            }
        };
        Some(Self { cx, table, span, path, asked: Vec::new(), missing: Vec::new(), chosen: None })
    }

    /// Opens a table whose `kind` decides which other keys it has, and says which kind it is.
    pub(super) fn open_kind(root: &'n Node, kinds: &Kinds, cx: &'c mut Cx) -> Option<(Self, &'static str)> {
        Self::open(root, kinds.path, cx)?.chosen(kinds)
    }

    /// The same of a table that stands under a name of the user's.
    pub(super) fn item_kind(node: &'n Node, kinds: &Kinds, cx: &'c mut Cx) -> Option<(Self, &'static str)> {
        Self::item(node, kinds.path, cx)?.chosen(kinds)
    }

    fn chosen(self, kinds: &Kinds) -> Option<(Self, &'static str)> {
        let Kinds { path, all, absent } = *kinds;
        let mut fields = self;
        fields.asked.push("kind");
        let Some(node) = fields.node("kind") else {
            return match (fields.table, absent) {
                (None, Some(kind)) => Some((fields, kind)),
                _ => fields.without_kind(all),
            };
        };
        let Some(written) = node.string() else {
            String::decode(node, &fields.full("kind"), fields.cx)?;
            return None;
        };
        let Some((name, _)) = all.iter().find(|(name, _)| *name == written) else {
            let names = all.iter().map(|(name, _)| *name);
            let help =
                did_you_mean(written, names.clone()).unwrap_or_else(|| format!("write {}", any_of(names)));
            let message = format!("`{written}` is not a kind of `{path}`");
            fields.cx.report(Finding::error(node.span, message).help(help));
            return None;
        };
        fields.span = node.span;
        fields.chosen = Some(Chosen { name, layer: node.layer, all });
        Some((fields, name))
    }

    fn without_kind(self, all: &'static [Kind]) -> Option<(Self, &'static str)> {
        let written: Vec<&str> =
            self.table.into_iter().flat_map(|table| table.keys().map(String::as_str)).collect();
        let fits = |(_, keys): &&Kind| written.iter().all(|key| keys.contains(key));
        let fitting = all.iter().filter(fits).count();
        let kinds = all.iter().filter(|kind| fitting == 0 || fits(kind));
        let kinds: Vec<String> = kinds.map(|(name, _)| format!("kind = \"{name}\"")).collect();
        let help = format!("add {}", any_of(kinds.iter().map(String::as_str)));
        self.cx.report(Finding::error(self.span, format!("`{}.kind` is missing", self.path)).help(help));
        None
    }

    /// The value of a key, if it is written. The key counts as known from now on.
    pub(super) fn ask(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.node(key)
    }

    fn node(&self, key: &str) -> Option<&'n Node> {
        self.table.and_then(|table| table.get(key)).map(|entry| &entry.node)
    }

    /// Notes that a key is missing.
    pub(super) fn lacks(&mut self, key: &'static str) {
        self.missing.push(key);
    }

    /// The full dotted name of a key.
    pub(super) fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A key that may be absent.
    pub(super) fn optional<T: Decode>(&mut self, key: &'static str) -> Option<Option<T>> {
        match self.ask(key) {
            None => Some(None),
            Some(node) => T::decode(node, &self.full(key), self.cx).map(Some),
        }
    }

    /// A key that must be there.
    pub(super) fn required<T: Decode>(&mut self, key: &'static str) -> Option<T> {
        let value = self.optional(key)?;
        if value.is_none() {
            self.missing.push(key);
        }
        value
    }

    /// A key with a default.
    pub(super) fn or<T: Decode>(&mut self, key: &'static str, default: T) -> Option<T> {
        Some(self.optional(key)?.unwrap_or(default))
    }

    /// A number that may be absent, within limits.
    pub(super) fn optional_in<T: Number>(
        &mut self,
        key: &'static str,
        limits: impl RangeBounds<T>,
    ) -> Option<Option<T>> {
        self.limited(key, limits, None)
    }

    fn limited<T: Number>(
        &mut self,
        key: &'static str,
        limits: impl RangeBounds<T>,
        default: Option<T>,
    ) -> Option<Option<T>> {
        let value: Option<T> = self.optional(key)?;
        let Some(number) = value else { return Some(None) };
        if limits.contains(&number) {
            return Some(value);
        }
        let span = self.node(key).map(|node| node.span);
        let message = format!("`{}` must be {}, found {number}", self.full(key), describe(&limits));
        let mut help = nearest(&limits, number);
        if let Some(default) = default {
            help += &format!("; without it, it is {default}");
        }
        self.cx.report(Finding::error(span, message).help(help));
        None
    }

    /// A number that must be there, within limits.
    pub(super) fn required_in<T: Number>(
        &mut self,
        key: &'static str,
        limits: impl RangeBounds<T>,
    ) -> Option<T> {
        let value = self.optional_in(key, limits)?;
        if value.is_none() {
            self.missing.push(key);
        }
        value
    }

    /// A number with a default, within limits.
    pub(super) fn or_in<T: Number>(
        &mut self,
        key: &'static str,
        limits: impl RangeBounds<T>,
        default: T,
    ) -> Option<T> {
        Some(self.limited(key, limits, Some(default))?.unwrap_or(default))
    }

    /// Reports missing keys and keys that nobody asked for.
    pub(super) fn finish(self) {
        // A preset is complete: with one, keys are only missing when its name was wrong, which has been reported.
        if !self.missing.is_empty() && self.node("preset").is_none() && !self.cx.reported.contains(&self.path)
        {
            let keys = listed(self.missing.iter().copied());
            let message = match (self.table, self.path) {
                (_, "") => format!("the recipe lacks {keys}"),
                (None, path) => format!("`[{path}]` is missing; it needs {keys}"),
                (Some(_), path) => format!("`{path}` lacks {keys}"),
            };
            self.cx.report(Finding::error(self.span, message).help(known::help_for_missing(self.path)));
        }
        for (key, entry) in self.table.into_iter().flatten() {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            if let Some(finding) = self.unknown(key, entry.key, entry.node.layer) {
                self.cx.report(finding);
            }
        }
    }

    /// A key that this table does not have. A key of another kind that an earlier layer wrote, before a later layer chose
    /// this kind, is simply left out.
    fn unknown(&self, key: &str, span: Span, layer: u32) -> Option<Finding> {
        if let Some(chosen) = &self.chosen {
            let owners = chosen.all.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name);
            let owners: Vec<&str> = owners.collect();
            if !owners.is_empty() {
                let (path, name) = (self.path, chosen.name);
                let finding = Finding::error(span, format!("`{path}` of kind `{name}` has no key `{key}`"));
                return (layer >= chosen.layer)
                    .then(|| finding.help(format!("`{key}` belongs to kind {}", listed(owners))));
            }
        }
        let message = match self.path {
            "" => format!("unknown key `{key}`"),
            path => format!("unknown key `{key}` in `[{path}]`"),
        };
        Some(Finding::error(span, message).help(known::help_for_unknown(key, &self.asked)))
    }
}
