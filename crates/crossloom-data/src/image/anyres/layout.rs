//! What every visual token of a picture is made of, so that the features of all taps are packed alike.

use super::TileGrid;
use crate::image::{ImageError, Size};

/// A grid is made smaller where its area is more than so many times, squared, that of the most tiles.
const SHRINK_ABOVE: f64 = 1.1;

/// The visual tokens of one picture in the order of the sequence, each a mix of the patches that an encoder saw, or the row's end.
///
/// Patches are numbered tile by tile (the base first, then the grid's tiles, row by row) and row by row within a tile. The layout
/// depends on sizes alone and is linear in the features, so it is made once and applied to what every tap gives.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualLayout {
    /// Rows of features that it reads.
    patches: usize,
    /// Per token, where its parts end in `parts`; a token without parts is a row's end.
    ends: Vec<u32>,
    /// Patches and their weights.
    parts: Vec<(u32, f32)>,
    /// Rows and columns of tokens behind the base, row ends not counted.
    rows: usize,
    columns: usize,
}

/// A range of the patches of a grid along one side.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: usize,
    len: usize,
}

impl VisualLayout {
    /// A picture that is not cut: every patch is a token, in its order.
    pub fn whole(patches: usize) -> Self {
        let mut made = Self::empty(patches);
        made.base(patches);
        made
    }

    /// A base alone, with one row's end behind it: a picture of several in a LLaVA-OneVision conversation.
    pub fn base_alone(side: usize) -> Self {
        let mut made = Self::whole(side * side);
        made.row_end();
        made
    }

    /// A base and a grid of tiles of `side * side` patches each: what lies on the tiles' black edges is left out, rows and columns are
    /// made fewer (bilinear, as pictures between pixel centres) where they are many more than those of `most_tiles` tiles, and every row
    /// of the grid has an end.
    ///
    /// # Errors
    /// A side, a grid or a picture that is nothing; more than 2^31 patches.
    pub fn tiled(picture: Size, grid: TileGrid, side: usize, most_tiles: usize) -> Result<Self, ImageError> {
        let patches = (grid.tiles() as u128 + 1) * (side as u128).pow(2);
        let counts = [side, grid.tiles(), most_tiles, picture.width as usize, picture.height as usize];
        if counts.contains(&0) || patches > 1 << 31 {
            let problem = format!(
                "a picture of {picture} in {} by {} tiles of {side} by {side} patches, at most {most_tiles} tiles' worth, is nothing",
                grid.columns, grid.rows
            );
            return Err(ImageError::Processor { problems: vec![problem] });
        }
        let (high, wide) = shown(picture, grid, side);
        let mut made = Self::empty(patches as usize);
        made.base(side * side);

        let most = (most_tiles as f64) * (side as f64).powi(2);
        let ratio = ((high.len * wide.len) as f64 / most).sqrt();
        (made.rows, made.columns) = if ratio > SHRINK_ABOVE {
            (floor_divided(high.len, ratio), floor_divided(wide.len, ratio))
        } else {
            (high.len, wide.len)
        };
        let patch = |row: usize, column: usize| {
            let tile = (row / side) * grid.columns + column / side;
            // The base comes first.
            ((tile + 1) * side * side + (row % side) * side + column % side) as u32
        };
        for row in 0..made.rows {
            let rows = between(row, made.rows, high);
            for column in 0..made.columns {
                let columns = between(column, made.columns, wide);
                for (y, down) in rows.into_iter().flatten() {
                    for (x, across) in columns.into_iter().flatten() {
                        made.parts.push((patch(y, x), down * across));
                    }
                }
                made.ends.push(made.parts.len() as u32);
            }
            made.row_end();
        }
        Ok(made)
    }

    fn empty(patches: usize) -> Self {
        Self { patches, ends: Vec::new(), parts: Vec::new(), rows: 0, columns: 0 }
    }

