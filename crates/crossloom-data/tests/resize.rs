//! Resized pictures are those of Pillow, bit for bit, also where a cubic overshoots black and white.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_data::image::{Image, ResizeFilter};
use serde::Deserialize;

/// Written by `resize/pillow.py`.
const PILLOW: &str = include_str!("resize/pillow.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    size: [u32; 2],
    rgb: String,
    resized: Vec<Resized>,
}

#[derive(Deserialize)]
struct Resized {
    filter: ResizeFilter,
    size: [u32; 2],
    rgb: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_picture_is_pillows() {
    let cases: Vec<Case> = serde_json::from_str(PILLOW).unwrap();
    let mut saturated = 0;
    for case in &cases {
        let image = Image::new(case.size[0], case.size[1], bytes(&case.rgb)).unwrap();
        for Resized { filter, size: [width, height], rgb } in &case.resized {
            let found = image.clone().resized(*width, *height, *filter).unwrap();
            let expected = bytes(rgb);
            let wrong = found.rgb().iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(
                (found.rgb().len(), wrong),
                (expected.len(), 0),
                "{} {filter:?} {width}x{height}",
                case.name
            );
            saturated += expected.iter().filter(|value| [0, 255].contains(*value)).count();
        }
    }
    assert_eq!(cases.len(), 5);
    assert!(saturated > 1000, "the pictures go to black and white");
}
