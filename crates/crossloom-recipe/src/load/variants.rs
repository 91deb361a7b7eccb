//! One document to several checked recipes.

use indexmap::IndexMap;

use super::files::Loader;
use super::set::{Dependent, Set};
use super::stages;
use super::{LoadOptions, LoadedRecipe, Variant};
use crate::decode::{self, Cx, MAX_NAME, MAX_VARIANTS, bad_name, is_name, is_swept_name};
use crate::diagnostic::{Diagnostics, Finding, Severity, Span, did_you_mean, listed};
use crate::provenance::Provenance;
use crate::schema::Recipe;
use crate::tree::{Entry, Node, Table, Value, merge};

/// A variant before its recipe is read.
struct Draft {
    name: String,
    description: Option<String>,
    baseline: bool,
    /// What it changes, in layers of its own.
    overlay: Option<Node>,
}

impl Loader<'_> {
    /// Everything after the text of the recipe has been read.
    pub(super) fn finish(
        mut self,
        text: Option<String>,
        options: &LoadOptions,
    ) -> Result<LoadedRecipe, Diagnostics> {
        let loaded = text.and_then(|text| self.expand(&text, options));
        let failed = self.findings.iter().any(|finding| finding.severity == Severity::Error);
        let diagnostics = self.sources.diagnostics(&self.findings);
        match loaded {
            Some(mut loaded) if !failed => {
                loaded.warnings = diagnostics.list;
                Ok(loaded)
            }
            _ => Err(diagnostics),
        }
    }

    fn expand(&mut self, text: &str, options: &LoadOptions) -> Option<LoadedRecipe> {
        let mut base = self.document(text);
        if self.unread {
            // What a file could not say would only be reported as missing.
            return None;
        }
        let sets = self.sets(&options.sets);
        let drafts = base.table_mut().and_then(|table| table.shift_remove("variants"));
        let mut drafts = drafts.map_or_else(Vec::new, |entry| self.drafts(entry));
        let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();

        let mut sweep = base.table_mut().and_then(|table| table.shift_remove("sweep"));
        let mut over_all: Vec<OverAll> = Vec::new();
        let mut of_variants = Vec::new();
        for set in sets {
            match set.keys[0].as_str() {
                "sweep" => set_sweep(&mut sweep, set),
                "variants" => of_variants.push(set),
                _ => {
                    if self.is_setting(&set.keys, set.span) {
                        let dependent = Dependent::of(&set);
                        over_all.push(OverAll { tree: set.tree, span: set.span, dependent, used: false });
                    }
                }
            }
        }
        let sweep = self.sweep(sweep, &names);
        let own_name = base.get("name").and_then(Node::string).map(str::to_owned);
        let swept: Vec<String> = if drafts.is_empty() { own_name.as_slice() } else { &names }
            .iter()
            .flat_map(|name| {
                sweep.points(name).into_iter().map(move |point| format!("{name}{}", point.suffix))
            })
            .filter(|name| !names.contains(name))
            .collect();
        let mut over_variant: IndexMap<String, Vec<Node>> = IndexMap::new();
        for set in of_variants {
            self.set_variant(set, &mut drafts, &swept, &mut over_variant);
        }
        let alone = drafts.is_empty();
        let mut without = base.clone();
        lay_sets(&mut without, &mut over_all, &[]);
        let base_recipe = self.recipe(&mut without, false, None);
        if alone {
            let name = base_recipe.as_ref().map_or_else(String::new, |(recipe, _)| recipe.name.clone());
            drafts.push(Draft { name, description: None, baseline: false, overlay: None });
        }
        let mut variants = Vec::new();
        let mut unusable: Option<String> = None;
        for draft in &drafts {
            for point in sweep.points(&draft.name) {
                let name = format!("{}{}", draft.name, point.suffix);
                if !point.suffix.is_empty() && !is_swept_name(&name) {
                    unusable.get_or_insert(name);
                    continue;
                }
                let mut tree = base.clone();
                for over in draft.overlay.iter().cloned().chain(point.trees) {
                    lay(&mut tree, over);
                }
                let swept = (!point.suffix.is_empty()).then(|| over_variant.get(&name)).flatten();
                let own: Vec<&Node> =
                    over_variant.get(&draft.name).into_iter().chain(swept).flatten().collect();
                lay_sets(&mut tree, &mut over_all, &own);
                let named = (!alone || !point.suffix.is_empty()).then_some(name.as_str());
                let Some((recipe, provenance)) = self.recipe(&mut tree, true, named) else { continue };
                let description = draft
                    .description
                    .clone()
                    .unwrap_or_else(|| if alone { recipe.description.clone() } else { String::new() });
                let axes = point.settings.into_iter().collect();
                variants.push(Variant {
                    name,
                    description,
                    baseline: draft.baseline,
                    axes,
                    recipe,
                    provenance,
                });
            }
        }
        if let Some(name) = unusable {
            self.findings.push(long_name(sweep.span, &name));
        }
        let unused = over_all.iter().filter(|over| !over.used);
        self.findings.extend(unused.filter_map(|over| Some(over.dependent.as_ref()?.unused(over.span))));
        self.alike(&variants, sweep.span);
        let (base, provenance) = base_recipe?;
        let (path, files) = (self.path.clone(), self.files.clone());
        Some(LoadedRecipe { path, files, base, provenance, variants, warnings: Vec::new() })
    }

    /// Reads a recipe and its stages, and says where their values come from. One that is not run, as that without its variants, is
    /// not `checked` as a whole.
    fn recipe(
        &mut self,
        tree: &mut Node,
        checked: bool,
        variant: Option<&str>,
    ) -> Option<(Recipe, Provenance)> {
        let mut cx = Cx::default();
        self.dimensions(tree, &mut cx);
        let trees = stages::trees(tree, &mut cx);
        let recipe = if trees.is_empty() {
            decode::recipe(tree, checked, &mut cx)
        } else {
            decode::stages(&trees, checked, &mut cx)
        };
        for mut finding in cx.findings {
            finding.variant = variant.map(str::to_owned);
            self.findings.push(finding);
        }
        let recipe = recipe?;
        let provenance = Provenance::new(&recipe, tree, &trees, &self.sources);
        Some((recipe, provenance))
    }

    /// Two variants whose folders are one on a disk that does not tell capital letters from small ones.
    fn alike(&mut self, variants: &[Variant], sweep: Option<Span>) {
        for (number, variant) in variants.iter().enumerate() {
            let own = |name: &str| name.split(',').next().map(str::to_owned);
            let alike = |other: &&Variant| {
                other.name.eq_ignore_ascii_case(&variant.name) && own(&other.name) == own(&variant.name)
            };
            if let Some(other) = variants[..number].iter().find(alike) {
                let (one, two) = (&other.name, &variant.name);
                let message =
                    format!("the sweep makes `{one}` and `{two}`, which differ in capital letters only");
                self.findings.push(Finding::error(sweep, message).help(ALIKE));
            }
        }
    }

    fn drafts(&mut self, entry: Entry) -> Vec<Draft> {
        let Value::Table(table) = entry.node.value else {
            let message = format!("`variants` must be a table, found {}", entry.node.value.type_name());
            let help = "write `[variants.NAME]` on a line of its own, and its settings below it";
            self.findings.push(Finding::error(entry.node.span, message).help(help));
            return Vec::new();
        };
        if table.len() > MAX_VARIANTS {
            let message = format!("a recipe has at most {MAX_VARIANTS} variants, found {}", table.len());
            let help = "move some of them to another recipe";
            self.findings.push(Finding::error(entry.key, message).help(help));
            return Vec::new();
        }
        let mut drafts: Vec<Draft> = Vec::new();
        for (name, entry) in table {
            let key = entry.key;
            let Some(draft) = self.draft(name, entry) else { continue };
            if let Some(other) = drafts.iter().find(|other| other.name.eq_ignore_ascii_case(&draft.name)) {
                let message = format!("`{}` and `{}` differ in capital letters only", other.name, draft.name);
                self.findings.push(Finding::error(key, message).help(ALIKE));
            }
            if draft.baseline
                && let Some(other) = drafts.iter().find(|other| other.baseline)
            {
                let message =
                    format!("`{}` and `{}` are both marked as the baseline", other.name, draft.name);
                self.findings
                    .push(Finding::error(key, message).help("keep `baseline = true` in one variant"));
            }
            drafts.push(draft);
        }
        drafts
    }

    fn draft(&mut self, name: String, entry: Entry) -> Option<Draft> {
        if !is_name(&name) {
            self.findings.push(bad_name(entry.key, "variant", &name));
        }
        let mut node = entry.node;
        let found = node.value.type_name();
        let Some(table) = node.table_mut() else {
            let message = format!("the variant `{name}` must be a table, found {found}");
            let help = format!("write `[variants.{name}]` on a line of its own, and its settings below it");
            self.findings.push(Finding::error(node.span, message).help(help));
            return None;
        };
        let mut cx = Cx::default();
        let description = take::<String>(table, "description", &name, &mut cx);
        let baseline = take::<bool>(table, "baseline", &name, &mut cx).unwrap_or(false);
        for key in ["name", "variants", "sweep"] {
            if let Some(entry) = table.shift_remove(key) {
                let help = "a variant has `description`, `baseline`, `extends` and the tables of a recipe";
                let message = format!("a variant has no `{key}`");
                cx.report(Finding::error(entry.key, message).help(help));
            }
        }
        self.findings.append(&mut cx.findings);
        Some(Draft { name, description, baseline, overlay: Some(node) })
    }

    /// `--set variants.NAME.a.b=value`.
    fn set_variant(
        &mut self,
        set: Set,
        drafts: &mut [Draft],
        swept: &[String],
        over: &mut IndexMap<String, Vec<Node>>,
    ) {
        let Some(name) = set.keys.get(1).cloned() else {
            self.findings.push(
                Finding::error(set.span, "an override names a setting of one variant")
                    .help("write `--set variants.NAME.a.b=value`"),
            );
            return;
        };
        let path = &set.keys[2..];
        let meta = matches!(path.first().map(String::as_str), Some("description" | "baseline"));
        if swept.contains(&name) {
            if meta {
                let message = format!("`{name}` is made by the sweep and has no `{}` of its own", path[0]);
                let own = name.split(',').next().unwrap_or_default();
                let help = format!("set it for all of its values: `--set variants.{own}.{}=…`", path[0]);
                self.findings.push(Finding::error(set.span, message).help(help));
            } else if self.is_setting(path, set.span) {
                let tree = into_entry(set.tree, "variants").and_then(|all| into_entry(all.node, &name));
                over.entry(name).or_default().extend(tree.map(|entry| entry.node));
            }
            return;
        }
        let Some(draft) = drafts.iter_mut().find(|draft| draft.name == name) else {
            let names = drafts.iter().map(|draft| &*draft.name).chain(swept.iter().map(String::as_str));
            let help = did_you_mean(&name, names.clone())
                .or_else(|| (!drafts.is_empty()).then(|| format!("there is {}", listed(names))));
            let message = format!("the recipe has no variant `{name}`");
            let finding = Finding::error(set.span, message);
            self.findings.push(finding.help_or(help, "the recipe has no `[variants]`"));
            return;
        };
        let Some(variants) = into_entry(set.tree, "variants") else { return };
        let Some(entry) = into_entry(variants.node, &name) else { return };
        let Some(changed) = self.draft(name.clone(), entry) else { return };
        draft.description = changed.description.or(draft.description.take());
        draft.baseline = changed.baseline || draft.baseline;
        if !meta && self.is_setting(path, set.span) {
            over.entry(name).or_default().extend(changed.overlay);
        }
    }
}

