//! JPEG: the decoder is strict, and the file must have its parts in their order, up to the marker that ends it.
//!
//! The format has no checksums. A changed byte that leaves valid codes behind, or pixels that are missing right before a
//! proper end, cannot be told from a picture that was meant so.

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{ImageError, ImageLimits, Source, Stored};

/// The first bytes of every JPEG file: the marker that starts a picture, and the start of the next.
pub(super) const SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// Decodes a whole file. A lenient decoder fills what is missing with grey, and so does a strict one in the last rows;
/// [`complete`] sees those.
pub(super) fn decode(source: &Source<'_>, limits: &ImageLimits) -> Result<Stored, ImageError> {
    let wrong = |error: DecodeErrors| match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => source.truncated(),
        other => source.corrupt(other.to_string()),
    };
    // The sides are judged by us, so that the message can tell them.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(source.bytes), options);
    decoder.decode_headers().map_err(wrong)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    // Sides have 16 bits in this format.
    let (width, height) = (width as u32, height as u32);
    source.sides(width, height, limits)?;
    if u64::from(width) * u64::from(height) * 3 > limits.max_memory {
        return Err(source.too_much_memory(limits));
    }
    complete(source)?;
    let samples = decoder.decode().map_err(wrong)?;
    let pixels = ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb8);
    let pixels = pixels.ok_or_else(|| source.corrupt("it has other pixels than its header says"))?;
    let exif = decoder.exif().map(Vec::as_slice);
    let orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    Ok(Stored { pixels, orientation })
}

/// Walks through the segments up to the marker that ends a picture. What comes behind it, such as a second picture, is not
/// looked at. Restart markers must be numbered as they follow each other: a gap is a piece that is missing.
fn complete(source: &Source<'_>) -> Result<(), ImageError> {
    const START_OF_SCAN: u8 = 0xDA;
    const END: u8 = 0xD9;
    let bytes = source.bytes;
    let mut at = 2;
    loop {
        let marker = next_marker(bytes, &mut at).ok_or_else(|| source.truncated())?;
        match marker {
            END => return Ok(()),
            // Stand alone, and mean nothing here.
            0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = bytes.get(at..at + 2).ok_or_else(|| source.truncated())?;
                at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
        if marker == START_OF_SCAN {
            let mut expected = 0xD0;
            loop {
                let before = at;
                match next_marker(bytes, &mut at).ok_or_else(|| source.truncated())? {
                    // A byte of 255 among the pixels is followed by 0.
                    0 => {}
                    found @ 0xD0..=0xD7 if found == expected => expected = 0xD0 | ((found + 1) & 7),
                    0xD0..=0xD7 => {
                        return Err(source.corrupt("a piece of it is missing between two restart markers"));
                    }
                    _ => {
                        at = before;
                        break;
                    }
                }
            }
        }
    }
}

/// The code of the next marker; `at` is moved behind it. `None` where the file ends.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    let start = bytes.get(*at..)?.iter().position(|&byte| byte == 0xFF)?;
    let code = bytes[*at + start..].iter().position(|&byte| byte != 0xFF)?;
    *at += start + code + 1;
    Some(bytes[*at - 1])
}
