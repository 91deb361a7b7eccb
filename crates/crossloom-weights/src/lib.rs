//! Pretrained models on disk.
//!
//! A model is a folder as Hugging Face writes it: `config.json` says the family and its dimensions, safetensors files hold the
//! tensors and stay mapped. [`Pretrained::open`] reads the first, checks that the second fits it, and knows every tensor by the
//! name that crossloom's builder gives its parameter.
//!
//! | module | question |
//! |---|---|
//! | [`family`] | which dimensions does a `config.json` say? One file per family |
//! | [`layout`] | under which names do files keep tensors? One table of data per layout |
//! | `reader` | where does a tensor lie, whatever the format? `shards` are folders of safetensors |
//! | [`values`] | which numbers are these bytes? |
//! | [`pretrained`] | does all of it fit together? |
//! | [`mod@export`] | how does a trained model become such a folder again? |
//! | [`peft`] | and low-rank pairs such as PEFT reads and writes? |
//!
//! Nothing of a folder is executed, no format but safetensors is read, and a `model_type` that is not known is an error.

mod config;
mod error;
pub mod export;
pub mod family;
pub mod layout;
pub mod peft;
pub mod pretrained;
mod reader;
mod shards;
pub mod values;

pub use error::WeightsError;
pub use family::Architecture;
pub use layout::Layout;
pub use pretrained::{Held, Pretrained};
pub use reader::WeightBytes;
