//! Matrix products, with what is applied to their results.

use crossloom_ir::op::{Activation, Linear, Matmul, UnaryKind};
use crossloom_ir::{DType, TensorType};

use super::elementwise::{element, function};
use crate::Geometry;
use crate::launch::{Argument, Launch, Lowered, Source};
use Argument::{Input, Output};

/// Rows and columns of a block's tile.
const TILE: usize = 64;
/// Bytes of the tiles of both operands.
const SHARED: usize = 2 * 16 * 68 * 4;
/// The same of 16-bit operands.
const SHARED_BF16: usize = 2 * 64 * 40 * 2;

struct Product<'t> {
    inputs: &'t [&'t TensorType],
    outputs: &'t [&'t TensorType],
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
    bias: Option<usize>,
    residual: Option<usize>,
    activation: Option<Activation>,
}

impl Product<'_> {
    fn launch(&self) -> Option<Launch> {
        let tiles = self.batch * self.m.div_ceil(TILE) * self.n.div_ceil(TILE);
        let has = |given: bool| u8::from(given);
        let source = Source::new().set("M", self.m).set("N", self.n).set("K", self.k);
        let source =
            source.set("TRANSPOSE_A", has(self.transpose_a)).set("TRANSPOSE_B", has(self.transpose_b));
        let source =
            source.set("BIAS", has(self.bias.is_some())).set("RESIDUAL", has(self.residual.is_some()));
        let source = source.set("ACTIVATED", has(self.activation.is_some()));
        let source =
            source.set("ACTIVATION", self.activation.map_or("", |act| function(UnaryKind::Act(act))));
        // What is not there is not read; an address has to be given all the same.
        let before = Output(usize::from(self.activation.is_some()));
        let arguments = vec![
            Input(0),
            Input(1),
            Input(self.bias.unwrap_or(0)),
            Input(self.residual.unwrap_or(0)),
            Output(0),
            before,
        ];
        let narrow = |ty: &&TensorType| ty.dtype == DType::Bf16;
        if !self.inputs.iter().chain(self.outputs).any(narrow) {
            let geometry = Geometry::line(tiles, 256)?.with_shared(SHARED);
            return Some(source.launch("gemm", include_str!("../kernels/gemm.cu"), geometry, arguments));
        }
        if !self.inputs[..2].iter().all(narrow) {
            return None;
        }
        let of = |input: Option<usize>| element(self.inputs[input.unwrap_or(0)]);
        let source = source.set("BIAS_TYPE", of(self.bias)).set("RESIDUAL_TYPE", of(self.residual));
        let source = source.set("RESULT_TYPE", element(self.outputs[0]));
        let source = source.set("BEFORE_TYPE", element(self.outputs[usize::from(self.activation.is_some())]));
        let geometry = Geometry::line(tiles, 128)?.with_shared(SHARED_BF16);
        Some(source.launch("gemm_mma", include_str!("../kernels/gemm_mma.cu"), geometry, arguments))
    }

    /// The kernel's name in plans: that of products in `f32`, marked where tensor cores do it.
    fn name(&self, wide: &'static str, narrow: &'static str) -> &'static str {
        if self.inputs[0].dtype == DType::Bf16 { narrow } else { wide }
    }
}

pub(super) fn lower_matmul(op: Matmul, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let p = op.extents(&inputs[0].shape, &inputs[1].shape);
    let product = Product {
        inputs,
        outputs,
        batch: p.batch,
        m: p.m,
        n: p.n,
        k: p.k,
        transpose_a: op.transpose_a,
        transpose_b: op.transpose_b,
        bias: None,
        residual: None,
        activation: None,
    };
    Some(Lowered::new(product.name("gemm", "gemm_mma"), vec![product.launch()?]))
}

pub(super) fn lower_linear(op: Linear, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let product = Product {
        inputs,
        outputs,
        batch: 1,
        m: inputs[0].rows(),
        n: inputs[1].shape[0],
        k: inputs[1].shape[1],
        transpose_a: false,
        transpose_b: true,
        bias: op.bias.then_some(2),
        residual: op.residual_index(),
        activation: op.act,
    };
    let name = match (op.act, op.residual) {
        (Some(_), _) => product.name("gemm_activation", "gemm_mma_activation"),
        (None, true) => product.name("gemm_residual", "gemm_mma_residual"),
        (None, false) => product.name("gemm_bias", "gemm_mma_bias"),
    };
    let in_place = op.residual_index().map(|at| (at, 0)).into_iter().collect();
    Some(Lowered::new(name, vec![product.launch()?]).in_place(in_place))
}
