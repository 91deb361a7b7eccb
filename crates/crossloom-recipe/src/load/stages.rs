//! `[[stage]]`: a list of trainings, kept as a table by name, so that layers can say more of one of them; and the tree of each.

use super::architecture::table_at;
use super::files::Loader;
use super::variants::lay;
use crate::decode::{Cx, MAX_STAGES, SHORT, bad_stage_name, is_stage_name};
use crate::diagnostic::{Finding, Span, did_you_mean, listed};
use crate::schema::Part;
use crate::tree::{Entry, Node, Table, Value};

/// What a stage may say.
const KEYS: [&str; 2] = ["train", "data"];
/// A hint: what a list of stages looks like.
const FORM: &str = "write `[[stage]]` on a line of its own, `name = \"…\"` below it, and its settings under `[stage.train]` and \
                    `[stage.data]`";
/// A hint: how a stage of another layer is changed.
const BY_NAME: &str =
    "a list of stages replaces an earlier one; `[stage.NAME.train]` changes one that is there";

impl Loader<'_> {
    /// Writes the stages of a layer as a table by their names. A list says which there are, in order, and replaces an earlier one;
    /// a table changes those that there are.
    pub(super) fn list_stages(&mut self, tree: &mut Node) {
        let Some(node) = tree.get_mut("stage") else { return };
        let found = node.value.type_name();
        let mut stages = match std::mem::replace(&mut node.value, Value::Table(Table::new())) {
            Value::Array(items) => {
                node.whole = true;
                self.listed(items)
            }
            Value::Table(table) => self.by_name(table),
            _ => {
                let message = format!("`stage` must be a list of tables, found {found}");
                self.findings.push(Finding::error(node.span, message).help(FORM));
                Table::new()
            }
        };
        for entry in stages.values_mut() {
            self.keys(&mut entry.node);
        }
        node.value = Value::Table(stages);
    }

    /// A list: every stage has a name of its own.
    fn listed(&mut self, items: Vec<Node>) -> Table {
        let mut stages = Table::new();
        if let Some(first) = items.get(MAX_STAGES) {
            let message = format!("a recipe has at most {MAX_STAGES} stages, found {}", items.len());
            self.findings.push(Finding::error(first.span, message).help("put some of them into one"));
            return stages;
        }
        for item in items {
            let found = item.value.type_name();
            let Some(table) = item.table() else {
                let message = format!("`stage` lists tables, found {found}");
                self.findings.push(Finding::error(item.span, message).help(FORM));
                continue;
            };
            let Some(written) = table.get("name").map(|entry| &entry.node) else {
                self.findings.push(Finding::error(item.span, "a stage has no `name`").help(FORM));
                continue;
            };
            let (key, Some(name)) = (written.span, written.string().map(str::to_owned)) else {
                let message =
                    format!("the name of a stage must be a string, found {}", written.value.type_name());
                self.findings.push(Finding::error(written.span, message).help("put the name in quotes"));
                continue;
            };
            if !is_stage_name(&name) {
                self.findings.push(bad_stage_name(key, &name));
                continue;
            }
            if let Some(other) = stages.keys().find(|other| other.eq_ignore_ascii_case(&name)) {
                let message = if *other == name {
                    format!("there are two stages `{name}`")
                } else {
                    format!("the stages `{other}` and `{name}` differ in capital letters only")
                };
                let help = "rename one of them: each becomes a folder";
                self.findings.push(Finding::error(key, message).help(help));
                continue;
            }
            stages.insert(name, Entry { key, node: item });
        }
        stages
    }

    /// A table: it has stages for keys, and gives none of them a name.
    fn by_name(&mut self, table: Table) -> Table {
        let mut stages = Table::new();
        for (name, mut entry) in table {
            let found = entry.node.value.type_name();
            let Some(settings) = entry.node.table_mut() else {
                let message = format!("`stage.{name}` must be a table, found {found}");
                self.findings.push(Finding::error(entry.node.span, message).help(FORM));
                continue;
            };
            if let Some(given) = settings.shift_remove("name") {
                let message = format!("the stage `{name}` has its name already");
                self.findings.push(Finding::error(given.key, message).help(BY_NAME));
            }
            stages.insert(name, entry);
        }
        stages
    }

    /// Settings that stages have in common are no settings of one.
    fn keys(&mut self, stage: &mut Node) {
        for (path, key) in SHORT {
            if let Some(node) = path.starts_with("data.").then(|| stage.get_mut(path)).flatten() {
                super::normalise::short(node, key);
            }
        }
        let Some(table) = stage.table_mut() else { return };
        let foreign: Vec<String> =
            table.keys().filter(|key| *key != "name" && !KEYS.contains(&key.as_str())).cloned().collect();
        for key in foreign {
            let Some(entry) = table.shift_remove(&key) else { continue };
            let finding = Finding::error(entry.key, format!("a stage has no `{key}`"));
            let help = match key.as_str() {
                "model" | "topology" => {
                    "all stages train one model: write it beside the stages, or make two recipes of it"
                        .to_owned()
                }
                "eval" => {
                    "the model that the last stage leaves is evaluated: write `[eval]` beside the stages"
                        .to_owned()
                }
                _ => did_you_mean(&key, KEYS).unwrap_or_else(|| {
                    match KEYS.iter().find(|table| known(table, &key)) {
                        Some(table) => format!("write `{table}.{key}`"),
                        None => "a stage has `name`, `train` and `data`".to_owned(),
                    }
                }),
            };
            self.findings.push(finding.help(help));
        }
    }
}

