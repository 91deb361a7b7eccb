//! A TOML document as a tree in which every key and value remembers its place and its layer.
//!
//! A *layer* is one text that contributes to a recipe: an extended file, the file itself, a variant, a sweep value, a
//! `--set`. Later layers override earlier ones, leaf by leaf; arrays are leaves.

mod merge;
mod parse;

pub(crate) use merge::merge;
pub(crate) use parse::{parse_document, parse_value};

use indexmap::IndexMap;

use crate::diagnostic::Span;

/// A value, where it is written, and what it replaced.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// Number of the layer that wrote it, in order of precedence.
    pub(crate) layer: u32,
    /// Values of earlier layers that this one replaced, oldest first.
    pub(crate) replaced: Vec<Span>,
    /// A table that replaces an earlier one instead of being merged with it.
    pub(crate) whole: bool,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

/// A table in the order in which its keys are written.
pub(crate) type Table = IndexMap<String, Entry>;

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Span,
    pub(crate) node: Node,
}

impl Value {
    /// The type with its article, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span, layer: 0, replaced: Vec::new(), whole: false }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn string(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The node at a dotted path.
    pub(crate) fn get(&self, path: &str) -> Option<&Self> {
        let mut node = self;
        for key in path.split('.') {
            node = &node.table()?.get(key)?.node;
        }
        Some(node)
    }

    /// The node at a dotted path, for changing it.
    pub(crate) fn get_mut(&mut self, path: &str) -> Option<&mut Self> {
        let mut node = self;
        for key in path.split('.') {
            node = &mut node.table_mut()?.get_mut(key)?.node;
        }
        Some(node)
    }

    /// The place of a dotted path, or of the nearest table around it.
    pub(crate) fn place(&self, path: &str) -> Span {
        let mut node = self;
        for key in path.split('.') {
            match node.table().and_then(|table| table.get(key)) {
                Some(entry) => node = &entry.node,
                None => break,
            }
        }
        node.span
    }

    /// Writes a layer number on the node and everything in it.
    pub(crate) fn stamp(&mut self, layer: u32) {
        self.each_mut(&mut |node| node.layer = layer);
    }

    /// Lifts all layers of the node by the same amount, which keeps their order.
    pub(crate) fn raise(&mut self, by: u32) {
        self.each_mut(&mut |node| node.layer += by);
    }

    /// The highest layer in the node.
    pub(crate) fn highest_layer(&self) -> u32 {
        let below = match &self.value {
            Value::Table(table) => table.values().map(|entry| entry.node.highest_layer()).max(),
            Value::Array(items) => items.iter().map(Self::highest_layer).max(),
            _ => None,
        };
        self.layer.max(below.unwrap_or(0))
    }

    fn each_mut(&mut self, change: &mut impl FnMut(&mut Self)) {
        change(self);
        match &mut self.value {
            Value::Table(table) => table.values_mut().for_each(|entry| entry.node.each_mut(change)),
            Value::Array(items) => items.iter_mut().for_each(|item| item.each_mut(change)),
            _ => {}
        }
    }

    /// The value in one canonical spelling, independent of how it was written.
    pub(crate) fn canonical(&self) -> String {
        match &self.value {
            Value::String(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Boolean(yes) => yes.to_string(),
            Value::Datetime => "date".to_owned(),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(Self::canonical).collect::<Vec<_>>().join(","))
            }
            Value::Table(table) => {
                let mut pairs: Vec<String> =
                    table.iter().map(|(key, entry)| format!("{key:?}={}", entry.node.canonical())).collect();
                pairs.sort();
                format!("{{{}}}", pairs.join(","))
            }
        }
    }
}
