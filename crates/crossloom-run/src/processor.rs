//! How a picture becomes what a vision encoder reads.

use std::path::Path;

use crossloom_data::image::{
    Fit, Image, ImageLimits, ImageProcessor, Normalization, PixelSettings, ResizeFilter,
};
use crossloom_recipe::{PictureFit, Recipe, Resample};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;

/// The file of an image processor beside an encoder's weights.
const PREPROCESSOR: &str = "preprocessor_config.json";

/// What is to be said where an encoder's weights come with a processor that is not built, whose pictures are stretched to the encoder's square.
///
/// # Errors
/// A processor's file that cannot be read.
pub(crate) fn foreign_pictures(recipe: &Recipe) -> Result<Option<String>, ExperimentError> {
    let weights = recipe.model.vision.weights.as_ref().or(recipe.model.weights.as_ref());
    let Some(path) = weights.map(|weights| Path::new(&weights.path).join(PREPROCESSOR)) else {
        return Ok(None);
    };
    if recipe.model.vision.fit != PictureFit::Stretch || !path.exists() {
        return Ok(None);
    }
    let values = crossloom_weights::table(&path)?;
    if PixelSettings::read(&values)?.square.is_some() {
        return Ok(None);
    }
    let name = values.get("image_processor_type").and_then(serde_json::Value::as_str).unwrap_or("none");
    let side = recipe.model.vision.image_size;
    Ok(Some(format!(
        "the processor of the encoder's weights ({name}) is not built: pictures are stretched to {side} by {side} pixels, whatever their \
         shape; `model.vision.fit` says otherwise"
    )))
}

/// The image processor of a model: it belongs to the model's preset, and is written into the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Pixels per side that the model is given.
    pub image_size: u32,
    /// Subtracted from red, green and blue, on the scale 0 to 1.
    pub mean: [f32; 3],
    /// Divided by, after that.
    pub std: [f32; 3],
    /// How a picture of another size is resized.
    pub resample: ResizeFilter,
    /// How a picture of another shape becomes a square.
    #[serde(default)]
    pub fit: Fit,
}

impl Processor {
    /// The processor of a recipe's model.
    pub fn of(recipe: &Recipe) -> Self {
        let vision = &recipe.model.vision;
        let side = recipe.picture_side();
        // Tiles of a picture are cut from one that is so many times larger.
        let edge = vision.resize_edge.map_or(side, |edge| edge * side / vision.image_size);
        Self {
            image_size: side as u32,
            mean: vision.image_mean.map(|value| value as f32),
            std: vision.image_std.map(|value| value as f32),
            resample: match vision.resample {
                Resample::Bilinear => ResizeFilter::Bilinear,
                Resample::Bicubic => ResizeFilter::Bicubic,
            },
            fit: match vision.fit {
                PictureFit::Stretch => Fit::Stretch,
                PictureFit::Pad => Fit::Pad,
                PictureFit::Crop => Fit::Crop { edge: edge as u32 },
            },
        }
    }

    /// From samples to what the encoder reads.
    pub fn normalization(&self) -> Normalization {
        Normalization { mean: self.mean, std: self.std }
    }

    /// The same as steps over a picture.
    ///
    /// # Errors
    /// Sizes and statistics that no recipe has, as a damaged file may hold them.
    pub fn images(&self) -> Result<ImageProcessor, ExperimentError> {
        Ok(ImageProcessor::squares(self.fit, self.image_size, self.resample, self.normalization())?)
    }

    /// Reads a picture file and brings it to the encoder's size.
    ///
    /// # Errors
    /// A file that cannot be read, is no picture, or is too large.
    pub fn open(&self, path: &Path) -> Result<Image, ExperimentError> {
        let image = Image::open(path, &ImageLimits::default())?;
        Ok(self.images()?.whole(image)?)
    }
}
