//! `[model]`.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::fields::{Cx, Fields};
use super::sets::peek;
use super::weights::weights;
use crate::diagnostic::Finding;
use crate::schema::{
    AnyRes, LanguageModel, Merging, MlpActivation, PictureFit, PositionResample, Projector, ProjectorKind,
    Resample, TapNorm, VisionModel,
};
use crate::tree::Node;

/// Bases of rotary frequencies.
const BASE: (std::ops::Bound<f64>, std::ops::Bound<f64>) = (Excluded(1.0), Unbounded);

/// Widest layer that is accepted.
const WIDTH: usize = 65_536;

pub(super) fn vision(root: &Node, cx: &mut Cx) -> Option<VisionModel> {
    let mut f = Fields::open(root, "model.vision", cx)?;
    let preset = f.optional("preset");
    f.ask("weights");
    let family = f.required("family");
    let image_size = f.required_in("image_size", 1..=16_384);
    let patch_size = f.required_in("patch_size", 1..=1024);
    let temporal_patch = f.or_in("temporal_patch", 1..=64, 1);
    let channels = f.or_in("channels", 1..=4, 3);
    let hidden = f.required_in("hidden", 1..=WIDTH);
    let layers = f.required_in("layers", 1..=1024);
    let heads = f.required_in("heads", 1..=1024);
    let mlp = f.required_in("mlp", 1..=1_048_576);
    let activation = f.or("activation", MlpActivation::GeluTanh);
    let norm_eps = f.or_in("norm_eps", (Excluded(0.0), Included(0.1)), 1e-6);
    let class_token = f.or("class_token", false);
    let position_grid = f.optional_in("position_grid", 1..=4096);
    let position_resample = f.or("position_resample", PositionResample::Bicubic);
    let rope_theta = f.optional_in("rope_theta", BASE);
    let pre_norm = f.or("pre_norm", false);
    let post_norm = f.or("post_norm", false);
    let qkv_bias = f.or("qkv_bias", true);
    let layer_scale = f.or("layer_scale", false);
    let patch_bias = f.or("patch_bias", true);
    let image_mean = channels_in(&mut f, "image_mean", 0.0, 1.0);
    let image_std = channels_in(&mut f, "image_std", 0.001, 10.0);
    let resample = f.or("resample", Resample::Bicubic);
    let fit = f.or("fit", PictureFit::Stretch);
    let resize_edge = f.optional_in("resize_edge", 1..=8192);
    f.ask("anyres");
    f.finish();
    let weights = weights(root, "model.vision.weights", cx);
    let anyres = anyres(root, cx);
    Some(VisionModel {
        preset: preset?,
        weights: weights?,
        family: family?,
        image_size: image_size?,
        patch_size: patch_size?,
        temporal_patch: temporal_patch?,
        channels: channels?,
        hidden: hidden?,
        layers: layers?,
        heads: heads?,
        mlp: mlp?,
        activation: activation?,
        norm_eps: norm_eps?,
        class_token: class_token?,
        position_grid: position_grid?,
        position_resample: position_resample?,
        rope_theta: rope_theta?,
        pre_norm: pre_norm?,
        post_norm: post_norm?,
        qkv_bias: qkv_bias?,
        layer_scale: layer_scale?,
        patch_bias: patch_bias?,
        image_mean: image_mean?,
        image_std: image_std?,
        resample: resample?,
        fit: fit?,
        resize_edge: resize_edge?,
        anyres: anyres?,
    })
}

/// The tiles of pictures, if there are any.
fn anyres(root: &Node, cx: &mut Cx) -> Option<Option<AnyRes>> {
    const PATH: &str = "model.vision.anyres";
    if root.get(PATH).is_none() {
        return Some(None);
    }
    let mut f = Fields::open(root, PATH, cx)?;
    let (side, most_tiles) = (f.or_in("side", 1..=32, 6), f.or_in("most_tiles", 1..=1024, 9));
    f.finish();
    Some(Some(AnyRes { side: side?, most_tiles: most_tiles? }))
}

/// A number for red, green and blue each; 0.5 where nothing is said.
fn channels_in(f: &mut Fields<'_, '_>, key: &'static str, least: f64, most: f64) -> Option<[f64; 3]> {
    let values: [f64; 3] = f.or(key, [0.5; 3])?;
    if values.iter().all(|value| (least..=most).contains(value)) {
        return Some(values);
    }
    let span = f.ask(key).map(|node| node.span);
    let message = format!("all of `model.vision.{key}` must be from {least} to {most}");
    f.cx.report(Finding::error(span, message).help("samples are on the scale 0 to 1"));
    None
}

