//! From a resolved recipe to a luminal graph: vision tower, projector, decoder, injection.
//!
//! [`build`] emits one graph whose nodes are crossloom's operators; AMP and AGF are single operators in it. Parameters
//! have Hugging Face names for the base model and `injection.*` names for what an injection adds. No code here matches
//! on a method's name: a method is settings.

mod adaptation;
pub mod batch;
mod build;
mod chunks;
mod conditioning;
mod connector;
mod error;
mod init;
mod injection;
mod language;
mod layout;
mod linear;
mod params;
mod phases;
mod projector;
mod text_encoder;
mod vision;
mod window_queries;

pub use batch::{BatchShape, CacheShape, StepShape, ViewShape, caches, inputs};
pub use build::{
    AUXILIARY_RESULT, GATE_RESULT, LOSSES_RESULT, ModelGraph, Outputs, build, build_over_states,
};
pub use chunks::{Chunking, chunking};
pub use error::ModelError;
pub use init::{Init, initial_value};
pub use params::ParamSpec;
pub use phases::{Span, connect, decode, encode, encode_and_connect, predict_next, prefill, prefill_hidden};
pub use text_encoder::{SENTENCE, encode_texts};
pub use vision::{VisionState, states_of, tapped};
