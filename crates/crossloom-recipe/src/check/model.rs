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
    rotary_blocks(root, cx);
    resized_edge(root, cx);
    let image = dimension(root, "model.vision.image_size");
    let patch = dimension(root, "model.vision.patch_size");
    let (Some(image), Some(patch)) = (image, patch) else { return };
    windows(root, image / patch, cx);
    let merge = dimension(root, "model.projector.merge").unwrap_or(1);
    if !(image / patch).is_multiple_of(merge) {
        let grid = image / patch;
        let message = format!("blocks of {merge} by {merge} patches do not cover {grid} by {grid} patches");
        let help = format!("choose a divisor of `image_size / patch_size`, which is {grid}");
        cx.report(Finding::error(root.place("model.projector.merge"), message).help(help));
    }
    let merging = root.get("model.projector.merging");
    if merging.and_then(Node::string) == Some("mean") && merge < 2 {
        let message = "the mean of one patch is the patch itself".to_owned();
        let help = "write `merge = 2` beside it: the side of the blocks whose patches are averaged";
        cx.report(Finding::error(merging.map(|node| node.span), message).help(help));
    }
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

/// A square is cut out of pictures that are at least as large.
fn resized_edge(root: &Node, cx: &mut Cx) {
    let Some(edge) = dimension(root, "model.vision.resize_edge") else { return };
    let place = root.place("model.vision.resize_edge");
    let image = dimension(root, "model.vision.image_size");
    if root.get("model.vision.fit").and_then(Node::string) != Some("crop") {
        let message = "`resize_edge` is read where a square is cut out of pictures, and none is";
        let help = "write `fit = \"crop\"` beside it, or remove it";
        cx.report(Finding::error(place, message.to_owned()).help(help));
    } else if let Some(image) = image.filter(|&image| edge < image) {
        let message = format!("a square of {image} pixels is cut out of pictures of {edge}");
        let help = format!("write `resize_edge = {image}` or more");
        let set = root.get("model.vision.image_size").map(|node| node.span);
        let finding = Finding::error(place, message).help(help);
        cx.report(finding.related(format!("`image_size = {image}` is set"), set));
    }
}

/// Windows cover the patches, and each query begins as the mean of a whole number of them.
fn windows(root: &Node, grid: usize, cx: &mut Cx) {
    let Some(window) = dimension(root, "model.projector.window") else { return };
    let mut error = |key: &str, message: String, help: String| {
        let place = root.place(&format!("model.projector.{key}"));
        cx.report(Finding::error(place, message).help(help));
    };
    if !grid.is_multiple_of(window) {
        let message =
            format!("windows of {window} by {window} patches do not cover {grid} by {grid} patches");
        error("window", message, format!("choose a divisor of `image_size / patch_size`, which is {grid}"));
    }
    if let Some(queries) = dimension(root, "model.projector.queries").filter(|by| !window.is_multiple_of(*by))
    {
        let message =
            format!("{queries} by {queries} queries do not share a window of {window} by {window} patches");
        error("queries", message, format!("choose a divisor of `window`, which is {window}"));
    }
    if dimension(root, "model.projector.merge").is_some_and(|merge| merge > 1) {
        let message = "a projector of windows reads patches, and merges none".to_owned();
        error(
            "merge",
            message,
            "remove `merge`: `window` and `queries` say how many tokens there are".to_owned(),
        );
    }
    let hidden = dimension(root, "model.vision.hidden");
    let heads = dimension(root, "model.projector.heads");
    if let (Some(hidden), Some(heads)) = (hidden, heads)
        && !hidden.is_multiple_of(heads)
    {
        let message = format!("the {heads} heads of the projector must divide the encoder's width {hidden}");
        error("heads", message, "choose a divisor of `model.vision.hidden`".to_owned());
    }
}

/// Rows and columns turn a half of every head each, and a class token has neither.
fn rotary_blocks(root: &Node, cx: &mut Cx) {
    if root.get("model.vision.rope_theta").is_none() {
        return;
    }
    let place = root.place("model.vision.rope_theta");
    if matches!(root.get("model.vision.class_token").map(|node| &node.value), Some(Value::Boolean(true))) {
        let message = "a class token has no row and no column to be turned by";
        let help = "remove `rope_theta`, or set `model.vision.class_token = false`";
        cx.report(Finding::error(place, message).help(help));
    }
    let hidden = dimension(root, "model.vision.hidden");
    let heads = dimension(root, "model.vision.heads");
    let head_dim = hidden.zip(heads).filter(|(hidden, heads)| hidden.is_multiple_of(*heads));
    let head_dim = head_dim.map(|(hidden, heads)| hidden / heads);
    if let Some(head_dim) = head_dim.filter(|width| !width.is_multiple_of(4)) {
        let message = format!("a head of the encoder is {head_dim} wide, which does not divide by 4");
        let help = "a row and a column turn pairs of numbers in a half of the head each";
        cx.report(Finding::error(place, message).help(help));
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
    if head_dim.is_multiple_of(2) {
        sections(root, head_dim / 2, cx);
    } else {
        let key = if written.is_some() { "model.language.head_dim" } else { "model.language.heads" };
        let message = format!("a head of the language model is {head_dim} wide, which is odd");
        cx.report(
            Finding::error(root.place(key), message)
                .help("rotary positions turn pairs of numbers: use an even width"),
        );
    }
}

/// Sections are all pairs of a head, and each finds its turns among them.
fn sections(root: &Node, pairs: usize, cx: &mut Cx) {
    const PATH: &str = "model.language.rope_sections";
    let Some(Value::Array(items)) = root.get(PATH).map(|node| &node.value) else { return };
    let number = |item: &Node| match item.value {
        Value::Integer(number) => usize::try_from(number).ok(),
        _ => None,
    };
    let Some([time, row, column]) = items
        .iter()
        .map(number)
        .collect::<Option<Vec<_>>>()
        .and_then(|numbers| <[usize; 3]>::try_from(numbers).ok())
    else {
        return;
    };
    // Pairs are taken in turns: 0, 3, 6, … by time, 1, 4, … by the row, 2, 5, … by the column; what is left is time's.
    let has_room = |count: usize, first: usize| count <= (pairs + 2 - first) / 3;
    let all = time.saturating_add(row).saturating_add(column);
    if all != pairs || !has_room(row, 1) || !has_room(column, 2) {
        let message =
            format!("`{PATH}` must divide the {pairs} pairs of a head, of which each takes every third");
        let share = pairs / 3;
        let help = format!("for example `[{}, {share}, {share}]`", pairs - 2 * share);
        cx.report(Finding::error(root.place(PATH), message).help(help));
    }
}

/// The image leaves room for a question. `positions` is given when it could be read, with its default.
pub(super) fn room(root: &Node, positions: Option<usize>, cx: &mut Cx) {
    let image = dimension(root, "model.vision.image_size");
    let patch = dimension(root, "model.vision.patch_size");
    let (Some(image), Some(patch), Some(positions)) = (image, patch, positions) else { return };
    let of = |key: &str| dimension(root, &format!("model.projector.{key}")).unwrap_or(1);
    let side = (image / patch / of("merge") / of("window")).saturating_mul(of("queries"));
    let tokens = side.saturating_mul(side);
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
