//! Precision: what is held in 16 bits, and what that does to numbers.

use std::collections::BTreeMap;

use crossloom_compiler::autodiff::gradient;
use crossloom_compiler::passes::precision::apply;
use crossloom_compiler::training::{Group, Training};
use crossloom_compiler::{Context, Mode, NullTarget, Policy, Precision, compile};
use crossloom_ir::interp::run;
use crossloom_ir::op::{LinearCrossEntropy, Op};
use crossloom_ir::{DType, Func, Role, Tensor, verify};

use crate::support::{only, parse};

/// A frozen projection, a pre-norm block of attention and a gated MLP on the residual stream, and a loss.
fn network() -> Func {
    parse(
        r#"func @net {
  input  %p "pixels": f32[2, 4, 6]
  input  %t "targets": i32[8]
  weight %f "frozen": f32[8, 6]
  weight %g "gamma": f32[8]
  weight %q "q": f32[8, 8]
  weight %k "k": f32[8, 8]
  weight %v "v": f32[8, 8]
  weight %o "o": f32[8, 8]
  weight %u "up": f32[16, 8]
  weight %d "down": f32[8, 16]
  weight %h "head": f32[5, 8]
  embed:
    %x0 = linear %p, %f : f32[2, 4, 8]
  attn:
    %n0, %r0 = rms_norm %x0, %g {eps = 1e-6} : f32[2, 4, 8], f32[2, 4]
    %qs = linear %n0, %q : f32[2, 4, 8]
    %ks = linear %n0, %k : f32[2, 4, 8]
    %vs = linear %n0, %v : f32[2, 4, 8]
    %as, %lse = attention %qs, %ks, %vs {heads = 2, kv_heads = 2, causal = true, scale = 0.5} : f32[2, 4, 8], f32[2, 2, 4]
    %os = linear %as, %o : f32[2, 4, 8]
    %x1 = add %x0, %os : f32[2, 4, 8]
  mlp:
    %n1, %r1 = rms_norm %x1, %g {eps = 1e-6} : f32[2, 4, 8], f32[2, 4]
    %up = linear %n1, %u : f32[2, 4, 16]
    %act = silu %up : f32[2, 4, 16]
    %hid = mul %act, %up : f32[2, 4, 16]
    %down = linear %hid, %d : f32[2, 4, 8]
    %x2 = add %x1, %down : f32[2, 4, 8]
  head:
    %n2, %r2 = rms_norm %x2, %g {eps = 1e-6} : f32[2, 4, 8], f32[2, 4]
    %logits = linear %n2, %h : f32[2, 4, 5]
    %rows = reshape %logits {shape = [8, 5]} : f32[8, 5]
    %loss, %ll, %ls = cross_entropy %rows, %t : f32[], f32[8], f32[8]
  return "loss" = %loss
}
"#,
    )
}

fn spec() -> Training {
    let params = ["gamma", "q", "k", "v", "o", "up", "down", "head"].map(str::to_owned).to_vec();
    Training {
        groups: vec![Group { name: "all".to_owned(), params, weight_decay: 0.1 }],
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        clip_norm: Some(1.0),
        accumulate: 1,
    }
}

fn bf16(frozen: DType) -> Policy {
    let frozen = BTreeMap::from([("frozen".to_owned(), frozen)]);
    Policy { compute: Precision::Bf16, frozen, ..Policy::default() }
}

fn step(policy: &Policy) -> Func {
    let spec = spec();
    let cx = Context { policy: policy.clone(), ..Context::new(&NullTarget, Mode::Train(&spec)) };
    let set = compile(&network(), &cx);
    set.unwrap_or_else(|errors| panic!("{errors}")).main.plan.func
}

/// Element types of the float results of all instructions of a scope with that mnemonic, in order.
fn types(func: &Func, scope: &str, mnemonic: &str) -> Vec<Vec<DType>> {
    let insts = func.insts().iter();
    let found = insts.filter(|inst| inst.scope.as_str() == scope && inst.op.mnemonic() == mnemonic);
    found.map(|inst| func.dtypes(&inst.outputs)).collect()
}

