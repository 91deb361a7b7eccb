//! Element-wise ops: one kernel per program of a region, eight or four elements per thread where rows divide by as many.
//!
//! FLOPs: those of the region's steps per element. Bytes: every full operand and every result once. Bound by memory: to be held
//! against the bandwidth of a copy.

use crossloom_ir::op::{BinaryKind, Constant, FusedElementwise, Load, Step, UnaryKind};
use crossloom_ir::{DType, Op};

use super::{THREADS, each};
use crate::launch::{Argument, Launch, Lowered, Types, literal};

/// A region of element-wise steps, as [`FusedElementwise`] says.
struct Region<'o> {
    types: Types<'o>,
    shape: &'o [usize],
    loads: &'o [Load],
    body: &'o [Step],
    stores: &'o [usize],
}

pub(super) fn lower(op: &Op, types: Types<'_>) -> Option<Lowered> {
    let shape = &types.outputs[0].shape;
    let one = |body: Step| [body];
    let lowered = |name, loads: &[Load], body: &[Step], stores: &[usize]| {
        let region = Region { types, shape, loads, body, stores };
        Some(Lowered::new(name, vec![region.launch()?]).in_place(op.in_place()))
    };
    match op {
        Op::FusedElementwise(FusedElementwise { loads, body, stores, .. }) => {
            lowered("fused_elementwise", loads, body, stores)
        }
        Op::Unary(unary) => lowered("elementwise", &[Load::Full], &one(Step::Unary(unary.0, 0)), &[1]),
        Op::Binary(binary) => {
            lowered("elementwise", &[Load::Full; 2], &one(Step::Binary(binary.0, 0, 1)), &[2])
        }
        Op::Affine(affine) => {
            lowered("elementwise", &[Load::Full], &one(Step::Affine(0, affine.mul, affine.add)), &[1])
        }
        Op::Convert(_) => lowered("convert", &[Load::Full], &[], &[0]),
        Op::Constant(constant) => fill(constant, types),
        _ => None,
    }
}

fn fill(op: &Constant, types: Types<'_>) -> Option<Lowered> {
    let elements: usize = op.shape.iter().product();
    let text = "ENTRY(THREADS) KERNEL(y_t* y) {\n  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;\n  \
                if (at < ELEMENTS) store_one(y + at, VALUE);\n}\n";
    let source = types.source().set("THREADS", THREADS).set("ELEMENTS", elements).float("VALUE", op.value);
    let launch = source.launch("fill", text, each(elements)?, vec![Argument::Output(0)])?;
    Some(Lowered::new("fill", vec![launch]))
}

impl Region<'_> {
    fn launch(&self) -> Option<Launch> {
        let elements: usize = self.shape.iter().product();
        let cols = self.shape.last().copied().unwrap_or(1);
        // 16 bytes at a time.
        let narrow = self.types.inputs.iter().chain(self.types.outputs).any(|ty| ty.dtype != DType::F32);
        let most = if narrow { 8 } else { 4 };
        let wide = if cols.is_multiple_of(most) { most } else { 1 };
        let (count, stores) = (self.loads.len(), self.stores.len());
        let operands = (0..count).map(|i| format!("const x{i}_t* x{i}"));
        let results = (0..stores).map(|o| format!("y{o}_t* y{o}"));
        let signature = operands.chain(results).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "ENTRY(THREADS) KERNEL({signature}) {{\n  const u64 at = ((u64)blockIdx.x * THREADS + threadIdx.x) * WIDE;\n  \
             if (at >= ELEMENTS) return;\n"
        );
        let of_lane = |load: &Load| matches!(load, Load::Full | Load::Row);
        for (i, load) in self.loads.iter().enumerate() {
            let place = match load {
                Load::Full => "at",
                Load::Row => "at % COLS",
                Load::Column => "at / COLS",
                Load::Scalar => "0",
            };
            let numbers = if of_lane(load) { "WIDE" } else { "1" };
            text.push_str(&format!("  const Numbers<{numbers}> l{i} = load<{numbers}>(x{i} + {place});\n"));
        }
        for o in 0..stores {
            text.push_str(&format!("  Numbers<WIDE> r{o};\n"));
        }
        text.push_str("  UNROLL\n  for (u32 j = 0; j < WIDE; j++) {\n");
        for (i, load) in self.loads.iter().enumerate() {
            let lane = if of_lane(load) { "j" } else { "0" };
            text.push_str(&format!("    const float v{i} = l{i}.at[{lane}];\n"));
        }
        for (s, step) in self.body.iter().enumerate() {
            text.push_str(&format!("    const float v{} = {};\n", count + s, expression(step)));
        }
        for (o, store) in self.stores.iter().enumerate() {
            text.push_str(&format!("    r{o}.at[j] = v{store};\n"));
        }
        text.push_str("  }\n");
        for o in 0..stores {
            text.push_str(&format!("  store(y{o} + at, r{o});\n"));
        }
        text.push_str("}\n");
        let source = self.types.source().set("THREADS", THREADS);
        let source = source.sets([("ELEMENTS", elements), ("COLS", cols), ("WIDE", wide)]);
        let arguments = (0..count).map(Argument::Input).chain((0..stores).map(Argument::Output)).collect();
        source.launch("elementwise", &text, each(elements / wide)?, arguments)
    }
}

/// A step as an expression of the numbers before it.
fn expression(step: &Step) -> String {
    match *step {
        Step::Affine(x, mul, add) => format!("{} * v{x} + {}", literal(mul), literal(add)),
        Step::Unary(kind, x) => format!("{}(v{x})", function(kind)),
        Step::Binary(kind, x, y) => match kind {
            BinaryKind::Add => format!("v{x} + v{y}"),
            BinaryKind::Sub => format!("v{x} - v{y}"),
            BinaryKind::Mul => format!("v{x} * v{y}"),
            BinaryKind::Div => format!("v{x} / v{y}"),
            BinaryKind::Mod => format!("fmodf(v{x}, v{y})"),
            BinaryKind::LessThan => format!("v{x} < v{y} ? 1.0f : 0.0f"),
            BinaryKind::Min => format!("smaller(v{x}, v{y})"),
            BinaryKind::Max => format!("larger(v{x}, v{y})"),
        },
    }
}

/// The name of a function of one number, in CUDA C or in common.cuh.
pub(super) fn function(kind: UnaryKind) -> &'static str {
    match kind {
        UnaryKind::Log2 => "log2f",
        UnaryKind::Exp2 => "exp2f",
        UnaryKind::Sin => "sinf",
        UnaryKind::Sqrt => "sqrtf",
        UnaryKind::Exp => "expf",
        UnaryKind::Log => "logf",
        UnaryKind::Rsqrt => "rsqrtf",
        UnaryKind::Tanh => "tanhf",
        // Those of common.cuh are called as they are printed.
        UnaryKind::Recip | UnaryKind::Sigmoid | UnaryKind::Act(_) | UnaryKind::ActGrad(_) => kind.name(),
    }
}
