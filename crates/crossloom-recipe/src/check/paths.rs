//! Paths of a recipe: relative ones stay in its folder.

use std::path::Path;

use super::Sections;
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{LanguageModel, Part, PretrainedWeights, Source, Train, VisionModel};
use crate::tree::Node;

/// Checks every path that could be read.
pub(super) fn paths(root: &Node, sections: &Sections<'_>, cx: &mut Cx) {
    if let Some(cache) = sections.data.and_then(|data| data.cache.as_deref()) {
        confined(root, "data.cache", cache, "remove it to use the user's cache folder", cx);
    }
    if let Some(Source::Files { train, test, pictures, .. }) = sections.data.map(|data| &data.source) {
        for (key, path) in
            train.iter().map(|path| ("train", path)).chain(test.iter().map(|path| ("test", path)))
        {
            confined(root, &format!("data.source.{key}.files"), path, "name a file of samples", cx);
        }
        confined(root, "data.source.pictures", pictures, "write \".\" for the recipe's folder", cx);
    }
    for (key, samples) in sections.data.iter().flat_map(|data| data.source.samples()) {
        for path in &samples.files {
            confined(root, &format!("data.source.{key}"), path, "name a file of samples", cx);
        }
        let help = "write \".\" for the recipe's folder";
        confined(root, &format!("data.source.{key}.pictures"), &samples.pictures, help, cx);
    }
    if let Some(train) = sections.train {
        pairs(root, train, cx);
    }
    let of = |weights: Option<&PretrainedWeights>| weights.map(|weights| weights.path.clone());
    let weights = [
        ("model.weights.path", of(sections.weights)),
        (
            "model.vision.weights.path",
            of(sections.vision.and_then(|model: &VisionModel| model.weights.as_ref())),
        ),
        (
            "model.language.weights.path",
            of(sections.language.and_then(|model: &LanguageModel| model.weights.as_ref())),
        ),
    ];
    if let Some((key, files)) = sections.topology.and_then(|topology| topology.conditioning.files()) {
        let key = format!("topology.conditioning.{key}.path");
        confined(root, &key, &files.path, "name a sentence encoder or a file of vectors", cx);
    }
    for (key, path) in weights {
        if let Some(path) = path {
            confined(root, key, &path, "remove it to start from random weights", cx);
        }
    }
}

/// The adapters from which pairs start.
fn pairs(root: &Node, train: &Train, cx: &mut Cx) {
    for part in Part::ALL {
        let weights = train.parts.get(part).lora.as_ref().and_then(|lora| lora.weights.as_ref());
        if let Some(weights) = weights {
            let key = format!("train.parts.{}.lora.weights.path", part.name());
            confined(root, &key, &weights.path, "remove it to start with pairs that add nothing", cx);
        }
    }
}

fn confined(root: &Node, key: &str, path: &str, without: &str, cx: &mut Cx) {
    let place = root.place(key);
    if path.is_empty() {
        cx.report(Finding::error(place, format!("`{key}` is empty")).help(without));
    } else if crate::load::leaves_folder(Path::new(path)) {
        cx.report(
            Finding::error(place, format!("`{path}` leaves the recipe's folder"))
                .help("use a path inside the folder, or an absolute one"),
        );
    }
}