fn known(table: &str, key: &str) -> bool {
    crate::decode::is_setting(&format!("{table}.{key}"))
}

/// One tree per stage: the recipe, with what the stage says laid over it. None where the recipe has no stages.
pub(super) fn trees(tree: &Node, cx: &mut Cx) -> Vec<(String, Node)> {
    let Some(stages) = tree.get("stage").and_then(Node::table) else { return Vec::new() };
    let is_listed = |entry: &Entry| entry.node.get("name").is_some();
    let mut trees: Vec<(String, Node)> = Vec::with_capacity(stages.len());
    for (name, entry) in stages {
        if !is_listed(entry) {
            let there = stages.iter().filter(|(_, entry)| is_listed(entry)).map(|(name, _)| name.as_str());
            cx.report(no_stage(entry.key, name, there));
            continue;
        }
        let mut of = tree.clone();
        let mut over = entry.node.clone();
        for (tree, unwanted) in [(&mut of, "stage"), (&mut over, "name")] {
            if let Some(table) = tree.table_mut() {
                table.shift_remove(unwanted);
            }
        }
        lay(&mut of, over);
        if let Some((_, before)) = trees.last() {
            keep_pairs(before, &mut of);
        }
        trees.push((name.clone(), of));
    }
    trees
}

/// Why a stage cannot be changed: there is none of that name.
pub(super) fn no_stage<'n>(span: Span, name: &str, there: impl Iterator<Item = &'n str> + Clone) -> Finding {
    let help = did_you_mean(name, there.clone())
        .or_else(|| there.clone().next().map(|_| format!("there is {}", listed(there))));
    Finding::error(span, format!("the recipe has no stage `{name}`")).help_or(help, FORM)
}

/// Low-rank pairs stay in the model. What a stage does not say of those that the one before it has is as there; where it says nothing
/// of them at all, they are frozen.
fn keep_pairs(before: &Node, tree: &mut Node) {
    for part in Part::ALL {
        let table = format!("train.parts.{}", part.name());
        let path = format!("{table}.lora");
        let Some(pairs) = before.get(&path) else { continue };
        let span = pairs.span;
        let boolean = |yes| Entry { key: span, node: Node::new(Value::Boolean(yes), span) };
        if tree.get(&path).is_none() {
            let Some(settings) = table_at(tree, &table) else { continue };
            settings.insert(
                "lora".to_owned(),
                Entry { key: span, node: Node::new(Value::Table(Table::new()), span) },
            );
            // With pairs, a part that says nothing is frozen; this one said nothing of pairs.
            settings.entry("trainable".to_owned()).or_insert_with(|| boolean(true));
            if let Some(own) = table_at(tree, &path) {
                own.insert("trainable".to_owned(), boolean(false));
            }
        }
        let Some(own) = table_at(tree, &path) else { continue };
        for (key, entry) in pairs.table().into_iter().flatten().filter(|(key, _)| *key != "trainable") {
            own.entry(key.clone()).or_insert_with(|| entry.clone());
        }
    }
}