pub(super) fn language(root: &Node, cx: &mut Cx) -> Option<LanguageModel> {
    let mut f = Fields::open(root, "model.language", cx)?;
    let preset = f.optional("preset");
    f.ask("weights");
    let family = f.required("family");
    let hidden = f.required_in("hidden", 1..=WIDTH);
    let layers = f.required_in("layers", 1..=1024);
    let heads = f.required_in("heads", 1..=1024);
    let kv_heads = f.optional_in("kv_heads", 1..=1024);
    let head_dim = f.optional_in("head_dim", 2..=4096);
    let mlp = f.required_in("mlp", 1..=1_048_576);
    let rope_theta = f.or_in("rope_theta", BASE, 1e4);
    let rope_sections = f.optional("rope_sections");
    let mut multiplier = |key| f.optional_in(key, (Excluded(0.0), Unbounded));
    let embedding_multiplier = multiplier("embedding_multiplier");
    let residual_multiplier = multiplier("residual_multiplier");
    let attention_multiplier = multiplier("attention_multiplier");
    let logits_scaling = multiplier("logits_scaling");
    let norm_eps = f.or_in("norm_eps", (Excluded(0.0), Included(0.1)), 1e-5);
    let tie_embeddings = f.or("tie_embeddings", true);
    let vocab_size = f.optional_in("vocab_size", 2..=16_777_216);
    let max_positions = f.or_in("max_positions", 2..=16_777_216, 2048);
    f.finish();
    let weights = weights(root, "model.language.weights", cx);
    let (hidden, heads) = (hidden?, heads?);
    Some(LanguageModel {
        preset: preset?,
        weights: weights?,
        family: family?,
        hidden,
        layers: layers?,
        heads,
        kv_heads: kv_heads?.unwrap_or(heads),
        head_dim: head_dim?.unwrap_or(hidden / heads),
        mlp: mlp?,
        rope_theta: rope_theta?,
        rope_sections: rope_sections?,
        embedding_multiplier: embedding_multiplier?,
        residual_multiplier: residual_multiplier?,
        attention_multiplier: attention_multiplier?,
        logits_scaling: logits_scaling?,
        norm_eps: norm_eps?,
        tie_embeddings: tie_embeddings?,
        vocab_size: vocab_size?,
        max_positions: max_positions?,
    })
}

pub(super) fn projector(root: &Node, language: Option<&LanguageModel>, cx: &mut Cx) -> Option<Projector> {
    let mut f = Fields::open(root, "model.projector", cx)?;
    let kind = f.or("kind", ProjectorKind::Mlp2x);
    let hidden = if f.ask("hidden").is_some_and(is_merged) {
        merged_width(root).map(Some)
    } else {
        f.optional_in("hidden", 1..=1_048_576)
    };
    let activation = f.or("activation", MlpActivation::GeluErf);
    let bias = f.or("bias", true);
    let merge = f.or_in("merge", 1..=64, 1);
    let (merging, norm) = (f.or("merging", Merging::Channels), f.or("norm", TapNorm::None));
    let [window, queries] = ["window", "queries"].map(|key| f.optional_in(key, 1..=4096));
    let heads = f.optional_in("heads", 1..=1024);
    let norm_eps = f.optional_in("norm_eps", (Excluded(0.0), Included(0.1)));
    f.finish();
    let (kind, window, queries, heads, norm_eps) = (kind?, window?, queries?, heads?, norm_eps?);
    of_kind(root, kind, [("window", window), ("queries", queries)], heads, norm_eps, cx)?;
    let heads = match kind {
        ProjectorKind::Mlp2x => None,
        ProjectorKind::WindowQueries => heads.or_else(|| usual_heads(root)),
    };
    Some(Projector {
        kind,
        hidden: match hidden? {
            Some(hidden) => hidden,
            None => language?.hidden,
        },
        activation: activation?,
        bias: bias?,
        merge: merge?,
        merging: merging?,
        norm: norm?,
        window,
        queries,
        heads,
        norm_eps,
    })
}

/// The word for a projector that is as wide within as what it reads.
pub(crate) fn is_merged(hidden: &Node) -> bool {
    hidden.string() == Some("merged")
}

/// How wide what a projector reads of one state is: the channels of all patches of a block, or their mean.
pub(crate) fn merged_width(root: &Node) -> Option<usize> {
    let mean = root.get("model.projector.merging").and_then(Node::string) == Some("mean");
    let merge = if mean { 1 } else { peek(root, "model.projector.merge").unwrap_or(1) };
    peek(root, "model.vision.hidden")?.checked_mul(merge.checked_pow(2)?)
}

/// One head per 64 channels of the encoder, or one where they are no multiple of that.
fn usual_heads(root: &Node) -> Option<usize> {
    let width = peek(root, "model.vision.hidden")?;
    Some(if width.is_multiple_of(64) { width / 64 } else { 1 })
}

/// Windows need all that says what they are, and nothing else has any.
fn of_kind(
    root: &Node,
    kind: ProjectorKind,
    counts: [(&str, Option<usize>); 2],
    heads: Option<usize>,
    norm_eps: Option<f64>,
    cx: &mut Cx,
) -> Option<()> {
    let place = |key: &str| root.place(&format!("model.projector.{key}"));
    let wrong: Vec<Finding> = match kind {
        ProjectorKind::WindowQueries => {
            let missing = counts.into_iter().filter(|(_, count)| count.is_none());
            let finding = |(key, _): (&str, _)| {
                let message = format!("a projector of kind `window_queries` needs `{key}`");
                Finding::error(place("kind"), message).help(format!("write `{key} = …` beside `kind`"))
            };
            missing.map(finding).collect()
        }
        ProjectorKind::Mlp2x => {
            let counts = counts.into_iter().filter(|(_, count)| count.is_some()).map(|(key, _)| key);
            let needless = counts.chain(heads.map(|_| "heads")).chain(norm_eps.map(|_| "norm_eps"));
            let finding = |key: &str| {
                let message = format!("a projector of kind `mlp2x` has no `{key}`");
                Finding::error(place(key), message).help("remove it, or write `kind = \"window_queries\"`")
            };
            needless.map(finding).collect()
        }
    };
    let fine = wrong.is_empty();
    for finding in wrong {
        cx.report(finding);
    }
    fine.then_some(())
}
