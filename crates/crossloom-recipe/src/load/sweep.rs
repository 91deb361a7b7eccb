//! `[sweep]`: a matrix of settings, expanded into variants with stable names.

use super::files::Loader;
use crate::decode::{MAX_VARIANTS, in_stage, is_setting, known_paths};
use crate::diagnostic::{Finding, Span, did_you_mean, listed, nearest, suggestion};
use crate::tree::{Entry, Node, Table, Value};

/// A hint: what a sweep looks like.
const EXAMPLE: &str = "for example `matrix.\"train.seed\" = [0, 1]`";

/// One swept setting.
#[derive(Debug)]
struct Axis {
    path: String,
    /// Shortest end of the path that is unique among the axes.
    label: String,
    /// Each value with its short name and a tree that holds nothing but it.
    values: Vec<(String, Node)>,
}

/// A sweep.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    axes: Vec<Axis>,
    /// The variants that are swept; all when absent.
    only: Option<Vec<String>>,
    /// Where it is written.
    pub(super) span: Option<Span>,
}

/// One point of the matrix.
pub(super) struct SweepPoint {
    /// `,rank=4,seed=1`, or empty.
    pub(super) suffix: String,
    /// Path and short value per axis.
    pub(super) settings: Vec<(String, String)>,
    pub(super) trees: Vec<Node>,
}

impl Sweep {
    /// All points of the matrix for a variant; one empty point when the variant is not swept.
    pub(super) fn points(&self, variant: &str) -> Vec<SweepPoint> {
        let mut points = vec![SweepPoint { suffix: String::new(), settings: Vec::new(), trees: Vec::new() }];
        if self.only.as_ref().is_some_and(|only| !only.iter().any(|name| name == variant)) {
            return points;
        }
        for axis in &self.axes {
            let extended = points.iter().flat_map(|point| {
                axis.values.iter().map(|(short, tree)| {
                    let suffix = format!("{},{}={short}", point.suffix, axis.label);
                    let settings = [&point.settings[..], &[(axis.path.clone(), short.clone())]].concat();
                    let trees = [&point.trees[..], std::slice::from_ref(tree)].concat();
                    SweepPoint { suffix, settings, trees }
                })
            });
            points = extended.collect();
        }
        points
    }
}

