//! `[model]`: dimensions of the vision encoder, the projector and the language model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AnyRes, PretrainedWeights, TapNorm};

/// The three parts of a vision-language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The vision encoder.
    pub vision: VisionModel,
    /// The decoder-only language model.
    pub language: LanguageModel,
    /// The projector from vision width to language width; it is what an adapter shares between taps.
    pub projector: Projector,
    /// Weights of a whole model, for all parts that name none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PretrainedWeights>,
}

impl Model {
    /// Visual tokens along one side of the image.
    pub fn visual_grid(&self) -> usize {
        match self.projector.windows() {
            Some(of) => self.vision.grid().checked_div(of.window).unwrap_or(0).saturating_mul(of.queries),
            None => self.vision.grid().checked_div(self.projector.merge).unwrap_or(0),
        }
    }

    /// Visual tokens N that the language model reads of a picture.
    pub fn visual_tokens(&self) -> usize {
        self.visual_grid().saturating_mul(self.visual_grid())
    }

    /// Rotary positions that a picture takes, where each of its tokens has not one of its own: all begin at the first, rows and
    /// columns are counted from there, and text goes on behind the last.
    pub fn picture_positions(&self) -> Option<usize> {
        self.language.rope_sections.map(|_| self.visual_grid())
    }

    /// Width of what a projector reads of one vision state: the channels of all patches of a block side by side, or their mean.
    pub fn merged_width(&self) -> usize {
        if self.projector.merging == Merging::Mean {
            return self.vision.hidden;
        }
        self.vision.hidden.saturating_mul(self.projector.merge.saturating_mul(self.projector.merge))
    }
}

/// A pre-norm vision transformer with learned position embeddings.
#[expect(clippy::struct_excessive_bools, reason = "independent features of published encoders")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VisionModel {
    /// Name of a built-in set of dimensions. It is expanded where it is written: keys beside it override it,
    /// and it overrides keys that were inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Weights that the encoder starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PretrainedWeights>,
    /// Architecture family.
    pub family: VisionFamily,
    /// Height and width of the input image, in pixels.
    #[schemars(range(min = 1, max = 16384))]
    pub image_size: usize,
    /// Height and width of a patch, in pixels. A remainder of `image_size` is never read (SigLIP: 384 = 27·14 + 6).
    #[schemars(range(min = 1, max = 1024))]
    pub patch_size: usize,
    /// Frames of a video that a patch covers; a still picture is all of them (Qwen3-VL: 2).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 64), extend("default" = 1))]
    pub temporal_patch: usize,
    /// Colour channels of the input image.
    #[schemars(range(min = 1, max = 4), extend("default" = 3))]
    pub channels: usize,
    /// Width of the encoder.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: usize,
    /// Number of encoder blocks. `block.1` is the output of the first, `block.last` of the last.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Attention heads; must divide `hidden`.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Width of the feed-forward layer.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub mlp: usize,
    /// Activation of the feed-forward layer.
    #[schemars(extend("default" = "gelu_tanh"))]
    pub activation: MlpActivation,
    /// Epsilon of every layer norm.
    #[schemars(extend("default" = 1e-6, "exclusiveMinimum" = 0.0, "maximum" = 0.1))]
    pub norm_eps: f64,
    /// A learned class token in front of the patches. It takes part in attention and is dropped from every tap.
    #[schemars(extend("default" = false))]
    pub class_token: bool,
    /// Side of the grid of patches that the position embeddings are for, where it is not that of the image: they are kept
    /// and trained on this grid, and resampled to the image's (DINOv2: 37). Default: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub position_grid: Option<usize>,
    /// How position embeddings are resampled to the image's grid.
    #[serde(default, skip_serializing_if = "PositionResample::is_default")]
    #[schemars(extend("default" = "bicubic"))]
    pub position_resample: PositionResample,
    /// Base of rotary frequencies that turn the queries and keys of every block: half of a head by the patch's row, half by its
    /// column (Qwen3-VL: 10000). Absent: nothing is turned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 1.0))]
    pub rope_theta: Option<f64>,
    /// A layer norm on the embeddings, before the first block (CLIP). `embed` is taken after it.
    #[schemars(extend("default" = false))]
    pub pre_norm: bool,
    /// A layer norm on the last state. Its output has the address `post_norm`; `block.last` is always the state
    /// before it, which is what LLaVA-style models read.
    #[schemars(extend("default" = false))]
    pub post_norm: bool,
    /// Biases on the query, key, value and output projections of attention.
    #[schemars(extend("default" = true))]
    pub qkv_bias: bool,
    /// A learned factor per channel on what attention and the feed-forward layer add to the residual stream (DINOv2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub layer_scale: bool,
    /// A bias on the patch embedding (SigLIP has one, CLIP has none).
    #[schemars(extend("default" = true))]
    pub patch_bias: bool,
    /// Subtracted from red, green and blue, on the scale 0 to 1, before the encoder reads a picture.
    #[schemars(inner(range(min = 0.0, max = 1.0)), extend("default" = [0.5, 0.5, 0.5]))]
    pub image_mean: [f64; 3],
    /// Divided by, after that.
    #[schemars(inner(range(min = 0.001, max = 10.0)), extend("default" = [0.5, 0.5, 0.5]))]
    pub image_std: [f64; 3],
    /// How a picture of another size is brought to `image_size`.
    #[schemars(extend("default" = "bicubic"))]
    pub resample: Resample,
    /// How a picture that is no square becomes one of `image_size`. Default: what the image processor beside the encoder's weights
    /// does; `stretch` without one.
    #[serde(default, skip_serializing_if = "PictureFit::is_default")]
    #[schemars(extend("default" = "stretch"))]
    pub fit: PictureFit,
    /// Pixels of the shorter side before a square of `image_size` is cut out, with `fit = "crop"`. Absent: `image_size`, so that only what
    /// exceeds a square is cut away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8192))]
    pub resize_edge: Option<usize>,
    /// Pictures are cut into tiles of `image_size`, as many as their size and shape ask for. Absent: a row has one whole picture, or the
    /// whole pictures of its conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anyres: Option<AnyRes>,
}

