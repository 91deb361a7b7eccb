//! What processors make of pictures is what transformers' make of them, and their features are packed as its model packs them.
//!
//! `tests/oracle/make_processor_fixtures.py` writes the fixtures. Equal to the bit is the Pillow backend with Pillow 12; how far off
//! Pillow 13 and the torchvision backend are is held here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossloom_data::image::{
    Image, ImageError, ImageLimits, ImageProcessor, Processed, Size, TileGrid, VisualLayout,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// By how many levels of 255 an 8-bit sample differs at most, before it is normalised.
const PILLOW_13: u8 = 3;
const TORCHVISION: u8 = 1;

#[derive(Deserialize)]
struct Fixtures {
    pictures: Vec<String>,
    small: BTreeMap<String, Small>,
    published: BTreeMap<String, Published>,
    packing: Packing,
}

#[derive(Deserialize)]
struct Small {
    config: Map<String, Value>,
    table: String,
}

#[derive(Deserialize)]
struct Published {
    config: Map<String, Value>,
    sha256: Vec<String>,
}

#[derive(Deserialize)]
struct Packing {
    counts: Vec<(u32, u32, usize)>,
    side: usize,
    most_tiles: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    size: [u32; 2],
    grid: [usize; 2],
    features: Vec<f32>,
    newline: Vec<f32>,
    packed: Vec<f32>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processors").join(name)
}

fn fixtures() -> Fixtures {
    serde_json::from_slice(&std::fs::read(path("cases.json")).unwrap()).unwrap()
}

fn picture(name: &str) -> Image {
    Image::open(&path(&format!("{name}.png")), &ImageLimits::default()).unwrap()
}

fn pictures(fixtures: &Fixtures) -> Vec<Image> {
    fixtures.pictures.iter().map(|name| picture(name)).collect()
}

/// The largest difference of two samples, and how many differ.
fn difference(found: &[u8], expected: &[u8]) -> (u8, usize) {
    assert_eq!(found.len(), expected.len());
    let pairs = || found.iter().zip(expected);
    (pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap(), pairs().filter(|(a, b)| a != b).count())
}

#[test]
fn every_processor_is_transformers_to_the_bit_with_pillow_12_and_near_it_elsewhere() {
    let fixtures = fixtures();
    let mut saturated = 0;
    let mut furthest = BTreeMap::from([("pillow13", 0), ("torchvision", 0)]);
    for (name, Small { config, .. }) in &fixtures.small {
        let processor = ImageProcessor::read(config).unwrap();
        let mut processed: Vec<Processed> =
            pictures(&fixtures).into_iter().map(|picture| processor.process(picture).unwrap()).collect();
        if processor.tiles().is_some() {
            let two = pictures(&fixtures).into_iter().take(2).collect();
            processed.extend(processor.process_all(two).unwrap());
        }
        let found: Vec<u8> =
            processed.iter().flat_map(|of| &of.pictures).flat_map(|picture| picture.rgb().to_vec()).collect();
        let (_, wrong) = difference(&found, picture(&format!("{name}.pillow12")).rgb());
        assert_eq!(wrong, 0, "{name}: of {} samples", found.len());
        for (backend, furthest) in &mut furthest {
            let (most, wrong) = difference(&found, picture(&format!("{name}.{backend}")).rgb());
            println!("{name}: {backend} differs in {wrong} of {} samples, by at most {most}", found.len());
            *furthest = most.max(*furthest);
        }
        saturated += found.iter().filter(|sample| [0, 255].contains(*sample)).count();
    }
    assert!(saturated > 10_000, "the pictures go to black and white");
    assert_eq!(furthest, BTreeMap::from([("pillow13", PILLOW_13), ("torchvision", TORCHVISION)]));
}

#[test]
fn samples_are_normalised_to_the_bit() {
    for (name, Small { config, table }) in fixtures().small {
        let found = ImageProcessor::read(&config).unwrap().table().unwrap();
        let numbers: Vec<f32> = (0..table.len())
            .step_by(8)
            .map(|at| f32::from_bits(u32::from_str_radix(&table[at..at + 8], 16).unwrap().swap_bytes()))
            .collect();
        assert_eq!(numbers.len(), 3 * 256);
        for (place, expected) in numbers.into_iter().enumerate() {
            let value = found.value(place / 256, (place % 256) as u8).unwrap();
            assert_eq!(value.to_bits(), expected.to_bits(), "{name}: {place}");
        }
    }
}

