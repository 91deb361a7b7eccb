//! The pictures of a conversation as the views that an encoder sees.

use super::ConversationError;
use crate::image::{Image, ImageError, ImageProcessor, ProcessorFamily, Size, TileGrid, VisualLayout};

/// What becomes of the pictures of a conversation: one alone may be cut into tiles, of several each is one view, as the processor says.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureReader {
    processor: ImageProcessor,
    size: Size,
    /// Tokens of a view.
    tokens: usize,
    /// So many tiles' worth of tokens are the most.
    most_tiles: Option<usize>,
}

impl PictureReader {
    /// Views of `tokens` visual tokens each, what merges patches included. `most_tiles` is the most that the tokens of a picture in tiles may
    /// take, in tiles; none for as many as its grid has.
    ///
    /// # Errors
    /// Views of many sizes; tiles whose tokens are no square.
    pub fn new(
        processor: ImageProcessor,
        tokens: usize,
        most_tiles: Option<usize>,
    ) -> Result<Self, ConversationError> {
        let problem = |problem: &str| ConversationError::Views { problem: problem.to_owned() };
        let size = processor.size().ok_or_else(|| problem("the processor's pictures have many sizes"))?;
        let reader = Self { processor, size, tokens, most_tiles };
        if reader.has_rows() && reader.side().pow(2) != tokens {
            return Err(problem("the tokens of a tile are no square"));
        }
        Ok(reader)
    }

    /// Pixels of a view.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Visual tokens of one view.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Visual tokens that a row of so many views has room for: what the largest picture takes that is cut into no more tiles, with its base
    /// and the ends of its rows, and what as many pictures take as are whole as this one's tokens are of views. Where none is cut, those of all views.
    pub fn most_tokens(&self, views: usize) -> usize {
        let bases = |views: usize| views.saturating_mul(self.tokens + usize::from(self.has_rows()));
        let Some(tiles) = self.processor.tiles() else { return bases(views) };
        let grid = |size: &Size| (size.height / self.size.height, size.width / self.size.width);
        let grids = tiles.grids().iter().map(grid).map(|(rows, columns)| (rows as usize, columns as usize));
        let (mut most, mut rows) = (0, 0);
        for (down, across) in grids.filter(|(down, across)| down * across < views) {
            (most, rows) = (most.max(down * across), rows.max(down));
        }
        // Tokens of tiles are made fewer where the root of their number, over that of the most, is above 1.1.
        let kept =
            1 + self.most_tiles.map_or(most, |limit| most.min(limit.saturating_mul(121).div_ceil(100)));
        bases(kept).max(kept * self.tokens + rows * self.side())
    }

    /// Whether every picture is one view whose tokens are its own, in their order.
    pub fn is_plain(&self) -> bool {
        self.processor.tiles().is_none() && !self.has_rows()
    }

    /// How every picture of a conversation is laid out, and how many views it has.
    ///
    /// # Errors
    /// A picture that is nothing.
    pub fn layouts(&self, pictures: &[Image]) -> Result<Vec<(VisualLayout, usize)>, ImageError> {
        let alone = pictures.len() == 1;
        let tiles = self.processor.tiles().filter(|_| alone);
        let laid = pictures.iter().map(|picture| match tiles {
            Some(tiles) => {
                let grid: TileGrid = tiles.grid(picture.size());
                let most = self.most_tiles.unwrap_or_else(|| grid.tiles());
                Ok((VisualLayout::tiled(picture.size(), grid, self.side(), most)?, 1 + grid.tiles()))
            }
            None if self.has_rows() => Ok((VisualLayout::base_alone(self.side()), 1)),
            None => Ok((VisualLayout::whole(self.tokens), 1)),
        });
        laid.collect()
    }

    /// The views of all pictures of a conversation, each picture's in their order.
    ///
    /// # Errors
    /// A shape that would be resized beyond 8192 pixels.
    pub fn views(&self, pictures: Vec<Image>) -> Result<Vec<Vec<Image>>, ImageError> {
        let processed = self.processor.process_all(pictures)?;
        Ok(processed.into_iter().map(|one| one.pictures).collect())
    }

    fn has_rows(&self) -> bool {
        self.processor.family() == ProcessorFamily::LlavaOnevision
    }

    /// Tokens along a side of a view.
    fn side(&self) -> usize {
        self.tokens.isqrt()
    }
}
