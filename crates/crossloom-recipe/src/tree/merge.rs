//! Deep merge of one layer over another.

use super::{Node, Value};

/// Lays `over` on `base`: tables are merged key by key, unless they are `whole`; everything else is replaced and remembers
/// what it replaced.
pub(crate) fn merge(base: &mut Node, over: Node) {
    let (base_table, over_table) = match (&mut base.value, over.value) {
        (Value::Table(base_table), Value::Table(over_table)) if !over.whole => (base_table, over_table),
        (_, value) => {
            let mut replaced = std::mem::take(&mut base.replaced);
            replaced.push(base.span);
            replaced.extend(over.replaced);
            *base = Node { value, replaced, ..over };
            return;
        }
    };
    for (key, entry) in over_table {
        match base_table.get_mut(&key) {
            Some(known) => {
                known.key = entry.key;
                merge(&mut known.node, entry.node);
            }
            None => {
                base_table.insert(key, entry);
            }
        }
    }
}
