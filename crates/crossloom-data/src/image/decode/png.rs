//! PNG: every checksum is checked and the file is read to its end.

use std::io::{self, Cursor};

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer};
use png::{BitDepth, ColorType, DecodeOptions, DecodingError, Transformations};

use super::{ImageError, ImageLimits, Source, Stored};

/// The first bytes of every PNG file.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Decodes a whole file. The decoder's own habit is to skip side chunks with a wrong checksum, to leave out that of the
/// compressed pixels and to stop behind the last pixel; a chunk that is skipped can be the one that says what is transparent
/// or which way is up.
pub(super) fn decode(source: &Source<'_>, limits: &ImageLimits) -> Result<Stored, ImageError> {
    let wrong = |error| classify(error, source, limits);
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_skip_ancillary_crc_failures(false);
    // Neither says anything about the pixels, and both may unpack to much.
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(source.bytes), options);
    let bytes = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
    decoder.set_limits(png::Limits { bytes });
    decoder.set_transformations(Transformations::EXPAND);
    let (width, height) = decoder.read_header_info().map_err(wrong)?.size();
    source.sides(width, height, limits)?;
    let mut reader = decoder.read_info().map_err(wrong)?;
    let size = reader.output_buffer_size().filter(|&size| size as u64 <= limits.max_memory);
    let mut samples = vec![0; size.ok_or_else(|| source.too_much_memory(limits))?];
    reader.next_frame(&mut samples).map_err(wrong)?;
    reader.finish().map_err(wrong)?;
    let wide = || samples.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    use BitDepth::{Eight, Sixteen};
    let pixels = match reader.output_color_type() {
        (ColorType::Grayscale, Eight) => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
        }
        (ColorType::GrayscaleAlpha, Eight) => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLumaA8)
        }
        (ColorType::Rgb, Eight) => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb8),
        (ColorType::Rgba, Eight) => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgba8)
        }
        (ColorType::Grayscale, Sixteen) => {
            ImageBuffer::from_raw(width, height, wide()).map(DynamicImage::ImageLuma16)
        }
        (ColorType::GrayscaleAlpha, Sixteen) => {
            ImageBuffer::from_raw(width, height, wide()).map(DynamicImage::ImageLumaA16)
        }
        (ColorType::Rgb, Sixteen) => {
            ImageBuffer::from_raw(width, height, wide()).map(DynamicImage::ImageRgb16)
        }
        (ColorType::Rgba, Sixteen) => {
            ImageBuffer::from_raw(width, height, wide()).map(DynamicImage::ImageRgba16)
        }
        _ => None,
    };
    let pixels = pixels.ok_or_else(|| source.corrupt("its kind of pixels cannot be read"))?;
    // The chunk may stand behind the pixels.
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    Ok(Stored { pixels, orientation })
}

fn classify(error: DecodingError, source: &Source<'_>, limits: &ImageLimits) -> ImageError {
    match error {
        DecodingError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => source.truncated(),
        DecodingError::LimitsExceeded => source.too_much_memory(limits),
        other => source.corrupt(other.to_string()),
    }
}
