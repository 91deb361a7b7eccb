//! A sequential colour scale that is perceptually uniform: equal steps of value are equal steps of lightness.
//!
//! The colours are computed in OKLCH (lightness, chroma, hue) along a straight line of lightness and hue, from pale
//! yellow-green over teal to deep indigo. Large values always stand out most from the paper, so the dark theme runs
//! through the same hues from dark to light.

use super::scale::Scale;

/// A colour scale over a range of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    scale: Scale,
}

/// A colour for each theme, with a text colour that can be read on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shade {
    pub(crate) light: Rgb,
    pub(crate) dark: Rgb,
}

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rgb([u8; 3]);

impl Ramp {
    /// Covers zero and all finite `values`, so that equal colours mean equal values in every picture.
    pub(crate) fn fit(values: impl Iterator<Item = f64>) -> Self {
        Self { scale: Scale::linear(values.chain([0.0])) }
    }

    /// Place of `value` along the scale in 0..=1, or `None` if it is not finite.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        self.scale.place(value)
    }

    /// The scale as tick marks.
    pub(crate) fn ticks(&self) -> Vec<super::scale::Tick> {
        self.scale.ticks(5)
    }
}

/// The colours at `place` (0..=1) along the ramp.
pub(crate) fn shade(place: f64) -> Shade {
    let t = if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 };
    Shade {
        light: oklch(0.955 - 0.635 * t, 0.05 + 0.05 * arch(t) + 0.05 * t, 118.0 + 167.0 * t),
        dark: oklch(0.27 + 0.66 * t, 0.10 + 0.05 * arch(t) - 0.02 * t, 285.0 - 167.0 * t),
    }
}

fn arch(t: f64) -> f64 {
    (t * std::f64::consts::PI).sin()
}

impl Rgb {
    /// `#rrggbb`.
    pub(crate) fn hex(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// Black or white, whichever has more contrast.
    pub(crate) fn ink(self) -> &'static str {
        let luminance = self.luminance();
        if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) { "#000000" } else { "#ffffff" }
    }

    /// Relative luminance of WCAG 2.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

/// Converts OKLCH (hue in degrees) to sRGB, giving up chroma where the screen cannot show it.
fn oklch(lightness: f64, chroma: f64, hue: f64) -> Rgb {
    if let Some(rgb) = in_gamut(linear_rgb(lightness, chroma, hue)) {
        return rgb;
    }
    let grey = (lightness.clamp(0.0, 1.0) * 255.0).round() as u8;
    let (mut best, mut inside, mut outside) = (Rgb([grey; 3]), 0.0, chroma);
    for _ in 0..20 {
        let middle = f64::midpoint(inside, outside);
        match in_gamut(linear_rgb(lightness, middle, hue)) {
            Some(rgb) => (best, inside) = (rgb, middle),
            None => outside = middle,
        }
    }
    best
}

fn linear_rgb(lightness: f64, chroma: f64, hue: f64) -> [f64; 3] {
    let (sine, cosine) = hue.to_radians().sin_cos();
    let (a, b) = (chroma * cosine, chroma * sine);
    let long = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let medium = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701_0 * short,
    ]
}

fn in_gamut(linear: [f64; 3]) -> Option<Rgb> {
    if linear.iter().any(|channel| !(-1e-4..=1.0001).contains(channel)) {
        return None;
    }
    Some(Rgb(linear.map(|channel| {
        let value = channel.clamp(0.0, 1.0);
        let encoded =
            if value <= 0.003_130_8 { 12.92 * value } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
        (encoded * 255.0).round() as u8
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oklch_hits_known_colours() {
        assert_eq!(oklch(1.0, 0.0, 0.0).hex(), "#ffffff");
        assert_eq!(oklch(0.0, 0.0, 0.0).hex(), "#000000");
        assert_eq!(oklch(0.627_96, 0.257_68, 29.234).hex(), "#ff0000");
    }

    #[test]
    fn more_is_further_from_the_paper_in_both_themes_and_text_can_be_read() {
        let shades: Vec<Shade> = (0..=50).map(|step| shade(f64::from(step) / 50.0)).collect();
        for pair in shades.windows(2) {
            assert!(pair[1].light.luminance() < pair[0].light.luminance());
            assert!(pair[1].dark.luminance() > pair[0].dark.luminance());
        }
        for colour in shades.iter().flat_map(|shade| [shade.light, shade.dark]) {
            let (high, low) =
                if colour.ink() == "#ffffff" { (1.0, colour.luminance()) } else { (colour.luminance(), 0.0) };
            assert!((high + 0.05) / (low + 0.05) >= 4.5, "{} with {}", colour.hex(), colour.ink());
        }
    }

    #[test]
    fn a_ramp_starts_at_zero_and_survives_non_finite_gates() {
        let ramp = Ramp::fit([0.31, f64::NAN, f64::INFINITY].into_iter());
        assert_eq!(ramp.place(0.0), Some(0.0));
        assert_eq!(ramp.place(f64::NAN), None);
        assert_eq!(Ramp::fit(std::iter::empty()).place(0.0), Some(0.0));
    }
}
