//! What the encoder looks at: a picture, and tiles of it in high resolution.

use crossloom_graph::Tensor;
use crossloom_recipe::{Recipe, VisionModel};

use super::{Tower, VisionState};
use crate::ModelError;
use crate::params::Params;

/// The pictures that pass the encoder at once.
pub(crate) struct Views<'r> {
    vision: &'r VisionModel,
    pictures: usize,
    /// Tiles along a side of a picture; 1 where there are none.
    side: usize,
    /// `[B, C, S, S]`, or with tiles `[B + B side², C, S, S]`: all pictures, then all tiles of each, row by row.
    pixels: Tensor,
}

impl<'r> Views<'r> {
    /// Those of pictures `[B, C, side S, side S]`.
    pub(crate) fn of(p: &mut Params, recipe: &'r Recipe, pixels: Tensor) -> Result<Self, ModelError> {
        let (vision, side) = (&recipe.model.vision, recipe.topology.magnification());
        let pictures = p.graph.shape(pixels)[0];
        if side == 1 {
            return Ok(Self { vision, pictures, side, pixels });
        }
        p.enter("vision.views");
        let (channels, size) = (vision.channels, vision.image_size);
        let blocks = p.graph.reshape(pixels, &[pictures, channels, size, side, size, side])?;
        let sum = p.graph.reduce_sum(blocks, &[3, 5])?;
        let whole = p.graph.affine(sum, ((side * side) as f64).recip(), 0.0)?;
        let tiles = p.graph.reshape(pixels, &[pictures, channels, side, size, side, size])?;
        let tiles = p.graph.transpose(tiles, &[0, 2, 4, 1, 3, 5])?;
        let tiles = p.graph.reshape(tiles, &[pictures * side * side, channels, size, size])?;
        let pixels = p.graph.concat(&[whole, tiles], 0)?;
        p.leave();
        Ok(Self { vision, pictures, side, pixels })
    }

    /// What the encoder is given.
    pub(crate) fn pixels(&self) -> Tensor {
        self.pixels
    }

    /// A state of the pictures or of their tiles, of an encoder over these views.
    pub(crate) fn state(&self, p: &mut Params, tower: &Tower, of: VisionState) -> Result<Tensor, ModelError> {
        let state = tower.tap(p, of)?;
        let (pictures, side) = (self.pictures, self.side);
        match of {
            _ if side == 1 => Ok(state),
            VisionState::Patches(_) | VisionState::Class(_) => Ok(p.graph.slice(state, 0, 0, pictures)?),
            VisionState::Tiles(..) => {
                let (grid, width) = (self.vision.grid(), self.vision.hidden);
                let tiles = p.graph.slice(state, 0, pictures, pictures * side * side)?;
                let tiles = p.graph.reshape(tiles, &[pictures, side, side, grid, grid, width])?;
                let rows = p.graph.transpose(tiles, &[0, 1, 3, 2, 4, 5])?;
                Ok(p.graph.reshape(rows, &[pictures, side * side * grid * grid, width])?)
            }
        }
    }
}
