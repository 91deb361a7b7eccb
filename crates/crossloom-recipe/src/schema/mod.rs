//! The plain types of a recipe: what every other crate reads.
//!
//! A [`Recipe`] is *resolved*: presets are expanded, defaults are filled in, `block.last` is a number, and every
//! check of [`load`](crate::load) has passed. The same types are the source of the JSON Schema
//! ([`json_schema`](crate::json_schema)), so their doc comments are what an editor shows.

mod adapter;
mod address;
mod anyres;
mod conditioning;
mod conversations;
mod cross_attention;
mod data;
mod eval;
mod fusion;
mod gate;
mod injection;
mod input;
mod mixture;
mod mmfuser;
mod model;
mod stage;
mod stream;
mod tap;
mod text_encoder;
mod topology;
mod train;
mod weights;
mod window_attention;
mod wiring;

pub use adapter::{Adapter, AmpAttach, TapNorm};
pub use address::{AddressError, PointAddress, VisionAddress};
pub use anyres::AnyRes;
pub use conditioning::Conditioning;
pub use conversations::Samples;
pub use cross_attention::CrossAttention;
pub use data::{Data, DataTokenizer, ImageUse, RowFormat, Source};
pub use eval::{Eval, Metric, Split};
pub use fusion::{Fusion, FusionOrder, Mask, Phase};
pub use gate::{AgfGate, Gate, GateAttention, GateGranularity, GateNorm, GatePool, GateShare};
pub use injection::{Injection, NamedInjection};
pub use input::{Input, Join, LayerWeights, TokenConcat, Weighted};
pub use mixture::{Mixture, MixtureLevel};
pub use mmfuser::MmFuser;
pub use model::{
    LanguageFamily, LanguageModel, Merging, MlpActivation, Model, PictureFit, PositionResample, Projector,
    ProjectorKind, Resample, VisionFamily, VisionModel, Windows,
};
pub use stage::Stage;
pub(crate) use stream::StreamWord;
pub use stream::{Stream, Stretch};
pub use tap::{Sampling, Tap, TapSource, TapSources};
pub(crate) use tap::{is_small_name, is_source_name};
pub use text_encoder::TextEncoder;
pub(crate) use topology::TAKEN;
pub use topology::TopologySpec;
pub use train::{KeptIn, Lora, Part, PartTraining, Parts, Precision, Schedule, TensorSet, Train, Warmup};
pub use weights::{Architecture, PretrainedWeights};
pub use window_attention::{WindowAttention, WindowInput};
pub(crate) use wiring::NamedWiring;
pub use wiring::Wiring;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One resolved experiment: a model, its injection topology, data, training and evaluation.
///
/// With stages, `data` and `train` are those of the last one: the model that is evaluated is what it leaves.
/// [`Recipe::by_stage`] gives every training as a recipe of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Short name of the recipe: letters, digits, `-`, `_` and `.`. It names the run directory and is not
    /// inherited through `extends`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"))]
    pub name: String,
    /// One sentence on what the recipe shows. It does not take part in the recipe's hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The vision encoder, the projector and the language model.
    pub model: Model,
    /// Which vision layers feed which language layers, through which adapter and which gate.
    pub topology: TopologySpec,
    /// What the model is trained and tested on.
    pub data: Data,
    /// Optimizer, schedule and loop.
    pub train: Train,
    /// How answers are generated and scored.
    pub eval: Eval,
    /// Trainings that follow one another, in order, the last one included. Empty: `train` is the only one.
    #[serde(rename = "stage", default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

impl Recipe {
    /// Positions that a picture's visual tokens take in the sequence of the language model.
    pub fn visual_positions(&self) -> usize {
        match self.topology.stream {
            Stream::Sequence | Stream::Between(_) => self.visual_tokens(),
            Stream::None => 0,
        }
    }

    /// Pixels along a side of the pictures that the model is given.
    pub fn picture_side(&self) -> usize {
        self.model.vision.image_size.saturating_mul(self.topology.magnification())
    }

    /// Visual tokens that the input is made of.
    pub fn visual_tokens(&self) -> usize {
        let of_one = self.model.visual_tokens();
        match &self.topology.input {
            Input::Tokens(of) => of_one + of.also.len() * (of_one / of.pool),
            Input::None | Input::Channels(_) | Input::Weighted(_) | Input::Windows(_) | Input::Mixture(_) => {
                of_one
            }
        }
    }

    /// Views of a row and its visual tokens, each at the most, where a picture is cut into tiles.
    pub fn most_of_tiles(&self) -> Option<(usize, usize)> {
        let anyres = self.model.vision.anyres?;
        Some((anyres.most_views(), anyres.most_tokens(self.model.visual_grid())))
    }

    /// Rotary positions that a picture takes in that sequence, where each of its tokens has not one of its own.
    pub fn picture_positions(&self) -> Option<usize> {
        self.model.picture_positions().filter(|_| self.topology.stream != Stream::None)
    }
}
