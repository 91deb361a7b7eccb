//! The numbers of quantized blocks, against the `gguf` package's (`tests/oracle/make_gguf_fixtures.py`).

#![allow(clippy::unwrap_used)]

use crossloom_ir::DType;
use crossloom_ir::quantized::{GROUP, Group, dequantize};
use proptest::prelude::*;
use safetensors::SafeTensors;

const QUANTIZED: [DType; 5] = [DType::Q8_0, DType::Q4_0, DType::Q4_1, DType::Q4K, DType::Q6K];

#[test]
fn blocks_stand_for_the_numbers_that_others_read() {
    let file =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/quantized/blocks.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    for dtype in QUANTIZED {
        let blocks = file.tensor(&format!("{dtype}.blocks")).unwrap();
        let expected = file.tensor(&format!("{dtype}.numbers")).unwrap();
        let numbers = dequantize(dtype, blocks.data());
        assert_eq!(numbers.len(), 6 * 512);
        let expected = expected.data().chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap()));
        for (i, (number, expected)) in numbers.iter().zip(expected).enumerate() {
            assert_eq!(*number, expected, "{dtype} {i}");
        }
        assert!(numbers.iter().any(|x| *x > 0.0) && numbers.iter().any(|x| *x < 0.0), "{dtype}");
    }
}

proptest! {
    #[test]
    fn no_bytes_and_no_group_are_out_of_bounds(bytes in prop::collection::vec(any::<u8>(), 0..500), group in 0_usize..40) {
        for dtype in DType::ALL {
            Group::of(dtype, &bytes, group).numbers(&mut [0.0; GROUP]);
            if dtype.is_quantized() {
                let (elements, size) = dtype.block();
                prop_assert_eq!(dequantize(dtype, &bytes).len(), bytes.len() / size * elements);
            }
        }
    }
}