#[test]
fn the_table_holds_for_a_forward_pass() {
    let func = apply(&network(), &bf16(DType::Bf16)).unwrap();
    verify::verify(&func).unwrap();
    let (low, wide) = (DType::Bf16, DType::F32);
    assert_eq!(func.dtype(func.param("frozen").unwrap().value), low);
    assert_eq!(types(&func, "attn", "rms_norm"), [[low, wide]]);
    assert_eq!(types(&func, "attn", "linear"), [[low]; 4]);
    assert_eq!(types(&func, "attn", "attention"), [[low, wide]]);
    assert_eq!(types(&func, "attn", "add"), [[wide]], "the residual stream");
    assert_eq!(types(&func, "mlp", "silu"), [[low]]);
    assert_eq!(types(&func, "mlp", "mul"), [[low]]);
    assert_eq!(types(&func, "mlp", "add"), [[wide]], "the residual stream");
    assert_eq!(types(&func, "head", "linear"), [[wide]], "logits");
    assert_eq!(types(&func, "head", "cross_entropy"), [[wide, wide, wide]]);
    // Trained weights are read through their copies, the one that no product reads has none.
    let copies = func.params().iter().filter(|param| param.role == Role::State);
    let names: Vec<&str> = copies.map(|param| param.name.as_str()).collect();
    assert_eq!(names, ["bf16.q", "bf16.k", "bf16.v", "bf16.o", "bf16.up", "bf16.down", "bf16.head"]);
    assert!(func.results().iter().all(|result| result.updates.is_none()));
}

#[test]
fn a_step_trains_f32_masters_and_writes_their_copies() {
    let func = step(&bf16(DType::Bf16));
    let (low, wide) = (DType::Bf16, DType::F32);
    for inst in func.insts() {
        if ["adamw", "global_norm"].contains(&inst.op.mnemonic()) {
            assert!(func.dtypes(&inst.inputs).iter().all(|&dtype| dtype == wide), "{:?}", inst.op);
        }
    }
    // Weight gradients are products of 16-bit operands with f32 results.
    for inst in func.insts().iter().filter(|inst| inst.op.mnemonic() == "matmul") {
        assert_eq!(func.dtypes(&inst.inputs), [low, low]);
    }
    let gradients = func
        .insts()
        .iter()
        .filter(|inst| inst.op.mnemonic() == "matmul" && func.dtype(inst.outputs[0]) == wide);
    // That of the head is made with the loss.
    assert_eq!(gradients.count(), 6);
    let head = only(&func, "linear_cross_entropy");
    assert_eq!(func.dtypes(&head.outputs), [wide, wide, low, wide]);
    assert_eq!(head.op, LinearCrossEntropy { rounded: low, trained: true }.into());
    let args = sensible_args(&func);
    let outputs = run(&func, &args).unwrap();
    let new = |name: &str| {
        let at = func.results().iter().position(|r| r.name == name && r.updates.is_some());
        &outputs[at.unwrap_or_else(|| panic!("`{name}` is not updated"))]
    };
    for name in ["q", "k", "v", "o", "up", "down", "head"] {
        let (master, copy) = (new(name), new(&format!("bf16.{name}")));
        for i in 0..master.data.len() {
            assert_eq!(copy.at(i), low.round(master.at(i)), "{name}[{i}]");
        }
    }
}

/// Arguments of a step, the same for every policy; copies hold what their masters hold.
fn sensible_args(func: &Func) -> Vec<Tensor<f64>> {
    let by_name = |name: &str| {
        let seed = name.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let shape = func.params().iter().find(|p| p.name == name).map(|p| func.shape(p.value).to_vec());
        let spread = |i: usize| ((seed % 1000) as f64 + i as f64 * 0.731).sin();
        match name {
            "targets" => Tensor::from_fn(shape.unwrap(), |i| (i % 5) as f64),
            "hyper.all" => Tensor::new([3], vec![1e-3, 0.1, 0.01]).unwrap(),
            _ if name.starts_with("optimizer.") => Tensor::splat(shape.unwrap(), 0.0),
            _ => Tensor::from_fn(shape.unwrap(), |i| spread(i) / 2.0),
        }
    };
    func.params().iter().map(|p| by_name(&p.name)).collect()
}

#[test]
fn numbers_stay_within_the_rounding_of_16_bits() {
    let (wide, low) = (step(&Policy::default()), step(&bf16(DType::Bf16)));
    let mut args: BTreeMap<String, Tensor<f64>> = BTreeMap::new();
    for (param, arg) in wide.params().iter().zip(sensible_args(&wide)) {
        args.insert(param.name.clone(), arg);
    }
    let of = |func: &Func| -> Vec<Tensor<f64>> {
        let args: Vec<_> = func
            .params()
            .iter()
            .map(|p| args[p.name.strip_prefix("bf16.").unwrap_or(&p.name)].clone())
            .collect();
        run(func, &args).unwrap()
    };
    let read = |func: &Func, name: &str| {
        let at = func.results().iter().position(|r| r.name == name && r.updates.is_none()).unwrap();
        of(func)[at].at(0)
    };
    for name in ["loss", "grad_norm"] {
        let (exact, rounded) = (read(&wide, name), read(&low, name));
        let apart = (exact - rounded).abs() / exact.abs();
        assert!(apart < 2e-2 && apart > 0.0, "{name}: {exact} and {rounded}");
    }
}

