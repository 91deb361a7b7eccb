//! The work of compiling is linear in the number of layers.

use crossloom_compiler::{CompiledSet, Context, Mode, NullTarget, compile};
use crossloom_ir::op::{
    Activation, AgfGate, AgfInject, AmpProject, Attach, Attention, CrossEntropy, Embedding, LayerNorm,
    PoolAttention, RmsNorm, Rope, ScatterMode, ScatterRows, UnaryKind,
};
use crossloom_ir::verify::verify;
use crossloom_ir::{Builder, Func, Role, Scope, TensorType, Value};

use crate::counting::{allocations, counted_pool};
use crate::support::all_trained;

/// Sizes of a 7 B model on a picture of 576 tokens.
const B: usize = 1;
const T: usize = 704;
const N: usize = 576;
const D: usize = 4096;
const INNER: usize = 11_008;
const HEADS: usize = 32;
const VISION: usize = 1024;
const VOCAB: usize = 32_000;
const TAPS: usize = 8;

fn weight(func: &mut Func, name: String, shape: &[usize]) -> Value {
    func.add_param(name, Role::Weight, TensorType::f32(shape))
}

/// A layer norm, attention and a feed-forward layer of a vision tower.
fn vision_block(func: &mut Func, number: usize, x: Value) -> Value {
    let mut w = |name: &str, shape: &[usize]| weight(func, format!("vision.{number}.{name}"), shape);
    let norms = [w("g1", &[VISION]), w("b1", &[VISION]), w("g2", &[VISION]), w("b2", &[VISION])];
    let square = ["q", "k", "v", "o"].map(|name| w(name, &[VISION, VISION]));
    let biases = ["bq", "bk", "bv", "bo"].map(|name| w(name, &[VISION]));
    let (up, down) = (w("up", &[4 * VISION, VISION]), w("down", &[VISION, 4 * VISION]));
    let (b_up, b_down) = (w("b_up", &[4 * VISION]), w("b_down", &[VISION]));
    let mut b = func.builder();
    b.set_scope(Scope::new(format!("vision.block.{number}")));
    let normed = b.one(LayerNorm { eps: 1e-5 }, &[x, norms[0], norms[1]]).unwrap();
    let [q, k, v] = [0, 1, 2].map(|i| b.linear(normed, square[i], Some(biases[i])).unwrap());
    let attention = Attention { heads: 16, kv_heads: 16, causal: false, segments: false, scale: 0.125 };
    let o = b.one(attention, &[q, k, v]).unwrap();
    let o = b.linear(o, square[3], Some(biases[3])).unwrap();
    let x = b.add(x, o).unwrap();
    let normed = b.one(LayerNorm { eps: 1e-5 }, &[x, norms[2], norms[3]]).unwrap();
    let h = b.linear(normed, up, Some(b_up)).unwrap();
    let h = b.unary(UnaryKind::Act(Activation::QuickGelu), h).unwrap();
    let h = b.linear(h, down, Some(b_down)).unwrap();
    b.add(x, h).unwrap()
}

