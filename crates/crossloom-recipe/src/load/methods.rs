//! `sweep.methods`: a variant for each file of a list.

use super::files::Loader;
use crate::decode::{MAX_NAME, is_name};
use crate::diagnostic::Finding;
use crate::tree::{Entry, Node, Table, Value};

/// A hint: what the list looks like.
const EXAMPLE: &str = "for example `methods = [\"methods/projector.toml\", \"methods/cli.toml\"]`";

impl Loader<'_> {
    /// Makes a variant of every file that the sweep of a document lists, under the name of the file: one that extends it, below what
    /// `[variants]` says of that name. They come first, in the order of the list.
    pub(super) fn methods(&mut self, own: &mut Node) {
        let Some(sweep) = own.get_mut("sweep").and_then(Node::table_mut) else { return };
        let Some(entry) = sweep.shift_remove("methods") else { return };
        let alone = sweep.is_empty();
        let Value::Array(items) = &entry.node.value else {
            let message =
                format!("`sweep.methods` must be a list of files, found {}", entry.node.value.type_name());
            self.findings.push(Finding::error(entry.node.span, message).help(EXAMPLE));
            return;
        };
        let Some(table) = own.table_mut() else { return };
        if alone {
            table.shift_remove("sweep");
        }
        let listed = Entry { key: entry.key, node: Node::new(Value::Table(Table::new()), entry.node.span) };
        let mut written = table.shift_remove("variants").unwrap_or(listed);
        // What is no table is told where variants are read.
        if let Some(said) = written.node.table_mut() {
            let mut variants = Table::new();
            for item in items {
                if let Some(name) = self.method_name(item, &variants) {
                    let mut variant = said.shift_remove(&name).unwrap_or_else(|| Entry {
                        key: item.span,
                        node: Node::new(Value::Table(Table::new()), item.span),
                    });
                    extend_first(&mut variant, item);
                    variants.insert(name, variant);
                }
            }
            variants.extend(std::mem::take(said));
            *said = variants;
        }
        table.insert("variants".to_owned(), written);
    }

    /// The name of the variant of a file.
    fn method_name(&mut self, item: &Node, known: &Table) -> Option<String> {
        let Some(file) = item.string() else {
            let message = format!("`sweep.methods` lists files, found {}", item.value.type_name());
            self.findings.push(Finding::error(item.span, message).help(EXAMPLE));
            return None;
        };
        let stem = std::path::Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !is_name(stem) {
            let help = format!(
                "its variant has the name of the file, which needs letters, digits, `_` and `-`, at most {MAX_NAME} of them"
            );
            self.findings.push(Finding::error(item.span, format!("`{file}` names no variant")).help(help));
            return None;
        }
        if known.contains_key(stem) {
            let finding = Finding::error(item.span, format!("two methods are called `{stem}`"));
            self.findings
                .push(finding.help("rename one of the files, or write a `[variants.NAME]` that extends it"));
            return None;
        }
        Some(stem.to_owned())
    }
}

/// Puts a file before those that a variant extends.
fn extend_first(variant: &mut Entry, file: &Node) {
    let Some(table) = variant.node.table_mut() else { return };
    match table.get_mut("extends").map(|entry| &mut entry.node.value) {
        Some(Value::Array(files)) => files.insert(0, file.clone()),
        // What is no list is told where it is read.
        Some(_) => {}
        None => {
            let list = Node::new(Value::Array(vec![file.clone()]), file.span);
            table.insert("extends".to_owned(), Entry { key: file.span, node: list });
        }
    }
}
