//! One coloured shape on a pale background.

use crate::image::Image;
use crate::seeded::SeededRng;

/// Sub-samples per pixel and axis, for smooth edges.
const SUBSAMPLES: u32 = 3;
/// How far a drawn colour may lie from the named one, in levels.
const COLOUR_JITTER: f32 = 14.0;

/// The shapes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Rectangle,
    Triangle,
}

impl Shape {
    pub(super) const ALL: [Self; 3] = [Self::Circle, Self::Rectangle, Self::Triangle];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Rectangle => "rectangle",
            Self::Triangle => "triangle",
        }
    }
}

/// The colours by name, with their levels of red, green and blue.
pub(super) const COLOURS: [(&str, [f32; 3]); 8] = [
    ("black", [16.0, 16.0, 16.0]),
    ("blue", [30.0, 50.0, 225.0]),
    ("brown", [140.0, 75.0, 35.0]),
    ("gray", [128.0, 128.0, 128.0]),
    ("green", [40.0, 190.0, 50.0]),
    ("red", [225.0, 35.0, 35.0]),
    ("teal", [15.0, 140.0, 140.0]),
    ("yellow", [235.0, 225.0, 40.0]),
];

/// What a picture shows. Lengths are fractions of the picture's side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) shape: Shape,
    /// An index into [`COLOURS`].
    pub(super) colour: usize,
    ink: [f32; 3],
    paper: [f32; 3],
    centre: [f32; 2],
    /// Half of the shape's width and height.
    half: [f32; 2],
}

impl Scene {
    pub(super) fn draw(rng: &mut SeededRng) -> Self {
        let shape = Shape::ALL[rng.below(3) as usize];
        let colour = rng.below(COLOURS.len() as u32) as usize;
        let ink = COLOURS[colour].1.map(|level| level + rng.between(-COLOUR_JITTER, COLOUR_JITTER));
        let paper = [(); 3].map(|()| rng.between(225.0, 252.0));
        let mut half = [rng.between(0.1, 0.28), rng.between(0.1, 0.28)];
        if shape == Shape::Circle {
            half[1] = half[0];
        }
        let centre = half.map(|half| rng.between(half, 1.0 - half));
        Self { shape, colour, ink, paper, centre, half }
    }

    /// The picture, `side` x `side`; `None` only for a side of 0.
    pub(super) fn render(&self, side: u32, noise: u8, rng: &mut SeededRng) -> Option<Image> {
        let mut rgb = Vec::with_capacity((side * side * 3) as usize);
        let span = u32::from(noise) * 2 + 1;
        for y in 0..side {
            for x in 0..side {
                let share = self.coverage(x, y, side);
                for (ink, paper) in self.ink.into_iter().zip(self.paper) {
                    let clean = paper + (ink - paper) * share;
                    let noisy = clean + rng.below(span) as f32 - f32::from(noise);
                    rgb.push(noisy.round().clamp(0.0, 255.0) as u8);
                }
            }
        }
        Image::new(side, side, rgb).ok()
    }

    /// Which share of a pixel the shape covers.
    fn coverage(&self, x: u32, y: u32, side: u32) -> f32 {
        let place =
            |pixel: u32, sub: u32| (pixel as f32 + (sub as f32 + 0.5) / SUBSAMPLES as f32) / side as f32;
        let mut inside = 0;
        for sub_y in 0..SUBSAMPLES {
            for sub_x in 0..SUBSAMPLES {
                inside += u32::from(self.contains(place(x, sub_x), place(y, sub_y)));
            }
        }
        inside as f32 / (SUBSAMPLES * SUBSAMPLES) as f32
    }

    fn contains(&self, x: f32, y: f32) -> bool {
        let [u, v] = [(x - self.centre[0]) / self.half[0], (y - self.centre[1]) / self.half[1]];
        match self.shape {
            Shape::Circle => u * u + v * v <= 1.0,
            Shape::Rectangle => u.abs() <= 1.0 && v.abs() <= 1.0,
            // The tip is at v = -1, the base at v = 1.
            Shape::Triangle => v.abs() <= 1.0 && u.abs() <= f32::midpoint(v, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::seeded::Purpose;

    #[test]
    fn a_shape_lies_wholly_in_the_picture_in_its_colour() {
        for index in 0..100 {
            let mut rng = SeededRng::new(5, Purpose::SyntheticTrain, index, 0);
            let scene = Scene::draw(&mut rng);
            let image = scene.render(32, 0, &mut rng).unwrap();
            let inside = image.rgb().chunks(3).filter(|pixel| {
                pixel.iter().zip(scene.ink).all(|(&sample, ink)| (f32::from(sample) - ink).abs() <= 1.0)
            });
            let covered = inside.count() as f32 / 1024.0;
            let [half_width, half_height] = scene.half;
            let area = match scene.shape {
                Shape::Circle => std::f32::consts::PI * half_width * half_width,
                Shape::Rectangle => 4.0 * half_width * half_height,
                Shape::Triangle => 2.0 * half_width * half_height,
            };
            assert!(covered > area * 0.5 && covered < area * 1.1, "{scene:?}: {covered} of {area}");
        }
    }
}
