//! The pictures of a batch.

use serde::{Deserialize, Serialize};

use super::{PackedBatch, PackingError, PackingPlan};
use crate::image::{CHANNELS, Normalization, PixelTable};

/// Whether a model sees the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageMode {
    /// It does.
    #[default]
    Shown,
    /// Every pixel is 0 after normalisation: what is learnt then is the prior of the questions.
    Withheld,
}

/// Writes pictures into rows.
#[derive(Debug)]
pub(super) struct PixelWriter {
    table: PixelTable,
    mode: ImageMode,
}

impl PixelWriter {
    pub(super) fn new(normalization: &Normalization, mode: ImageMode) -> Result<Self, PackingError> {
        Ok(Self { table: normalization.table()?, mode })
    }

    /// Writes a picture, u8 `[height, width, 3]`, into a row; zeros for no picture and when pictures are withheld.
    pub(super) fn write(
        &self,
        batch: &mut PackedBatch,
        row: usize,
        rgb: Option<&[u8]>,
    ) -> Result<(), PackingError> {
        let pixels = batch.pixel_row(row);
        match rgb.filter(|_| self.mode == ImageMode::Shown) {
            Some(rgb) => self.table.write_chw(rgb, pixels)?,
            None => pixels.fill(0.0),
        }
        Ok(())
    }
}

/// Refuses pictures of another size than planned.
pub(super) fn check_size(plan: &PackingPlan, width: u32, height: u32) -> Result<(), PackingError> {
    if (width, height) == (plan.image_width, plan.image_height) {
        return Ok(());
    }
    let (plan_width, plan_height) = (plan.image_width, plan.image_height);
    Err(PackingError::ImageSize { width, height, plan_width, plan_height })
}

impl PackedBatch {
    fn pixel_row(&mut self, row: usize) -> &mut [f32] {
        let len = self.plan().image_height as usize * self.plan().image_width as usize * CHANNELS;
        self.pixels_bchw.get_mut(row * len..(row + 1) * len).unwrap_or_default()
    }
}
