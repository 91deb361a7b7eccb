//! `data.source` of kind `conversations`.

use std::ops::Bound::{Excluded, Included};

use super::fields::{Cx, Fields};
use super::weights::hash;
use crate::diagnostic::Finding;
use crate::schema::{Samples, Source};
use crate::tree::{Node, Value};

/// Keys of the kind.
pub(super) const KEYS: &[&str] = &["of", "test", "lengths", "views", "samples_per_row", "skip", "truncate"];

/// What samples look like.
const SAMPLES: &str =
    "write a list of tables, as in [{ format = \"llava\", files = [\"train.json\"], pictures = \"images\" }]";

pub(super) fn conversations(f: &mut Fields<'_, '_>) -> Option<Source> {
    let of = match f.ask("of") {
        None => {
            f.lacks("of");
            None
        }
        Some(node) => mixed(node, f.cx),
    };
    let test = match f.ask("test") {
        None => Some(None),
        Some(node) => samples(node, "data.source.test", f.cx).map(Some),
    };
    let lengths = f.or::<Vec<usize>>("lengths", Vec::new());
    let views = f.or::<Vec<usize>>("views", vec![1]);
    for (key, values, most) in [("lengths", &lengths, 16_777_216), ("views", &views, 4096)] {
        let bad = values.iter().flatten().find(|value| !(1..=most).contains(*value));
        if let Some(bad) = bad {
            let place = f.ask(key).map(|node| node.span);
            let message = format!("`data.source.{key}` are from 1 to {most}, found {bad}");
            f.cx.report(Finding::error(place, message).help("name a few, from the smallest"));
        }
    }
    if views.as_ref().is_some_and(Vec::is_empty) {
        let place = f.ask("views").map(|node| node.span);
        f.cx.report(
            Finding::error(place, "`data.source.views` is empty").help("write [1]: a row has one picture"),
        );
    }
    let samples_per_row = f.or_in("samples_per_row", 1..=4096, 1);
    let skip = f.or("skip", 0);
    let truncate = f.or("truncate", 0);
    Some(Source::Conversations {
        of: of?,
        test: test?,
        lengths: lengths?,
        views: views?,
        samples_per_row: samples_per_row?,
        skip: skip?,
        truncate: truncate?,
    })
}

fn mixed(node: &Node, cx: &mut Cx) -> Option<Vec<Samples>> {
    let items = match &node.value {
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) => {
            cx.report(Finding::error(node.span, "`data.source.of` names no samples").help(SAMPLES));
            return None;
        }
        other => {
            let message = format!("`data.source.of` must be a list, found {}", other.type_name());
            cx.report(Finding::error(node.span, message).help(SAMPLES));
            return None;
        }
    };
    let read: Vec<Option<Samples>> = items.iter().map(|item| samples(item, "data.source.of", cx)).collect();
    read.into_iter().collect()
}

fn samples(node: &Node, path: &'static str, cx: &mut Cx) -> Option<Samples> {
    if node.table().is_none() {
        let message = format!("samples in `{path}` are a table, found {}", node.value.type_name());
        cx.report(Finding::error(node.span, message).help(SAMPLES));
        return None;
    }
    let mut f = Fields::item(node, path, cx)?;
    let format = f.required("format");
    let place = f.ask("files").map(|node| node.span);
    let files = f.required::<Vec<String>>("files");
    if let (Some(place), Some([])) = (place, files.as_deref()) {
        f.cx.report(
            Finding::error(place, format!("`{path}.files` names no file")).help("name a file, or several"),
        );
    }
    let pictures = f.or("pictures", ".".to_owned());
    let weight = f.optional_in("weight", (Excluded(0.0), Included(1e9)));
    let hash = hash(&mut f, "hash", "files of samples", "a run's folder keeps them");
    f.finish();
    Some(Samples { format: format?, files: files?, pictures: pictures?, weight: weight?, hash: hash? })
}
