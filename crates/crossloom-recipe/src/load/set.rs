//! `--set a.b=value`.

use super::files::Loader;
use crate::decode::{
    INJECTION_KEYS, KINDS, Kinds, SOURCE, in_injection, in_source, in_stage, is_setting, known_paths,
};
use crate::diagnostic::{Finding, SourceKind, Span, any_of, listed, nearest, suggestion};
use crate::tree::{Node, Value, parse_document, parse_value};

/// One `--set`: its path and a tree that holds nothing but its value.
pub(super) struct Set {
    /// The keys of the path.
    pub(super) keys: Vec<String>,
    /// Where the path is written.
    pub(super) span: Span,
    pub(super) tree: Node,
}

const FORM: &str = "write `--set a.b=value`, for example `--set train.steps=100`";
/// A hint for names that TOML wants quoted.
const QUOTED: &str =
    "put the name of a swept variant in quotes: `--set 'variants.\"cli,rank=4\".train.steps=100'`";

impl Loader<'_> {
    /// Reads all overrides; those that cannot be read are reported and left out.
    pub(super) fn sets(&mut self, texts: &[String]) -> Vec<Set> {
        texts.iter().filter_map(|text| self.set(text)).collect()
    }

    fn set(&mut self, text: &str) -> Option<Set> {
        let source =
            self.sources.add(SourceKind::Set, "--set".to_owned(), "--set".to_owned(), text.to_owned());
        match parse(text, source) {
            Ok(mut set) => {
                self.normalise(&mut set.tree);
                self.normalise_variants(&mut set.tree);
                let layer = self.next_layer();
                set.tree.stamp(layer);
                Some(set)
            }
            Err(finding) => {
                self.findings.push(*finding);
                None
            }
        }
    }
}

fn parse(text: &str, source: usize) -> Result<Set, Box<Finding>> {
    let all = Span { source, start: 0, end: text.len() };
    if text.trim_start().starts_with('-') {
        return Err(Finding::error(all, "settings have no flags of their own").help(FORM).into());
    }
    let Some((key, value)) = split(text) else {
        return Err(Finding::error(all, "an override needs a path, `=` and a value").help(FORM).into());
    };
    let (start, end) = (key.len() - key.trim_start().len(), key.trim_end().len());
    let span = if start < end { Span { source, start, end } } else { all };
    let swept = key.trim_start().starts_with("variants.") && key.contains(',');
    let form = if swept { QUOTED } else { FORM };
    let bad_path = || Box::new(Finding::error(span, "this is not a dotted path").help(form));
    // One line with one value, and nothing that opens a heading or a comment.
    if key.trim().is_empty() || key.contains(['\n', '\r']) || key.trim_start().starts_with('[') {
        return Err(bad_path());
    }
    let mut tree = parse_document(&format!("{key}=0"), source).map_err(|_| bad_path())?;
    if tree.table().is_none_or(|table| table.len() != 1) {
        return Err(bad_path());
    }
    let trimmed = value.trim();
    let offset = key.len() + 1 + (value.len() - value.trim_start().len());
    let place = Span { source, start: offset, end: offset + trimmed.len() };
    if trimmed.is_empty() {
        return Err(Finding::error(all, "an override needs a value")
            .help("write `\"\"` for an empty string")
            .into());
    }
    let leaf = parse_value(trimmed, source, offset)
        .unwrap_or_else(|| Node::new(Value::String(trimmed.to_owned()), place));
    let mut keys = Vec::new();
    put(&mut tree, leaf, &mut keys);
    if keys.last().is_some_and(|key| key == "extends") {
        let message = "`extends` cannot be set from the command line";
        return Err(Finding::error(span, message).help("write a recipe that extends both files").into());
    }
    Ok(Set { keys, span, tree })
}

/// Path and value: what stands before and behind the first `=` outside of quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let (mut quote, mut escaped) = (None, false);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '=') => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// Replaces the only leaf of the tree and collects its path.
fn put(node: &mut Node, leaf: Node, keys: &mut Vec<String>) {
    if let Value::Table(table) = &mut node.value
        && let Some((key, entry)) = table.first_mut()
    {
        keys.push(key.clone());
        put(&mut entry.node, leaf, keys);
    } else {
        *node = leaf;
    }
}

