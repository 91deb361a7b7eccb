#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use crossloom_ir::DType;
use proptest::prelude::*;

use super::extents::{Extents, SMALL};
use super::*;

const DIMS: Dims = SMALL;

/// Those of a model that injects its blocks.
fn dims() -> Dims {
    let named = |prefix: &str| (1..=3).map(|block| format!("{prefix}block.{block}")).collect();
    Dims { adapters: named(""), corners: named("layer.0."), ..DIMS }
}

/// Names that a model of ours can have.
fn ours() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_usize..40).prop_map(|n| format!("vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.weight")),
        (0_usize..40).prop_map(|n| format!("language_model.model.layers.{n}.self_attn.q_proj.bias")),
        (1_usize..3).prop_map(|n| format!("multi_modal_projector.linear_{n}.weight")),
        Just("vision_tower.vision_model.embeddings.patch_embedding.weight".to_owned()),
        Just("language_model.model.embed_tokens.weight".to_owned()),
        Just("language_model.model.norm.weight".to_owned()),
        Just("language_model.lm_head.weight".to_owned()),
        Just("image_newline".to_owned()),
    ]
}

proptest! {
    #[test]
    fn every_layout_leads_there_and_back(name in ours()) {
        for layout in all() {
            let Some(found) = layout.of_ours(&name, &DIMS) else {
                // A part that stands alone has no projector, Granite Vision none at the input, and Qwen3-VL no tiles.
                let lacks = match layout.name {
                    "Granite Vision" => "multi_modal_projector.",
                    "Qwen3-VL" => "image_newline",
                    _ => "none",
                };
                prop_assert!(!layout.whole || name.starts_with(lacks));
                continue;
            };
            prop_assert!(found.ours.contains(&name));
            for file in &found.file {
                prop_assert_eq!(layout.of_file(file, &DIMS), Some(found.clone()), "{} in {}", file, layout.name);
            }
        }
    }

    /// Whatever a file is called that some row knows, the row that we take back is the same.
    #[test]
    fn every_row_leads_there_and_back(number in 0_usize..100, rest in "[a-z_0-9]{1,8}\\.weight") {
        for layout in all() {
            for row in layout.rows.iter().copied().flatten() {
                for pattern in row.0.iter().chain(row.1) {
                    // All names of a row take the same.
                    let wildcards = |name: &str| {
                        let marks = ["{n}", "{adapter}", "{corner}"].map(|mark| name.matches(mark).count());
                        (marks, name.ends_with('*'))
                    };
                    prop_assert_eq!(wildcards(pattern), wildcards(row.0[0]));
                }
                for pattern in row.0 {
                    let tap = (number % 3).to_string();
                    let name = pattern.replace("{n}", &number.to_string()).replace("{adapter}", &tap).replace("{corner}", &tap);
                    let name = name.replace('*', &rest);
                    let found = layout.of_file(&name, &dims()).unwrap();
                    for ours in &found.ours {
                        prop_assert_eq!(layout.of_ours(ours, &dims()), Some(found.clone()), "{}", layout.name);
                    }
                }
            }
        }
    }
}

