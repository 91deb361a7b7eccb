#![allow(clippy::unwrap_used, clippy::expect_used)]

use image::ImageEncoder as _;

use super::*;

fn decode(bytes: &[u8]) -> Result<Image, ImageError> {
    Image::decode(bytes, "picture", &ImageLimits::default())
}

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
fn a_png_cut_anywhere_even_in_its_end_is_an_error_that_names_the_file() {
    let png = gradient(16, 16).to_png().unwrap();
    for len in 0..png.len() {
        let error = Image::decode(&png[..len], "train/3.png", &ImageLimits::default()).unwrap_err();
        assert!(error.to_string().contains("`train/3.png`"), "{error}");
        if len > 40 {
            assert!(matches!(error, ImageError::Truncated { .. }), "cut at {len}: {error:?}");
        }
    }
}

/// One picture as different encoders write it, 40x24 pixels.
const JPEGS: [(&str, &[u8]); 5] = [
    ("baseline", include_bytes!("../../../tests/pictures/baseline.jpg")),
    ("progressive", include_bytes!("../../../tests/pictures/progressive.jpg")),
    ("restart", include_bytes!("../../../tests/pictures/restart.jpg")),
    ("cmyk", include_bytes!("../../../tests/pictures/cmyk.jpg")),
    ("grey", include_bytes!("../../../tests/pictures/grey.jpg")),
];

#[test]
fn a_jpeg_is_read_whatever_wrote_it() {
    let drawn = |x: u32, y: u32| [x * 6 % 256, y * 10 % 256, x * y % 256];
    for (name, jpeg) in JPEGS {
        let image = decode(jpeg).unwrap();
        assert_eq!((image.width(), image.height()), (40, 24), "{name}");
        let mut off = 0;
        for (i, pixel) in image.rgb().chunks_exact(3).enumerate() {
            let expected = drawn(i as u32 % 40, i as u32 / 40);
            let grey = (299 * expected[0] + 587 * expected[1] + 114 * expected[2]) / 1000;
            for (found, expected) in pixel.iter().zip(expected) {
                off += u32::from(*found).abs_diff(if name == "grey" { grey } else { expected });
            }
        }
        assert!(off / (40 * 24 * 3) < 12, "{name}: off by {off} in all");
    }
}

#[test]
fn a_jpeg_cut_anywhere_is_an_error() {
    for (name, jpeg) in JPEGS {
        for len in 0..jpeg.len() {
            let error = decode(&jpeg[..len]).expect_err(&format!("{name} cut at {len}"));
            // In its second half the header is whole.
            if len > jpeg.len() / 2 {
                assert!(matches!(error, ImageError::Truncated { .. }), "{name} cut at {len}: {error:?}");
            }
        }
    }
}

/// The start of the last scan's data.
fn last_scan(jpeg: &[u8]) -> usize {
    let scan = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    scan + 2 + usize::from(jpeg[scan + 3])
}

#[test]
fn a_download_that_stopped_in_a_file_of_full_length_is_an_error() {
    for (name, jpeg) in JPEGS {
        for len in (0..jpeg.len() - 2).step_by(7) {
            let mut padded = jpeg[..len].to_vec();
            padded.resize(jpeg.len(), 0);
            assert!(decode(&padded).is_err(), "{name}: {len} bytes, then zeros");
        }
    }
}

#[test]
fn a_jpeg_with_a_hole_between_restart_markers_is_an_error() {
    let (_, jpeg) = JPEGS[2];
    let markers: Vec<usize> = (last_scan(jpeg)..jpeg.len() - 2)
        .filter(|&at| jpeg[at] == 0xFF && (0xD0..=0xD7).contains(&jpeg[at + 1]))
        .collect();
    for pair in markers.windows(2) {
        let holed = [&jpeg[..pair[0]], &jpeg[pair[1]..]].concat();
        assert!(decode(&holed).is_err(), "without {pair:?}");
    }
}

#[test]
fn what_follows_a_complete_jpeg_is_not_looked_at() {
    let (_, jpeg) = JPEGS[0];
    let more = [jpeg, &[0, 0, 0xFF, 0xD8, 1]].concat();
    assert_eq!(decode(&more).unwrap(), decode(jpeg).unwrap());
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
    // A colour that is transparent: a side chunk, without which the picture is another.
    let mut png = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut png, 8, 8);
    encoder.set_color(::png::ColorType::Indexed);
    encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    encoder.set_trns(vec![0, 255]);
    let pixels: Vec<u8> = (0..64).map(|i| i % 2).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    assert!(decode(&png).is_ok());
    for at in 0..png.len() {
        let mut damaged = png.clone();
        damaged[at] ^= 0x11;
        assert!(decode(&damaged).is_err(), "byte {at} of {}", png.len());
    }
    let text = decode(b"hello, this is no picture").unwrap_err();
    assert!(matches!(text, ImageError::UnknownFormat { .. }), "{text:?}");
}

