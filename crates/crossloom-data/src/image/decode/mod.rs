//! The one place where a file becomes a picture.
//!
//! - Limits are checked before memory is taken.
//! - A file that is damaged or ends early is an error, never a picture with a grey rest.
//! - A picture is turned and mirrored as its EXIF orientation says, all eight of them; the file keeps the sensor's rows.
//! - Transparent pixels are laid over [`BACKGROUND`]: what colour lies below full transparency is chance.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use image::DynamicImage;
use image::metadata::Orientation;

use super::{Image, ImageError};

mod jpeg;
mod png;

/// What shows through a transparent pixel: white, in red, green and blue. Cut-outs and drawings are made for a white page.
pub const BACKGROUND: [u8; 3] = [255; 3];

/// Bounds on a picture that comes from outside. The default admits what vision models use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most pixels per row (default 8192).
    pub max_width: u32,
    /// Most rows (default 8192).
    pub max_height: u32,
    /// Most pixels (default 8192 rows of 8192).
    pub max_pixels: u64,
    /// Most bytes of memory that the decoded samples may take (default 512 MiB).
    pub max_memory: u64,
    /// Most bytes of an encoded file (default 64 MiB).
    pub max_file_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        let side: u32 = 8192;
        Self {
            max_width: side,
            max_height: side,
            max_pixels: u64::from(side) * u64::from(side),
            max_memory: 512 << 20,
            max_file_bytes: 64 << 20,
        }
    }
}

impl Image {
    /// Reads and decodes a PNG or JPEG file: upright, over [`BACKGROUND`], 16 bits as 8.
    ///
    /// # Errors
    /// When the file cannot be read or decoded, or exceeds `limits`; the error names the file.
    pub fn open(path: &Path, limits: &ImageLimits) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let io_error = |source| ImageError::Io { name: name.clone(), source };
        let file = File::open(path).map_err(io_error)?;
        let bytes = file.metadata().map_err(io_error)?.len();
        if bytes > limits.max_file_bytes {
            return Err(ImageError::FileTooLarge { name, bytes, limit: limits.max_file_bytes });
        }
        let mut encoded = Vec::with_capacity(bytes as usize);
        // A special file may report no size, so the read is bounded too.
        file.take(limits.max_file_bytes + 1).read_to_end(&mut encoded).map_err(io_error)?;
        Self::decode(&encoded, &name, limits)
    }

    /// Decodes the bytes of a PNG or JPEG file; `name` is what errors call it.
    ///
    /// # Errors
    /// When the bytes are no such file, are damaged or incomplete, or exceed `limits`.
    pub fn decode(encoded: &[u8], name: &str, limits: &ImageLimits) -> Result<Self, ImageError> {
        let source = Source { bytes: encoded, name };
        if encoded.len() as u64 > limits.max_file_bytes {
            let (bytes, limit) = (encoded.len() as u64, limits.max_file_bytes);
            return Err(ImageError::FileTooLarge { name: source.name(), bytes, limit });
        }
        let starts = |signature: &[u8]| encoded.starts_with(signature) || signature.starts_with(encoded);
        let Stored { mut pixels, orientation } = if encoded.is_empty() {
            return Err(source.truncated());
        } else if starts(png::SIGNATURE) {
            png::decode(&source, limits)?
        } else if starts(jpeg::SIGNATURE) {
            jpeg::decode(&source, limits)?
        } else {
            return Err(ImageError::UnknownFormat { name: source.name() });
        };
        pixels.apply_orientation(orientation);
        let (width, height) = (pixels.width(), pixels.height());
        let rgb = if pixels.color().has_alpha() {
            over_background(pixels.into_rgba8().as_raw())
        } else {
            pixels.into_rgb8().into_raw()
        };
        Self::new(width, height, rgb)
    }
}

/// Red, green, blue and opacity to what shows over the background, rounded to nearest.
fn over_background(rgba: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        let opacity = u32::from(pixel[3]);
        rgb.extend(pixel.iter().zip(BACKGROUND).map(|(&above, below)| {
            let sum = u32::from(above) * opacity + u32::from(below) * (255 - opacity);
            ((sum + 127) / 255) as u8
        }));
    }
    rgb
}

/// A picture as its file stores it.
struct Stored {
    pixels: DynamicImage,
    /// What must be done to it to see it upright.
    orientation: Orientation,
}

/// An encoded file, and the errors that speak of it.
struct Source<'a> {
    bytes: &'a [u8],
    name: &'a str,
}

impl Source<'_> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    /// Judges the sides that a header promises.
    fn sides(&self, width: u32, height: u32, limits: &ImageLimits) -> Result<(), ImageError> {
        let ImageLimits { max_width, max_height, .. } = *limits;
        if width > max_width || height > max_height {
            return Err(ImageError::TooLarge { name: self.name(), width, height, max_width, max_height });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.max_pixels {
            return Err(ImageError::TooManyPixels { name: self.name(), pixels, limit: limits.max_pixels });
        }
        Ok(())
    }

    fn truncated(&self) -> ImageError {
        ImageError::Truncated { name: self.name(), bytes: self.bytes.len() }
    }

    fn too_much_memory(&self, limits: &ImageLimits) -> ImageError {
        ImageError::TooMuchMemory { name: self.name(), limit: limits.max_memory }
    }

    fn corrupt(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Corrupt { name: self.name(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