#[test]
fn names_are_those_of_published_files() {
    let names = |ours: &str| LAYOUTS.iter().map(|l| l.to_file(ours).unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(
        names("language_model.lm_head.weight")[..4],
        ["language_model.lm_head.weight", "lm_head.weight", "lm_head.weight", "lm_head.weight"]
    );
    assert_eq!(
        names("vision_tower.vision_model.pre_layrnorm.bias")[..4],
        [
            "vision_tower.vision_model.pre_layrnorm.bias",
            "model.vision_tower.vision_model.pre_layrnorm.bias",
            "model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias",
            "vision_model.pre_layrnorm.bias",
        ]
    );
    assert_eq!(names("multi_modal_projector.linear_2.bias")[2], "model.mm_projector.2.bias");
}

#[test]
fn mergers_are_numbered_as_the_taps_that_they_belong_to() {
    let dims = Dims { adapters: vec!["block.9".to_owned(), "embed".to_owned()], ..DIMS };
    let layout = LAYOUTS.iter().find(|layout| layout.name == "Qwen3-VL").unwrap();
    for (file, ours) in [
        (
            "model.visual.deepstack_merger_list.0.linear_fc2.bias",
            "injection.adapter.block.9.projector.linear_2.bias",
        ),
        ("model.visual.deepstack_merger_list.1.norm.weight", "injection.adapter.embed.norm.weight"),
    ] {
        assert_eq!(layout.of_file(file, &dims).unwrap().ours, [ours]);
        assert_eq!(layout.of_ours(ours, &dims).unwrap().file, [file]);
    }
    assert_eq!(layout.of_file("model.visual.deepstack_merger_list.2.norm.weight", &dims), None);
    assert_eq!(layout.of_ours("injection.adapter.block.10.norm.weight", &dims), None);
}

#[test]
fn a_head_that_is_the_word_embedding_is_no_tensor_of_ours() {
    let tied = Dims { tied: true, ..DIMS };
    for layout in all() {
        let head = layout.to_file("language_model.lm_head.weight");
        let Some(head) = head else { continue };
        assert_eq!(layout.of_file(&head, &DIMS).unwrap().ours, ["language_model.lm_head.weight"]);
        assert!(layout.of_file(&head, &tied).unwrap().ours.is_empty(), "{}", layout.name);
        assert_eq!(layout.of_ours("language_model.lm_head.weight", &tied), None);
        let embedding = layout.of_ours("language_model.model.embed_tokens.weight", &tied).unwrap();
        assert_eq!(embedding.file.len(), 1, "it is written once");
    }
}

#[test]
fn what_is_no_weight_is_left_out_and_nothing_else() {
    for name in ["vision_model.embeddings.position_ids", "text_model.final_layer_norm.bias", "logit_scale"] {
        assert!(is_left_out(name), "{name}");
    }
    for name in ["model.norm.weight", "vision_model.post_layernorm.bias", "language_model.lm_head.weight"] {
        assert!(!is_left_out(name), "{name}");
    }
}

fn tensor(ty: &TensorType, seed: u8) -> Tensor<'static> {
    let bytes = (0..ty.bytes()).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    Tensor { ty: ty.clone(), bytes: Cow::Owned(bytes) }
}

/// Types of a matrix of so many rows, each of whole blocks.
fn matrices(rows: usize) -> impl Strategy<Value = TensorType> {
    let dtypes = prop::sample::select(DType::ALL.to_vec());
    (dtypes, 1_usize..4)
        .prop_map(move |(dtype, width)| TensorType::new(dtype, [rows, width * dtype.block().0]))
}

