#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn onevision() -> AnyRes {
    let grids =
        (1..=6).flat_map(|high| (1..=6).map(move |wide| Size { height: high * 384, width: wide * 384 }));
    AnyRes::new(grids.collect(), 384).unwrap()
}

fn layout(width: u32, height: u32) -> VisualLayout {
    let picture = Size { height, width };
    VisualLayout::tiled(picture, onevision().grid(picture), 27, 9).unwrap()
}

#[test]
fn the_seven_pictures_of_the_specification() {
    let expected = [
        ((224, 224), (384, 384), (27, 27), 1485),
        ((300, 200), (384, 384), (19, 27), 1261),
        ((640, 480), (768, 768), (40, 54), 2929),
        ((480, 640), (768, 768), (54, 40), 2943),
        ((1024, 768), (1152, 768), (54, 73), 4725),
        ((1280, 720), (1536, 768), (54, 96), 5967),
        ((1700, 2200), (1920, 2304), (92, 71), 7353),
    ];
    for ((width, height), grid, rows_and_columns, tokens) in expected {
        let size = onevision().grid_size(Size { height, width });
        assert_eq!((size.width, size.height), grid, "{width}x{height}");
        let layout = layout(width, height);
        assert_eq!(layout.rows_and_columns(), rows_and_columns, "{width}x{height}");
        assert_eq!(layout.tokens(), tokens, "{width}x{height}");
    }
}

#[test]
fn the_largest_known_picture_is_above_the_documented_maximum() {
    assert_eq!((layout(947, 1157).rows_and_columns(), layout(947, 1157).tokens()), ((98, 81), 8765));
}

#[test]
fn every_token_is_a_mean_of_patches_or_a_row_end() {
    for (width, height) in [(300, 200), (1280, 720), (1700, 2200), (1, 4000), (4000, 1), (5, 7)] {
        let layout = layout(width, height);
        let (rows, columns) = layout.rows_and_columns();
        let mut ends = 0;
        for token in 0..layout.tokens() {
            let parts = layout.token(token).unwrap();
            let sum: f32 = parts.iter().map(|(_, weight)| weight).sum();
            assert!(
                parts.iter().all(|(patch, weight)| (*patch as usize) < layout.patches() && *weight >= 0.0)
            );
            assert!(parts.is_empty() || (sum - 1.0).abs() < 1e-6, "{width}x{height}: {sum}");
            let expected_end = token >= 729 && (token - 729) % (columns + 1) == columns;
            assert_eq!(parts.is_empty(), expected_end, "{width}x{height}: {token}");
            ends += usize::from(parts.is_empty());
        }
        assert_eq!((ends, layout.tokens()), (rows, 729 + rows * (columns + 1)));
    }
    assert_eq!(layout(300, 200).token(9999), None);
}

/// Every tap's features are put into the same order: what is packed is where it was in the picture.
#[test]
fn packed_features_lie_where_they_were_in_the_picture() {
    // A feature of two numbers: the row and the column in the grid of 2 by 2 tiles of 3 by 3 patches; the base is far away.
    let (side, grid) = (3, TileGrid { rows: 2, columns: 2 });
    let mut features = vec![1000.0; 18];
    for (tile_row, tile_column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
            features.extend([(tile_row * side + row) as f32, (tile_column * side + column) as f32]);
        }
    }
    // A picture of this shape leaves out a row at the top and at the bottom.
    let picture = Size { height: 400, width: 600 };
    let layout = VisualLayout::tiled(picture, grid, side, 9).unwrap();
    assert_eq!(layout.rows_and_columns(), (4, 6));
    let mut tokens = vec![0.0; layout.tokens() * 2];
    layout.pack(&features, &[-1.0, -1.0], &mut tokens).unwrap();
    let (base, rest) = tokens.split_at(18);
    assert!(base.iter().all(|&value| value == 1000.0));
    for (row, line) in rest.chunks_exact(14).enumerate() {
        let expected: Vec<f32> =
            (0..6).flat_map(|column| [(row + 1) as f32, column as f32]).chain([-1.0, -1.0]).collect();
        assert_eq!(line, expected);
    }
    let error = layout.pack(&features[2..], &[0.0; 2], &mut tokens).unwrap_err();
    assert!(error.to_string().contains("values of features: 88 were given, the picture has 90"), "{error}");
}

#[test]
fn grids_that_are_no_grids_are_refused() {
    for (grids, tile) in [
        (vec![], 384),
        (vec![Size { height: 384, width: 400 }], 384),
        (vec![Size::square(384)], 0),
        (vec![Size::square(8192)], 8),
    ] {
        assert!(matches!(AnyRes::new(grids, tile), Err(ImageError::Processor { .. })));
    }
    let grid = TileGrid { rows: 0, columns: 1 };
    assert!(VisualLayout::tiled(Size::square(10), grid, 27, 9).is_err());
    assert!(VisualLayout::tiled(Size::square(0), TileGrid { rows: 1, columns: 1 }, 27, 9).is_err());
}