impl Loader<'_> {
    /// Whether a recipe has this setting; if not, the nearest that exist are reported.
    pub(super) fn is_setting(&mut self, keys: &[String], span: Span) -> bool {
        let path = keys.join(".");
        let known = || known_paths().iter().map(String::as_str);
        if keys.is_empty() || is_setting(&path) {
            return true;
        }
        let has_keys = |path: &str| {
            known().any(|known| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
        };
        if let Some((stage, inside)) = in_stage(&path) {
            let own = known().filter(|known| known.starts_with("train.") || known.starts_with("data."));
            let near: Vec<String> =
                nearest(inside, own, 3).into_iter().map(|near| format!("stage.{stage}.{near}")).collect();
            let near: Vec<&str> = near.iter().map(String::as_str).collect();
            let finding = Finding::error(span, format!("no stage has a setting `{inside}`"));
            self.findings.push(finding.help_or(
                suggestion(&near),
                "a stage has `train` and `data`, each with the keys of a recipe",
            ));
            return false;
        }
        if let Some((name, inside)) = in_injection(&path) {
            let own = known().filter_map(|known| known.strip_prefix("topology."));
            let own =
                own.filter(|known| INJECTION_KEYS.contains(&known.split('.').next().unwrap_or_default()));
            let near: Vec<String> = nearest(inside, own, 3)
                .into_iter()
                .map(|near| format!("topology.injections.{name}.{near}"))
                .collect();
            let near: Vec<&str> = near.iter().map(String::as_str).collect();
            let finding = Finding::error(span, format!("no injection has a setting `{inside}`"));
            let all = format!("an injection has {}", listed(INJECTION_KEYS));
            self.findings.push(finding.help_or(suggestion(&near), all));
            return false;
        }
        if let Some((source, inside)) = in_source(&path) {
            let mut keys: Vec<&str> = SOURCE.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
            keys.sort_unstable();
            keys.dedup();
            let near = nearest(inside, keys.iter().copied(), 3);
            let near: Vec<String> =
                near.into_iter().map(|near| format!("topology.sources.{source}.{near}")).collect();
            let near: Vec<&str> = near.iter().map(String::as_str).collect();
            let all = format!("a source has `kind`, and by its kind {}", listed(keys));
            let finding = Finding::error(span, format!("no source has a setting `{inside}`"));
            self.findings.push(finding.help_or(suggestion(&near), &all));
            return false;
        }
        let value = (1..keys.len())
            .map(|end| keys[..end].join("."))
            .find(|path| known().any(|known| known == path) && !has_keys(path));
        let help = value.map(|path| format!("`{path}` is a single value")).or_else(|| {
            let ends_with = |end: &str| {
                let end = format!(".{end}");
                known().filter(|known| known.ends_with(&end)).take(3).collect::<Vec<_>>()
            };
            let last = keys.last().map_or("", String::as_str);
            let near = [ends_with(&path), nearest(&path, known(), 3), ends_with(last)];
            near.iter().find_map(|near| suggestion(near))
        });
        let help = help.unwrap_or_else(|| "`crossloom schema` lists all settings".to_owned());
        let message = format!("no recipe has a setting `{path}`");
        self.findings.push(Finding::error(span, message).help(help));
        false
    }
}

/// Why a `--set` for all variants may change nothing in some of them.
pub(super) enum Dependent {
    /// It changes a table whose keys depend on its kind, and does not choose the kind itself.
    Kind {
        /// The table.
        path: String,
        /// The keys that are written.
        keys: Vec<String>,
        /// The kinds that have them.
        kinds: Vec<&'static str>,
    },
    /// It changes this stage.
    Stage(String),
    /// It changes this setting of all stages, each of which may say it itself.
    Stages(String),
}

impl Dependent {
    /// `None` for a setting that every recipe has, and for keys that no kind has, which are an error wherever they are read.
    pub(super) fn of(set: &Set) -> Option<Self> {
        let path = set.keys.join(".");
        if let Some((stage, _)) = in_stage(&path) {
            return Some(Self::Stage(stage.to_owned()));
        }
        let source = in_source(&path).map(|(name, _)| (format!("topology.sources.{name}"), &SOURCE));
        let injection = in_injection(&path).map(|(name, _)| format!("topology.injections.{name}"));
        let of_injection = injection.iter().flat_map(|injection| {
            let own = |known: &'static Kinds| Some((known.path.strip_prefix("topology.")?, known));
            KINDS.iter().filter_map(own).map(move |(path, known)| (format!("{injection}.{path}"), known))
        });
        let tables =
            KINDS.iter().map(|known| (known.path.to_owned(), known)).chain(source).chain(of_injection);
        let of_kind = tables.into_iter().find_map(|(path, known)| {
            let keys: Vec<String> = set.tree.get(&path)?.table()?.keys().cloned().collect();
            let kinds: Vec<&'static str> = known.with(&keys).collect();
            (!kinds.is_empty()).then_some(Self::Kind { path, keys, kinds })
        });
        let in_stages = path.starts_with("train.") || path.starts_with("data.");
        of_kind.or_else(|| in_stages.then_some(Self::Stages(path)))
    }

    /// Whether it changes something in a recipe.
    pub(super) fn fits(&self, tree: &Node) -> bool {
        let stages = || {
            let all = tree.get("stage").and_then(Node::table).into_iter().flatten();
            all.filter(|(_, entry)| entry.node.get("name").is_some())
        };
        match self {
            Self::Kind { path, kinds, .. } => {
                let chosen = tree.get(path).and_then(|table| table.get("kind")).and_then(Node::string);
                chosen.is_some_and(|chosen| kinds.contains(&chosen))
            }
            Self::Stage(name) => stages().any(|(stage, _)| stage == name),
            Self::Stages(path) => {
                stages().next().is_none()
                    || stages()
                        .any(|(_, entry)| entry.node.get(path).is_none_or(|said| said.table().is_some()))
            }
        }
    }

    /// Why nothing was changed by it, and what to write besides.
    pub(super) fn unused(&self, span: Span) -> Finding {
        match self {
            Self::Kind { path, keys, kinds } => {
                let keys = listed(keys.iter().map(String::as_str));
                let message = format!(
                    "{keys} of `{path}` changes nothing: no variant has chosen the kind {}",
                    any_of(kinds.iter().copied())
                );
                let kind = kinds.first().copied().unwrap_or_default();
                Finding::error(span, message)
                    .help(format!("choose it too: `--set {path}.kind={kind}`, or for one variant `--set variants.NAME.{path}.kind={kind}`"))
            }
            Self::Stage(name) => Finding::error(span, format!("no variant has a stage `{name}`"))
                .help("`crossloom resolve` shows the stages of every variant"),
            Self::Stages(path) => {
                Finding::error(span, format!("`{path}` changes nothing: every stage says it itself"))
                    .help(format!("set it for one stage: `--set stage.NAME.{path}=…`"))
            }
        }
    }
}
