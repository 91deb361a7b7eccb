//! From 8-bit samples to what a vision tower reads.

use std::fmt;

use serde::Serialize;

use super::{CHANNELS, ImageError};

/// Per-channel normalisation: `(sample / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Normalization {
    /// Subtracted, on the scale 0 to 1, for red, green, blue.
    pub mean: [f32; CHANNELS],
    /// Divided by, on the scale 0 to 1, for red, green, blue.
    pub std: [f32; CHANNELS],
}

impl Normalization {
    /// Mean and deviation 0.5: samples become -1 to 1 (`SigLIP`, and models trained from scratch).
    pub const HALF: Self = Self { mean: [0.5; CHANNELS], std: [0.5; CHANNELS] };
    /// The statistics of `ImageNet` (`DINOv2`).
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// The statistics of CLIP's training pictures.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// The table that applies this normalisation.
    ///
    /// # Errors
    /// When a value is not finite or a deviation is not above zero.
    pub fn table(&self) -> Result<PixelTable, ImageError> {
        PixelTable::new(Some(1.0 / 255.0), Some(self))
    }

    /// Refuses values that cannot normalise.
    fn check(&self) -> Result<(), ImageError> {
        let usable = |value: f32| value.is_finite();
        if !self.mean.iter().chain(&self.std).copied().all(usable) || self.std.iter().any(|&std| std <= 0.0) {
            return Err(ImageError::BadNormalization { mean: self.mean, std: self.std });
        }
        Ok(())
    }

    /// Writes the normalised picture into `chw`, f32 `[3, height, width]`, from `rgb`, u8 `[height, width, 3]`.
    ///
    /// # Errors
    /// As [`Normalization::table`] and [`PixelTable::write_chw`].
    pub fn write_chw(&self, rgb: &[u8], chw: &mut [f32]) -> Result<(), ImageError> {
        self.table()?.write_chw(rgb, chw)
    }
}

/// The normalised value of each sample in each channel: 256 entries times three, so that filling a batch is look-ups.
#[derive(Clone, PartialEq)]
pub struct PixelTable {
    values: Box<[[f32; 256]; CHANNELS]>,
}

impl fmt::Debug for PixelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 768 numbers help nobody: the ends of each channel tell the normalisation.
        let ends = self.values.each_ref().map(|column| [column[0], column[255]]);
        f.debug_struct("PixelTable").field("ends", &ends).finish()
    }
}

impl PixelTable {
    /// What samples become: `sample * scale` where they are scaled, in double precision and then rounded to f32, then what the
    /// normalisation says, in f32. This is the arithmetic of transformers' Pillow backend.
    ///
    /// # Errors
    /// When a value is not finite or a deviation is not above zero.
    pub fn new(scale: Option<f64>, normalization: Option<&Normalization>) -> Result<Self, ImageError> {
        let mut values = Box::new([[0.0; 256]; CHANNELS]);
        if let Some(normalization) = normalization {
            normalization.check()?;
        }
        for (channel, column) in values.iter_mut().enumerate() {
            for (sample, value) in column.iter_mut().enumerate() {
                let scaled = (sample as f64 * scale.unwrap_or(1.0)) as f32;
                *value = match normalization {
                    Some(Normalization { mean, std }) => (scaled - mean[channel]) / std[channel],
                    None => scaled,
                };
            }
        }
        Ok(Self { values })
    }

    /// The value of a sample in a channel.
    pub fn value(&self, channel: usize, sample: u8) -> Option<f32> {
        self.values.get(channel).map(|column| column[usize::from(sample)])
    }

    /// Writes the normalised picture into `chw`, f32 `[3, height, width]`, from `rgb`, u8 `[height, width, 3]`.
    ///
    /// # Errors
    /// When the buffer has another number of elements than the picture.
    pub fn write_chw(&self, rgb: &[u8], chw: &mut [f32]) -> Result<(), ImageError> {
        if rgb.is_empty() || rgb.len() != chw.len() || !rgb.len().is_multiple_of(CHANNELS) {
            return Err(ImageError::WrongBuffer { expected: rgb.len(), found: chw.len() });
        }
        let plane_len = rgb.len() / CHANNELS;
        for (channel, (plane, column)) in chw.chunks_exact_mut(plane_len).zip(self.values.iter()).enumerate()
        {
            for (value, pixel) in plane.iter_mut().zip(rgb.chunks_exact(CHANNELS)) {
                *value = column[pixel[channel] as usize];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn channels_become_planes_and_values_are_normalised() {
        let rgb = [0, 255, 51, 255, 0, 102];
        let mut chw = [0.0; 6];
        let normalization = Normalization { mean: [0.5, 0.0, 0.2], std: [0.5, 2.0, 0.1] };
        normalization.write_chw(&rgb, &mut chw).unwrap();
        let expected = [-1.0, 1.0, 0.5, 0.0, 0.0, 2.0];
        for (found, expected) in chw.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{chw:?}");
        }
    }

    #[test]
    fn a_sample_by_255_is_the_nearest_number_to_it() {
        let table = PixelTable::new(Some(1.0 / 255.0), None).unwrap();
        for sample in 0..=255_u8 {
            assert_eq!(table.value(1, sample), Some(f32::from(sample) / 255.0));
        }
        assert_eq!(PixelTable::new(None, None).unwrap().value(2, 7), Some(7.0));
    }

    #[test]
    fn wrong_sizes_and_statistics_are_refused() {
        let mut short = [0.0; 5];
        assert!(matches!(
            Normalization::HALF.write_chw(&[0; 6], &mut short),
            Err(ImageError::WrongBuffer { expected: 6, found: 5 })
        ));
        for bad in [
            Normalization { std: [0.5, 0.0, 0.5], ..Normalization::HALF },
            Normalization { std: [0.5, -1.0, 0.5], ..Normalization::HALF },
            Normalization { mean: [f32::NAN, 0.0, 0.0], ..Normalization::HALF },
        ] {
            assert!(matches!(bad.table(), Err(ImageError::BadNormalization { .. })));
        }
    }
}
