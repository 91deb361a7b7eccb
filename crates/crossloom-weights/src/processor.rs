//! What becomes of a picture: a publisher's image processor as keys of a recipe's encoder, and the other way.

use crossloom_data::image::{Fit, ImageError, PixelSettings, ResizeFilter};
use crossloom_recipe::{PictureFit, Resample, VisionModel};
use serde_json::{Map, Value, json};

/// Lays what a `preprocessor_config.json` says of pictures over what an encoder has by itself.
///
/// # Errors
/// All that is wrong with it, or that it makes pictures of another size than the encoder reads, whose positions are for one size.
pub(crate) fn read(vision: &mut VisionModel, values: &Map<String, Value>) -> Result<(), Vec<String>> {
    let settings = PixelSettings::read(values).map_err(|error| match error {
        ImageError::Processor { problems } => problems,
        other => vec![other.to_string()],
    })?;
    vision.image_mean = settings.mean.unwrap_or(vision.image_mean);
    vision.image_std = settings.std.unwrap_or(vision.image_std);
    vision.resample = match settings.filter {
        None => vision.resample,
        Some(ResizeFilter::Bilinear) => Resample::Bilinear,
        Some(ResizeFilter::Bicubic) => Resample::Bicubic,
    };
    let Some((fit, side)) = settings.square else { return Ok(()) };
    let side = side as usize;
    if side != vision.image_size {
        // Positions on a grid of their own are resampled to any.
        if vision.position_grid.is_none() {
            let read = vision.image_size;
            return Err(vec![format!("makes pictures of {side} pixels, and the encoder reads {read}")]);
        }
        vision.image_size = side;
    }
    (vision.fit, vision.resize_edge) = match fit {
        Fit::Stretch => (PictureFit::Stretch, None),
        Fit::Pad => (PictureFit::Pad, None),
        Fit::Crop { edge } => (PictureFit::Crop, Some(edge as usize).filter(|&edge| edge != side)),
    };
    Ok(())
}

/// The configuration of a processor that does the same; `class` is that of the encoder's family, where it can.
pub(crate) fn written(vision: &VisionModel, class: &str) -> Value {
    let side = vision.image_size;
    let square = json!({ "height": side, "width": side });
    let class = match vision.fit {
        PictureFit::Pad => "LlavaImageProcessor",
        // SigLIP's cuts nothing.
        PictureFit::Crop if class == "SiglipImageProcessor" => "CLIPImageProcessor",
        PictureFit::Stretch | PictureFit::Crop => class,
    };
    let mut config = shared(vision, class);
    match vision.fit {
        PictureFit::Stretch => config["size"] = square,
        PictureFit::Pad | PictureFit::Crop => {
            config["size"] = json!({ "shortest_edge": vision.resize_edge.unwrap_or(side) });
            config["crop_size"] = square;
        }
    }
    config["do_center_crop"] = json!(vision.fit != PictureFit::Stretch);
    if vision.fit == PictureFit::Pad {
        config["do_pad"] = json!(true);
    }
    config
}

/// What all processors are told.
pub(crate) fn shared(vision: &VisionModel, class: &str) -> Value {
    json!({
        "image_processor_type": class,
        "do_convert_rgb": true,
        "do_resize": true,
        // Pillow's numbers of its filters.
        "resample": match vision.resample { Resample::Bilinear => 2, Resample::Bicubic => 3 },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": vision.image_mean,
        "image_std": vision.image_std,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::family;

    fn vision(config: &Value) -> VisionModel {
        family::architecture(config.as_object().unwrap()).unwrap().vision.unwrap()
    }

    fn clip() -> VisionModel {
        vision(&json!({
            "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "hidden_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        }))
    }

    #[test]
    fn what_is_written_of_a_processor_is_read_back() {
        let cases = [
            (PictureFit::Stretch, None),
            (PictureFit::Pad, None),
            (PictureFit::Crop, None),
            (PictureFit::Crop, Some(40)),
        ];
        for (fit, resize_edge) in cases {
            for class in ["CLIPImageProcessor", "SiglipImageProcessor", "BitImageProcessor"] {
                let resample = Resample::Bilinear;
                let given = VisionModel { fit, resize_edge, resample, image_mean: [0.25; 3], ..clip() };
                let mut found = clip();
                read(&mut found, written(&given, class).as_object().unwrap()).unwrap();
                assert_eq!(found, given, "{class}");
            }
        }
    }

    #[test]
    fn clips_own_processor_cuts_and_one_of_another_size_is_refused() {
        let with = |size: u32| {
            json!({
                "image_processor_type": "CLIPImageProcessor", "size": { "shortest_edge": size },
                "crop_size": size, "do_center_crop": true,
            })
        };
        let mut found = clip();
        read(&mut found, with(32).as_object().unwrap()).unwrap();
        assert_eq!((found.fit, found.resize_edge), (PictureFit::Crop, None));
        let problems = read(&mut clip(), with(48).as_object().unwrap()).unwrap_err();
        assert_eq!(problems, ["makes pictures of 48 pixels, and the encoder reads 32"]);
    }

    #[test]
    fn a_processor_whose_pictures_have_many_sizes_is_refused() {
        let shapes = [
            json!({ "do_center_crop": false }),
            json!({ "do_resize": false, "do_center_crop": false }),
            json!({ "crop_size": { "height": 32, "width": 16 } }),
            json!({ "size": { "shortest_edge": 16 }, "crop_size": 32 }),
        ];
        for mut processor in shapes {
            processor["image_processor_type"] = json!("CLIPImageProcessor");
            let problems = read(&mut clip(), processor.as_object().unwrap()).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains("makes no squares"), "{problems:?}");
        }
    }

    #[test]
    fn dinov2_reads_the_size_that_its_processor_makes() {
        let mut found = vision(&json!({
            "model_type": "dinov2", "image_size": 56, "patch_size": 14, "hidden_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 4,
        }));
        let processor = json!({
            "image_processor_type": "BitImageProcessor", "size": { "shortest_edge": 32 },
            "crop_size": { "height": 28, "width": 28 },
        });
        read(&mut found, processor.as_object().unwrap()).unwrap();
        assert_eq!((found.image_size, found.position_grid), (28, Some(4)));
        assert_eq!((found.fit, found.resize_edge), (PictureFit::Crop, Some(32)));
    }

    #[test]
    fn a_processor_that_is_not_built_says_what_all_share() {
        let mut found = clip();
        let other =
            json!({ "image_processor_type": "PixtralImageProcessor", "image_std": [1, 1, 1], "resample": 2 });
        read(&mut found, other.as_object().unwrap()).unwrap();
        assert_eq!(
            (found.image_std, found.resample, found.fit),
            ([1.0; 3], Resample::Bilinear, PictureFit::Stretch)
        );
        let wrong = json!({ "image_mean": [0.5], "resample": 5 });
        assert_eq!(read(&mut found, wrong.as_object().unwrap()).unwrap_err().len(), 2);
    }
}