impl VisionModel {
    /// Patches along one side of the image (the remainder is never read).
    pub fn grid(&self) -> usize {
        self.image_size.checked_div(self.patch_size).unwrap_or(0)
    }

    /// Rows of the position embeddings: those of the grid that they are kept on, and that of the class token.
    pub fn positions(&self) -> usize {
        let side = self.position_grid.unwrap_or(self.grid());
        side * side + usize::from(self.class_token)
    }

    /// Patches of an image, which a state has beside its class token.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden.checked_div(self.heads).unwrap_or(0)
    }
}

/// How position embeddings of one grid become those of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PositionResample {
    /// Keys' cubic, the patches' centres laid over each other (DINOv2).
    #[default]
    Bicubic,
    /// Between the two nearest, the corners of the grids laid over each other (Qwen3-VL).
    Bilinear,
}

impl PositionResample {
    /// Whether it is what was meant before it could be said.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_one(number: &usize) -> bool {
    *number == 1
}

/// Filters that resize a picture. Both widen their support when it shrinks, as Pillow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// A triangle of two pixels.
    Bilinear,
    /// A cubic of four pixels (CLIP, SigLIP).
    Bicubic,
}

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PictureFit {
    /// Resized to it, out of proportion (SigLIP).
    #[default]
    Stretch,
    /// Laid on a square of the mean colour, then resized (LLaVA-1.5).
    Pad,
    /// Resized in proportion, then cut about its middle (CLIP, DINOv2).
    Crop,
}

impl PictureFit {
    /// Whether it is what a recipe has that says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    fn is_default(&self) -> bool {
        *self == Self::Stretch
    }
}

/// Architecture families of vision encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VisionFamily {
    /// Pre-norm ViT as in CLIP, SigLIP and DINOv2.
    Vit,
}

/// A decoder-only language model: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    /// Name of a built-in set of dimensions. It is expanded where it is written: keys beside it override it,
    /// and it overrides keys that were inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Weights that the language model starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PretrainedWeights>,
    /// Architecture family.
    pub family: LanguageFamily,
    /// Width of the model.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: usize,
    /// Number of decoder layers. `layer.0` is the first.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Key and value heads; must divide `heads`. Default: as many as `heads`.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: usize,
    /// Width of one head; must be even, because rotary positions turn pairs. Default: `hidden / heads`.
    #[schemars(range(min = 2, max = 4096))]
    pub head_dim: usize,
    /// Width of the SwiGLU layer.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub mlp: usize,
    /// Base of the rotary frequencies.
    #[schemars(extend("default" = 10000.0, "exclusiveMinimum" = 1.0))]
    pub rope_theta: f64,
    /// Pairs of a head that are turned by a visual token's time, row and column, in turns; the positions of text have three
    /// numbers that are the same (Qwen3-VL: `[24, 20, 20]`). Absent: visual tokens are numbered as text is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_sections: Option<[usize; 3]>,
    /// Multiplied with the input of the first layer (Granite). Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub embedding_multiplier: Option<f64>,
    /// Multiplied with what attention and the feed-forward layer add to the residual stream (Granite). Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub residual_multiplier: Option<f64>,
    /// Multiplied with the scores of attention (Granite). Absent: one over the root of a head's width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub attention_multiplier: Option<f64>,
    /// The logits are divided by it (Granite). Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub logits_scaling: Option<f64>,
    /// Epsilon of every RMSNorm.
    #[schemars(extend("default" = 1e-5, "exclusiveMinimum" = 0.0, "maximum" = 0.1))]
    pub norm_eps: f64,
    /// Whether the output head is the embedding matrix itself.
    #[schemars(extend("default" = true))]
    pub tie_embeddings: bool,
    /// Rows of the embedding matrix. Absent: taken from the tokenizer, for a model trained from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 16_777_216))]
    pub vocab_size: Option<usize>,
    /// Longest sequence the model may see, in tokens.
    #[schemars(range(min = 2, max = 16_777_216), extend("default" = 2048))]
    pub max_positions: usize,
}

