//! From a `preprocessor_config.json`, or the `image_processor` of a `processor_config.json`, to a processor.

use serde_json::{Map, Value};

use super::{ImageProcessor, ProcessorFamily, ResizeTo};
use crate::image::anyres::AnyRes;
use crate::image::frame::MAX_SIDE;
use crate::image::{CHANNELS, Fit, ImageError, Normalization, ResizeFilter, Size};

/// Keys that say nothing of pixels, or what is always so here: pictures are RGB.
const SILENT: &[&str] = &[
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "feature_extractor_type",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "model_input_names",
    "processor_class",
    "return_tensors",
];
/// Keys that are read.
const READ: &[&str] = &[
    "crop_size",
    "do_center_crop",
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "image_grid_pinpoints",
    "image_mean",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
];
/// Keys that change pixels in ways that are not built, and may only be absent or null.
const NOT_BUILT: &[&str] = &["pad_size", "size_divisor", "crop_pct"];

/// What a family's processor does where its configuration is silent.
struct Defaults {
    size: ResizeTo,
    crop: Option<u32>,
    normalization: Normalization,
    /// Sizes of grids of tiles along a side, in tiles; none where pictures are not cut.
    tiles: Option<u32>,
}

fn defaults(family: ProcessorFamily) -> Defaults {
    let (size, crop, normalization, tiles) = match family {
        ProcessorFamily::Clip | ProcessorFamily::Bit | ProcessorFamily::Llava => {
            (ResizeTo::ShortestEdge(224), Some(224), Normalization::CLIP, None)
        }
        ProcessorFamily::Siglip => (ResizeTo::Exact(Size::square(224)), None, Normalization::HALF, None),
        ProcessorFamily::LlavaOnevision => {
            (ResizeTo::Exact(Size::square(384)), None, Normalization::CLIP, Some(6))
        }
    };
    Defaults { size, crop, normalization, tiles }
}

impl ProcessorFamily {
    /// The family of a configuration, if it is one that is built.
    pub(super) fn of(values: &Map<String, Value>) -> Option<Self> {
        Self::named(Self::name(values))
    }

    /// The name that a configuration gives its processor.
    fn name(values: &Map<String, Value>) -> &str {
        let name = values.get("image_processor_type").or_else(|| values.get("feature_extractor_type"));
        name.and_then(Value::as_str).unwrap_or_default()
    }

    /// The family that a configuration names, with or without the name of a backend behind it.
    fn named(name: &str) -> Option<Self> {
        let name = ["Fast", "Pil"].into_iter().find_map(|backend| name.strip_suffix(backend)).unwrap_or(name);
        let family = name.strip_suffix("ImageProcessor").or_else(|| name.strip_suffix("FeatureExtractor"))?;
        Some(match family {
            "CLIP" => Self::Clip,
            "Siglip" => Self::Siglip,
            "Bit" => Self::Bit,
            "Llava" => Self::Llava,
            "LlavaOnevision" => Self::LlavaOnevision,
            _ => return None,
        })
    }
}

/// The keys of a configuration, and what is wrong with them.
pub(super) struct Keys<'v> {
    values: &'v Map<String, Value>,
    problems: Vec<String>,
}

impl<'v> Keys<'v> {
    pub(super) fn new(values: &'v Map<String, Value>) -> Self {
        Self { values, problems: Vec::new() }
    }

    /// Everything that was wrong with what was asked for.
    pub(super) fn finish(self) -> Result<(), ImageError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ImageError::Processor { problems: self.problems }) }
    }

    /// A value that is there and not null, as `read` understands it; `what` is what it should have been.
    fn get<T>(&mut self, key: &str, what: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.values.get(key).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.problems.push(format!("`{key}` is {}; it must be {what}", short(value)));
        }
        read
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        self.get(key, "true or false", Value::as_bool).unwrap_or(default)
    }

    /// The filter of resizing, by Pillow's number of it.
    pub(super) fn filter(&mut self) -> Option<ResizeFilter> {
        self.get("resample", "2 (bilinear) or 3 (bicubic)", |value| match value.as_u64()? {
            2 => Some(ResizeFilter::Bilinear),
            3 => Some(ResizeFilter::Bicubic),
            _ => None,
        })
    }

    pub(super) fn colours(&mut self, key: &str) -> Option<[f64; CHANNELS]> {
        self.get(key, "three finite numbers", |value| {
            let numbers: Vec<f64> = value.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
            <[f64; CHANNELS]>::try_from(numbers).ok().filter(|all| all.iter().all(|value| value.is_finite()))
        })
    }

    /// Names that are none of a processor's, with the nearest that is.
    fn unknown(&mut self) {
        let known = || SILENT.iter().chain(READ).chain(NOT_BUILT);
        for (key, value) in self.values {
            if NOT_BUILT.contains(&key.as_str()) && !value.is_null() {
                self.problems.push(format!("`{key}` is {}, which is not built", short(value)));
            }
            if known().any(|known| known == key) {
                continue;
            }
            let nearest = known().min_by_key(|known| strsim::osa_distance(known, key));
            let near = nearest.filter(|known| strsim::osa_distance(known, key) <= 3);
            let hint = near.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            self.problems.push(format!("`{key}` is no key of an image processor{hint}"));
        }
    }
}

