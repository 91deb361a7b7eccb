//! Run a compiled luminal graph: two taps of a vision encoder are written into the hidden state of a language model.
//!
//! ```text
//! cargo run -p crossloom-run --example compiled_graph
//! ```
//!
//! One projector serves both taps, each with a low-rank branch of its own (AMP), and one gate weighs both (AGF). The graph is
//! run as it was built, then compiled into one region of the processor's kernels, and run again by the same call.

use std::error::Error;

use crossloom_graph::{CrossloomCompiler, GraphBuilder, LuminalGraph};
use crossloom_ir::op::{Activation, AgfGate, AgfInject, AmpProject, Attach, PoolAttention};
use crossloom_ir::{Role, TensorType};
use crossloom_run::backends::Backend;

/// Positions of the hidden state, the first of which show the picture.
pub(crate) const POSITIONS: usize = 5;
/// Visual tokens.
pub(crate) const VISUAL: usize = 3;
/// Width of the hidden state, and of the vision encoder.
pub(crate) const WIDTH: usize = 8;
const VISION: usize = 6;
/// Rank of the low-rank branches.
const RANK: usize = 2;
const TAPS: [&str; 2] = ["block.1", "block.3"];

/// A hidden state before and after both taps were injected.
pub(crate) struct Injected {
    /// `[1, T, D]`, as it was given.
    pub(crate) given: Vec<f32>,
    /// After the graph as it was built.
    pub(crate) interpreted: Vec<f32>,
    /// After the compiled one.
    pub(crate) compiled: Vec<f32>,
    /// The gate of each tap.
    pub(crate) gates: Vec<f32>,
    /// Nodes of the graph before it was compiled, and then.
    pub(crate) nodes: [usize; 2],
}

/// Builds the graph, runs it, compiles it, and runs it again.
///
/// # Errors
/// A graph that breaks a rule of its ops, or that does not compile.
pub(crate) fn inject() -> Result<Injected, Box<dyn Error>> {
    let mut graph = build()?;
    let given = fill(&mut graph)?;
    graph.execute()?;
    let interpreted = graph.get("h'")?;
    let before = graph.luminal().graph.node_count();
    let compiler = CrossloomCompiler::for_device(Backend::default().running()?);
    graph.compile(&compiler)?;
    // luminal's compilers cannot fail, so what went wrong is asked for.
    if let Some(error) = compiler.last_error() {
        return Err(error.to_string().into());
    }
    graph.execute()?;
    Ok(Injected {
        given,
        interpreted,
        compiled: graph.get("h'")?,
        gates: graph.get("gate")?,
        nodes: [before, graph.luminal().graph.node_count()],
    })
}

/// The graph: one node for the adapter of both taps, one for the gate, one for the update.
fn build() -> Result<LuminalGraph, Box<dyn Error>> {
    let mut b = GraphBuilder::new("injection");
    let h_btd = b.param("h", Role::Input, TensorType::f32([1, POSITIONS, WIDTH]));
    let image_index = b.param("image_index", Role::Input, TensorType::i32([1, VISUAL]));
    let pool_mask = b.param("pool_mask", Role::Input, TensorType::f32([1, POSITIONS]));
    let mut operands =
        TAPS.map(|tap| b.param(tap, Role::Input, TensorType::f32([1, VISUAL, VISION]))).to_vec();
    let mut weight =
        |name: &str, shape: &[usize]| b.param(name, Role::Weight, TensorType::f32(shape.to_vec()));
    operands.push(weight("projector.linear_1", &[WIDTH, VISION]));
    operands.push(weight("projector.linear_2", &[WIDTH, WIDTH]));
    for tap in TAPS {
        operands.push(weight(&format!("adapter.{tap}.lora_A"), &[RANK, VISION]));
        operands.push(weight(&format!("adapter.{tap}.lora_B"), &[WIDTH, RANK]));
    }
    let queries = ["gate.query_vision", "gate.query_hidden"].map(|name| weight(name, &[WIDTH]));
    let controller = [weight("gate.controller", &[1, 2 * WIDTH]), weight("gate.bias", &[1])];
    let adapter = AmpProject {
        taps: TAPS.len(),
        act: Activation::GeluTanh,
        scale: 1.0,
        bias: false,
        attach: Attach::Parallel,
    };
    let v_kbnd = b.scoped("adapter", |b| b.one(adapter, &operands))?;
    let gate = AgfGate { heads: 1, attention: PoolAttention::None, channel: false, masked: false };
    let read = [&[h_btd, v_kbnd, pool_mask][..], &queries, &controller].concat();
    let gate_bk = b.scoped("inject", |b| b.one(gate, &read))?;
    let update = AgfInject { convex: false, channel: false };
    let h_btd = b.scoped("inject", |b| b.one(update, &[h_btd, gate_bk, v_kbnd, image_index]))?;
    b.result("h'", h_btd);
    b.result("gate", gate_bk);
    Ok(b.finish())
}

/// Gives every input and weight a value, and returns that of the hidden state.
fn fill(graph: &mut LuminalGraph) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut h_btd = Vec::new();
    let params: Vec<(String, usize)> =
        graph.params().map(|param| (param.name.clone(), param.ty.elements())).collect();
    for (number, (name, elements)) in params.into_iter().enumerate() {
        let wave: Vec<f32> = (0..elements).map(|i| 0.4 * ((7 * i + 3 * number) as f32).sin()).collect();
        match name.as_str() {
            "image_index" => graph.set_ids(&name, &(0..VISUAL as i32).collect::<Vec<_>>())?,
            "pool_mask" => {
                let pooled = |position: usize| f32::from(u8::from(position < VISUAL));
                graph.set(&name, &(0..POSITIONS).map(pooled).collect::<Vec<_>>())?;
            }
            _ => graph.set(&name, &wave)?,
        }
        if name == "h" {
            h_btd = wave;
        }
    }
    Ok(h_btd)
}

fn main() -> Result<(), Box<dyn Error>> {
    let injected = inject()?;
    println!("{} nodes, compiled {}; gates {:.3?}", injected.nodes[0], injected.nodes[1], injected.gates);
    let apart =
        injected.compiled.iter().zip(&injected.interpreted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference between the two runs: {apart:e}");
    for (position, (row, before)) in
        injected.compiled.chunks(WIDTH).zip(injected.given.chunks(WIDTH)).enumerate()
    {
        let change: Vec<f32> = row.iter().zip(before).map(|(after, before)| after - before).collect();
        println!("position {position} changed by {change:+.2?}");
    }
    Ok(())
}
