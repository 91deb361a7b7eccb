//! `[data]`.

use std::ops::RangeInclusive;

use super::conversations::{KEYS, conversations};
use super::fields::{Cx, Fields, Kinds};
use super::taps::magnification;
use super::weights::hash;
use crate::diagnostic::Finding;
use crate::schema::{Data, DataTokenizer, ImageUse, Source, VisionModel};
use crate::tree::Node;

pub(super) const SOURCE: Kinds = Kinds {
    path: "data.source",
    all: &[
        ("easy-vqa", &[]),
        ("synthetic", &["train_images", "test_images", "questions_per_image", "image_size"]),
        ("files", &["format", "train", "test", "pictures", "skip", "hash"]),
        ("conversations", KEYS),
    ],
    absent: None,
};

/// Heights and widths of pictures that can be drawn, in pixels.
pub(crate) const SYNTHETIC_SIDES: RangeInclusive<usize> = 8..=1024;

/// Largest seed: the largest integer that JSON keeps exactly.
pub(super) const MAX_SEED: u64 = (1 << 53) - 1;

pub(super) fn data(root: &Node, vision: Option<&VisionModel>, cx: &mut Cx) -> Option<Data> {
    let mut f = Fields::open(root, "data", cx)?;
    if f.ask("source").is_none() {
        // Reported as a missing key of `data`.
        f.required::<String>("source");
    }
    let questions_per_sequence = f.or_in("questions_per_sequence", 1..=4096, 1);
    let tokenizer = f.or("tokenizer", DataTokenizer::Words);
    let tokenizer_hash = hash(&mut f, "tokenizer_hash", "a tokenizer", "a run's folder keeps them");
    let text_positions = f.optional_in("text_positions", 1..=16_777_216);
    let open_share = f.optional_in("open_share", 0.0..=1.0);
    let image = f.or("image", ImageUse::Given);
    let validation = f.or_in("validation", 0.0..1.0, 0.0);
    let train_limit = f.optional_in("train_limit", 1..);
    let test_limit = f.optional_in("test_limit", 1..);
    let seed = f.or_in("seed", 0..=MAX_SEED, 0);
    let cache = f.optional("cache");
    f.finish();
    let source = if root.get("data.source").is_some() {
        source(root, vision.map(|vision| vision.image_size * magnification(root)), cx)
    } else {
        None
    };
    Some(Data {
        source: source?,
        questions_per_sequence: questions_per_sequence?,
        tokenizer: tokenizer?,
        tokenizer_hash: tokenizer_hash?,
        text_positions: text_positions?,
        open_share: open_share?,
        image: image?,
        validation: validation?,
        train_limit: train_limit?,
        test_limit: test_limit?,
        seed: seed?,
        cache: cache?,
    })
}

fn source(root: &Node, side: Option<usize>, cx: &mut Cx) -> Option<Source> {
    let (mut f, kind) = Fields::open_kind(root, &SOURCE, cx)?;
    let source = match kind {
        "easy-vqa" => Some(Source::EasyVqa {}),
        "files" => files(&mut f),
        "conversations" => conversations(&mut f),
        _ => synthetic(&mut f, side),
    };
    f.finish();
    source
}

fn files(f: &mut Fields<'_, '_>) -> Option<Source> {
    let format = f.required("format");
    let lists = ["train", "test"].map(|key| {
        let place = f.ask(key).map(|node| node.span);
        let files = f.required::<Vec<String>>(key);
        if let (Some(place), Some(files)) = (place, &files)
            && files.is_empty()
        {
            let message = format!("`{}` names no file", f.full(key));
            f.cx.report(
                Finding::error(place, message).help("both splits have samples: name a file, or several"),
            );
        }
        files
    });
    let pictures = f.or("pictures", ".".to_owned());
    let skip = f.or("skip", 0);
    let hash = hash(f, "hash", "files of samples", "a run's folder keeps them");
    let [train, test] = lists;
    Some(Source::Files {
        format: format?,
        train: train?,
        test: test?,
        pictures: pictures?,
        skip: skip?,
        hash: hash?,
    })
}

/// `side` is that of the pictures that the model is given.
fn synthetic(f: &mut Fields<'_, '_>, side: Option<usize>) -> Option<Source> {
    let train_images = f.or_in("train_images", 1..=1_000_000, 256);
    let test_images = f.or_in("test_images", 1..=1_000_000, 64);
    // What the generator can draw and ask; a test of the binary holds this against it.
    let questions_per_image = f.or_in("questions_per_image", 1..=32, 8);
    let image_size = f.optional_in("image_size", SYNTHETIC_SIDES);
    Some(Source::Synthetic {
        train_images: train_images?,
        test_images: test_images?,
        questions_per_image: questions_per_image?,
        image_size: match image_size? {
            Some(size) => size,
            None => side?,
        },
    })
}
