//! The union of the crate's errors, for callers that do several steps in a row.

use crate::assets::AssetError;
use crate::chat::ChatError;
use crate::conversations::ConversationError;
use crate::datasets::DatasetError;
use crate::image::ImageError;
use crate::packing::PackingError;
use crate::sampler::SamplerError;
use crate::tokenizer::TokenizerError;

/// Any error of this crate; it prints exactly as the error it holds.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Fetching or checking a package failed.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// A picture could not be read, resized or normalised.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Text could not be turned into tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A conversation could not be written for a model.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Conversations cannot be trained on.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// A data set is empty or malformed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Questions do not fit the planned shapes.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// A sampler cannot be made or resumed.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}
