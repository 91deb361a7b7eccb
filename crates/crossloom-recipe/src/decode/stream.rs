//! `topology.stream`.

use super::fields::{Cx, Fields};
use super::scalars::choice;
use super::sets::{Depth, address};
use crate::diagnostic::Finding;
use crate::schema::{PointAddress, Stream, StreamWord, Stretch};
use crate::tree::{Node, Value};

const PATH: &str = "topology.stream";

/// Where visual tokens are: in all layers where nothing is said.
pub(super) fn stream(root: &Node, language: Depth, cx: &mut Cx) -> Option<Stream> {
    match root.get(PATH) {
        None => Some(Stream::Sequence),
        Some(Node { value: Value::Table(_), .. }) => between(root, language, cx),
        Some(node) => choice::<StreamWord>(node, PATH, cx).map(Stream::from),
    }
}

fn between(root: &Node, language: Depth, cx: &mut Cx) -> Option<Stream> {
    let mut f = Fields::open(root, PATH, cx)?;
    let last = language.layers.map(|layers| layers.saturating_sub(1));
    let from = end(&mut f, "from", language, |point| matches!(point, PointAddress::Before(_)));
    let to = end(&mut f, "to", language, |point| matches!(point, PointAddress::After(_)));
    f.finish();
    let (from, to, last) = (from?, to?, last?);
    let stretch = Stretch {
        from: from.unwrap_or(PointAddress::Before(0)),
        to: to.unwrap_or(PointAddress::After(last)),
    };
    if stretch.first() > stretch.last() {
        let message = format!("visual tokens leave `{}` and enter `{}`", stretch.to, stretch.from);
        cx.report(
            Finding::error(root.place(PATH), message).help("swap the two, or write `stream = \"none\"`"),
        );
        return None;
    }
    let all = (stretch.first(), stretch.last()) == (0, last);
    Some(if all { Stream::Sequence } else { Stream::Between(stretch) })
}

/// An end of the stretch, if it is written.
fn end(
    f: &mut Fields<'_, '_>,
    key: &'static str,
    language: Depth,
    fits: impl Fn(&PointAddress) -> bool,
) -> Option<Option<PointAddress>> {
    let path = f.full(key);
    let Some(node) = f.ask(key) else { return Some(None) };
    let point = address::<PointAddress>(node, &path, language, f.cx)?;
    if fits(&point) {
        return Some(Some(point));
    }
    let side = if key == "from" { "before" } else { "after" };
    let message = format!("`{path}` is {side} a layer, found `{point}`");
    let layer = point.layer().unwrap_or_default();
    f.cx.report(Finding::error(node.span, message).help(format!("write `{side} layer.{layer}`")));
    None
}