/// A value as a message can show it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn side(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok().filter(|side| (1..=MAX_SIDE).contains(side))
}

/// A height and a width and nothing else.
fn exact(value: &Value) -> Option<Size> {
    let map = value.as_object()?;
    let of = |key: &str| side(map.get(key)?);
    let others =
        map.iter().any(|(key, value)| !["height", "width"].contains(&key.as_str()) && !value.is_null());
    (!others).then_some(Size { height: of("height")?, width: of("width")? })
}

/// A shorter side and nothing else.
fn shortest(value: &Value) -> Option<u32> {
    let map = value.as_object()?;
    let others = map.iter().any(|(key, value)| key != "shortest_edge" && !value.is_null());
    if others { None } else { side(map.get("shortest_edge")?) }
}

/// Heights and widths of grids of tiles.
fn pinpoints(value: &Value) -> Option<Vec<Size>> {
    let size = |pair: &Value| match pair.as_array()?.as_slice() {
        [height, width] => Some(Size { height: side(height)?, width: side(width)? }),
        _ => None,
    };
    let sizes: Vec<Size> = value.as_array()?.iter().map(size).collect::<Option<_>>()?;
    (!sizes.is_empty() && sizes.len() <= 4096).then_some(sizes)
}

impl ImageProcessor {
    /// Reads a configuration of CLIP's, SigLIP's, BiT's (DINOv2), LLaVA's or LLaVA-OneVision's processor. A key that is absent or null is what
    /// transformers has for it.
    ///
    /// # Errors
    /// Everything that is wrong: another processor, keys that none has, values of another type, steps that are not built.
    pub fn read(values: &Map<String, Value>) -> Result<Self, ImageError> {
        let mut keys = Keys::new(values);
        let name = ProcessorFamily::name(values);
        let Some(family) = ProcessorFamily::of(values) else {
            let problem = format!(
                "`image_processor_type` is \"{name}\"; the processors of CLIP, Siglip, Bit, Llava and LlavaOnevision are built"
            );
            return Err(ImageError::Processor { problems: vec![problem] });
        };
        keys.unknown();
        let known = defaults(family);

        // A lone number is the shorter side where a family resizes that, and a square elsewhere.
        let lone = |value: &Value| match known.size {
            ResizeTo::ShortestEdge(_) => side(value).map(ResizeTo::ShortestEdge),
            ResizeTo::Exact(_) => side(value).map(|side| ResizeTo::Exact(Size::square(side))),
        };
        let what = "{\"height\", \"width\"} or {\"shortest_edge\"}, of 1 to 8192 pixels";
        let size = keys.get("size", what, |value| {
            exact(value)
                .map(ResizeTo::Exact)
                .or_else(|| shortest(value).map(ResizeTo::ShortestEdge))
                .or_else(|| lone(value))
        });
        let size = size.unwrap_or(known.size);
        let crop = keys.get("crop_size", "{\"height\", \"width\"}, of 1 to 8192 pixels", |value| {
            exact(value).or_else(|| side(value).map(Size::square))
        });
        let crop = crop.or(known.crop.map(Size::square));
        let filter = keys.filter();
        let factor = keys.get("rescale_factor", "a number above 0", |value| {
            value.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0)
        });
        let (mean, std) = (keys.colours("image_mean"), keys.colours("image_std"));
        let pinpoints =
            keys.get("image_grid_pinpoints", "a list of [height, width], of 1 to 8192 pixels", pinpoints);
        let (resize, cut) = (keys.flag("do_resize", true), keys.flag("do_center_crop", known.crop.is_some()));
        let (scale, normalize) = (keys.flag("do_rescale", true), keys.flag("do_normalize", true));
        // Of OneVision's it says that batches are padded, which no batch here is.
        let pad = keys.flag("do_pad", false) && family == ProcessorFamily::Llava;
        if pinpoints.is_some() && known.tiles.is_none() {
            keys.problems.push(format!("`image_grid_pinpoints` are nothing that {name} reads"));
        }
        if cut && crop.is_none() {
            keys.problems.push("`do_center_crop` is true, but there is no `crop_size`".to_owned());
        }

