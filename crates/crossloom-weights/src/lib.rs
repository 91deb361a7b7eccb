//! Pretrained models on disk.
//!
//! A model is a folder as Hugging Face writes it, where `config.json` says the family and its dimensions and safetensors files
//! hold the tensors, a GGUF file, which has both, or an encoder in ONNX. Files stay mapped. [`Pretrained::open`] reads the first, checks that the
//! second fits it, and knows every tensor by the name that crossloom's builder gives its parameter.
//!
//! | module | question |
//! |---|---|
//! | [`family`] | which dimensions does a `config.json` say? One file per family |
//! | [`layout`] | under which names, and how turned, do files keep tensors? One table of data per layout |
//! | `format` | what does a file hold that is no safetensors? One function per format |
//! | `shards` | where in which file does a tensor lie? |
//! | [`values`] | which numbers are these bytes? |
//! | `vocabulary` | which tokenizer does a GGUF file carry? |
//! | [`pretrained`] | does all of it fit together? |
//! | `processor` | what becomes of a picture, in a publisher's words and in a recipe's? |
//! | [`mod@export`] | how does a trained model become such a folder again? |
//! | [`peft`] | and low-rank pairs such as PEFT reads and writes? |
//! | [`hostile`] | what holds of any bytes whatever? |
//!
//! Nothing of a folder is executed, and a `model_type` that is not known is an error.

mod config;
mod error;
pub mod export;
pub mod family;
mod format;
pub mod hostile;
pub mod layout;
pub mod peft;
pub mod pretrained;
mod processor;
mod shards;
pub mod values;
mod vocabulary;

pub use error::WeightsError;
pub use family::Architecture;
pub use layout::Layout;
pub use pretrained::{Held, Pretrained, WeightBytes};
pub use shards::table;
pub use vocabulary::gguf_tokenizer;
