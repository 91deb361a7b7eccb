//! Tiles of pictures in the sequence, and what must be so that there can be some.

use super::Sections;
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::Source;
use crate::tree::Node;

const KEY: &str = "model.vision.anyres";

/// Rows of pictures in tiles have as many visual tokens as the pictures need.
pub(super) fn anyres(root: &Node, sections: &Sections<'_>, cx: &mut Cx) {
    if sections.vision.is_none_or(|vision| vision.anyres.is_none()) {
        return;
    }
    let set = root.get(KEY).map(|node| node.span);
    let mut refuse = |path: &str, message: String, help: &str| {
        let finding = Finding::error(root.place(path), message).help(help);
        cx.report(finding.related("`anyres` is set", set));
    };
    if let Some(topology) = sections.topology {
        for (path, why) in topology.needs_one_picture() {
            let message = format!("pictures in tiles cannot be read so: {why}");
            refuse(path, message, "remove `model.vision.anyres`, so that a row has one whole picture");
        }
    }
    if sections.language.is_some_and(|language| language.rope_sections.is_some()) {
        let message = "visual tokens are turned by row and column of one whole picture".to_owned();
        refuse("model.language.rope_sections", message, "remove `model.vision.anyres`");
    }
    if let Some(projector) = sections.projector {
        if projector.merge > 1 {
            let message = "tokens of tiles are patches, and the projector merges some".to_owned();
            refuse("model.projector.merge", message, "remove `model.vision.anyres`, or `merge`");
        }
        if projector.windows().is_some() {
            let message = "tokens of tiles are patches, and the projector makes others".to_owned();
            refuse("model.projector.kind", message, "remove `model.vision.anyres`");
        }
    }
    if let Some(data) = sections.data
        && matches!(data.source, Source::EasyVqa {} | Source::Synthetic { .. })
    {
        let message = "this data has small square pictures, one for each row".to_owned();
        refuse("data.source", message, "name conversations with pictures of their own: `kind = \"files\"`");
    }
}
