//! Element-wise ops: one kernel per program of a region, four elements per thread where rows divide by four.
//!
//! FLOPs: those of the region's steps per element. Bytes: every full operand and every result once. Bound by memory: to be held
//! against the bandwidth of a copy.

use crossloom_ir::op::{BinaryKind, Constant, FusedElementwise, Load, Step, UnaryKind};
use crossloom_ir::{DType, Op, TensorType};

use super::{THREADS, each};
use crate::launch::{Argument, Lowered, Source, literal};

/// A region of element-wise steps, as [`FusedElementwise`] says.
struct Region<'o> {
    inputs: &'o [&'o TensorType],
    outputs: &'o [&'o TensorType],
    shape: &'o [usize],
    loads: &'o [Load],
    body: &'o [Step],
    stores: &'o [usize],
}

pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let shape = &outputs[0].shape;
    let one = |body: Step| [body];
    let lowered = |name, loads: &[Load], body: &[Step], stores: &[usize]| {
        let region = Region { inputs, outputs, shape, loads, body, stores };
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
        Op::Constant(constant) if outputs[0].dtype == DType::F32 => fill(constant),
        _ => None,
    }
}

fn fill(op: &Constant) -> Option<Lowered> {
    let elements: usize = op.shape.iter().product();
    let text = "ENTRY(THREADS) KERNEL(float* y) {\n  const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;\n  \
                if (at < ELEMENTS) y[at] = VALUE;\n}\n";
    let source = Source::new().set("THREADS", THREADS).set("ELEMENTS", elements).float("VALUE", op.value);
    let launch = source.launch("fill", text, each(elements)?, vec![Argument::Output(0)]);
    Some(Lowered::new("fill", vec![launch]))
}

impl Region<'_> {
    fn launch(&self) -> Option<crate::launch::Launch> {
        let elements: usize = self.shape.iter().product();
        let cols = self.shape.last().copied().unwrap_or(1);
        let wide = if cols.is_multiple_of(4) { 4 } else { 1 };
        let (count, stores) = (self.loads.len(), self.stores.len());
        let operands = self.inputs.iter().enumerate().map(|(i, ty)| format!("const {}* x{i}", element(ty)));
        let results = self.outputs.iter().enumerate().map(|(i, ty)| format!("{}* y{i}", element(ty)));
        let signature = operands.chain(results).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "ENTRY(THREADS) KERNEL({signature}) {{\n  const u64 at = ((u64)blockIdx.x * THREADS + threadIdx.x) * WIDE;\n  \
             if (at >= ELEMENTS) return;\n"
        );
        for (i, load) in self.loads.iter().enumerate() {
            let place = match load {
                Load::Full => "at",
                Load::Row => "at % COLS",
                Load::Column => "at / COLS",
                Load::Scalar => "0",
            };
            let one_each = matches!(load, Load::Full | Load::Row) && wide == 4;
            text.push_str(&if one_each {
                format!("  const Four l{i} = load_four(x{i} + {place});\n")
            } else {
                format!("  const float l{i} = load_one(x{i} + {place});\n")
            });
        }
        for o in 0..stores {
            text.push_str(&if wide == 4 { format!("  Four r{o};\n") } else { format!("  float r{o};\n") });
        }
        text.push_str("  UNROLL\n  for (u32 j = 0; j < WIDE; j++) {\n");
        for (i, load) in self.loads.iter().enumerate() {
            let of_lane = matches!(load, Load::Full | Load::Row) && wide == 4;
            text.push_str(&format!("    const float v{i} = l{i}{};\n", if of_lane { ".at[j]" } else { "" }));
        }
        for (s, step) in self.body.iter().enumerate() {
            text.push_str(&format!("    const float v{} = {};\n", count + s, expression(step)));
        }
        for (o, store) in self.stores.iter().enumerate() {
            let lane = if wide == 4 { ".at[j]" } else { "" };
            text.push_str(&format!("    r{o}{lane} = v{store};\n"));
        }
        text.push_str("  }\n");
        for o in 0..stores {
            text.push_str(&if wide == 4 {
                format!("  store_four(y{o} + at, r{o});\n")
            } else {
                format!("  store_one(y{o} + at, r{o});\n")
            });
        }
        text.push_str("}\n");
        let source = Source::new().set("THREADS", THREADS).set("ELEMENTS", elements).set("COLS", cols);
        let arguments = (0..count).map(Argument::Input).chain((0..stores).map(Argument::Output)).collect();
        Some(source.set("WIDE", wide).launch("elementwise", &text, each(elements / wide)?, arguments))
    }
}

/// The element type of a float tensor, in CUDA C.
pub(super) fn element(ty: &TensorType) -> &'static str {
    if ty.dtype == DType::Bf16 { "Bf16" } else { "float" }
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
