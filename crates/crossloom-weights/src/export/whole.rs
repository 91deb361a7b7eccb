//! Whole models: which family of Hugging Face computes one, and what a folder of it holds beside what we read.

mod granite;
mod llava;
mod qwen3_vl;

use crossloom_recipe::{Architecture, VisionAddress, VisionModel};
use serde_json::{Value, json};

use super::config::{self, part};
use super::{Tensors, TokenIds};
use crate::Layout;
use crate::layout::{GRANITE_VISION, LLAVA, LLAVA_DINOV2, QWEN3_VL};

/// The families of whole models that are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Llava,
    Qwen3Vl,
    GraniteVision,
}

impl Kind {
    /// The family that a model is nearest to, by what no other has. Whether it computes the same, [`Self::config`] says.
    pub(super) fn of(architecture: &Architecture) -> Self {
        let Architecture { projector, language, .. } = architecture;
        if projector.as_ref().is_some_and(|projector| projector.windows().is_some()) {
            Self::GraniteVision
        } else if language.as_ref().is_some_and(|language| language.rope_sections.is_some()) {
            Self::Qwen3Vl
        } else {
            Self::Llava
        }
    }

    /// Its configuration; every reason why it does not compute what the model does is a problem.
    pub(super) fn config(
        self,
        architecture: &Architecture,
        tokens: TokenIds,
        tensors: &Tensors,
        problems: &mut Vec<String>,
    ) -> Option<Value> {
        let whole = Whole {
            architecture,
            vision: part(architecture.vision.as_ref(), "vision encoder", problems)?,
            projector: part(architecture.projector.as_ref(), "projector", problems)?,
            language: part(architecture.language.as_ref(), "language model", problems)?,
            tokens,
            tensors,
        };
        Some(match self {
            Self::Llava => llava::config(&whole, problems),
            Self::Qwen3Vl => qwen3_vl::config(&whole, problems),
            Self::GraniteVision => granite::config(&whole, problems),
        })
    }

    /// How its folders name tensors.
    pub(super) fn layout(self, vision: &VisionModel) -> &'static Layout {
        match self {
            Self::Llava if vision.layer_scale => &LLAVA_DINOV2,
            Self::Llava => &LLAVA,
            Self::Qwen3Vl => &QWEN3_VL,
            Self::GraniteVision => &GRANITE_VISION,
        }
    }

    /// Whether it ends rows of tiles with a learned token, which no model here reads.
    pub(super) fn has_newline(self) -> bool {
        self == Self::GraniteVision
    }

    /// What becomes of a picture before the encoder reads it: the square that it was trained on, or its tiles.
    pub(super) fn processor(self, architecture: &Architecture) -> Option<Value> {
        let vision = architecture.vision.as_ref()?;
        let side = vision.image_size;
        Some(match self {
            Self::Llava if vision.anyres.is_some() => llava::tiles(vision),
            Self::Llava => config::processor(vision),
            Self::Qwen3Vl => {
                let mut processor = crate::processor::shared(vision, "Qwen2VLImageProcessor");
                let pixels = side.saturating_mul(side);
                processor["size"] = json!({ "shortest_edge": pixels, "longest_edge": pixels });
                processor["patch_size"] = json!(vision.patch_size);
                processor["temporal_patch_size"] = json!(vision.temporal_patch);
                processor["merge_size"] = json!(architecture.projector.as_ref()?.merge);
                processor
            }
            Self::GraniteVision => {
                let mut processor = crate::processor::shared(vision, "LlavaNextImageProcessor");
                processor["size"] = json!({ "height": side, "width": side });
                processor["do_center_crop"] = json!(false);
                processor["image_grid_pinpoints"] = json!([[side, side]]);
                processor
            }
        })
    }
}

/// A model of which every part is there.
struct Whole<'w> {
    architecture: &'w Architecture,
    vision: &'w VisionModel,
    projector: &'w crossloom_recipe::Projector,
    language: &'w crossloom_recipe::LanguageModel,
    tokens: TokenIds,
    tensors: &'w Tensors,
}

impl Whole<'_> {
    /// Its decoder.
    fn decoder(&self, problems: &mut Vec<String>) -> Value {
        config::decoder(self.language, self.tensors, self.tokens, problems)
    }

    /// Which tokens of a state LLaVA's family is told to read, so that these are its patches.
    fn strategy(&self) -> &'static str {
        if self.vision.class_token { "default" } else { "full" }
    }
}

/// The number of a state, the embeddings being the first.
fn state(tap: VisionAddress, problems: &mut Vec<String>) -> usize {
    match tap {
        VisionAddress::Embed => 0,
        VisionAddress::Block(block) => block,
        VisionAddress::PostNorm => {
            problems
                .push("it reads `post_norm`; published models read the states before that norm".to_owned());
            0
        }
    }
}

/// Adds to the problems what does not hold.
fn must(holds: bool, problem: &str, problems: &mut Vec<String>) {
    if !holds {
        problems.push(problem.to_owned());
    }
}