/// A layer of a decoder: RMS norm, rotary attention, gated feed-forward layer.
fn layer(func: &mut Func, number: usize, x: Value, [positions, segments]: [Value; 2]) -> Value {
    let mut w = |name: &str, shape: &[usize]| weight(func, format!("layer.{number}.{name}"), shape);
    let norms = [w("g1", &[D]), w("g2", &[D])];
    let square = ["q", "k", "v", "o"].map(|name| w(name, &[D, D]));
    let (gate, up, down) = (w("gate", &[INNER, D]), w("up", &[INNER, D]), w("down", &[D, INNER]));
    let mut b = func.builder();
    b.set_scope(Scope::new(format!("language.layer.{number}")));
    let normed = b.one(RmsNorm { eps: 1e-5 }, &[x, norms[0]]).unwrap();
    let [q, k, v] = [0, 1, 2].map(|i| b.linear(normed, square[i], None).unwrap());
    let rope = Rope { head_dim: D / HEADS, theta: 1e4, inverse: false, sections: None };
    let [q, k] = [q, k].map(|x| b.one(rope, &[x, positions]).unwrap());
    let attention = Attention { heads: HEADS, kv_heads: HEADS, causal: true, segments: true, scale: 0.1 };
    let o = b.one(attention, &[q, k, v, segments]).unwrap();
    let o = b.linear(o, square[3], None).unwrap();
    let x = b.add(x, o).unwrap();
    let normed = b.one(RmsNorm { eps: 1e-5 }, &[x, norms[1]]).unwrap();
    let gate = b.linear(normed, gate, None).unwrap();
    let gate = b.unary(UnaryKind::Act(Activation::Silu), gate).unwrap();
    let up = b.linear(normed, up, None).unwrap();
    let h = b.mul(gate, up).unwrap();
    let h = b.linear(h, down, None).unwrap();
    b.add(x, h).unwrap()
}

/// A gated injection of all taps.
fn inject(func: &mut Func, number: usize, h: Value, v: Value, [mask, index]: [Value; 2]) -> Value {
    let mut w = |name: &str, shape: &[usize]| weight(func, format!("injection.gate.{number}.{name}"), shape);
    let mut operands = vec![h, v, mask, w("query_vision", &[D]), w("query_hidden", &[D])];
    for side in ["vision", "hidden"] {
        for (name, matrix) in [
            ("wq", true),
            ("bq", false),
            ("wk", true),
            ("wv", true),
            ("bv", false),
            ("wo", true),
            ("bo", false),
        ] {
            let shape: &[usize] = if matrix { &[D, D] } else { &[D] };
            operands.push(w(&format!("{side}.{name}"), shape));
        }
    }
    operands.extend([w("controller_w", &[1, 2 * D]), w("controller_b", &[1])]);
    let mut b = func.builder();
    b.set_scope(Scope::new(format!("inject.point.{number}.agf")));
    let gate = AgfGate { heads: 8, attention: PoolAttention::Separate, channel: false, masked: false };
    let gate = b.one(gate, &operands).unwrap();
    b.one(AgfInject { convex: false, channel: false }, &[h, gate, v, index]).unwrap()
}

/// A vision-language model with so many layers on either side and an injection before every decoder layer.
fn model(layers: usize) -> Func {
    let mut func = Func::new("vlm");
    let patches = func.add_param("patches", Role::Input, TensorType::f32([B, N, VISION]));
    let ids = func.add_param("ids", Role::Input, TensorType::i32([B, T]));
    let positions = func.add_param("positions", Role::Input, TensorType::i32([B, T]));
    let segments = func.add_param("segments", Role::Input, TensorType::i32([B, T]));
    let index = func.add_param("image_index", Role::Input, TensorType::i32([B, N]));
    let mask = func.add_param("prompt_mask", Role::Input, TensorType::f32([B, T]));
    let targets = func.add_param("targets", Role::Input, TensorType::i32([B * T]));
    let mut x = patches;
    let mut taps = Vec::new();
    for number in 0..layers {
        x = vision_block(&mut func, number, x);
        if number % (layers / TAPS).max(1) == 0 && taps.len() < TAPS {
            taps.push(x);
        }
    }
    let mut operands = taps.clone();
    operands.extend([weight(&mut func, "w1".into(), &[D, VISION]), weight(&mut func, "b1".into(), &[D])]);
    operands.extend([weight(&mut func, "w2".into(), &[D, D]), weight(&mut func, "b2".into(), &[D])]);
    for tap in 0..taps.len() {
        operands.push(weight(&mut func, format!("lora.{tap}.a"), &[16, VISION]));
        operands.push(weight(&mut func, format!("lora.{tap}.b"), &[D, 16]));
    }
    let amp = AmpProject {
        taps: taps.len(),
        act: Activation::GeluErf,
        scale: 1.0,
        bias: true,
        attach: Attach::Parallel,
    };
    let table = weight(&mut func, "embed".into(), &[VOCAB, D]);
    let head = weight(&mut func, "head".into(), &[VOCAB, D]);
    let mut b = func.builder();
    b.set_scope(Scope::new("inject.amp"));
    let v = b.one(amp, &operands).unwrap();
    let mut h = b.one(Embedding, &[table, ids]).unwrap();
    let first = b.slice(v, 0, 0, 1).unwrap();
    let first = b.reshape(first, &[B, N, D]).unwrap();
    h = b.one(ScatterRows { mode: ScatterMode::Set }, &[h, index, first]).unwrap();
    for number in 0..layers {
        h = inject(&mut func, number, h, v, [mask, index]);
        h = layer(&mut func, number, h, [positions, segments]);
    }
    loss(&mut func.builder(), h, head, targets);
    func
}

