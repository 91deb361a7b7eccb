//! Everything that reaches a model as numbers: assets, images, tokenizers, conversations, data sets, packed batches.
//!
//! The crate turns pictures and questions into [`packing::PackedBatch`]es, plain `Vec`s with static shapes. It knows no
//! recipe, no graph and no backend, and it is deterministic: the same seed gives the same bytes on every machine.
//!
//! Reading order: [`datasets`] (what an example is) → [`tokenizer`] → [`packing`] (how questions of one picture share a
//! sequence) → [`sampler`] (the order of training) → [`assets`] (where real data comes from) → [`records`] (samples of one's own) →
//! [`conversations`] (those as a stream).
//!
//! ```
//! use crossloom_data::datasets::{Synthetic, SyntheticOptions, VqaDataset};
//! use crossloom_data::image::Normalization;
//! use crossloom_data::packing::{
//!     EncodedSplit, PackedBatch, PackingOptions, PackingPlan, TrainingOptions, TrainingPacker,
//! };
//! use crossloom_data::tokenizer::Tokenizer;
//!
//! # fn main() -> Result<(), crossloom_data::DataError> {
//! let data = Synthetic::generate(&SyntheticOptions { train_images: 8, test_images: 4, ..Default::default() })?;
//! let train = data.train();
//! let tokenizer = Tokenizer::train(train.texts(), &Default::default())?;
//! let encoded = EncodedSplit::new(train, &tokenizer.into())?;
//!
//! let options = PackingOptions { batch_size: 2, visual_tokens: 16, ..PackingOptions::for_images(train.images()) };
//! let plan = PackingPlan::new(&[&encoded], &options)?;
//! let mut batch = PackedBatch::new(&plan);
//! let mut packer = TrainingPacker::new(
//!     &plan,
//!     &encoded,
//!     train.images(),
//!     TrainingOptions { seed: 7, normalization: Normalization::HALF, ..Default::default() },
//! )?;
//! packer.fill(&mut batch)?;
//! assert_eq!(batch.tokens_bt.len(), 2 * plan.sequence_len);
//! # Ok(())
//! # }
//! ```

pub mod assets;
pub mod chat;
pub mod conversations;
pub mod datasets;
mod error;
pub mod image;
pub mod packing;
pub mod records;
pub mod sampler;
mod seeded;
pub mod tokenizer;

pub use error::DataError;