impl LanguageModel {
    /// What the scores of attention are multiplied with.
    pub fn attention_scale(&self) -> f64 {
        self.attention_multiplier.unwrap_or_else(|| (self.head_dim as f64).sqrt().recip())
    }

    /// Whether the query, key and value projections have a bias. The output projection never has.
    pub fn qkv_bias(&self) -> bool {
        match self.family {
            LanguageFamily::Llama | LanguageFamily::Qwen3 => false,
            LanguageFamily::Qwen2 => true,
        }
    }

    /// Whether every head of the queries and of the keys is normalised, with a gain of the head's width, before it is turned.
    pub fn qk_norm(&self) -> bool {
        match self.family {
            LanguageFamily::Llama | LanguageFamily::Qwen2 => false,
            LanguageFamily::Qwen3 => true,
        }
    }
}

/// Architecture families of language models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LanguageFamily {
    /// Llama: no attention biases.
    Llama,
    /// Qwen2: biases on query, key and value.
    Qwen2,
    /// Qwen3: no attention biases, a norm on every head of query and key.
    Qwen3,
}

/// The projector P from vision width to language width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Projector {
    /// Shape of the projector.
    #[schemars(extend("default" = "mlp2x"))]
    pub kind: ProjectorKind,
    /// Width between the two linear layers, or of the feed-forward layer of `window_queries`: a number, or `merged`, as wide as what it
    /// reads of one state (Qwen3-VL). Default: the language model's `hidden`.
    #[schemars(with = "WrittenWidth")]
    pub hidden: usize,
    /// Activation between the two linear layers.
    #[schemars(extend("default" = "gelu_erf"))]
    pub activation: MlpActivation,
    /// Biases on both linear layers.
    #[schemars(extend("default" = true))]
    pub bias: bool,
    /// Side of the blocks of patches that are one visual token (Qwen3-VL: 2). It holds for the taps of an injection too. Must divide
    /// the patches along a side.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 64), extend("default" = 1))]
    pub merge: usize,
    /// What the projector reads of a block's patches.
    #[serde(default, skip_serializing_if = "Merging::is_default")]
    #[schemars(extend("default" = "channels"))]
    pub merging: Merging,
    /// A norm on what the projector reads at the input. It is no part of what a tap shares: a tap has `tap_norm` in its place.
    #[serde(default, skip_serializing_if = "TapNorm::is_none")]
    #[schemars(extend("default" = "none"))]
    pub norm: TapNorm,
    /// Of `window_queries`: side of the windows of patches. Must divide the patches along a side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub window: Option<usize>,
    /// Of `window_queries`: side of the square of tokens that a window becomes. Must divide `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub queries: Option<usize>,
    /// Of `window_queries`: attention heads; must divide the encoder's `hidden`. Default: one per 64 channels of it, or 1 where it is no
    /// multiple of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub heads: Option<usize>,
    /// Of `window_queries`: epsilon of the norms within. Absent: the encoder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 0.1))]
    pub norm_eps: Option<f64>,
}

/// What is read of the patches of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merging {
    /// Their channels side by side, row by row (Qwen3-VL).
    #[default]
    Channels,
    /// Their mean: fewer tokens of the same width.
    Mean,
}

impl Merging {
    /// Whether it is what was meant before it could be said.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A width: a number, or a word.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the shape of the schema only")]
enum WrittenWidth {
    /// The number.
    Number(#[schemars(range(min = 1, max = 1_048_576))] usize),
    /// As wide as what is read.
    Word(MergedWidth),
}

/// As wide as what is read: the channels of all patches of a block.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "the shape of the schema only")]
enum MergedWidth {
    /// As wide as what is read.
    Merged,
}

/// How windows of patches become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Patches along a side of a window.
    pub window: usize,
    /// Tokens along a side of what it becomes.
    pub queries: usize,
    /// Attention heads.
    pub heads: usize,
}

impl Projector {
    /// What the projector does with windows; nothing where it reads every token by itself.
    pub fn windows(&self) -> Option<Windows> {
        match self.kind {
            ProjectorKind::Mlp2x => None,
            ProjectorKind::WindowQueries => Some(Windows {
                window: self.window.unwrap_or(1),
                queries: self.queries.unwrap_or(1),
                heads: self.heads.unwrap_or(1),
            }),
        }
    }
}

/// Shapes of projectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectorKind {
    /// Linear, activation, linear (LLaVA-1.5).
    #[serde(rename = "mlp2x")]
    Mlp2x,
    /// Learned queries read windows of patches: a layer of attention among the queries of a window, attention to its patches and
    /// a feed-forward layer, a norm behind each; then a linear layer (Granite 4.1 Vision). Each query begins as what it stands
    /// for: the mean of its patches.
    WindowQueries,
}

/// Activations of feed-forward layers and projectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MlpActivation {
    /// GELU by its tanh approximation (SigLIP).
    GeluTanh,
    /// Exact GELU (LLaVA projectors).
    GeluErf,
    /// `x · sigmoid(1.702 x)` (CLIP).
    QuickGelu,
}