    fn base(&mut self, patches: usize) {
        self.parts.extend((0..patches as u32).map(|patch| (patch, 1.0)));
        self.ends.extend(1..=patches as u32);
    }

    fn row_end(&mut self) {
        self.ends.push(self.parts.len() as u32);
    }

    /// How many visual tokens the picture has, row ends included.
    pub fn tokens(&self) -> usize {
        self.ends.len()
    }

    /// How many rows of features it reads: the patches of all tiles.
    pub fn patches(&self) -> usize {
        self.patches
    }

    /// Rows and columns of tokens behind the base, without the rows' ends; zeros where there is none.
    pub fn rows_and_columns(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The patches that a token is made of, with weights that sum to 1; nothing for a row's end, and none for a token that is not there.
    pub fn token(&self, token: usize) -> Option<&[(u32, f32)]> {
        let end = *self.ends.get(token)? as usize;
        let start =
            token.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&start| start as usize);
        self.parts.get(start..end)
    }

    /// Writes the tokens `[tokens, width]` of features `[patches, width]`; `row_end` is what stands at a row's end, `[width]`.
    ///
    /// # Errors
    /// A number of values that is not what these shapes have.
    pub fn pack(&self, features: &[f32], row_end: &[f32], tokens: &mut [f32]) -> Result<(), ImageError> {
        let width = row_end.len();
        let counts = [
            ("values of features", self.patches * width, features.len()),
            ("values of tokens", self.tokens() * width, tokens.len()),
        ];
        if let Some((what, expected, found)) =
            counts.into_iter().find(|(_, expected, found)| expected != found)
        {
            return Err(ImageError::Features { what, expected, found });
        }
        for (token, made) in tokens.chunks_exact_mut(width.max(1)).enumerate() {
            match self.token(token).unwrap_or_default() {
                [] => made.copy_from_slice(row_end),
                [(patch, _)] => made.copy_from_slice(&features[*patch as usize * width..][..width]),
                parts => {
                    made.fill(0.0);
                    for (patch, weight) in parts {
                        let of = &features[*patch as usize * width..][..width];
                        made.iter_mut().zip(of).for_each(|(sum, value)| *sum += weight * value);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The rows and columns of patches that show the picture, of a grid in which it lies in the middle.
fn shown(picture: Size, grid: TileGrid, side: usize) -> (Span, Span) {
    let (rows, columns) = (grid.rows * side, grid.columns * side);
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let whole = |len| Span { first: 0, len };
    let inner = |len: usize, shown: f64| {
        let first = len.saturating_sub(rounded(shown)) / 2;
        Span { first, len: len - 2 * first }
    };
    if width / height > columns as f64 / rows as f64 {
        (inner(rows, height * (columns as f64 / width)), whole(columns))
    } else {
        (whole(rows), inner(columns, width * (rows as f64 / height)))
    }
}

/// Rounded to seven digits behind the point, then down: a number that is whole but for the last bits is that whole number.
fn rounded(value: f64) -> usize {
    format!("{value:.7}").parse::<f64>().unwrap_or(value) as usize
}

/// Whole times that `ratio` is in `len`. The remainder is exact, so no quotient is rounded up to a whole number.
fn floor_divided(len: usize, ratio: f64) -> usize {
    let len = len as f64;
    ((len - len % ratio) / ratio).round() as usize
}

/// The two places of a span, and their weights, that lie around the middle of a new place; one where there is no other, or no need.
fn between(new: usize, count: usize, span: Span) -> [Option<(usize, f32)>; 2] {
    if count == span.len {
        return [Some((span.first + new, 1.0)), None];
    }
    let scale = span.len as f32 / count as f32;
    let at = (scale * (new as f32 + 0.5) - 0.5).max(0.0);
    let low = (at as usize).min(span.len - 1);
    let high = (low + 1).min(span.len - 1);
    let far = (at - low as f32).clamp(0.0, 1.0);
    [Some((span.first + low, 1.0 - far)), Some((span.first + high, far))]
}
