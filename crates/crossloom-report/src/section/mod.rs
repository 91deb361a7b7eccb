//! The sections of the page, one file each, and the few pieces of markup that they share.

pub(crate) mod accuracy;
pub(crate) mod assets;
pub(crate) mod cost;
pub(crate) mod courses;
pub(crate) mod gates;
pub(crate) mod header;
pub(crate) mod kernels;
pub(crate) mod reproduce;
pub(crate) mod samples;
pub(crate) mod timings;
pub(crate) mod topology;
pub(crate) mod training;

use crate::markup::Markup;
use crate::number::count;

/// Writes a numbered section with its heading.
pub(crate) fn section(
    out: &mut Markup,
    id: &'static str,
    title: &'static str,
    body: impl FnOnce(&mut Markup),
) {
    let heading = format!("{id}-heading");
    out.element("section", &[("id", id), ("aria-labelledby", &heading)], |out| {
        out.leaf("h2", &[("id", &heading)], title);
        body(out);
    });
}

/// Says why there is nothing to see.
pub(crate) fn empty(out: &mut Markup, reason: &str) {
    out.leaf("p", &[("class", "empty")], reason);
}

/// Most variants that are shown side by side; a sweep can have dozens.
const AT_ONCE: usize = 8;

/// Writes the first items, which `list` puts in their box, and folds the others below them.
pub(crate) fn folding<T>(out: &mut Markup, items: &[T], list: impl Fn(&mut Markup, &[T])) {
    let (shown, folded) = items.split_at(items.len().min(AT_ONCE));
    if !shown.is_empty() {
        list(out, shown);
    }
    if !folded.is_empty() {
        out.element("details", &[("class", "more")], |out| {
            out.leaf("summary", &[], &format!("{} more", count(folded.len() as u64)));
            list(out, folded);
        });
    }
}

/// A box that scrolls sideways on narrow screens, reachable by keyboard.
pub(crate) fn scroll(out: &mut Markup, label: &str, body: impl FnOnce(&mut Markup)) {
    out.element(
        "div",
        &[("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", label)],
        body,
    );
}

/// The head row of a table; columns marked `true` hold numbers.
pub(crate) fn head_row(out: &mut Markup, columns: &[(&str, bool)]) {
    out.element("thead", &[], |out| {
        out.element("tr", &[], |out| {
            for (title, is_number) in columns {
                let class = if *is_number { "number" } else { "" };
                out.leaf("th", &[("scope", "col"), ("class", class)], title);
            }
        });
    });
}

/// `text`, or a dash that is spoken as the reason where it is empty.
pub(crate) fn text_or_dash(out: &mut Markup, text: &str, reason: &'static str) {
    if text.is_empty() {
        out.element("span", &[("class", "none"), ("title", reason)], |out| {
            out.leaf("span", &[("aria-hidden", "true")], "–");
            out.leaf("span", &[("class", "spoken")], reason);
        });
    } else {
        out.text(text);
    }
}
