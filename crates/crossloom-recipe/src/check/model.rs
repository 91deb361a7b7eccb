//! Dimensions of the model. They are read from the tree, so that one that is wrong does not hide another.

use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::tree::{Node, Value};

/// A dimension as it is written: a positive integer.
fn dimension(root: &Node, path: &str) -> Option<usize> {
    match root.get(path)?.value {
        Value::Integer(number @ 1..=16_777_216) => usize::try_from(number).ok(),
        _ => None,
    }
}

pub(super) fn vision(root: &Node, cx: &mut Cx) {
    divides(root, "model.vision", "heads", "hidden", cx);
    let image = dimension(root, "model.vision.image_size");
    let patch = dimension(root, "model.vision.patch_size");
    let (Some(image), Some(patch)) = (image, patch) else { return };
    let place = root.place("model.vision.patch_size");
    if patch > image {
        let message = format!("a patch of {patch} pixels is larger than the image of {image}");
        cx.report(Finding::error(place, message).help("`patch_size` is at most `image_size`"));
    } else if image % patch != 0 && root.get("model.vision.preset").is_none() {
        let message = format!("the last {} pixels of each row and column are never read", image % patch);
        let help =
            format!("{image} is not a multiple of {patch}; `image_size = {}` is", image - image % patch);
        cx.report(Finding::warning(place, message).help(help));
    }
}

pub(super) fn language(root: &Node, cx: &mut Cx) {
    divides(root, "model.language", "kv_heads", "heads", cx);
    let written = dimension(root, "model.language.head_dim");
    let head_dim = match written {
        Some(head_dim) => head_dim,
        None if divides(root, "model.language", "heads", "hidden", cx) => {
            let hidden = dimension(root, "model.language.hidden");
            let heads = dimension(root, "model.language.heads");
            hidden.zip(heads).map_or(2, |(hidden, heads)| hidden / heads)
        }
        None => return,
    };
    if !head_dim.is_multiple_of(2) {
        let key = if written.is_some() { "model.language.head_dim" } else { "model.language.heads" };
        let message = format!("a head of the language model is {head_dim} wide, which is odd");
        cx.report(
            Finding::error(root.place(key), message)
                .help("rotary positions turn pairs of numbers: use an even width"),
        );
    }
}

/// The image leaves room for a question. `positions` is given when it could be read, with its default.
pub(super) fn room(root: &Node, positions: Option<usize>, cx: &mut Cx) {
    let image = dimension(root, "model.vision.image_size");
    let patch = dimension(root, "model.vision.patch_size");
    let (Some(image), Some(patch), Some(positions)) = (image, patch, positions) else { return };
    let tokens = (image / patch).saturating_mul(image / patch);
    if tokens >= positions {
        let message = format!("the image alone takes {tokens} tokens, but `max_positions` is {positions}");
        let help = "raise `model.language.max_positions` or `model.vision.patch_size`";
        cx.report(Finding::error(root.place("model.language.max_positions"), message).help(help));
    }
}

/// Whether a part divides its whole; if not, the nearest numbers that do are reported. True when one is not written.
fn divides(root: &Node, table: &str, part: &str, whole: &str, cx: &mut Cx) -> bool {
    let (part_path, whole_path) = (format!("{table}.{part}"), format!("{table}.{whole}"));
    let (Some(by), Some(number)) = (dimension(root, &part_path), dimension(root, &whole_path)) else {
        return true;
    };
    if number.is_multiple_of(by) {
        return true;
    }
    let below = (1..by.min(number)).rev().find(|candidate| number.is_multiple_of(*candidate)).unwrap_or(1);
    let above = (by..=number).find(|candidate| number.is_multiple_of(*candidate));
    let fits = match above {
        Some(above) => format!("`{part} = {below}` and `{part} = {above}` would"),
        None => format!("`{part} = {below}` would"),
    };
    let message = format!("`{part}` must divide `{whole}`, but {by} does not divide {number}");
    let place = root.get(&whole_path).map(|node| node.span);
    cx.report(
        Finding::error(root.place(&part_path), message)
            .help(fits)
            .related(format!("`{whole} = {number}` is set"), place),
    );
    false
}