#[test]
fn pixel_values_of_published_sizes_are_the_same_bytes() {
    let fixtures = fixtures();
    for (name, Published { config, sha256 }) in &fixtures.published {
        let processor = ImageProcessor::read(config).unwrap();
        let table = processor.table().unwrap();
        for (picture, expected) in pictures(&fixtures).into_iter().zip(sha256) {
            let mut digest = Sha256::new();
            for tile in processor.process(picture).unwrap().pictures {
                let mut chw = vec![0.0; tile.rgb().len()];
                table.write_chw(tile.rgb(), &mut chw).unwrap();
                for value in chw {
                    digest.update(value.to_le_bytes());
                }
            }
            assert_eq!(&format!("{:x}", digest.finalize()), expected, "{name}");
        }
    }
}

#[test]
fn pictures_of_any_size_have_as_many_tokens_as_transformers_says() {
    let onevision = ImageProcessor::read(&fixtures().published["llava-onevision-qwen2-7b"].config).unwrap();
    for (width, height, expected) in fixtures().packing.counts {
        let size = Size { height, width };
        let layout = VisualLayout::tiled(size, onevision.tiles().unwrap().grid(size), 27, 9).unwrap();
        assert_eq!(layout.tokens(), expected, "{size}");
    }
}

#[test]
fn features_are_packed_as_the_model_packs_them() {
    let Packing { side, most_tiles, cases, .. } = fixtures().packing;
    for Case { size: [width, height], grid: [rows, columns], features, newline, packed } in cases {
        let size = Size { height, width };
        let layout = VisualLayout::tiled(size, TileGrid { rows, columns }, side, most_tiles).unwrap();
        let mut found = vec![f32::NAN; layout.tokens() * newline.len()];
        layout.pack(&features, &newline, &mut found).unwrap();
        assert_eq!(found.len(), packed.len(), "{size}");
        let furthest = found.iter().zip(&packed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest <= 2e-6, "{size}: {furthest}");
    }
}

#[test]
fn a_configuration_that_cannot_be_followed_says_all_that_is_wrong() {
    let read = |config: Value| ImageProcessor::read(config.as_object().unwrap());
    let told = |config: Value| read(config).unwrap_err().to_string();
    let of = "image_processor_type";
    for (config, parts) in [
        (json!({}), &["`image_processor_type` is \"\"", "CLIP, Siglip"][..]),
        (json!({ of: "Qwen2VLImageProcessor" }), &["\"Qwen2VLImageProcessor\"", "are built"]),
        (
            json!({ of: "CLIPImageProcessor", "do_centre_crop": true, "resample": 1, "image_std": [1, 2] }),
            &[
                "`do_centre_crop` is no key of an image processor; did you mean `do_center_crop`?",
                "`resample` is 1",
                "`image_std` is [1,2]",
            ],
        ),
        (json!({ of: "SiglipImageProcessor", "size": { "height": 384 } }), &["`size` is {\"height\":384}"]),
        (
            json!({ of: "SiglipImageProcessor", "size": { "height": 0, "width": 4 } }),
            &["of 1 to 8192 pixels"],
        ),
        (
            json!({ of: "CLIPImageProcessor", "size": { "shortest_edge": 10, "longest_edge": 20 } }),
            &["`size`"],
        ),
        (json!({ of: "CLIPImageProcessor", "pad_size": { "height": 9, "width": 9 } }), &["not built"]),
        (json!({ of: "SiglipImageProcessor", "do_center_crop": true }), &["there is no `crop_size`"]),
        (
            json!({ of: "CLIPImageProcessor", "image_grid_pinpoints": [[1, 1]] }),
            &["nothing that CLIPImageProcessor reads"],
        ),
        (
            json!({ of: "LlavaOnevisionImageProcessor", "image_grid_pinpoints": [[384, 400]] }),
            &["the grid 400x384"],
        ),
        (
            json!({ of: "LlavaOnevisionImageProcessor", "image_grid_pinpoints": [] }),
            &["`image_grid_pinpoints` is []"],
        ),
        (json!({ of: "CLIPImageProcessor", "rescale_factor": 0 }), &["`rescale_factor` is 0"]),
        (json!({ of: "CLIPImageProcessor", "image_std": [0, 1, 1] }), &["std"]),
    ] {
        let message = told(config);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_shape_that_would_become_a_ribbon_is_refused_before_it_is_made() {
    let config = &fixtures().published["clip-vit-large-patch14-336"].config;
    let ribbon = Image::new(1, 4000, vec![9; 12_000]).unwrap();
    let error = ImageProcessor::read(config).unwrap().process(ribbon).unwrap_err();
    assert!(matches!(error, ImageError::BadSize { width: 336, height: 1_344_000, .. }), "{error}");
}
