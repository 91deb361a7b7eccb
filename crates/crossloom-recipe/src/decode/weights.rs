//! Weights that a recipe names: `model.weights`, those of its halves, and adapters (`train.parts.PART.lora.weights`).

use super::fields::{Cx, Fields};
use super::scalars::is_pattern;
use crate::diagnostic::Finding;
use crate::schema::PretrainedWeights;
use crate::tree::{Node, Value};

/// The weights at a path, if any are named.
pub(super) fn weights(root: &Node, path: &'static str, cx: &mut Cx) -> Option<Option<PretrainedWeights>> {
    if root.get(path).is_none() {
        return Some(None);
    }
    let mut f = Fields::open(root, path, cx)?;
    let folder = f.required("path");
    let hash = hash(&mut f, "hash", "weights", "`crossloom model inspect` prints them");
    let missing = f.or("missing", Vec::new());
    let unexpected = f.or("unexpected", Vec::new());
    f.finish();
    let lists = ["missing", "unexpected"].map(|list| root.get(&format!("{path}.{list}")));
    let patterns = lists.into_iter().flatten().filter_map(|list| match &list.value {
        Value::Array(items) => Some(items),
        _ => None,
    });
    // Those that are no strings have been reported.
    for (item, text) in patterns.flatten().filter_map(|item| Some((item, item.string()?))) {
        is_pattern(text, item.span, cx);
    }
    Some(Some(PretrainedWeights { path: folder?, hash: hash?, missing: missing?, unexpected: unexpected? }))
}

/// The BLAKE3 under a key of a table, if one is written: that of `what`. `source` says where such hashes are found.
pub(super) fn hash(
    f: &mut Fields<'_, '_>,
    key: &'static str,
    what: &str,
    source: &str,
) -> Option<Option<String>> {
    let written = f.ask(key).map(|node| node.span);
    let hash = f.optional::<String>(key);
    if let Some(Some(hash)) = &hash
        && let Some(place) = written
        && !(hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    {
        let message = format!("`{}` is no hash of {what}", f.full(key));
        let help = format!("64 digits 0–9 and a–f are expected, as {source}");
        f.cx.report(Finding::error(place, message).help(help));
    }
    hash
}