#[test]
fn frozen_weights_have_the_type_of_the_policy() {
    let frozen = |dtype| Policy { compute: Precision::F32, ..bf16(dtype) };
    let func = apply(&network(), &frozen(DType::Bf16)).unwrap();
    verify::verify(&func).unwrap();
    let low = func.params().iter().filter(|param| func.dtype(param.value) == DType::Bf16);
    assert_eq!(low.map(|param| param.name.as_str()).collect::<Vec<_>>(), ["frozen"]);
    assert!(func.insts().iter().all(|inst| func.dtypes(&inst.outputs).iter().all(|d| *d == DType::F32)));

    let trained = Policy { frozen: BTreeMap::from([("pixels".to_owned(), DType::Bf16)]), ..bf16(DType::F32) };
    let error = apply(&network(), &trained).unwrap_err().to_string();
    assert!(error.contains("`pixels` is to be frozen as bf16, but is no weight"), "{error}");
    let step = step(&Policy::default());
    let trained = Policy { frozen: BTreeMap::from([("q".to_owned(), DType::Bf16)]), ..Policy::default() };
    let error = apply(&step, &trained).unwrap_err().to_string();
    assert!(error.contains("`q` is to be frozen as bf16, but is trained"), "{error}");
    let whole = Policy { frozen: BTreeMap::from([("frozen".to_owned(), DType::I32)]), ..Policy::default() };
    assert!(apply(&network(), &whole).unwrap_err().to_string().contains("cannot be i32"));
}

#[test]
fn nothing_changes_in_f32() {
    let func = network();
    assert_eq!(apply(&func, &Policy::default()).unwrap(), func);
}

/// The products of an accumulating step read copies that its other half writes.
#[test]
fn accumulated_updates_reach_the_copies() {
    let spec = Training { accumulate: 2, ..spec() };
    let policy = bf16(DType::Bf16);
    let cx = Context { policy, ..Context::new(&NullTarget, Mode::Train(&spec)) };
    let set = compile(&network(), &cx);
    let set = set.unwrap_or_else(|errors| panic!("{errors}"));
    let (micro, apply) = (set.main.plan.func, set.apply.unwrap().plan.func);
    let read: Vec<&str> =
        micro.params().iter().map(|p| p.name.as_str()).filter(|n| n.starts_with("bf16.")).collect();
    assert_eq!(read.len(), 7);
    for name in read {
        let written = apply.results().iter().find(|result| result.name == name && result.updates.is_some());
        let written = written.unwrap_or_else(|| panic!("`{name}` is read but never written"));
        assert_eq!(apply.dtype(written.value), DType::Bf16);
    }
}

/// A gate weighs features: a query that is projected pools them, a controller reads what comes out.
const GATED: &str = r#"func @gated {
  input  %p "pixels": f32[2, 4, 6]
  weight %f "features": f32[8, 6]
  weight %v "next": f32[8, 8]
  weight %q "query": f32[1, 8]
  weight %k "key": f32[8, 8]
  weight %c "controller": f32[8, 8]
  features:
    %x = linear %p, %f : f32[2, 4, 8]
    %y = linear %x, %v : f32[2, 4, 8]
  gate:
    %w = matmul %q, %k {transpose_b = true} : f32[1, 8]
    %pooled, %weights = attn_pool %x, %w {scale = 0.5} : f32[2, 1, 8], f32[2, 1, 4]
    %row = reshape %pooled {shape = [2, 8]} : f32[2, 8]
    %logit = linear %row, %c : f32[2, 8]
    %gate = sigmoid %logit : f32[2, 8]
  loss:
    %wide = broadcast %gate {shape = [2, 4, 8], axes = [0, 2]} : f32[2, 4, 8]
    %z = mul %wide, %y : f32[2, 4, 8]
    %loss = reduce_sum %z {axes = [0, 1, 2]} : f32[]
  return "loss" = %loss
}
"#;

