//! `model.weights`, `model.vision.weights` and `model.language.weights`.

use super::fields::{Cx, Fields};
use crate::diagnostic::Finding;
use crate::schema::PretrainedWeights;
use crate::tree::Node;

/// The weights at a path, if any are named.
pub(super) fn weights(root: &Node, path: &'static str, cx: &mut Cx) -> Option<Option<PretrainedWeights>> {
    if root.get(path).is_none() {
        return Some(None);
    }
    let mut f = Fields::open(root, path, cx)?;
    let folder = f.required("path");
    let hash = f.optional::<String>("hash");
    let missing = f.or("missing", Vec::new());
    let unexpected = f.or("unexpected", Vec::new());
    if let Some(Some(hash)) = &hash
        && !(hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    {
        let message = format!("`{path}.hash` is no hash of weights");
        let help = "64 digits 0–9 and a–f are expected, as `crossloom model inspect` prints them";
        f.cx.report(Finding::error(root.place(&format!("{path}.hash")), message).help(help));
    }
    f.finish();
    Some(Some(PretrainedWeights { path: folder?, hash: hash?, missing: missing?, unexpected: unexpected? }))
}
