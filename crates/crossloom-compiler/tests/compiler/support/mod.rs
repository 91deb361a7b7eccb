//! What the tests share.

pub(crate) mod machine;
pub(crate) mod program;

use crossloom_compiler::Context;
use crossloom_compiler::passes::{self, Pass};
use crossloom_compiler::training::{Group, Training};
use crossloom_ir::interp::run;
use crossloom_ir::verify::verify;
use crossloom_ir::{DType, Func, InstData, Role, Tensor, Value, text};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How far two f64 computations of the same numbers may be apart, relative to the largest one.
pub(crate) const EXACT: f64 = 1e-9;

/// Everything is trained.
pub(crate) fn all_trained(func: &Func, accumulate: usize) -> Training {
    let names = func.params().iter().filter(|p| p.role == Role::Weight).map(|p| p.name.clone()).collect();
    Training {
        groups: vec![Group { name: "all".into(), params: names, weight_decay: 0.01 }],
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        clip_norm: Some(1.0),
        accumulate,
    }
}

/// The same random cases in every run; `PROPTEST_CASES` asks for more of them.
pub(crate) fn cases(number: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(number),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x00c0_ffee),
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    }
}

/// The well-formed function of a text.
pub(crate) fn parse(source: &str) -> Func {
    let func = text::parse(source).unwrap_or_else(|errors| panic!("{errors}\n{source}"));
    verify(&func).unwrap();
    func
}

/// The pass of that name.
pub(crate) fn pass(name: &str) -> &'static dyn Pass {
    passes::by_name(name).unwrap_or_else(|| panic!("there is no pass `{name}`"))
}

/// Runs the pass of that name and verifies what it gives.
pub(crate) fn apply(name: &str, func: &Func) -> Func {
    let new = pass(name)
        .run(func, &Context::default())
        .unwrap_or_else(|errors| panic!("{name}: {errors}\n{}", text::print(func)));
    verify(&new).unwrap_or_else(|errors| panic!("after {name}: {errors}\n{}", text::print(func)));
    new
}

/// Arguments for all parameters: floats drawn evenly from `-1..1`, whole numbers from `0..2`.
pub(crate) fn random_args(func: &Func, seed: u64) -> Vec<Tensor<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut arg = |dtype: DType| match dtype {
        dtype if dtype.is_integer() => f64::from(rng.random_range(0..2)),
        _ => rng.random_range(-1.0..1.0),
    };
    let types = func.params().iter().map(|p| func.ty(p.value));
    types.map(|ty| Tensor::from_fn(ty.shape.clone(), |_| arg(ty.dtype))).collect()
}

/// Largest difference relative to the largest magnitude of `expected` (at least 1); infinite where one is NaN and the
/// other is not.
pub(crate) fn distance(given: &Tensor<f64>, expected: &Tensor<f64>) -> f64 {
    assert_eq!(given.shape, expected.shape);
    let scale = expected.data.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
    let apart = |(a, b): (&f64, &f64)| match (a.is_nan(), b.is_nan()) {
        _ if a == b => 0.0,
        (true, true) => 0.0,
        (false, false) => (a - b).abs() / scale,
        _ => f64::INFINITY,
    };
    given.data.iter().zip(&expected.data).map(apart).fold(0.0, f64::max)
}

/// Two functions with the same parameters give the same results on the same arguments.
pub(crate) fn assert_same(new: &Func, old: &Func, args: &[Tensor<f64>]) {
    let (given, expected) = (run(new, args).unwrap(), run(old, args).unwrap());
    let params = |func: &Func| -> Vec<_> {
        func.params().iter().map(|p| (p.name.clone(), p.role, func.ty(p.value).clone())).collect()
    };
    assert_eq!(params(new), params(old));
    assert_eq!(given.len(), expected.len());
    for ((given, expected), (n, o)) in
        given.iter().zip(&expected).zip(new.results().iter().zip(old.results()))
    {
        assert_eq!((&n.name, n.updates), (&o.name, o.updates));
        let far = distance(given, expected);
        let (new, old) = (text::print(new), text::print(old));
        assert!(far <= EXACT, "result `{}` is {far:e} off\nfrom:\n{old}\nto:\n{new}", o.name);
    }
}

/// Two functions print alike; shows the lines that only one of them has.
pub(crate) fn assert_alike(new: &Func, old: &Func, what: &str) {
    let (new, old) = (text::print(new), text::print(old));
    let only_in = |from: &str, other: &str| {
        let lines: Vec<String> =
            from.lines().filter(|line| !other.contains(line)).map(str::to_owned).collect();
        lines.join("\n")
    };
    assert!(new == old, "{what}\nfrom:\n{}\nto:\n{}", only_in(&old, &new), only_in(&new, &old));
}

/// Runs the pass of that name on a text: it keeps the meaning, and a second run changes nothing.
pub(crate) fn check_pass(name: &str, source: &str) -> Func {
    let func = parse(source);
    let new = apply(name, &func);
    assert_same(&new, &func, &random_args(&func, 7));
    assert_alike(&apply(name, &new), &new, "a second run changes something");
    new
}

/// The weights of a function in order.
pub(crate) fn weights(func: &Func) -> Vec<Value> {
    func.params().iter().filter(|p| p.role == Role::Weight).map(|p| p.value).collect()
}

/// The instructions of that mnemonic.
pub(crate) fn insts<'f>(func: &'f Func, mnemonic: &str) -> Vec<&'f InstData> {
    func.insts().iter().filter(|inst| inst.op.mnemonic() == mnemonic).collect()
}

/// The only instruction of that mnemonic.
pub(crate) fn only<'f>(func: &'f Func, mnemonic: &str) -> &'f InstData {
    let found = insts(func, mnemonic);
    assert_eq!(found.len(), 1, "{} times `{mnemonic}` in\n{}", found.len(), text::print(func));
    found[0]
}

/// The mnemonics of all instructions in program order.
pub(crate) fn mnemonics(func: &Func) -> Vec<&'static str> {
    func.insts().iter().map(|inst| inst.op.mnemonic()).collect()
}
