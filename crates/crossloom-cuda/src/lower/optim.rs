//! The optimizer's step of all parameters, and the length of all gradients: one launch each, whose table says where tensors lie.

use crossloom_ir::op::{AdamW, MultiAdamW};
use crossloom_ir::{DType, OpSpec, TensorType};

use super::THREADS;
use crate::Geometry;
use crate::launch::{Argument, Lowered, Source, Types, literal};
use Argument::{Input, Output, Scratch, Table};

/// Elements whose squares one block sums up.
const SQUARES: usize = 1 << 15;
/// Elements that one block updates.
const UPDATES: usize = 1 << 12;

/// Tensors cut into chunks, one per block: by tensor its elements and its first block, and how many blocks there are.
struct Chunks {
    elements: Vec<usize>,
    first: Vec<usize>,
    blocks: usize,
}

impl Chunks {
    fn of<'t>(tensors: impl Iterator<Item = &'t &'t TensorType>, chunk: usize) -> Self {
        let (mut elements, mut first, mut blocks) = (Vec::new(), Vec::new(), 0);
        for ty in tensors {
            elements.push(ty.elements());
            first.push(blocks);
            blocks += ty.elements().div_ceil(chunk);
        }
        Self { elements, first, blocks }
    }

    fn source<'t>(&self, types: Types<'t>, chunk: usize) -> Source<'t> {
        types.source().set("CHUNK", chunk).list("FIRST_BLOCKS", &self.first).list("ELEMENTS", &self.elements)
    }
}

/// What lies in tables has no type of its own: all of it is `f32`.
fn is_wide(types: Types<'_>) -> Option<()> {
    types.inputs.iter().chain(types.outputs).all(|ty| ty.dtype == DType::F32).then_some(())
}

/// One parameter: operands and results in the order of [`AdamW`].
pub(super) fn lower_one(op: &AdamW, types: Types<'_>) -> Option<Lowered> {
    is_wide(types)?;
    let addresses = (0..5).map(Input).chain((0..3).map(Output)).collect();
    lower_adamw(
        types,
        "adamw",
        op,
        &[op.weight_decay],
        types.inputs.get(..1)?,
        addresses,
        Input(5),
        op.in_place(),
    )
}

/// Several parameters: operands and results in the order of [`MultiAdamW`].
pub(super) fn lower_all(op: &MultiAdamW, types: Types<'_>) -> Option<Lowered> {
    is_wide(types)?;
    let MultiAdamW { beta1, beta2, eps, ref weight_decay } = *op;
    let parameters: Vec<&TensorType> = op.parts(types.inputs).map(|(_, [p, ..])| p).collect();
    let of = |i: usize| (1 + 5 * i..6 + 5 * i).map(Input).chain((3 * i..3 * i + 3).map(Output));
    let addresses = (0..parameters.len()).flat_map(of).collect();
    let alone = AdamW { beta1, beta2, eps, weight_decay: 0.0 };
    lower_adamw(types, "multi_adamw", &alone, weight_decay, &parameters, addresses, Input(0), op.in_place())
}

fn lower_adamw(
    types: Types<'_>,
    name: &'static str,
    op: &AdamW,
    decays: &[f64],
    parameters: &[&TensorType],
    addresses: Vec<Argument>,
    scale: Argument,
    in_place: Vec<(usize, usize)>,
) -> Option<Lowered> {
    let chunks = Chunks::of(parameters.iter(), UPDATES);
    let source = chunks.source(types, UPDATES).set("THREADS", THREADS).set("PARAMETERS", parameters.len());
    let source = source.float("BETA1", op.beta1).float("REST1", 1.0 - op.beta1);
    let source = source.float("BETA2", op.beta2).float("REST2", 1.0 - op.beta2);
    let source = source.float("EPS", op.eps).list("DECAYS", decays.iter().map(|&decay| literal(decay)));
    let geometry = Geometry::line(chunks.blocks, THREADS)?;
    let text = include_str!("../kernels/adamw.cu");
    let launch = source.table(addresses).launch("adamw", text, geometry, vec![Table, scale])?;
    Some(Lowered::new(name, vec![launch]).in_place(in_place))
}

pub(super) fn lower_norm(types: Types<'_>) -> Option<Lowered> {
    is_wide(types)?;
    let block = |blocks: usize| Some(Geometry::line(blocks, 256)?.with_shared(256 * 8));
    let chunks = Chunks::of(types.inputs.iter(), SQUARES);
    let source = chunks.source(types, SQUARES).set("TENSORS", types.inputs.len());
    let source = source.table((0..types.inputs.len()).map(Input).collect());
    let text = include_str!("../kernels/squares.cu");
    let squares = source.launch("squares", text, block(chunks.blocks)?, vec![Table, Scratch(0)])?;
    let text = include_str!("../kernels/root.cu");
    let source = types.source().set("COUNT", chunks.blocks);
    let root = source.launch("root", text, block(1)?, vec![Scratch(0), Output(0)])?;
    Some(Lowered::new("global_norm", vec![squares, root]).with_scratch(chunks.blocks * 8))
}