/// A picture as stored, and its file with an EXIF block of that orientation.
fn stored(orientation: u8, jpeg: bool) -> Vec<u8> {
    // Blocks of one colour, so that a lossy format keeps them.
    let (width, height) = (48, 32);
    let rgb: Vec<u8> = (0..width * height).flat_map(|i| block(i % width / 16, i / width / 16)).collect();
    let mut exif = vec![b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0];
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut file = Vec::new();
    if jpeg {
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 100);
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&rgb, width, height, image::ExtendedColorType::Rgb8).unwrap();
    } else {
        let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&rgb, width, height, image::ExtendedColorType::Rgb8).unwrap();
    }
    file
}

fn block(column: u32, row: u32) -> [u8; 3] {
    [(column * 100) as u8, (row * 200) as u8, 60]
}

#[test]
fn all_eight_orientations_are_applied_in_both_formats() {
    // For each orientation, where the stored picture's row 0 and column 0 are seen (EXIF 2.3, tag 274).
    let seen = [
        ("top", "left"),
        ("top", "right"),
        ("bottom", "right"),
        ("bottom", "left"),
        ("left", "top"),
        ("right", "top"),
        ("right", "bottom"),
        ("left", "bottom"),
    ];
    for jpeg in [false, true] {
        for (i, (row_0, column_0)) in seen.into_iter().enumerate() {
            let orientation = i as u8 + 1;
            let image = decode(&stored(orientation, jpeg)).unwrap();
            let turned = matches!(row_0, "left" | "right");
            let sides = if turned { (32, 48) } else { (48, 32) };
            assert_eq!((image.width(), image.height()), sides, "orientation {orientation}");
            for (row, column) in (0..2).flat_map(|row| (0..3).map(move |column| (row, column))) {
                let mut at = (0, 0);
                for (side, block, last) in [(row_0, row, 1), (column_0, column, 2)] {
                    match side {
                        "left" => at.0 = block,
                        "right" => at.0 = last - block,
                        "top" => at.1 = block,
                        _ => at.1 = last - block,
                    }
                }
                let centre = (at.1 * 16 + 8) * image.width() + at.0 * 16 + 8;
                let pixel = &image.rgb()[centre as usize * 3..][..3];
                for (found, expected) in pixel.iter().zip(block(column, row)) {
                    assert!(
                        found.abs_diff(expected) <= 6,
                        "{orientation}, jpeg {jpeg}: {column}, {row}: {pixel:?}"
                    );
                }
            }
        }
    }
}

fn rgba(pixels: &[[u8; 4]]) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(&pixels.concat(), pixels.len() as u32, 1, image::ExtendedColorType::Rgba8)
        .unwrap();
    file
}

#[test]
fn what_lies_below_full_transparency_is_not_seen() {
    let cut_out =
        |below: [u8; 3]| decode(&rgba(&[[9, 8, 7, 255], [below[0], below[1], below[2], 0]])).unwrap();
    assert_eq!(cut_out([0, 0, 0]), cut_out([200, 30, 90]));
    assert_eq!(cut_out([0, 0, 0]).rgb(), [9, 8, 7, 255, 255, 255]);
}

#[test]
fn half_transparent_pixels_are_laid_over_white() {
    // 255 · 127/255 + c · 128/255
    let image = decode(&rgba(&[[0, 100, 255, 128]])).unwrap();
    assert_eq!(image.rgb(), [127, 177, 255]);
}

#[test]
fn every_way_to_be_transparent_shows_the_same() {
    let written = |color, depth, palette: Option<Vec<u8>>, trns: Option<Vec<u8>>, data: &[u8]| {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        if let Some(trns) = trns {
            encoder.set_trns(trns);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        decode(&file).unwrap().rgb().to_vec()
    };
    use ::png::{BitDepth, ColorType};
    let (eight, sixteen) = (BitDepth::Eight, BitDepth::Sixteen);
    let expected = [50, 50, 50, 255, 255, 255];
    let palette = Some(vec![50, 50, 50, 1, 2, 3]);
    let found = [
        written(ColorType::Indexed, eight, palette, Some(vec![255, 0]), &[0, 1]),
        written(ColorType::Grayscale, eight, None, Some(vec![0, 7]), &[50, 7]),
        written(ColorType::GrayscaleAlpha, eight, None, None, &[50, 255, 7, 0]),
        written(ColorType::GrayscaleAlpha, sixteen, None, None, &[50, 50, 255, 255, 7, 7, 0, 0]),
        written(ColorType::Rgb, eight, None, Some(vec![0, 1, 0, 2, 0, 3]), &[50, 50, 50, 1, 2, 3]),
    ];
    for found in found {
        assert_eq!(found, expected);
    }
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
