//! Pictures: bounded decoding, resizing, and the step to normalised f32 channels.
//!
//! A picture is 8-bit RGB in memory ([`Image`]), upright and opaque; it becomes f32 `[3, height, width]` only when a batch is filled
//! ([`Normalization::write_chw`]). Decoding is bounded before anything is allocated ([`ImageLimits`]).
//!
//! What a pretrained model's own processor makes of a picture is read from its configuration ([`ImageProcessor`]): one picture, or
//! a base and tiles ([`AnyRes`]), whose features [`VisualLayout`] puts into the order of the sequence.

mod anyres;
mod decode;
mod error;
mod fit;
mod frame;
mod normalize;
mod processor;
mod resize;

pub use anyres::{AnyRes, TileGrid, VisualLayout};
pub use decode::{BACKGROUND, ImageLimits};
pub use error::ImageError;
pub use fit::Fit;
pub use frame::Size;
pub use normalize::{Normalization, PixelTable};
pub use processor::{ImageProcessor, PixelSettings, Processed, ProcessorFamily, ResizeTo};
pub use resize::ResizeFilter;

/// How many colour channels every picture has.
pub const CHANNELS: usize = 3;

/// An 8-bit RGB picture, rows from top to bottom, channels innermost (`[height, width, 3]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Image {
    /// A picture from its samples, `[height, width, 3]`.
    ///
    /// # Errors
    /// When a side is 0 or `rgb` has not `height * width * 3` samples.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        let expected = width as usize * height as usize * CHANNELS;
        if expected == 0 || rgb.len() != expected {
            return Err(ImageError::WrongLength { width, height, expected, found: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    /// Pixels per row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The samples, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The picture as the bytes of a PNG file.
    ///
    /// # Errors
    /// When the encoder refuses the picture.
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        use ::image::ImageEncoder as _;
        let mut png = Vec::new();
        ::image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&self.rgb, self.width, self.height, ::image::ExtendedColorType::Rgb8)
            .map_err(|error| ImageError::Encode { reason: error.to_string() })?;
        Ok(png)
    }
}
