//! What a recipe says, as this test understands it: the equations read these settings, the product reads their text.

use std::fmt;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) vision: Vision,
    pub(crate) language: Language,
    pub(crate) projector: Projector,
    pub(crate) injection: Injection,
}

#[expect(clippy::struct_excessive_bools, reason = "independent features of published encoders")]
#[derive(Clone, Debug)]
pub(crate) struct Vision {
    pub(crate) image_size: usize,
    pub(crate) patch: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) mlp: usize,
    pub(crate) activation: Activation,
    pub(crate) eps: f64,
    pub(crate) class_token: bool,
    pub(crate) pre_norm: bool,
    pub(crate) post_norm: bool,
    pub(crate) qkv_bias: bool,
    pub(crate) patch_bias: bool,
    pub(crate) layer_scale: bool,
    /// Side of the grid that positions are kept on, where it is not the picture's.
    pub(crate) position_grid: Option<usize>,
    /// They are read between their two nearest, corner on corner.
    pub(crate) by_corners: bool,
    /// Frames of a patch.
    pub(crate) frames: usize,
    /// Base of what queries and keys are turned by.
    pub(crate) theta: Option<f64>,
}

impl Vision {
    /// Patches along one side.
    pub(crate) fn grid(&self) -> usize {
        self.image_size / self.patch
    }
}

impl Settings {
    /// Visual tokens along one side.
    pub(crate) fn visual_grid(&self) -> usize {
        match self.projector.windows {
            Some(of) => self.vision.grid() / of.window * of.queries,
            None => self.vision.grid() / self.projector.merge,
        }
    }

    /// Visual tokens.
    pub(crate) fn visual_tokens(&self) -> usize {
        self.visual_grid().pow(2)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Language {
    pub(crate) family: Family,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) mlp: usize,
    pub(crate) theta: f64,
    pub(crate) eps: f64,
    pub(crate) tied: bool,
    /// Pairs that time, row and column turn.
    pub(crate) sections: Option<[usize; 3]>,
    pub(crate) multipliers: Multipliers,
    pub(crate) vocab: usize,
}

/// Numbers that a decoder is scaled with, where it has them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Multipliers {
    pub(crate) embedding: Option<f64>,
    pub(crate) residual: Option<f64>,
    pub(crate) attention: Option<f64>,
    /// Divides the logits.
    pub(crate) logits: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family {
    Llama,
    Qwen2,
    Qwen3,
}

#[derive(Clone, Debug)]
pub(crate) struct Projector {
    pub(crate) hidden: usize,
    pub(crate) activation: Activation,
    pub(crate) bias: bool,
    /// Side of the blocks of patches that are one token.
    pub(crate) merge: usize,
    pub(crate) norm: Norm,
    /// It reads windows of patches.
    pub(crate) windows: Option<Windows>,
    /// Of the norms within, where they have another than the encoder.
    pub(crate) eps: Option<f64>,
}

/// Sides of a window in patches and in what it becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Windows {
    pub(crate) window: usize,
    pub(crate) queries: usize,
    pub(crate) heads: usize,
}

/// A layer norm on a vision state: on patches, or on the blocks of them that are merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Norm {
    None,
    Layer,
    Merged,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    GeluTanh,
    GeluErf,
    QuickGelu,
}

/// A vision state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tap {
    Embed,
    Block(usize),
    PostNorm,
}

/// A place in the decoder: before or after a layer, which count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) layer: usize,
    pub(crate) after: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Injection {
    /// The state at the input, if there is one.
    pub(crate) input: Option<Tap>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) points: Vec<Point>,
    pub(crate) wiring: Wiring,
    pub(crate) adapter: Adapter,
    pub(crate) tap_norm: Norm,
    pub(crate) gate: Gate,
    pub(crate) fusion: Fusion,
    pub(crate) sequential: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wiring {
    Dense,
    Diagonal,
    Broadcast,
    /// Pairs; whether the taps and points are written beside them.
    Pairs(Vec<(Tap, Point)>, bool),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Adapter {
    Shared,
    PerTap,
    /// With the points whose queries begin at corners.
    PerEdge(Vec<Point>),
    Amp {
        rank: usize,
        alpha: f64,
        per_linear: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gate {
    None,
    Constant(f64),
    Static { init: f64 },
    Agf(Agf),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agf {
    pub(crate) attention: Attention,
    pub(crate) heads: usize,
    pub(crate) channel: bool,
    pub(crate) bias_init: f64,
    /// The hidden state is normed before it is pooled.
    pub(crate) norm: bool,
    /// The hidden state is pooled over image and question, not over the image alone.
    pub(crate) prompt: bool,
    pub(crate) share: Share,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Attention {
    None,
    Shared,
    Separate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Share {
    Point,
    Edge,
    Global,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fusion {
    Add,
    GatedAdd,
    Convex,
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("embed"),
            Self::Block(block) => write!(f, "block.{block}"),
            Self::PostNorm => f.write_str("post_norm"),
        }
    }
}

impl Point {
    pub(crate) fn before(layer: usize) -> Self {
        Self { layer, after: false }
    }

    pub(crate) fn after(layer: usize) -> Self {
        Self { layer, after: true }
    }

    /// As edges, parameters and results name it.
    pub(crate) fn name(self) -> String {
        format!("layer.{}{}", self.layer, if self.after { ".after" } else { "" })
    }
}

impl Injection {
    /// The taps that feed a point, one after the other.
    pub(crate) fn taps_of(&self, point: Point) -> Vec<Tap> {
        match &self.wiring {
            Wiring::Dense | Wiring::Broadcast => self.taps.clone(),
            Wiring::Diagonal => {
                let pairs = self.points.iter().zip(&self.taps);
                pairs.filter(|(at, _)| **at == point).map(|(_, tap)| *tap).collect()
            }
            Wiring::Pairs(pairs, _) => {
                pairs.iter().filter(|(_, at)| *at == point).map(|(tap, _)| *tap).collect()
            }
        }
    }
}

/// The name of an edge.
pub(crate) fn edge(tap: Tap, point: Point) -> String {
    format!("{tap}->{}", point.name())
}
