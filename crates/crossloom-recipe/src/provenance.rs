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
    pub(crate) fn new(recipe: &Recipe, tree: &Node, sources: &Sources) -> Self {
        let mut origins = BTreeMap::new();
        if let Ok(value) = serde_json::to_value(recipe) {
            collect("", &value, tree, sources, &mut origins);
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
        if let Ok(value) = serde_json::to_value(&self.recipe) {
            write_table("", &value, &self.provenance, &mut text);
        }
        text
    }
}

fn write_table(path: &str, table: &Value, provenance: &Provenance, text: &mut String) {
    let Value::Object(entries) = table else { return };
    let (tables, values): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, value)| value.is_object());
    if !path.is_empty() && !values.is_empty() {
        text.push_str(&format!("\n[{path}]\n"));
    }
    let full = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in values {
        let line = format!("{key} = {}", toml_value(value));
        let origin = provenance.get(&full(key)).map_or_else(String::new, Origin::to_string);
        text.push_str(&format!("{line:<40} # {origin}\n"));
    }
    for (key, value) in tables {
        write_table(&full(key), value, provenance, text);
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