/// What a gate is computed from is no coarser than 32 bits, forwards and backwards; the features themselves are 16.
#[test]
fn gates_are_computed_in_f32_from_the_pooled_rows_on() {
    let func = parse(GATED);
    let weights: Vec<_> = ["features", "next", "query", "key", "controller"]
        .map(|name| func.param(name).unwrap().value)
        .to_vec();
    let func = apply(&gradient(&func, "loss", &weights).unwrap(), &bf16(DType::F32)).unwrap();
    verify::verify(&func).unwrap();
    let states = func.params().iter().filter(|param| param.role == Role::State);
    let copies: Vec<&str> = states.map(|param| param.name.as_str()).collect();
    assert_eq!(copies, ["bf16.features", "bf16.next"], "weights of a gate are read as they are");
    let of_gate = func.insts().iter().filter(|inst| inst.scope.as_str().starts_with("gate"));
    let products = of_gate.filter(|inst| matches!(inst.op, Op::Linear(_) | Op::Matmul(_)));
    let mut count = 0;
    for inst in products {
        count += 1;
        for &value in inst.inputs.iter().chain(&inst.outputs) {
            assert_eq!(func.dtype(value), DType::F32, "{inst:?}");
        }
    }
    assert!(count >= 4, "two products and their gradients, found {count}");
    let pool = func.insts().iter().find(|inst| matches!(inst.op, Op::AttnPool(_))).unwrap();
    assert_eq!(func.dtypes(&pool.inputs), [DType::Bf16, DType::F32], "features and query");
}

#[test]
fn an_input_that_products_alone_read_is_given_in_16_bits_and_changes_no_number() {
    let given = |names: &[&str]| {
        let given = names.iter().map(|&name| name.to_owned()).collect();
        apply(&network(), &Policy { given, ..bf16(DType::F32) }).unwrap()
    };
    let (wide, low) = (given(&[]), given(&["pixels", "targets"]));
    let dtype = |func: &Func, name: &str| func.dtype(func.param(name).unwrap().value);
    assert_eq!((dtype(&wide, "pixels"), dtype(&low, "pixels")), (DType::F32, DType::Bf16));
    assert_eq!(dtype(&low, "targets"), DType::I32);
    assert_eq!(low.insts().len() + 1, wide.insts().len(), "there is nothing to convert");
    let args = crate::support::random_args(&wide, 3);
    let rounded: Vec<_> = (low.params().iter().zip(&args))
        .map(|(param, arg)| {
            let dtype = low.dtype(param.value);
            Tensor::from_fn(arg.shape.clone(), |i| dtype.round(arg.data[i]))
        })
        .collect();
    assert_eq!(run(&low, &rounded).unwrap(), run(&wide, &args).unwrap());
    // What a norm reads as well is given in 32 bits, and so is everything where nothing is computed in 16.
    let mut both = network();
    let pixels = both.param("pixels").unwrap().value;
    let read = both.builder().unary(crossloom_ir::op::UnaryKind::Exp, pixels).unwrap();
    both.add_result("read", read);
    let policy = Policy { given: ["pixels".to_owned()].into(), ..bf16(DType::F32) };
    assert_eq!(dtype(&apply(&both, &policy).unwrap(), "pixels"), DType::F32);
    let policy = Policy { compute: Precision::F32, ..policy };
    assert_eq!(dtype(&apply(&network(), &policy).unwrap(), "pixels"), DType::F32);
}

/// A call on a cache, and keys of a picture that it reads and keeps.
fn call_on_a_cache() -> Func {
    parse(
        r#"func @call {
  input  %x "x": f32[2, 1, 8]
  input  %picture "picture": f32[2, 3, 8]
  input  %segments "segments": i32[2, 1]
  input  %slot "slot": i32[2]
  input  %start "start": i32[2]
  input  %count "count": i32[2]
  weight %w "w": f32[8, 8]
  state  %k "cache.key": f32[3, 4, 8]
  state  %v "cache.value": f32[3, 4, 8]
  state  %s "cache.segments": i32[3, 4]
  state  %p "cache.picture": f32[3, 24]
  state  %m "mean": f32[3, 24]
  attn:
    %h = linear %x, %w : f32[2, 1, 8]
    %k1 = cache_write %k, %h, %slot, %start, %count : f32[3, 4, 8]
    %v1 = cache_write %v, %h, %slot, %start, %count : f32[3, 4, 8]
    %s1 = cache_write %s, %segments, %slot, %start, %count : i32[3, 4]
    %a = cached_attention %x, %k1, %v1, %s1, %slot, %start, %count {heads = 2, kv_heads = 2, segments = true, scale = 0.5} : f32[2, 1, 8]
  cross:
    %seen = linear %picture, %w : f32[2, 3, 8]
    %row = reshape %seen {shape = [1, 2, 24]} : f32[1, 2, 24]
    %before = reshape %p {shape = [1, 3, 24]} : f32[1, 3, 24]
    %to = reshape %slot {shape = [1, 2]} : i32[1, 2]
    %after = scatter_rows %before, %to, %row {mode = set} : f32[1, 3, 24]
    %p1 = reshape %after {shape = [3, 24]} : f32[3, 24]
    %c, %lse = attention %a, %seen, %seen {heads = 2, kv_heads = 2, scale = 0.5} : f32[2, 1, 8], f32[2, 2, 1]
    %same = affine %m {mul = 1, add = 0} : f32[3, 24]
  return "y" = %c
  update %k = %k1
  update %v = %v1
  update %s = %s1
  update %p = %p1
  update %m = %same
}
"#,
    )
}

