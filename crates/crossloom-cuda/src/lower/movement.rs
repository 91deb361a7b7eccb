//! Ops that move elements, whatever they are; and those that count or convert.

use crossloom_ir::interp::strides;
use crossloom_ir::{DType, Op};

use super::{THREADS, each};
use crate::launch::{Argument, Launch, Lowered, Types};

/// Elements of a shape, each with a place to be read from and one to be written to.
struct Move<'s> {
    /// Which elements are visited.
    shape: &'s [usize],
    /// Per axis, how far the operand goes on.
    from: Vec<usize>,
    start: usize,
    /// Per axis, how far the result goes on, and where it starts; none if it goes on element by element.
    to: Option<(Vec<usize>, usize)>,
    /// An axis and the coordinates along it that the operand has; elsewhere the result is zero.
    inside: Option<(usize, usize, usize)>,
    input: usize,
}

impl Move<'_> {
    fn launch(&self, types: Types<'_>) -> Option<Launch> {
        let elements: usize = self.shape.iter().product();
        let mut coordinates = String::new();
        let (to, target) = self.to.clone().unwrap_or_default();
        for axis in (0..self.shape.len()).rev().filter(|&axis| self.shape[axis] > 1) {
            let (extent, from) = (self.shape[axis], self.from[axis]);
            coordinates.push_str(&format!("{{ const u64 i = rest % {extent}u; rest /= {extent}u; "));
            match self.inside {
                Some((padded, before, len)) if padded == axis => {
                    coordinates.push_str(&format!(
                        "inside = i >= {before}u && i < {}u; if (inside) from += (i - {before}u) * {from}u; ",
                        before + len
                    ));
                }
                _ => coordinates.push_str(&format!("from += i * {from}u; ")),
            }
            if let Some(step) = to.get(axis) {
                coordinates.push_str(&format!("to += i * {step}u; "));
            }
            coordinates.push_str("} ");
        }
        let source = types.source().set("THREADS", THREADS);
        let source = source.sets([("ELEMENTS", elements), ("START", self.start), ("TARGET", target)]);
        let source = source.flag("PLACED", self.to.is_some());
        let source = source.set("COORDINATES", coordinates.trim_end());
        let arguments = vec![Argument::Input(self.input), Argument::Output(0)];
        source.launch("move", include_str!("../kernels/move.cu"), each(elements)?, arguments)
    }
}

/// The first operand as the first result, element by element.
pub(super) fn copy(types: Types<'_>) -> Option<Launch> {
    let shape = &types.outputs[0].shape;
    Move { shape, from: strides(shape), start: 0, to: None, inside: None, input: 0 }.launch(types)
}

pub(super) fn lower(op: &Op, types: Types<'_>) -> Option<Lowered> {
    let Types { inputs, outputs } = types;
    if inputs.iter().any(|ty| ty.dtype.is_quantized()) {
        return None;
    }
    let out = &outputs[0].shape;
    let steps = strides(&inputs[0].shape);
    let read =
        |from: Vec<usize>, start: usize| Move { shape: out, from, start, to: None, inside: None, input: 0 };
    let (name, moved) = match op {
        Op::Reshape(_) => ("copy", read(strides(out), 0)),
        Op::Transpose(op) => ("transpose", read(op.perm.iter().map(|&axis| steps[axis]).collect(), 0)),
        Op::Slice(op) => {
            let start = op.start * steps[op.axis];
            ("slice", read(steps, start))
        }
        Op::Broadcast(op) => {
            let mut from = vec![0; out.len()];
            for (step, &axis) in steps.iter().zip(&op.axes) {
                from[axis] = *step;
            }
            ("broadcast", read(from, 0))
        }
        Op::Pad(op) => {
            let len = inputs[0].shape[op.axis];
            // An axis of one element that is padded is counted too.
            let inside = Some((op.axis, op.before, len));
            ("pad", Move { inside, ..read(steps, 0) })
        }
        Op::Concat(op) => {
            let to = strides(out);
            let mut launches = Vec::new();
            let mut before = 0;
            for (input, ty) in inputs.iter().enumerate() {
                let place = Some((to.clone(), before * to[op.axis]));
                let from = strides(&ty.shape);
                let moved = Move { shape: &ty.shape, from, start: 0, to: place, inside: None, input };
                launches.push(moved.launch(types)?);
                before += ty.shape[op.axis];
            }
            return Some(Lowered::new("concat", launches));
        }
        _ => return None,
    };
    Some(Lowered::new(name, vec![moved.launch(types)?]))
}

/// Counting along an axis, and whole numbers from and to floats.
pub(super) fn lower_numbers(op: &Op, types: Types<'_>) -> Option<Lowered> {
    let elements = types.outputs[0].elements();
    let source = types.source().set("THREADS", THREADS).set("ELEMENTS", elements);
    let convert = |name, checked| {
        let source = source.clone().flag("CHECKED", checked);
        let arguments = vec![Argument::Input(0), Argument::Output(0), Argument::Fault];
        let text = include_str!("../kernels/convert.cu");
        let launch = source.launch("convert", text, each(elements)?, arguments)?;
        Some(Lowered::new(name, vec![launch]))
    };
    // Whole numbers of one size only, and floats that hold them all.
    let narrow = |ty: &&crossloom_ir::TensorType| !matches!(ty.dtype, DType::F32 | DType::I32 | DType::U8);
    if types.inputs.iter().chain(types.outputs).any(narrow) {
        return None;
    }
    match op {
        Op::ToFloat(_) => convert("to_float", false),
        Op::ToInt(_) => convert("to_int", true),
        Op::Iota(op) => {
            let inner: usize = op.shape[op.axis + 1..].iter().product();
            let source = source.sets([("INNER", inner), ("EXTENT", op.shape[op.axis])]);
            let text = include_str!("../kernels/iota.cu");
            let launch = source.launch("iota", text, each(elements)?, vec![Argument::Output(0)])?;
            Some(Lowered::new("iota", vec![launch]))
        }
        _ => None,
    }
}