        let known_mean = known.normalization;
        let normalization = Normalization {
            mean: mean.map_or(known_mean.mean, |mean| mean.map(|value| value as f32)),
            std: std.map_or(known_mean.std, |std| std.map(|value| value as f32)),
        };
        let whole_mean = mean.unwrap_or_else(|| known_mean.mean.map(shortest_decimal));
        let tiles = known.tiles.map(|most| {
            let tile = match (keys.values.get("crop_size").and_then(exact), size) {
                (Some(Size { height, .. }), _)
                | (None, ResizeTo::Exact(Size { height, .. }) | ResizeTo::ShortestEdge(height)) => height,
            };
            let grids = || (1..=most).flat_map(|high| (1..=most).map(move |wide| (high, wide)));
            let default =
                || grids().map(|(high, wide)| Size { height: high * 384, width: wide * 384 }).collect();
            AnyRes::new(pinpoints.unwrap_or_else(default), tile)
        });
        let tiles = match tiles.transpose() {
            Ok(tiles) => tiles,
            Err(ImageError::Processor { problems }) => {
                keys.problems.extend(problems);
                None
            }
            Err(other) => return Err(other),
        };
        keys.finish()?;
        let made = Self {
            family,
            tiles,
            pad_to_square: pad,
            resize: resize.then_some(size),
            filter: filter.unwrap_or(ResizeFilter::Bicubic),
            crop: crop.filter(|_| cut),
            scale: scale.then_some(factor.unwrap_or(1.0 / 255.0)),
            normalization: normalize.then_some(normalization),
            padding: colour(whole_mean),
        };
        made.table()?;
        Ok(made)
    }

    /// A processor that makes a base of `side` by `side` pixels of a picture, and tiles of that size as many as suit its size and shape, as
    /// LLaVA-OneVision's does: `grid` along a side of the largest grid. `normalization` is of samples on the scale 0 to 1.
    ///
    /// # Errors
    /// A side that is 0 or above 8192; no grid, or one of too many tiles; a normalisation that is none.
    pub fn tiled(
        side: u32,
        grid: u32,
        filter: ResizeFilter,
        normalization: Normalization,
    ) -> Result<Self, ImageError> {
        let sizes = (1..=grid).flat_map(|high| (1..=grid).map(move |wide| (high, wide)));
        let sizes = sizes.map(|(high, wide)| Size { height: high * side, width: wide * side }.check());
        let tiles = AnyRes::new(sizes.collect::<Result<_, _>>()?, side)?;
        let family = ProcessorFamily::LlavaOnevision;
        Ok(Self { family, tiles: Some(tiles), ..Self::squares(Fit::Stretch, side, filter, normalization)? })
    }

    /// A processor that makes squares of `side` pixels of pictures of any shape. `normalization` is of samples on the scale 0 to 1.
    ///
    /// # Errors
    /// A side that is 0 or above 8192; a cut that is larger than what it is cut of; a normalisation that is none.
    pub fn squares(
        fit: Fit,
        side: u32,
        filter: ResizeFilter,
        normalization: Normalization,
    ) -> Result<Self, ImageError> {
        let frame = Size::square(side).check()?;
        let (family, resize, crop) = match fit {
            Fit::Stretch => (ProcessorFamily::Siglip, ResizeTo::Exact(frame), None),
            Fit::Pad => (ProcessorFamily::Llava, ResizeTo::Exact(frame), None),
            Fit::Crop { edge } if edge < side => {
                let problem = format!("a square of {side} pixels is cut out of pictures of {edge}");
                return Err(ImageError::Processor { problems: vec![problem] });
            }
            Fit::Crop { edge } => {
                Size::square(edge).check()?;
                (ProcessorFamily::Clip, ResizeTo::ShortestEdge(edge), Some(frame))
            }
        };
        let made = Self {
            family,
            tiles: None,
            pad_to_square: fit == Fit::Pad,
            resize: Some(resize),
            filter,
            crop,
            scale: Some(1.0 / 255.0),
            normalization: Some(normalization),
            padding: colour(normalization.mean.map(shortest_decimal)),
        };
        made.table()?;
        Ok(made)
    }
}

/// A mean on the scale 0 to 1 as a colour, rounded down.
fn colour(mean: [f64; CHANNELS]) -> [u8; CHANNELS] {
    mean.map(|mean| (mean * 255.0).clamp(0.0, 255.0) as u8)
}

/// The decimal number that an f32 was written as.
fn shortest_decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
