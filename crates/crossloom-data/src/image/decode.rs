//! Decoding with limits that are checked before memory is taken.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Cursor, Read as _};
use std::path::Path;

use image::error::{LimitErrorKind, UnsupportedErrorKind};
use image::{ImageDecoder as _, ImageReader};

use super::{Image, ImageError};

/// Bounds on a picture that comes from outside. The default admits what vision models use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Most pixels per row (default 8192).
    pub max_width: u32,
    /// Most rows (default 8192).
    pub max_height: u32,
    /// Most bytes of memory the decoder may take (default 512 MiB).
    pub max_memory: u64,
    /// Most bytes of an encoded file (default 64 MiB).
    pub max_file_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { max_width: 8192, max_height: 8192, max_memory: 512 << 20, max_file_bytes: 64 << 20 }
    }
}

impl Image {
    /// Reads and decodes a PNG or JPEG file; an alpha channel is dropped, 16 bits become 8.
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
    /// When the bytes are no such file, are damaged, or exceed `limits`.
    pub fn decode(encoded: &[u8], name: &str, limits: &ImageLimits) -> Result<Self, ImageError> {
        let name = || name.to_owned();
        if encoded.len() as u64 > limits.max_file_bytes {
            let (bytes, limit) = (encoded.len() as u64, limits.max_file_bytes);
            return Err(ImageError::FileTooLarge { name: name(), bytes, limit });
        }
        let classify = |error| classify(error, name(), encoded.len(), limits);
        let mut reader = ImageReader::new(Cursor::new(encoded))
            .with_guessed_format()
            .map_err(|source| ImageError::Io { name: name(), source })?;
        // The sides are judged by us, on the header, so that the message can tell them.
        let mut bounds = image::Limits::no_limits();
        bounds.max_alloc = Some(limits.max_memory);
        reader.limits(bounds);
        let decoder = reader.into_decoder().map_err(classify)?;
        let (width, height) = decoder.dimensions();
        if width > limits.max_width || height > limits.max_height {
            let (max_width, max_height) = (limits.max_width, limits.max_height);
            return Err(ImageError::TooLarge { name: name(), width, height, max_width, max_height });
        }
        if decoder.total_bytes() > limits.max_memory {
            return Err(ImageError::TooMuchMemory { name: name(), limit: limits.max_memory });
        }
        let decoded = image::DynamicImage::from_decoder(decoder).map_err(classify)?;
        Self::new(width, height, decoded.into_rgb8().into_raw())
    }
}

fn classify(error: image::ImageError, name: String, bytes: usize, limits: &ImageLimits) -> ImageError {
    if is_truncation(&error) {
        return ImageError::Truncated { name, bytes };
    }
    match error {
        image::ImageError::IoError(source) => ImageError::Io { name, source },
        image::ImageError::Limits(error) if error.kind() == LimitErrorKind::InsufficientMemory => {
            ImageError::TooMuchMemory { name, limit: limits.max_memory }
        }
        image::ImageError::Unsupported(error) if matches!(error.kind(), UnsupportedErrorKind::Format(_)) => {
            ImageError::UnknownFormat { name }
        }
        other => ImageError::Corrupt { name, reason: other.to_string() },
    }
}

/// Whether the decoder ran out of bytes; decoders wrap that in different depths.
fn is_truncation(error: &image::ImageError) -> bool {
    if let image::ImageError::IoError(error) = error
        && error.kind() == io::ErrorKind::UnexpectedEof
    {
        return true;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn gradient(width: u32, height: u32) -> Image {
        let rgb = (0..width * height * 3).map(|i| (i * 7 % 256) as u8).collect();
        Image::new(width, height, rgb).unwrap()
    }

    /// A valid PNG header that promises these sides; the CRC is right, so that only the sides are at fault.
    fn with_sides(png: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut png = png.to_vec();
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = u32::MAX;
        for &byte in &png[12..29] {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        png[29..33].copy_from_slice(&(!crc).to_be_bytes());
        png
    }

    #[test]
    fn png_round_trips() {
        let image = gradient(5, 3);
        assert_eq!(Image::decode(&image.to_png().unwrap(), "a.png", &ImageLimits::default()).unwrap(), image);
    }

    #[test]
    fn a_png_cut_anywhere_is_an_error_that_names_the_file() {
        let png = gradient(16, 16).to_png().unwrap();
        for len in 0..png.len() - 12 {
            let error = Image::decode(&png[..len], "train/3.png", &ImageLimits::default()).unwrap_err();
            assert!(error.to_string().contains("`train/3.png`"), "{error}");
            if len > 40 {
                assert!(matches!(error, ImageError::Truncated { .. }), "cut at {len}: {error:?}");
            }
        }
    }

    #[test]
    fn a_cut_jpeg_never_panics() {
        let image = gradient(16, 16);
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg)
            .encode(image.rgb(), 16, 16, image::ExtendedColorType::Rgb8)
            .unwrap();
        assert!(Image::decode(&jpeg, "a.jpg", &ImageLimits::default()).is_ok());
        for len in 0..jpeg.len() / 2 {
            assert!(Image::decode(&jpeg[..len], "a.jpg", &ImageLimits::default()).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_huge_picture_is_refused_by_its_header() {
        let bomb = with_sides(&gradient(4, 4).to_png().unwrap(), 20_000, 20_000);
        let error = Image::decode(&bomb, "bomb.png", &ImageLimits::default()).unwrap_err();
        assert_eq!(error.to_string(), "picture `bomb.png`: 20000x20000 pixels; the limit is 8192x8192");
        // Within the sides, yet above the memory limit.
        let tight = ImageLimits { max_memory: 1 << 20, ..ImageLimits::default() };
        let wide = with_sides(&gradient(4, 4).to_png().unwrap(), 8000, 8000);
        let error = Image::decode(&wide, "wide.png", &tight).unwrap_err();
        assert!(matches!(error, ImageError::TooMuchMemory { .. }), "{error:?}");
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut png = gradient(8, 8).to_png().unwrap();
        let middle = png.len() / 2;
        png[middle] ^= 0xFF;
        assert!(Image::decode(&png, "x.png", &ImageLimits::default()).is_err());
        let text = Image::decode(b"hello, this is no picture", "x.txt", &ImageLimits::default()).unwrap_err();
        assert!(matches!(text, ImageError::UnknownFormat { .. }), "{text:?}");
    }

    #[test]
    fn files_are_bounded_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        let image = gradient(4, 4);
        std::fs::write(&path, image.to_png().unwrap()).unwrap();
        assert_eq!(Image::open(&path, &ImageLimits::default()).unwrap(), image);
        let tiny = ImageLimits { max_file_bytes: 10, ..ImageLimits::default() };
        assert!(matches!(Image::open(&path, &tiny), Err(ImageError::FileTooLarge { limit: 10, .. })));
        let missing = Image::open(&folder.path().join("absent.png"), &ImageLimits::default()).unwrap_err();
        assert!(missing.to_string().contains("absent.png"), "{missing}");
    }
}
