//! Where a picture stands in a frame of another size: cut about its middle, laid on a square, or on a canvas.

use serde::{Deserialize, Serialize};

use super::{CHANNELS, Image, ImageError};

/// The largest side that any picture may get.
pub(super) const MAX_SIDE: u32 = 8192;

/// Height and width in pixels, in the order in which configurations name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Pixels per row.
    pub width: u32,
}

impl Size {
    /// As high as wide.
    pub fn square(side: u32) -> Self {
        Self { height: side, width: side }
    }

    /// Refuses a side that is 0 or above 8192.
    pub(super) fn check(self) -> Result<Self, ImageError> {
        let Self { height, width } = self;
        if (1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width) {
            return Ok(self);
        }
        Err(ImageError::BadSize { width, height, limit: MAX_SIDE })
    }
}

impl std::fmt::Display for Size {
    /// `640x480`: width first, as of pictures.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl Image {
    /// Height and width.
    pub fn size(&self) -> Size {
        Size { height: self.height, width: self.width }
    }

    /// A frame about the picture's middle. Where it is larger than the picture, the rest is black; where what is left over is odd, one
    /// pixel more is cut below and to the right.
    ///
    /// # Errors
    /// A side of the frame is 0 or above 8192.
    pub fn center_cropped(self, frame: Size) -> Result<Self, ImageError> {
        if self.size() == frame {
            return Ok(self);
        }
        let before = |side: u32, cut: u32| (i64::from(side) - i64::from(cut)).div_euclid(2);
        let (top, left) = (before(self.height, frame.height), before(self.width, frame.width));
        self.placed(-top, -left, frame, [0; CHANNELS])
    }

    /// The picture in the middle of a square as large as its longer side; where what is left over is odd, one row or column more of the
    /// colour lies behind it.
    ///
    /// # Errors
    /// The longer side is above 8192.
    pub fn padded_to_square(self, colour: [u8; CHANNELS]) -> Result<Self, ImageError> {
        let frame = Size::square(self.width.max(self.height));
        self.centered_on(frame, colour)
    }

    /// The picture in the middle of a larger frame of one colour, the smaller half of what is left over before it.
    ///
    /// # Errors
    /// A side of the frame is 0 or above 8192.
    pub fn centered_on(self, frame: Size, colour: [u8; CHANNELS]) -> Result<Self, ImageError> {
        if self.size() == frame {
            return Ok(self);
        }
        let before = |frame: u32, side: u32| (i64::from(frame) - i64::from(side)).div_euclid(2);
        let (top, left) = (before(frame.height, self.height), before(frame.width, self.width));
        self.placed(top, left, frame, colour)
    }

    /// Tiles of one size, row by row. A rest that fills no tile is left out.
    ///
    /// # Errors
    /// A side of the tiles is 0 or above 8192.
    pub fn tiled(&self, tile: Size) -> Result<Vec<Self>, ImageError> {
        let Size { height, width } = tile.check()?;
        let corners = (0..self.height / height)
            .flat_map(|row| (0..self.width / width).map(move |column| (row * height, column * width)));
        corners
            .map(|(top, left)| self.placed(-i64::from(top), -i64::from(left), tile, [0; CHANNELS]))
            .collect()
    }

    /// A frame in which the picture's first pixel stands at a row and a column, which may lie outside of it.
    fn placed(&self, top: i64, left: i64, frame: Size, colour: [u8; CHANNELS]) -> Result<Self, ImageError> {
        let Size { height, width } = frame.check()?;
        let mut rgb = colour.repeat(height as usize * width as usize);
        // What of the picture lies in the frame, along one side: from where in the picture, to where in the frame, how much.
        let span = |at: i64, side: u32, frame: u32| {
            let from = at.max(0);
            let end = (at + i64::from(side)).min(i64::from(frame));
            ((from - at) as usize, from as usize, (end - from).max(0) as usize)
        };
        let (skipped, row, rows) = span(top, self.height, height);
        let (first, column, columns) = span(left, self.width, width);
        if columns > 0 {
            let (old, new) = (self.width as usize * CHANNELS, width as usize * CHANNELS);
            let old = self.rgb.chunks_exact(old).skip(skipped).take(rows);
            for (new, old) in rgb.chunks_exact_mut(new).skip(row).zip(old) {
                new[column * CHANNELS..][..columns * CHANNELS]
                    .copy_from_slice(&old[first * CHANNELS..][..columns * CHANNELS]);
            }
        }
        Self::new(width, height, rgb)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// A row of grey pixels.
    fn row(grey: &[u8]) -> Image {
        Image::new(grey.len() as u32, 1, grey.iter().flat_map(|&g| [g; 3]).collect()).unwrap()
    }

    fn grey(image: &Image) -> Vec<u8> {
        image.rgb().iter().step_by(3).copied().collect()
    }

    #[test]
    fn a_cut_of_odd_rest_takes_one_more_behind() {
        let cut = |width| grey(&row(&[1, 2, 3, 4, 5]).center_cropped(Size { height: 1, width }).unwrap());
        assert_eq!(cut(2), [2, 3]);
        assert_eq!(cut(3), [2, 3, 4]);
        assert_eq!(cut(5), [1, 2, 3, 4, 5]);
        // Larger than the picture: one more of black before it.
        assert_eq!(cut(8), [0, 0, 1, 2, 3, 4, 5, 0]);
    }

    #[test]
    fn a_square_has_the_picture_in_its_middle_and_the_colour_around_it() {
        let square = row(&[9, 9, 9, 9]).padded_to_square([7, 8, 9]).unwrap();
        assert_eq!((square.width(), square.height()), (4, 4));
        assert_eq!(&square.rgb()[..12], [7, 8, 9].repeat(4));
        assert_eq!(&square.rgb()[12..24], [9; 12]);
        assert_eq!(&square.rgb()[24..], [7, 8, 9].repeat(8));
    }

    #[test]
    fn tiles_are_row_by_row_and_sides_are_bounded() {
        let image = Image::new(4, 2, (0..8).flat_map(|g| [g; 3]).collect()).unwrap();
        let tiles: Vec<Vec<u8>> =
            image.tiled(Size { height: 1, width: 2 }).unwrap().iter().map(grey).collect();
        assert_eq!(tiles, [[0, 1], [2, 3], [4, 5], [6, 7]]);
        assert!(matches!(image.tiled(Size::square(0)), Err(ImageError::BadSize { .. })));
        assert!(matches!(image.center_cropped(Size::square(9000)), Err(ImageError::BadSize { .. })));
    }
}
