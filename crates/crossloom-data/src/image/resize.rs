//! Resizing, with the filters of the reference image processors.

use image::imageops::{self, FilterType};
use serde::{Deserialize, Serialize};

use super::{Image, ImageError};

/// The largest side a picture can be resized to.
const MAX_SIDE: u32 = 8192;

/// How samples between pixels are made. Both widen their support when the picture shrinks (antialiasing), as Pillow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// A triangle of two pixels.
    #[default]
    Bilinear,
    /// A Catmull-Rom cubic (a = -0.5) of four pixels.
    Bicubic,
}

impl Image {
    /// The picture with these sides; itself, untouched, when it has them already.
    ///
    /// # Errors
    /// When a side is 0 or above 8192.
    pub fn resized(self, width: u32, height: u32, filter: ResizeFilter) -> Result<Self, ImageError> {
        if (self.width, self.height) == (width, height) {
            return Ok(self);
        }
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(ImageError::BadSize { width, height, limit: MAX_SIDE });
        }
        let filter = match filter {
            ResizeFilter::Bilinear => FilterType::Triangle,
            ResizeFilter::Bicubic => FilterType::CatmullRom,
        };
        let (old_width, old_height, found) = (self.width, self.height, self.rgb.len());
        let wrong = ImageError::WrongLength { width: old_width, height: old_height, expected: found, found };
        let buffer = image::RgbImage::from_raw(old_width, old_height, self.rgb).ok_or(wrong)?;
        Self::new(width, height, imageops::resize(&buffer, width, height, filter).into_raw())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn pattern() -> Image {
        let rgb = (0..7 * 5 * 3_u32).map(|i| (60 + (i * 37 + (i / 3) * 11) % 130) as u8).collect();
        Image::new(7, 5, rgb).unwrap()
    }

    /// Each size agrees with Pillow to one level out of 255 (Pillow rounds between its two passes).
    #[track_caller]
    fn check(filter: ResizeFilter, width: u32, height: u32, pillow: &[u8]) {
        let found = pattern().resized(width, height, filter).unwrap();
        let worst = found.rgb().iter().zip(pillow).map(|(a, b)| a.abs_diff(*b)).max();
        assert_eq!(found.rgb().len(), pillow.len());
        assert!(worst <= Some(1), "worst difference {worst:?}");
    }

    #[test]
    fn shrinking_agrees_with_pillow() {
        check(ResizeFilter::Bilinear, 4, 3, &SMALL_BILINEAR);
        check(ResizeFilter::Bicubic, 4, 3, &SMALL_BICUBIC);
    }

    #[test]
    fn growing_agrees_with_pillow() {
        check(ResizeFilter::Bilinear, 9, 8, &LARGE_BILINEAR);
        check(ResizeFilter::Bicubic, 9, 8, &LARGE_BICUBIC);
    }

    #[test]
    fn an_equal_size_is_untouched_and_a_silly_size_refused() {
        assert_eq!(pattern().resized(7, 5, ResizeFilter::Bicubic).unwrap(), pattern());
        for (width, height) in [(0, 4), (4, 0), (4, 9000)] {
            let error = pattern().resized(width, height, ResizeFilter::Bilinear).unwrap_err();
            assert!(matches!(error, ImageError::BadSize { .. }));
        }
    }

    // Made once with Pillow's `Image.resize`. The samples stay away from 0 and 255: Pillow clips between its two passes, so
    // a cubic that overshoots there differs.
    const SMALL_BILINEAR: [u8; 36] = [
        123, 125, 106, 149, 112, 109, 135, 113, 135, 122, 156, 122, 103, 140, 119, 110, 127, 114, 148, 113,
        127, 135, 100, 136, 116, 153, 134, 103, 140, 121, 104, 126, 118, 147, 113, 147,
    ];
    const LARGE_BILINEAR: [u8; 216] = [
        60, 97, 134, 141, 92, 129, 178, 85, 122, 172, 79, 116, 166, 73, 110, 160, 67, 104, 154, 133, 98, 147,
        184, 91, 142, 179, 86, 92, 129, 110, 136, 124, 105, 154, 117, 98, 148, 111, 104, 142, 105, 142, 136,
        99, 136, 130, 134, 130, 123, 160, 123, 118, 155, 118, 131, 168, 83, 126, 163, 78, 119, 156, 71, 114,
        150, 92, 115, 144, 181, 109, 138, 175, 103, 132, 169, 96, 125, 162, 91, 120, 157, 96, 133, 129, 91,
        128, 124, 84, 121, 117, 97, 115, 120, 161, 109, 146, 155, 103, 140, 149, 97, 134, 142, 90, 127, 137,
        85, 122, 101, 138, 135, 96, 133, 130, 89, 126, 123, 103, 120, 117, 167, 114, 111, 161, 108, 105, 155,
        102, 121, 148, 95, 132, 143, 90, 127, 147, 184, 100, 142, 179, 95, 135, 172, 88, 131, 166, 82, 132,
        160, 76, 126, 154, 70, 120, 148, 131, 113, 141, 178, 108, 136, 173, 121, 158, 138, 116, 153, 133,
        109, 146, 126, 103, 140, 120, 97, 134, 114, 91, 128, 108, 125, 122, 133, 151, 115, 152, 146, 110,
        147, 96, 133, 170, 91, 128, 165, 84, 121, 158, 78, 115, 152, 72, 109, 146, 66, 103, 140, 132, 97,
        134, 183, 90, 127, 178, 85, 122,
    ];
    const SMALL_BICUBIC: [u8; 36] = [
        121, 124, 105, 152, 108, 109, 135, 109, 139, 121, 159, 119, 102, 144, 116, 109, 130, 111, 152, 115,
        128, 131, 97, 140, 117, 154, 137, 101, 140, 120, 102, 126, 114, 152, 112, 150,
    ];
    const LARGE_BICUBIC: [u8; 216] = [
        48, 92, 138, 144, 87, 133, 192, 80, 127, 176, 74, 118, 170, 68, 105, 164, 52, 99, 158, 135, 93, 151,
        198, 86, 146, 183, 81, 88, 129, 108, 140, 124, 103, 165, 117, 93, 152, 111, 100, 140, 105, 142, 134,
        94, 137, 128, 138, 130, 121, 170, 123, 116, 160, 118, 134, 171, 79, 126, 166, 74, 118, 159, 60, 113,
        153, 84, 111, 147, 184, 105, 141, 180, 99, 133, 172, 92, 124, 165, 87, 119, 160, 90, 127, 134, 82,
        122, 129, 68, 115, 120, 86, 109, 123, 166, 103, 150, 162, 98, 145, 154, 89, 132, 147, 80, 121, 142,
        75, 116, 96, 133, 140, 91, 128, 135, 78, 121, 128, 96, 115, 120, 176, 109, 106, 172, 103, 97, 162,
        97, 117, 152, 90, 130, 148, 85, 122, 151, 188, 96, 146, 183, 91, 138, 176, 84, 134, 170, 78, 132,
        164, 72, 126, 158, 57, 118, 152, 133, 109, 145, 191, 104, 140, 177, 122, 159, 138, 117, 154, 133,
        110, 147, 126, 103, 141, 120, 91, 135, 114, 80, 129, 104, 124, 123, 135, 156, 116, 157, 146, 111,
        148, 92, 129, 175, 87, 124, 170, 80, 117, 163, 74, 111, 157, 68, 105, 151, 52, 99, 146, 135, 93, 134,
        198, 86, 122, 183, 81, 118,
    ];
}
