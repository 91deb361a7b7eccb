//! What all processors' configurations can say, also those of processors that are not built.

use serde_json::{Map, Value};

use super::config::Keys;
use super::{ImageProcessor, ProcessorFamily};
use crate::image::{CHANNELS, Fit, ImageError, ResizeFilter};

/// What is said of a processor whose pictures have many sizes or shapes.
const NO_SQUARES: &str = "makes no squares of one size: `size`, or `crop_size` within it, must be one";

/// What a `preprocessor_config.json` says of pictures that become squares; what it does not say is none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PixelSettings {
    /// Subtracted from red, green and blue, on the scale 0 to 1.
    pub mean: Option<[f64; CHANNELS]>,
    /// Divided by, after that.
    pub std: Option<[f64; CHANNELS]>,
    /// The filter of resizing.
    pub filter: Option<ResizeFilter>,
    /// How a picture becomes a square, and how many pixels a side has; none where the processor is not built.
    pub square: Option<(Fit, u32)>,
}

impl PixelSettings {
    /// Reads what a configuration says: all of it where the processor is built, and else what all processors share.
    ///
    /// # Errors
    /// Those of [`ImageProcessor::read`], but for a processor that is not built; a processor that is built and makes no squares of one size,
    /// which an encoder of a fixed grid cannot follow.
    pub fn read(values: &Map<String, Value>) -> Result<Self, ImageError> {
        let square = match ProcessorFamily::of(values) {
            Some(_) => {
                let read = ImageProcessor::read(values)?;
                let none = || ImageError::Processor { problems: vec![NO_SQUARES.to_owned()] };
                Some(read.square().ok_or_else(none)?)
            }
            None => None,
        };
        let mut keys = Keys::new(values);
        let (mean, std) = (keys.colours("image_mean"), keys.colours("image_std"));
        let filter = keys.filter();
        keys.finish()?;
        Ok(Self { mean, std, filter, square })
    }
}
