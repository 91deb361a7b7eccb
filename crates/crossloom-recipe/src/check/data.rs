//! Pictures against the encoder that sees them.

use crate::decode::{Cx, SYNTHETIC_SIDES};
use crate::diagnostic::Finding;
use crate::schema::{Data, DataTokenizer, Source, TopologySpec, VisionModel};
use crate::tree::Node;

/// Colour channels of every picture of every data set.
const CHANNELS: usize = 3;

/// Pixels along a side of easy-VQA's pictures.
const EASY_VQA: usize = 64;

/// A model's own tokens are those of weights, and have room that is known before they are read.
pub(super) fn tokenizer(root: &Node, data: &Data, cx: &mut Cx) {
    if data.tokenizer == DataTokenizer::Words {
        if matches!(data.source, Source::Files { .. } | Source::Conversations { .. }) {
            let message = "samples in files are read in a model's own tokens, whose number is known before they are read";
            let help = "write `tokenizer = \"model\"` beside it";
            let place = root.place("data.source.kind");
            cx.report(Finding::error(place, message.to_owned()).help(help));
        }
        if data.tokenizer_hash.is_some() {
            let message =
                "`data.tokenizer_hash` is that of a model's tokenizer, and the data is cut into words";
            let help = "write `tokenizer = \"model\"` beside it, or remove it";
            let finding = Finding::error(root.place("data.tokenizer_hash"), message.to_owned());
            cx.report(finding.help(help));
        }
        return;
    }
    let place = root.place("data.tokenizer");
    // Dimensions of a known model say how many tokens it has; a run asks for its weights.
    let known = ["model.language.weights", "model.weights", "model.language.vocab_size"];
    if known.iter().all(|path| root.get(path).is_none()) {
        let message = "the language model has no weights, and so no tokens of its own".to_owned();
        let help = "name them as `model.language.weights`, or write `tokenizer = \"words\"`";
        cx.report(Finding::error(place, message).help(help));
    }
    if data.text_positions.is_none() {
        let message =
            "with the model's own tokens, `data.text_positions` says how many a sequence has room for";
        let help =
            "`crossloom model prompt` shows how many a question takes; write `text_positions = 64` beside it";
        cx.report(Finding::error(place, message.to_owned()).help(help));
    }
}

/// The encoder takes pictures as the data set gives them.
pub(super) fn pictures(
    root: &Node,
    vision: &VisionModel,
    topology: Option<&TopologySpec>,
    data: &Data,
    cx: &mut Cx,
) {
    if vision.channels != CHANNELS {
        let message =
            format!("pictures have {CHANNELS} channels, the vision encoder reads {}", vision.channels);
        let help = format!("write `channels = {CHANNELS}`, or leave it out");
        cx.report(Finding::error(root.place("model.vision.channels"), message).help(help));
    }
    let magnified = topology.map_or(1, TopologySpec::magnification);
    let read = vision.image_size.saturating_mul(magnified);
    // Pictures of a file are resized to what the encoder reads; drawn ones have one size.
    let Source::Synthetic { image_size, .. } = &data.source else {
        if magnified > 1 && read > EASY_VQA {
            let message = format!(
                "pictures of {EASY_VQA} pixels are enlarged to {read}: their stacks show nothing more"
            );
            let help = format!(
                "write `model.vision.image_size = {}`, of which {magnified} by {magnified} tiles are a picture",
                EASY_VQA / magnified
            );
            let stacks = root.place("topology.sources");
            let set = root.get("model.vision.image_size").map(|node| node.span);
            cx.report(Finding::warning(stacks, message).help(help).related("`image_size` is set", set));
        }
        return;
    };
    let written = root.get("data.source.image_size").map(|node| node.span);
    if *image_size != read {
        let message = format!("pictures of {image_size} pixels are drawn, the vision encoder reads {read}");
        cx.report(
            Finding::error(written, message)
                .help("leave `data.source.image_size` out: it follows the encoder")
                .related(
                    format!("`image_size = {read}` is set"),
                    root.get("model.vision.image_size").map(|n| n.span),
                ),
        );
    } else if written.is_none() && !SYNTHETIC_SIDES.contains(image_size) {
        let (least, most) = (SYNTHETIC_SIDES.start(), SYNTHETIC_SIDES.end());
        let message = format!("pictures of {image_size} pixels cannot be drawn");
        let help =
            format!("synthetic pictures have {least} to {most} pixels: change `model.vision.image_size`");
        cx.report(Finding::error(root.place("model.vision.image_size"), message).help(help));
    }
}
