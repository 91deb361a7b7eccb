//! Where each value of a resolved recipe comes from, and the recipe written out with it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::diagnostic::Sources;
use crate::load::Variant;
use crate::schema::Recipe;
use crate::tree::Node;

/// The origin of every value of a recipe, by its dotted path. Lists are one value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Provenance {
    origins: BTreeMap<String, Origin>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `base.toml:14`, seen from the recipe's folder, `--set`, or `preset NAME`. Absent: a default.
    pub place: Option<String>,
    /// The places of the values that it overrode, oldest first.
    pub overrode: Vec<String>,
}

impl Provenance {
    /// `stages` are the names and trees of the recipe's stages: the recipe itself is the last one. Values of a stage have paths such
    /// as `stage.NAME.train.lr`.
    pub(crate) fn new(recipe: &Recipe, tree: &Node, stages: &[(String, Node)], sources: &Sources) -> Self {
        let mut origins = BTreeMap::new();
        let mut whole = serde_json::to_value(recipe).unwrap_or_default();
        if let Some(table) = whole.as_object_mut() {
            table.remove(STAGES);
        }
        let last = stages.last().map_or(tree, |(_, tree)| tree);
        collect("", &whole, last, sources, &mut origins);
        for (stage, (name, tree)) in recipe.stages.iter().zip(stages) {
            let mut own = BTreeMap::new();
            collect(
                "train",
                &serde_json::to_value(&stage.train).unwrap_or_default(),
                tree,
                sources,
                &mut own,
            );
            collect("data", &serde_json::to_value(&stage.data).unwrap_or_default(), tree, sources, &mut own);
            origins.extend(own.into_iter().map(|(path, origin)| (format!("{STAGES}.{name}.{path}"), origin)));
        }
        Self { origins }
    }

    /// The origin of a value, by its dotted path, such as `topology.adapter.rank`.
    pub fn get(&self, path: &str) -> Option<&Origin> {
        self.origins.get(path)
    }

    /// All values with their origins, in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.origins.iter().map(|(path, origin)| (path.as_str(), origin))
    }
}

fn collect(
    path: &str,
    value: &Value,
    tree: &Node,
    sources: &Sources,
    origins: &mut BTreeMap<String, Origin>,
) {
    if let Value::Object(table) = value {
        for (key, value) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(&path, value, tree, sources, origins);
        }
        return;
    }
    let origin = tree.get(path).map_or_else(Origin::default, |node| Origin {
        place: Some(sources.place(node.span)),
        overrode: node.replaced.iter().map(|span| sources.place(*span)).collect(),
    });
    origins.insert(path.to_owned(), origin);
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.overrode[..]) {
            (None, _) => f.write_str("default"),
            (Some(place), []) => f.write_str(place),
            (Some(place), overrode) => write!(f, "{place}, over {}", overrode.join(", ")),
        }
    }
}

impl Variant {
    /// The resolved recipe as TOML, with the origin of every value in a comment. It is itself a recipe: loading it gives
    /// the same [`Recipe`].
    pub fn resolved_toml_with_provenance(&self) -> String {
        let mut text =
            format!("# Variant `{}`, resolved. Each line says where its value comes from.\n", self.name);
        let mut value = serde_json::to_value(&self.recipe).unwrap_or_default();
        if !self.recipe.stages.is_empty()
            && let Some(table) = value.as_object_mut()
        {
            // Every stage says all of them itself.
            for key in ["train", "data", STAGES] {
                table.remove(key);
            }
        }
        write_table("", "", &value, &self.provenance, &mut text);
        for stage in &self.recipe.stages {
            let name = &stage.name;
            text.push_str(&format!("\n[[{STAGES}]]\nname = {}\n", toml_value(&Value::from(name.as_str()))));
            let tables =
                [("train", serde_json::to_value(&stage.train)), ("data", serde_json::to_value(&stage.data))];
            for (key, table) in tables {
                let (heading, origin) = (format!("{STAGES}.{key}"), format!("{STAGES}.{name}.{key}"));
                write_table(&heading, &origin, &table.unwrap_or_default(), &self.provenance, &mut text);
            }
        }
        text
    }
}

/// The key of a recipe's stages.
const STAGES: &str = "stage";

/// Writes a table under its heading; `origin` is its path in what says where values come from.
fn write_table(heading: &str, origin: &str, table: &Value, provenance: &Provenance, text: &mut String) {
    let Value::Object(entries) = table else { return };
    let (tables, values): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, value)| value.is_object());
    if !heading.is_empty() && !values.is_empty() {
        text.push_str(&format!("\n[{heading}]\n"));
    }
    let below =
        |path: &str, key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in values {
        let line = format!("{key} = {}", toml_value(value));
        let origin = provenance.get(&below(origin, key)).map_or_else(String::new, Origin::to_string);
        text.push_str(&format!("{line:<40} # {origin}\n"));
    }
    for (key, value) in tables {
        write_table(&below(heading, key), &below(origin, key), value, provenance, text);
    }
}

/// A JSON value on one line, in TOML's spelling.
fn toml_value(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key} = {}", toml_value(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}
