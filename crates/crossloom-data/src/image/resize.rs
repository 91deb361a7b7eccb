//! Resizing, with the filters of the reference image processors and the arithmetic of Pillow, which they use: weights
//! rounded to 22 bits after the point, first along rows and then along columns, each pass rounded and clipped to 8 bits.
//! The result is that of Pillow 11 and 12, bit for bit; Pillow 13 turns the two passes around where that is less work.

use serde::{Deserialize, Serialize};

use super::frame::Size;
use super::{CHANNELS, Image, ImageError};

/// Bits of a weight after the point: what an `i32` has beside a sample and two bits for the overshoot.
const FRACTION: u32 = 32 - 8 - 2;

/// How samples between pixels are made. Both widen their support when the picture shrinks (antialiasing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// A triangle of two pixels.
    #[default]
    Bilinear,
    /// A Catmull-Rom cubic (a = -0.5) of four pixels.
    Bicubic,
}

impl ResizeFilter {
    /// How far it reaches to either side, in pixels of the larger grid.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight of a sample at this distance.
    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            // With a = -0.5: (a + 2) x³ - (a + 3) x² + 1, then a x³ - 5a x² + 8a x - 4a.
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// What one new sample is made of: weights of neighbours, from `first` on, scaled by `2^FRACTION`.
struct Mix {
    first: usize,
    weights: Vec<i32>,
}

/// The mixes along one side.
fn mixes(filter: ResizeFilter, old: usize, new: usize) -> Vec<Mix> {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    let reach = filter.support() * stretch;
    (0..new)
        .map(|at| {
            let center = (at as f64 + 0.5) * scale;
            // Casts saturate at zero.
            let first = (center - reach + 0.5) as usize;
            let end = ((center + reach + 0.5) as usize).min(old);
            let raw: Vec<f64> = (first..end)
                .map(|sample| filter.weight((sample as f64 - center + 0.5) * (1.0 / stretch)))
                .collect();
            let sum: f64 = raw.iter().sum();
            let fixed = |weight: &f64| (weight / sum * f64::from(1_u32 << FRACTION)).round() as i32;
            Mix { first, weights: raw.iter().map(fixed).collect() }
        })
        .collect()
}

/// A sum of weighted samples as a sample: rounded, then clipped.
fn sample(sum: i32) -> u8 {
    ((sum + (1 << (FRACTION - 1))) >> FRACTION).clamp(0, 255) as u8
}

/// New rows out of old ones: every row is mixed along itself.
fn along_rows(rgb: &[u8], old_width: usize, mixes: &[Mix]) -> Vec<u8> {
    let mut made = Vec::with_capacity(rgb.len() / old_width.max(1) * mixes.len());
    for row in rgb.chunks_exact(old_width * CHANNELS) {
        for mix in mixes {
            for channel in 0..CHANNELS {
                let samples = row[mix.first * CHANNELS + channel..].iter().step_by(CHANNELS);
                made.push(sample(samples.zip(&mix.weights).map(|(&s, &w)| i32::from(s) * w).sum()));
            }
        }
    }
    made
}

/// A new number of rows: each is a mix of old ones.
fn along_columns(rgb: &[u8], width: usize, mixes: &[Mix]) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut made = Vec::with_capacity(stride * mixes.len());
    let mut sums = vec![0_i32; stride];
    for mix in mixes {
        sums.fill(0);
        for (row, &weight) in rgb[mix.first * stride..].chunks_exact(stride).zip(&mix.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        made.extend(sums.iter().map(|&sum| sample(sum)));
    }
    made
}

impl Image {
    /// The picture with these sides; itself, untouched, when it has them already.
    ///
    /// # Errors
    /// When a side is 0 or above 8192.
    pub fn resized(mut self, width: u32, height: u32, filter: ResizeFilter) -> Result<Self, ImageError> {
        if (self.width, self.height) == (width, height) {
            return Ok(self);
        }
        Size { height, width }.check()?;
        // A side that stays is not touched: a pass with its weights, 1 and 0, would change nothing.
        if self.width != width {
            let mixes = mixes(filter, self.width as usize, width as usize);
            self.rgb = along_rows(&self.rgb, self.width as usize, &mixes);
        }
        if self.height != height {
            let mixes = mixes(filter, self.height as usize, height as usize);
            self.rgb = along_columns(&self.rgb, width as usize, &mixes);
        }
        Self::new(width, height, self.rgb)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn pattern() -> Image {
        let rgb = (0..7 * 5 * 3_u32).map(|i| (i * 37 % 256) as u8).collect();
        Image::new(7, 5, rgb).unwrap()
    }

    #[test]
    fn an_even_picture_stays_even() {
        for value in [0, 1, 128, 254, 255] {
            let even = Image::new(6, 6, vec![value; 108]).unwrap();
            for filter in [ResizeFilter::Bilinear, ResizeFilter::Bicubic] {
                for (width, height) in [(1, 1), (5, 13), (64, 2)] {
                    let resized = even.clone().resized(width, height, filter).unwrap();
                    assert!(resized.rgb().iter().all(|&found| found == value), "{value} {filter:?}");
                }
            }
        }
    }

    #[test]
    fn an_equal_size_is_untouched_and_a_silly_size_refused() {
        assert_eq!(pattern().resized(7, 5, ResizeFilter::Bicubic).unwrap(), pattern());
        for (width, height) in [(0, 4), (4, 0), (4, 9000)] {
            let error = pattern().resized(width, height, ResizeFilter::Bilinear).unwrap_err();
            assert!(matches!(error, ImageError::BadSize { .. }));
        }
    }
}