proptest! {
    #[test]
    fn what_is_loaded_is_saved_as_it_was(
        matrix in matrices(20),
        heads in matrices(12),
        operator in prop::sample::select(vec![
            Operator::Transpose, Operator::Rope, Operator::Tie, Operator::Reshape("(2 n) d", "2 n d"),
            Operator::Split("(H D) (K D) (K D)"), Operator::Split("a a"),
        ]),
        seed in any::<u8>(),
    ) {
        let ty = if operator == Operator::Rope { heads } else { matrix };
        let file = vec![tensor(&ty, seed)];
        let found = Match { file: vec![], ours: vec![], operators: Box::leak(Box::new([operator])) };
        match found.load(file.clone(), &DIMS) {
            Ok(ours) => {
                let types: Vec<TensorType> = ours.iter().map(|tensor| tensor.ty.clone()).collect();
                prop_assert_eq!(found.types(&[ty], &DIMS).unwrap(), types);
                for tensor in &ours {
                    prop_assert_eq!(tensor.bytes.len(), tensor.ty.bytes());
                }
                prop_assert_eq!(found.save(ours, &DIMS).unwrap(), file);
            }
            // Columns of blocks are no rows of blocks.
            Err(error) => {
                prop_assert!(operator == Operator::Transpose && ty.dtype.is_quantized(), "{}", error);
                prop_assert!(found.types(&[ty], &DIMS).is_err());
            }
        }
    }

    #[test]
    fn parts_become_one_and_are_parted_again(dtype in prop::sample::select(DType::ALL.to_vec()), seed in any::<u8>()) {
        let parts: Vec<_> = [12, 4, 4].iter().map(|&rows| tensor(&TensorType::new(dtype, [rows, 256]), seed)).collect();
        let operators = &[Operator::Concatenate("(H D) (K D) (K D)")];
        let found = Match { file: vec![], ours: vec![], operators };
        let whole = found.load(parts.clone(), &DIMS).unwrap();
        prop_assert_eq!(whole[0].ty.shape.as_slice(), &[20, 256]);
        prop_assert_eq!(found.save(whole, &DIMS).unwrap(), parts.clone());
        prop_assert!(found.load(parts[..2].to_vec(), &DIMS).is_err());
    }

    #[test]
    fn a_wider_type_has_every_number_of_a_narrower_one(bits in prop::collection::vec(any::<u16>(), 8)) {
        for (dtype, is_nan) in [
            (DType::Bf16, (|b| half::bf16::from_bits(b).is_nan()) as fn(u16) -> bool),
            (DType::F16, |b| half::f16::from_bits(b).is_nan()),
        ] {
            let bits: Vec<u16> = bits.iter().copied().filter(|&bits| !is_nan(bits)).collect();
            let bytes = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let file = vec![Tensor { ty: TensorType::new(dtype, [bits.len()]), bytes: Cow::Owned(bytes) }];
            let operators = Box::leak(Box::new([Operator::Cast(dtype, DType::F32)]));
            let found = Match { file: vec![], ours: vec![], operators };
            let ours = found.load(file.clone(), &DIMS).unwrap();
            prop_assert_eq!(ours[0].ty.dtype, DType::F32);
            prop_assert_eq!(found.save(ours, &DIMS).unwrap(), file);
        }
    }

    #[test]
    fn written_shapes_never_panic(written in "[ ()a-dDHKPC0-9]{0,12}", shape in prop::collection::vec(0_usize..9, 0..4)) {
        let dims = DIMS;
        let mut extents = Extents::new(&dims);
        let _ = extents.take(&written, &shape);
        let _ = extents.shape(&written);
        let _ = extents.parts(&written, 12);
    }
}

#[test]
fn rotary_rows_are_pairs_in_the_file_and_halves_here() {
    let ty = TensorType::new(DType::U8, [8, 1]);
    let found = Match { file: vec![], ours: vec![], operators: &[Operator::Rope] };
    let file = Tensor { ty, bytes: Cow::Owned(vec![0, 1, 2, 3, 10, 11, 12, 13]) };
    let ours = found.load(vec![file], &DIMS).unwrap();
    assert_eq!(*ours[0].bytes, [0, 2, 1, 3, 10, 12, 11, 13]);
    let odd = found.types(&[TensorType::new(DType::U8, [6, 1])], &DIMS).unwrap_err();
    assert!(odd.contains("no heads of 4"), "{odd}");
}

#[test]
fn a_transposed_matrix_has_its_columns_as_rows() {
    let found = Match { file: vec![], ours: vec![], operators: &[Operator::Transpose] };
    let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let ours =
        found.load(vec![Tensor { ty: TensorType::f32([2, 3]), bytes: Cow::Owned(numbers) }], &DIMS).unwrap();
    assert_eq!(ours[0].ty.shape, [3, 2]);
    let expected: Vec<u8> = [1.0_f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(*ours[0].bytes, expected);
    assert!(found.types(&[TensorType::f32([6])], &DIMS).unwrap_err().contains("a matrix is expected"));
}
