//! Type rules and reference semantics of every op of the registry, on operands and attributes drawn at random: they
//! accept or refuse, they never panic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_ir::attrs::{Attr, Attrs};
use crossloom_ir::verify::elements_within_limit;
use crossloom_ir::{DType, Op, Tensor, TensorType};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FLAGS: [&str; 12] = [
    "bias",
    "residual",
    "causal",
    "segments",
    "inverse",
    "masked",
    "channel",
    "convex",
    "transpose_a",
    "transpose_b",
    "act",
    "none",
];
const WORDS: [&str; 12] = [
    "gelu_tanh",
    "silu",
    "none",
    "parallel",
    "per_linear",
    "shared",
    "separate",
    "set",
    "add",
    "bf16",
    "layer",
    "rms",
];

fn list(name: &str, rng: &mut ChaCha8Rng) -> Attr {
    let length = rng.random_range(0..4);
    let item = |rng: &mut ChaCha8Rng| match name {
        "loads" => Attr::Word((*["full", "row", "column", "scalar"].choose(rng).unwrap()).to_owned()),
        "body" => step(rng),
        _ => Attr::Int(rng.random_range(0..4)),
    };
    Attr::List((0..length).map(|_| item(rng)).collect())
}

/// A step of a fused element-wise body, sometimes of the wrong arity.
fn step(rng: &mut ChaCha8Rng) -> Attr {
    let name = *["mul", "exp", "affine", "silu"].choose(rng).unwrap();
    let operands = rng.random_range(1..4);
    let numbers = (0..operands).map(|_| Attr::Int(rng.random_range(0..5)));
    Attr::List([Attr::Word(name.to_owned())].into_iter().chain(numbers).collect())
}

/// A value of the kind that a message asks for.
fn value_for(name: &str, message: &str, rng: &mut ChaCha8Rng) -> Attr {
    if ["loads", "body"].contains(&name) {
        list(name, rng)
    } else if message.contains("word") || message.contains("cannot be") {
        Attr::Word((*WORDS.choose(rng).unwrap()).to_owned())
    } else if message.contains("list") {
        list(name, rng)
    } else if message.contains("true or false") {
        Attr::Bool(true)
    } else if rng.random_bool(0.2) {
        Attr::Float(*[0.0, -1.0, 0.5, f64::NAN, f64::INFINITY].choose(rng).unwrap())
    } else {
        Attr::Int(*[0, 1, 1, 2, 2, 3, 4, 5, 1 << 40].choose(rng).unwrap())
    }
}

/// An op of that mnemonic: attributes are added, changed and dropped as the messages ask until it reads.
fn draw_op(mnemonic: &str, rng: &mut ChaCha8Rng) -> Option<Op> {
    let mut given: Vec<(String, Attr)> = Vec::new();
    for flag in FLAGS {
        if rng.random_bool(0.3) {
            given.push((flag.to_owned(), Attr::Bool(true)));
        }
    }
    for _ in 0..200 {
        let mut attrs = Attrs::new();
        for (name, value) in &given {
            attrs.push(name, value.clone());
        }
        let message = match Op::from_text(mnemonic, attrs) {
            Ok(op) => return Some(op),
            Err(message) => message,
        };
        let names: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        if message.contains("unknown attribute") {
            given.retain(|(name, _)| !names.contains(name));
        } else if let Some(name) = names.first() {
            given.retain(|(known, _)| known != name);
            given.push((name.clone(), value_for(name, &message, rng)));
        }
    }
    None
}

fn draw_type(rng: &mut ChaCha8Rng) -> TensorType {
    let rank = rng.random_range(0..5);
    let shape: Vec<usize> = (0..rank).map(|_| *[0, 1, 2, 2, 2, 4, 4].choose(rng).unwrap()).collect();
    let dtype = match rng.random_range(0..8) {
        0 | 1 => DType::I32,
        2 => *DType::ALL.choose(rng).unwrap(),
        3 => DType::Bf16,
        _ => DType::F32,
    };
    TensorType { dtype, shape }
}

fn draw_tensor(ty: &TensorType, rng: &mut ChaCha8Rng) -> Tensor<f64> {
    let integer = ty.dtype.is_integer();
    Tensor::from_fn(ty.shape.clone(), |_| {
        if integer { f64::from(rng.random_range(-2..5)) } else { rng.random_range(-1.0..1.0) }
    })
}

#[test]
fn every_mnemonic_reads_back_from_its_printed_attributes() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for mnemonic in Op::mnemonics() {
        let mut read = 0;
        for _ in 0..50 {
            let Some(op) = draw_op(mnemonic, &mut rng) else { continue };
            read += 1;
            let again = Op::from_text(op.mnemonic(), op.attrs());
            // Through text, so that a NaN equals itself.
            assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, String>(op)), "{mnemonic}");
        }
        assert!(read > 0, "no attributes of `{mnemonic}` were found");
    }
}

#[test]
fn type_rules_and_semantics_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for mnemonic in Op::mnemonics() {
        for _ in 0..2_000 {
            let Some(op) = draw_op(mnemonic, &mut rng) else { continue };
            let count = if rng.random_bool(0.1) { rng.random_range(0..24) } else { rng.random_range(0..9) };
            let first = draw_type(&mut rng);
            // Operands are often of one type, so that rules which compare them get past that.
            let types: Vec<TensorType> = (0..count)
                .map(|_| if rng.random_bool(0.5) { first.clone() } else { draw_type(&mut rng) })
                .collect();
            let Ok(outputs) = op.infer(&types.iter().collect::<Vec<_>>()) else { continue };
            let small = outputs.iter().all(|ty| elements_within_limit(&ty.shape) && ty.elements() < 10_000);
            if !small {
                continue;
            }
            let _ = op.cost(&types.iter().collect::<Vec<_>>(), &outputs.iter().collect::<Vec<_>>());
            let tensors: Vec<Tensor<f64>> = types.iter().map(|ty| draw_tensor(ty, &mut rng)).collect();
            if let Ok(results) = op.eval(&tensors.iter().collect::<Vec<_>>()) {
                let shapes: Vec<_> = results.iter().map(|tensor| tensor.shape.clone()).collect();
                let expected: Vec<_> = outputs.iter().map(|ty| ty.shape.clone()).collect();
                assert_eq!(shapes, expected, "{op:?} on {types:?}");
            }
        }
    }
}
