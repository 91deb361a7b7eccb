//! Pictures of any resolution, cut into tiles that the encoder reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A picture is seen whole, as its base, and in tiles of the encoder's size, in the grid that shows most of it (LLaVA-OneVision's
/// `anyres_max`). Tokens of the tiles that show nothing of the picture are left out, and a learned token, `image_newline`, ends
/// every row of them.
///
/// A sequence then shows several pictures, each as its base alone, or one in tiles, or none. Adds the weights `image_newline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnyRes {
    /// Tiles along a side of the largest grid. There are grids of all shapes up to it, from one tile on.
    #[schemars(range(min = 1, max = 32), extend("default" = 6))]
    pub side: usize,
    /// So many tiles' worth of tokens are the most: more are made fewer, by interpolation, once they exceed it by 21 %.
    #[schemars(range(min = 1, max = 1024), extend("default" = 9))]
    pub most_tiles: usize,
}

impl AnyRes {
    /// Views of one picture at the most: its base and the tiles of the largest grid.
    pub fn most_views(&self) -> usize {
        1 + self.side * self.side
    }

    /// No picture has more visual tokens, where a tile has `grid` by `grid`: those of its base, of its tiles, and the ends of their rows.
    pub fn most_tokens(&self, grid: usize) -> usize {
        // Tokens of tiles are made fewer where the root of their number, over that of the most tiles, is above 1.1.
        let tiles = (self.side * self.side).min((121 * self.most_tiles).div_ceil(100));
        grid * grid * (1 + tiles) + self.side * grid
    }
}
