//! The image processor of a pretrained model, as its configuration says it: from a picture to the numbers that its encoder reads.
//!
//! The numbers are those of transformers' *Pillow* backend with Pillow 12 or older, bit for bit. Its torchvision backend, and Pillow 13,
//! which resizes columns first where that is less work, round elsewhere: by at most 1 and 3 of 255 levels in `tests/processors.rs`.

mod config;
mod settings;

pub use settings::PixelSettings;

use serde::Serialize;

use super::anyres::{AnyRes, TileGrid};
use super::{CHANNELS, Fit, Image, ImageError, Normalization, PixelTable, ResizeFilter, Size};

/// Whose rules a processor follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessorFamily {
    /// CLIP's: the shorter side is resized, a square cut out.
    Clip,
    /// SigLIP's: resized to one size, whatever the shape.
    Siglip,
    /// BiT's, which DINOv2 has: as CLIP's.
    Bit,
    /// LLaVA-1.5's: as CLIP's, or padded to a square first.
    Llava,
    /// LLaVA-OneVision's: a base and tiles.
    LlavaOnevision,
}

/// To which size a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeTo {
    /// To this size, whatever its shape was.
    Exact(Size),
    /// The shorter side to so many pixels, the longer in proportion, rounded down.
    ShortestEdge(u32),
}

impl ResizeTo {
    /// The size that a picture gets.
    pub fn size_of(self, picture: Size) -> Size {
        let long = |edge: u32, long: u32, short: u32| {
            let long = (u64::from(edge) * u64::from(long)) as f64 / f64::from(short);
            long as u32
        };
        match self {
            Self::Exact(size) => size,
            Self::ShortestEdge(edge) if picture.width <= picture.height => {
                Size { height: long(edge, picture.height, picture.width), width: edge }
            }
            Self::ShortestEdge(edge) => {
                Size { height: edge, width: long(edge, picture.width, picture.height) }
            }
        }
    }
}

/// What becomes of a picture on its way to an encoder. The steps are done in the order of the fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageProcessor {
    family: ProcessorFamily,
    /// Into tiles, before anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    tiles: Option<AnyRes>,
    /// Padded to a square of the mean colour.
    pad_to_square: bool,
    resize: Option<ResizeTo>,
    filter: ResizeFilter,
    crop: Option<Size>,
    scale: Option<f64>,
    normalization: Option<Normalization>,
    /// Around a picture that is padded to a square: the mean colour.
    padding: [u8; CHANNELS],
}

/// A picture as an encoder reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processed {
    /// All of one size: the picture, or its base and then its tiles, row by row.
    pub pictures: Vec<Image>,
    /// How it was cut into tiles; none where it was not.
    pub grid: Option<TileGrid>,
    /// Of the picture as it was given.
    pub original: Size,
}

impl ImageProcessor {
    /// Whose rules it follows.
    pub fn family(&self) -> ProcessorFamily {
        self.family
    }

    /// How it cuts pictures into tiles, if it does.
    pub fn tiles(&self) -> Option<&AnyRes> {
        self.tiles.as_ref()
    }

    /// The size of what an encoder reads; none where that depends on the picture.
    pub fn size(&self) -> Option<Size> {
        match (self.crop, self.resize) {
            (Some(size), _) | (None, Some(ResizeTo::Exact(size))) => Some(size),
            (None, Some(ResizeTo::ShortestEdge(edge))) if self.pad_to_square || self.tiles.is_some() => {
                Some(Size::square(edge))
            }
            _ => None,
        }
    }

    /// How a picture of any shape becomes a square, and how many pixels a side has: that of a base where pictures are cut into tiles. None
    /// where it makes none.
    pub fn square(&self) -> Option<(Fit, u32)> {
        let square = |size: Size| (size.height == size.width).then_some(size.width);
        let side = square(self.size()?)?;
        let fit = match (self.tiles.is_some(), self.pad_to_square, self.resize?) {
            (false, true, _) => Fit::Pad,
            (false, false, ResizeTo::ShortestEdge(edge)) if edge >= side => Fit::Crop { edge },
            (false, false, ResizeTo::Exact(size)) if square(size) == Some(side) => Fit::Stretch,
            (true, _, _) => Fit::Stretch,
            _ => return None,
        };
        Some((fit, side))
    }

    /// A picture whole, as an encoder reads it: where pictures are cut into tiles, the base alone.
    ///
    /// # Errors
    /// A shape that would be resized beyond 8192 pixels.
    pub fn whole(&self, picture: Image) -> Result<Image, ImageError> {
        let base = self.tiles.as_ref().and(self.size());
        let picture = if self.pad_to_square { picture.padded_to_square(self.padding)? } else { picture };
        self.framed(picture, base)
    }

    /// What samples become when an encoder reads them.
    ///
    /// # Errors
    /// A mean or a deviation that cannot normalise.
    pub fn table(&self) -> Result<PixelTable, ImageError> {
        PixelTable::new(self.scale, self.normalization.as_ref())
    }

    /// A picture that stands alone in its conversation.
    ///
    /// # Errors
    /// A shape that would be resized beyond 8192 pixels.
    pub fn process(&self, picture: Image) -> Result<Processed, ImageError> {
        self.one(picture, true)
    }

    /// The pictures of one conversation: of several none is cut into tiles, and each is padded to a square where one alone would be cut.
    ///
    /// # Errors
    /// As [`ImageProcessor::process`].
    pub fn process_all(&self, pictures: Vec<Image>) -> Result<Vec<Processed>, ImageError> {
        let alone = pictures.len() == 1;
        pictures.into_iter().map(|picture| self.one(picture, alone)).collect()
    }

    fn one(&self, picture: Image, alone: bool) -> Result<Processed, ImageError> {
        let original = picture.size();
        let (pictures, grid) = match &self.tiles {
            Some(tiles) if alone => {
                let (grid, cut) = tiles.cut(&picture, self.filter)?;
                // The base is resized as all are.
                (std::iter::once(picture).chain(cut).collect(), Some(grid))
            }
            Some(_) => (vec![picture.padded_to_square(self.padding)?], None),
            None if self.pad_to_square => (vec![picture.padded_to_square(self.padding)?], None),
            None => (vec![picture], None),
        };
        let base = self.tiles.as_ref().and(self.size());
        let pictures = pictures.into_iter().map(|picture| self.framed(picture, base));
        Ok(Processed { pictures: pictures.collect::<Result<_, _>>()?, grid, original })
    }

    fn framed(&self, picture: Image, exactly: Option<Size>) -> Result<Image, ImageError> {
        let to = match (exactly, self.resize) {
            // A base is no square, and becomes one.
            (Some(size), Some(_)) => Some(size),
            (None, Some(resize)) => Some(resize.size_of(picture.size())),
            (_, None) => None,
        };
        let resized = match to {
            Some(Size { height, width }) => picture.resized(width, height, self.filter)?,
            None => picture,
        };
        match self.crop {
            Some(frame) => resized.center_cropped(frame),
            None => Ok(resized),
        }
    }
}