impl Loader<'_> {
    /// Reads `[sweep]`. `variants` are the names that it may choose from.
    pub(super) fn sweep(&mut self, entry: Option<Entry>, variants: &[String]) -> Sweep {
        let Some(entry) = entry else { return Sweep::default() };
        let Value::Table(table) = &entry.node.value else {
            let message = format!("`sweep` must be a table, found {}", entry.node.value.type_name());
            self.findings.push(Finding::error(entry.node.span, message).help(EXAMPLE));
            return Sweep::default();
        };
        let mut sweep = Sweep { span: Some(entry.key), ..Sweep::default() };
        for (key, entry) in table {
            match key.as_str() {
                "matrix" => self.matrix(&entry.node, "", &mut sweep.axes),
                // Those of a file are variants by now.
                "methods" => {
                    let finding =
                        Finding::error(entry.key, "`sweep.methods` is read from the recipe's file only");
                    self.findings.push(
                        finding.help("list the files there, or choose among variants with `sweep.variants`"),
                    );
                }
                "variants" => sweep.only = self.chosen(&entry.node, variants),
                _ => {
                    let help = "a sweep has `methods`, `matrix`, for example `matrix.\"train.seed\" = [0, 1]`, and `variants`";
                    let message = format!("unknown key `{key}` in `[sweep]`");
                    self.findings.push(Finding::error(entry.key, message).help(help));
                }
            }
        }
        if !table.contains_key("matrix") {
            self.findings.push(Finding::error(entry.node.span, "the sweep has no `matrix`").help(EXAMPLE));
        }
        self.size(&sweep, &entry, variants.len());
        label(&mut sweep.axes);
        if sweep.axes.iter().any(|axis| axis.values.is_empty()) { Sweep::default() } else { sweep }
    }

    fn size(&mut self, sweep: &Sweep, entry: &Entry, variants: usize) {
        let points =
            sweep.axes.iter().try_fold(1_usize, |size, axis| size.checked_mul(axis.values.len().max(1)));
        let swept = sweep.only.as_ref().map_or(variants.max(1), Vec::len);
        if points.and_then(|points| points.checked_mul(swept)).is_none_or(|total| total > MAX_VARIANTS) {
            let message = format!("the sweep expands into more than {MAX_VARIANTS} variants");
            self.findings
                .push(Finding::error(entry.key, message).help("sweep fewer values, or fewer `variants`"));
        }
    }

    /// Collects the axes of `matrix`; a path may be one quoted key or nested tables.
    fn matrix(&mut self, node: &Node, prefix: &str, axes: &mut Vec<Axis>) {
        let Value::Table(table) = &node.value else {
            let message = format!("`sweep.matrix` must be a table, found {}", node.value.type_name());
            self.findings.push(Finding::error(node.span, message).help(EXAMPLE));
            return;
        };
        for (key, entry) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match &entry.node.value {
                Value::Table(_) => self.matrix(&entry.node, &path, axes),
                Value::Array(items) => self.axis(&path, entry, items, axes),
                other => {
                    let message = format!("`{path}` must be swept over a list, found {}", other.type_name());
                    self.findings
                        .push(Finding::error(entry.node.span, message).help("write `[value, value]`"));
                }
            }
        }
    }

    fn axis(&mut self, path: &str, entry: &Entry, items: &[Node], axes: &mut Vec<Axis>) {
        if path == "name" || path == "description" || !is_setting(path) {
            let known = known_paths().iter().map(String::as_str).filter(|known| *known != path);
            let message = format!("`{path}` is not a setting that can be swept");
            let near = match in_stage(path) {
                Some((stage, inside)) => nearest(inside, known, 1)
                    .first()
                    .map(|near| format!("did you mean `stage.{stage}.{near}`?")),
                None => suggestion(&nearest(path, known, 3)),
            };
            let finding = Finding::error(entry.key, message);
            self.findings.push(finding.help_or(near, "`crossloom schema` lists all settings"));
            return;
        }
        if axes.iter().any(|axis| axis.path == path) {
            let finding = Finding::error(entry.key, format!("`{path}` is swept twice"));
            self.findings.push(finding.help("put all its values into one list"));
            return;
        }
        if items.is_empty() {
            let finding = Finding::error(entry.node.span, format!("`{path}` is swept over no values"));
            self.findings.push(finding.help("add values, or remove it"));
        }
        let mut values: Vec<(String, Node)> = Vec::new();
        let mut spellings: Vec<String> = Vec::new();
        for item in items {
            let spelling = item.canonical();
            if spellings.contains(&spelling) {
                let message = format!("`{path}` is swept over the same value twice");
                self.findings.push(Finding::error(item.span, message).help("remove one of the two"));
                continue;
            }
            let mut tree = nested(path, entry, item.clone());
            self.normalise(&mut tree);
            values.push((short(item), tree));
            spellings.push(spelling);
        }
        // Two values with the same short name get a hash of their full spelling.
        let shorts: Vec<String> = values.iter().map(|(short, _)| short.clone()).collect();
        for (index, (short, _)) in values.iter_mut().enumerate() {
            if shorts.iter().filter(|other| *other == short).count() > 1 {
                *short = format!("{short}~{}", hash(&spellings[index]));
            }
        }
        axes.push(Axis { path: path.to_owned(), label: String::new(), values });
    }

    fn chosen(&mut self, node: &Node, variants: &[String]) -> Option<Vec<String>> {
        let Value::Array(items) = &node.value else {
            let message =
                format!("`sweep.variants` must be a list of names, found {}", node.value.type_name());
            let help = "write the names of variants in quotes, between square brackets";
            self.findings.push(Finding::error(node.span, message).help(help));
            return None;
        };
        let mut chosen = Vec::new();
        for item in items {
            match item.string() {
                Some(name) if variants.iter().any(|variant| variant == name) => chosen.push(name.to_owned()),
                _ => {
                    let found = item.string().unwrap_or(item.value.type_name());
                    let finding =
                        Finding::error(item.span, format!("there is no variant `{found}` to sweep"));
                    let known = variants.iter().map(String::as_str);
                    let help = did_you_mean(found, known.clone())
                        .or_else(|| (!variants.is_empty()).then(|| format!("there is {}", listed(known))));
                    self.findings.push(finding.help_or(help, "the recipe has no `[variants]`"));
                }
            }
        }
        Some(chosen)
    }
}

/// A tree with one leaf.
fn nested(path: &str, entry: &Entry, leaf: Node) -> Node {
    path.rsplit('.').fold(leaf, |node, key| {
        let inner = Entry { key: entry.key, node };
        Node::new(Value::Table(Table::from([(key.to_owned(), inner)])), entry.key)
    })
}

/// Gives every axis the shortest end of its path that no other axis has.
fn label(axes: &mut [Axis]) {
    let paths: Vec<String> = axes.iter().map(|axis| axis.path.clone()).collect();
    for axis in axes {
        let keys: Vec<&str> = axis.path.split('.').collect();
        let unique = |label: &String| {
            let end = format!(".{label}");
            paths.iter().filter(|path| **path == *label || path.ends_with(&end)).count() == 1
        };
        let ends = (0..keys.len()).rev().map(|start| keys[start..].join("."));
        axis.label = ends.into_iter().find(unique).unwrap_or_else(|| axis.path.clone());
    }
}

/// A short, folder-safe name of a value.
fn short(node: &Node) -> String {
    let text = match &node.value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join("+"),
        Value::Table(table) => table
            .iter()
            .map(|(key, entry)| format!("{key}-{}", short(&entry.node)))
            .collect::<Vec<_>>()
            .join("+"),
        _ => node.canonical(),
    };
    let safe: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' }).collect();
    if safe.is_empty() || safe.len() > 40 { hash(&node.canonical()) } else { safe }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..8].to_owned()
}
