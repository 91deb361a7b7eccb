//! Small pictures of one coloured shape.

use image::{ImageFormat, Rgb, RgbImage};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A PNG file of 64×64 pixels.
pub(crate) fn picture(seed: u64, shape: &str, colour: &str) -> Vec<u8> {
    let mut place = ChaCha8Rng::seed_from_u64(seed);
    let (x, y): (f32, f32) = (place.random_range(22.0..42.0), place.random_range(22.0..42.0));
    let size: f32 = place.random_range(10.0..20.0);
    let ink = match colour {
        "red" => Rgb([214, 40, 40]),
        "teal" => Rgb([20, 150, 150]),
        "blue" => Rgb([40, 70, 220]),
        "yellow" => Rgb([230, 210, 30]),
        _ => Rgb([10, 10, 10]),
    };
    let ground = Rgb([200 + place.random_range(0..50), 220, 200 + place.random_range(0..50)]);
    let picture = RgbImage::from_fn(64, 64, |column, row| {
        let (right, down) = (column as f32 - x, row as f32 - y);
        let inside = match shape {
            "circle" => right.hypot(down) < size,
            "rectangle" => right.abs() < size && down.abs() < size * 0.6,
            _ => down.abs() < size && 2.0 * right.abs() < down + size,
        };
        if inside { ink } else { ground }
    });
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).expect("a picture in memory can be encoded");
    file.into_inner()
}