#[test]
fn state_that_is_kept_in_16_bits_is_rounded_once_and_read_as_it_is_kept() {
    let wide = call_on_a_cache();
    let states = BTreeMap::from([("cache.".to_owned(), DType::Bf16)]);
    let policy = Policy { states, ..Policy::default() };
    let low = apply(&wide, &policy).unwrap();
    verify::verify(&low).unwrap();
    let dtype = |name: &str| low.dtype(low.param(name).unwrap().value);
    for name in ["cache.key", "cache.value", "cache.picture"] {
        assert_eq!(dtype(name), DType::Bf16, "{name}");
    }
    assert_eq!((dtype("cache.segments"), dtype("mean")), (DType::I32, DType::F32));
    // What is kept is made in 16 bits, so that nothing is converted; what is not, is not.
    assert_eq!(types(&low, "attn", "linear"), [[DType::Bf16]]);
    assert_eq!(types(&low, "cross", "linear"), [[DType::Bf16]]);
    assert_eq!(types(&low, "attn", "cached_attention"), [[DType::F32]]);
    assert!(low.insts().iter().all(|inst| !matches!(inst.op, Op::Convert(_))));
    let of = |of: fn(&Op) -> bool| {
        let inst = low.insts().iter().find(|inst| of(&inst.op)).unwrap();
        low.dtypes(&inst.inputs[..3])
    };
    let read = [DType::F32, DType::Bf16, DType::Bf16];
    assert_eq!(of(|op| matches!(op, Op::CachedAttention(_))), read);
    assert_eq!(of(|op| matches!(op, Op::Attention(_))), read, "the call that keeps keys reads what it keeps");

    // The numbers that are kept are the exact ones, rounded to nearest even.
    let (mut numbers, rows) = (crate::support::random_args(&wide, 5), [[2.0, 0.0], [1.0, 3.0], [1.0, 1.0]]);
    for (name, values) in ["slot", "start", "count"].into_iter().zip(rows) {
        let at = wide.params().iter().position(|param| param.name == name).unwrap();
        numbers[at] = Tensor::new([2], values.to_vec()).unwrap();
    }
    for (arg, param) in numbers.iter_mut().zip(low.params()) {
        let dtype = low.dtype(param.value);
        *arg = Tensor::from_fn(arg.shape.clone(), |i| dtype.round(arg.data[i]));
    }
    let [exact, kept] = [&wide, &low].map(|func| run(func, &numbers).unwrap());
    let mut off = 0;
    for ((exact, kept), result) in exact.iter().zip(&kept).zip(low.results()).skip(1) {
        let dtype = low.dtype(result.value);
        for (exact, kept) in exact.data.iter().zip(&kept.data) {
            assert_eq!(dtype.round(*exact), *kept);
            off += usize::from(exact != kept);
        }
    }
    assert!(off > 0, "nothing was rounded");
    assert_ne!(exact[0].data, kept[0].data, "what was rounded is read");

    // The same where products are computed in 16 bits.
    let policy = Policy { compute: Precision::Bf16, ..policy };
    let narrow = apply(&wide, &policy).unwrap();
    verify::verify(&narrow).unwrap();
    assert_eq!(narrow.dtype(narrow.param("cache.key").unwrap().value), DType::Bf16);
    // A type that no kernel writes is refused.
    let states = BTreeMap::from([("cache.".to_owned(), DType::Q8_0)]);
    let error = apply(&wide, &Policy { states, ..Policy::default() }).unwrap_err().to_string();
    assert!(error.contains("`cache.…` cannot be q8_0"), "{error}");
}