/// A hint for names that some disks take for one.
const ALIKE: &str = "rename one of them: each becomes a folder, and some disks take the two for the same";

/// A `--set` for all variants.
struct OverAll {
    tree: Node,
    span: Span,
    dependent: Option<Dependent>,
    /// Whether some recipe was changed by it.
    used: bool,
}

/// Lays overrides over a recipe: those for all variants, then its own. What depends on a kind is laid only where the
/// recipe has chosen that kind, with all overrides taken into account.
fn lay_sets(tree: &mut Node, over_all: &mut [OverAll], own: &[&Node]) {
    let mut probe = tree.clone();
    for over in over_all.iter().map(|over| &over.tree).chain(own.iter().copied()) {
        lay(&mut probe, over.clone());
    }
    for over in over_all {
        if over.dependent.as_ref().is_none_or(|dependent| dependent.fits(&probe)) {
            over.used = true;
            lay(tree, over.tree.clone());
        }
    }
    for over in own {
        lay(tree, (*over).clone());
    }
}

/// Why the name of a swept variant cannot be used.
fn long_name(span: Option<Span>, name: &str) -> Finding {
    let message = format!("the sweep makes a variant `{name}`, whose name has {} letters", name.len());
    Finding::error(span, message).help(format!(
        "a name becomes a folder and has at most {MAX_NAME} letters: shorten the variant's own name, sweep fewer settings \
         at once, or shorter values"
    ))
}

/// Lays a tree over another, in layers above all of its layers.
pub(super) fn lay(tree: &mut Node, mut over: Node) {
    over.raise(tree.highest_layer() + 1);
    merge(tree, over);
}

/// `--set sweep.…=value`.
fn set_sweep(sweep: &mut Option<Entry>, set: Set) {
    let Some(entry) = into_entry(set.tree, "sweep") else { return };
    match sweep {
        Some(known) => merge(&mut known.node, entry.node),
        None => *sweep = Some(entry),
    }
}

fn into_entry(tree: Node, key: &str) -> Option<Entry> {
    match tree.value {
        Value::Table(mut table) => table.shift_remove(key),
        _ => None,
    }
}

/// Removes and reads a key of a variant that is not part of a recipe.
fn take<T: decode::Decode>(table: &mut Table, key: &str, variant: &str, cx: &mut Cx) -> Option<T> {
    let entry = table.shift_remove(key)?;
    T::decode(&entry.node, &format!("variants.{variant}.{key}"), cx)
}