fn loss(b: &mut Builder<'_>, h: Value, head: Value, targets: Value) {
    b.set_scope(Scope::new("loss"));
    let rows = b.reshape(h, &[B * T, D]).unwrap();
    let logits = b.linear(rows, head, None).unwrap();
    let loss = b.one(CrossEntropy, &[logits, targets]).unwrap();
    b.func_mut().add_result("loss", loss);
}

/// What compiling takes: allocations, instructions that passes go through, and what comes out. None of it depends on the
/// machine.
#[derive(Debug)]
struct Work {
    allocations: usize,
    instructions: usize,
    calls: usize,
}

fn work(func: &Func, mode: &Mode<'_>, memory: Option<usize>) -> (CompiledSet, Work) {
    let mut set = None;
    let cx = Context { memory, ..Context::new(&NullTarget, *mode) };
    let allocations = counted_pool(1).install(|| allocations(|| set = Some(compile(func, &cx).unwrap())));
    let set = set.unwrap();
    let parts = || std::iter::once(&set.main).chain(&set.apply);
    let instructions = parts().flat_map(|part| &part.passes).map(|pass| pass.before).sum();
    let calls = parts().map(|part| part.plan.steps.len()).sum();
    let work = Work { allocations, instructions, calls };
    (set, work)
}

fn show(layers: usize, func: &Func, set: &CompiledSet) {
    let plan = &set.main.plan;
    println!(
        "{layers} layers: {} instructions forward, {} compiled, {} kernel calls",
        func.insts().len(),
        plan.func.insts().len(),
        plan.steps.len()
    );
    for pass in &set.main.passes {
        println!("  {:20} {:6} -> {:6} {:?}", pass.name, pass.before, pass.after, pass.time);
    }
    println!("  arena {} MiB, lower bound {} MiB", plan.arena >> 20, plan.lower_bound >> 20);
}

#[test]
fn four_times_the_layers_are_four_times_the_work() {
    let models = [32, 128].map(|layers| (layers, model(layers)));
    // The last is a step of which as much as can be is computed again.
    for (accumulate, memory) in [(None, None), (Some(1), None), (Some(4), None), (Some(1), Some(0))] {
        let [small, large] = models.each_ref().map(|(layers, func)| {
            let spec = all_trained(func, accumulate.unwrap_or(1));
            let mode = accumulate.map_or(Mode::Forward, |_| Mode::Train(&spec));
            let (set, work) = work(func, &mode, memory);
            verify(func).unwrap();
            verify(&set.main.plan.func).unwrap();
            show(*layers, func, &set);
            work
        });
        println!("{small:?}\n{large:?}");
        // What grows with the square would be sixteen times as much.
        assert!(large.allocations < 6 * small.allocations, "{small:?} {large:?}");
        assert!(large.instructions < 5 * small.instructions, "{small:?} {large:?}");
        assert!(large.calls < 5 * small.calls, "{small:?} {large:?}");
    }
}
