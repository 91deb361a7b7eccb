//! Pictures of any resolution (LLaVA-OneVision's `anyres_max`): a base, and tiles in a grid that suits the picture's shape.
//!
//! [`AnyRes`] chooses the grid and cuts; [`VisualLayout`] says what every visual token of such a picture is made of.

mod layout;

use serde::Serialize;

pub use layout::VisualLayout;

use super::{Image, ImageError, ResizeFilter, Size};

/// The most tiles of a picture: what a configuration may ask for is bounded.
const MOST_TILES: u64 = 1024;

/// The grids of tiles that a picture may be cut into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnyRes {
    /// Sizes of whole grids, in pixels.
    grids: Vec<Size>,
    /// Side of a tile, in pixels.
    tile: u32,
}

/// Tiles of one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TileGrid {
    /// Tiles above one another.
    pub rows: usize,
    /// Tiles side by side.
    pub columns: usize,
}

impl TileGrid {
    /// How many.
    pub fn tiles(self) -> usize {
        self.rows * self.columns
    }
}

impl AnyRes {
    /// Grids of these sizes, in pixels, of square tiles.
    ///
    /// # Errors
    /// There is no grid; one is not made of whole tiles, or of more than 1024.
    pub fn new(grids: Vec<Size>, tile: u32) -> Result<Self, ImageError> {
        let whole = |side: u32| tile > 0 && side > 0 && side.is_multiple_of(tile);
        let bad = grids.iter().find(|grid| {
            let tiles = || u64::from(grid.height / tile) * u64::from(grid.width / tile);
            !whole(grid.height) || !whole(grid.width) || tiles() > MOST_TILES
        });
        let problem = match bad {
            Some(grid) => {
                format!("the grid {grid} is not made of 1 to {MOST_TILES} tiles of {tile} by {tile} pixels")
            }
            None if grids.is_empty() => "there is no grid of tiles".to_owned(),
            None => return Ok(Self { grids, tile }),
        };
        Err(ImageError::Processor { problems: vec![problem] })
    }

    /// Sizes of whole grids, in pixels.
    pub fn grids(&self) -> &[Size] {
        &self.grids
    }

    /// The size of the grid that shows most of a picture; among those that show as much, the smallest, and of equals the first.
    ///
    /// What a grid shows is the area of the picture as it fits into it, and never more than the picture has.
    pub fn grid_size(&self, picture: Size) -> Size {
        let (width, height) = (f64::from(picture.width), f64::from(picture.height));
        let own = u64::from(picture.width) * u64::from(picture.height);
        let mut best: Option<(u64, u64, Size)> = None;
        for &grid in &self.grids {
            let scale = (f64::from(grid.width) / width).min(f64::from(grid.height) / height);
            let shown = ((width * scale) as u64 * (height * scale) as u64).min(own);
            let area = u64::from(grid.width) * u64::from(grid.height);
            let wasted = area.saturating_sub(shown);
            if best.is_none_or(|(most, least, _)| shown > most || (shown == most && wasted < least)) {
                best = Some((shown, wasted, grid));
            }
        }
        best.map_or(Size::square(self.tile), |(_, _, grid)| grid)
    }

    /// That grid, in tiles.
    pub fn grid(&self, picture: Size) -> TileGrid {
        let Size { height, width } = self.grid_size(picture);
        TileGrid { rows: (height / self.tile) as usize, columns: (width / self.tile) as usize }
    }

    /// The tiles of a picture, row by row: it is resized into its grid as it is shaped, in the middle, with black around it.
    ///
    /// # Errors
    /// None for grids whose sides are at most 8192 pixels.
    pub fn cut(&self, picture: &Image, filter: ResizeFilter) -> Result<(TileGrid, Vec<Image>), ImageError> {
        let grid = self.grid_size(picture.size());
        let (wide, high) = (
            f64::from(grid.width) / f64::from(picture.width()),
            f64::from(grid.height) / f64::from(picture.height()),
        );
        let up = |side: u32, scale: f64, most: u32| ((f64::from(side) * scale).ceil() as u32).min(most);
        let fitted = if wide < high {
            Size { height: up(picture.height(), wide, grid.height), width: grid.width }
        } else {
            Size { height: grid.height, width: up(picture.width(), high, grid.width) }
        };
        let laid = picture.clone().resized(fitted.width, fitted.height, filter)?.centered_on(grid, [0; 3])?;
        Ok((self.grid(picture.size()), laid.tiled(Size::square(self.tile))?))
    }
}

#[cfg(test)]
mod tests;
