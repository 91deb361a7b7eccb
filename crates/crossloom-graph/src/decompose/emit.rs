//! One primitive IR instruction as nodes of luminal.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{BinaryKind, ReduceKind, UnaryKind};
use crossloom_ir::{IrError, Op, Value};
use luminal::op::{
    Add, Constant, ConstantValue, Contiguous, Exp2, LessThan, Log2, MaxReduce, Mod, Mul, Operator, Recip,
    Sin, Sqrt, SumReduce,
};
use luminal::prelude::NodeIndex;

use super::view::View;
use super::{Emitter, Placed, loaded};
use crate::wiring::connect;

/// Whether an op may become a view, so that its readers read the operand's buffer.
pub(super) fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::ToFloat(_) | Op::Convert(_))
}

impl Emitter<'_> {
    pub(super) fn inst(&mut self, inst: &InstData) -> Result<(), IrError> {
        let located = |error: IrError| error.with_op(inst.op.mnemonic()).with_scope(&inst.scope);
        let output = inst.outputs.first().copied().filter(|_| inst.outputs.len() == 1);
        let output = output.ok_or_else(|| located(IrError::new("has several outputs")))?;
        let inputs = inst
            .inputs
            .iter()
            .map(|&value| self.get(value))
            .collect::<Result<Vec<_>, _>>()
            .map_err(located)?;
        let placed = self.primitive(&inst.op, &inputs, output).map_err(located)?;
        self.placed.insert(output, placed);
        Ok(())
    }

    fn primitive(&mut self, op: &Op, inputs: &[Placed], output: Value) -> Result<Placed, IrError> {
        let shape = self.func.shape(output).to_vec();
        if shape.contains(&0) {
            return Err(IrError::new(format!(
                "gives {}; luminal has no empty tensors",
                self.func.ty(output)
            )));
        }
        match (op, inputs) {
            (Op::Constant(constant), []) => {
                let value = Constant(ConstantValue::Float(constant.value as f32), std::ptr::null());
                Ok(Placed { node: self.graph.add_op(value).finish(), view: View::repeated(&shape) })
            }
            (Op::Iota(iota), []) => Ok(self.iota(&shape, iota.axis)),
            (Op::Unary(unary), [x]) => self.unary(unary.0, x, output),
            (Op::Binary(binary), [x, y]) => self.binary(binary.0, x, y, output),
            (Op::Reduce(reduce), [x]) => match reduce.axes[..] {
                [axis] => self.reduce(reduce.kind, axis, x, output),
                _ => Err(IrError::new("reduces several axes at once")),
            },
            (Op::Reshape(_), [x]) if x.view.buffer_shape().is_empty() => {
                Ok(Placed { node: x.node, view: View::repeated(&shape) })
            }
            (Op::Reshape(_), [x]) => {
                let node = if x.view.is_contiguous() { x.node } else { self.contiguous(x)? };
                Ok(Placed { node, view: View::contiguous(&shape) })
            }
            (Op::Transpose(transpose), [x]) => {
                let mut placed = x.clone();
                placed.view.permute(&transpose.perm);
                Ok(placed)
            }
            (Op::Broadcast(broadcast), [x]) => {
                let mut placed = x.clone();
                for (at, &extent) in shape.iter().enumerate().filter(|(at, _)| !broadcast.axes.contains(at)) {
                    placed.view.repeat(at, extent);
                }
                Ok(placed)
            }
            (Op::Slice(slice), [x]) => self.cut(x, slice.axis, slice.start, slice.len, &shape),
            (Op::Pad(pad), [x]) => self.pad(x, pad.axis, (pad.before, pad.after), &shape),
            (Op::ToFloat(_) | Op::Convert(_), [x]) => Ok(x.clone()),
            (Op::ToInt(_), [x]) => self.truncate(x, &shape),
            _ => Err(IrError::new("has no expansion into luminal's primitives")),
        }
    }

    /// luminal has no counter; like its own tensors, it is loaded.
    fn iota(&mut self, shape: &[usize], axis: usize) -> Placed {
        let extent = shape[axis];
        let count = (0..extent).map(|i| i as f32).collect();
        let node = self.graph.add_op(loaded(format!("iota {extent}"), count)).finish();
        let mut view = View::contiguous(&[extent]);
        for (at, &extent) in shape.iter().enumerate().filter(|(at, _)| *at != axis) {
            view.repeat(at, extent);
        }
        Placed { node, view }
    }

    /// Unary primitives compute on the buffer; the view passes on.
    fn unary(&mut self, kind: UnaryKind, x: &Placed, output: Value) -> Result<Placed, IrError> {
        let buffer = Placed { node: x.node, view: View::contiguous(&x.view.buffer_shape()) };
        let node = match kind {
            UnaryKind::Log2 => self.apply(Log2, &[&buffer])?,
            UnaryKind::Exp2 => self.apply(Exp2, &[&buffer])?,
            UnaryKind::Sin => self.apply(Sin, &[&buffer])?,
            UnaryKind::Sqrt => self.apply(Sqrt, &[&buffer])?,
            UnaryKind::Recip => self.apply(Recip, &[&buffer])?,
            _ => return Err(IrError::new("is no primitive")),
        };
        let node = self.shared(node, buffer.view, output)?;
        Ok(Placed { node, view: x.view.clone() })
    }

    fn binary(&mut self, kind: BinaryKind, x: &Placed, y: &Placed, output: Value) -> Result<Placed, IrError> {
        let operands = [x, y];
        let node = match kind {
            BinaryKind::Add => self.apply(Add, &operands)?,
            BinaryKind::Mul => {
                let node = self.apply(Mul, &operands)?;
                self.products.insert(node, self.func.shape(output).to_vec());
                node
            }
            BinaryKind::Mod => self.apply(Mod, &operands)?,
            BinaryKind::LessThan => self.apply(LessThan, &operands)?,
            _ => return Err(IrError::new("is no primitive")),
        };
        let view = View::contiguous(self.func.shape(output));
        let node = if kind == BinaryKind::LessThan {
            self.contiguous(&Placed { node, view: view.clone() })?
        } else {
            self.shared(node, view.clone(), output)?
        };
        Ok(Placed { node, view })
    }

    fn reduce(
        &mut self,
        kind: ReduceKind,
        axis: usize,
        x: &Placed,
        output: Value,
    ) -> Result<Placed, IrError> {
        let view = View::contiguous(self.func.shape(output));
        let rank = self.func.shape(output).len() + 1;
        // The matmul rewrites look at the product's shape and the reduced axis, not at what lies between.
        let product = self.products.get(&x.node);
        let as_made = product.is_none_or(|shape| x.view == View::contiguous(shape) && axis + 1 == rank);
        let x = if as_made { x.clone() } else { self.copied(x)? };
        let node = match kind {
            ReduceKind::Sum => self.apply(SumReduce(axis), &[&x])?,
            ReduceKind::Max => self.apply(MaxReduce(axis), &[&x])?,
        };
        let node = self.shared(node, view.clone(), output)?;
        Ok(Placed { node, view })
    }

    fn cut(
        &mut self,
        x: &Placed,
        axis: usize,
        start: usize,
        len: usize,
        shape: &[usize],
    ) -> Result<Placed, IrError> {
        let (at, _) = x.view.axis(axis);
        let mut tracker = x.view.tracker()?;
        tracker.slices[at] = (start.into(), (start + len).into());
        let node = self.graph.add_op(Contiguous).finish();
        connect(&mut self.graph, (x.node, 0), (node, 0), &tracker);
        Ok(Placed { node, view: View::contiguous(shape) })
    }

    fn pad(
        &mut self,
        x: &Placed,
        axis: usize,
        pad: (usize, usize),
        shape: &[usize],
    ) -> Result<Placed, IrError> {
        let mut x = x.clone();
        if x.view.axis(axis).1 {
            // luminal does not pad a repeated axis with zeros.
            x = self.copied(&x)?;
        }
        let (at, _) = x.view.axis(axis);
        let mut tracker = x.view.tracker()?;
        tracker.padding[at] = (pad.0.into(), pad.1.into());
        let node = self.graph.add_op(Contiguous).finish();
        connect(&mut self.graph, (x.node, 0), (node, 0), &tracker);
        Ok(Placed { node, view: View::contiguous(shape) })
    }

    /// `x - x mod 1`; the remainder has the sign of `x`.
    fn truncate(&mut self, x: &Placed, shape: &[usize]) -> Result<Placed, IrError> {
        let view = View::contiguous(shape);
        let mut number = |value: f32| {
            let node = self.graph.add_op(Constant(ConstantValue::Float(value), std::ptr::null())).finish();
            Placed { node, view: View::repeated(shape) }
        };
        let (one, minus) = (number(1.0), number(-1.0));
        let rest = Placed { node: self.apply(Mod, &[x, &one])?, view: view.clone() };
        let negated = Placed { node: self.apply(Mul, &[&rest, &minus])?, view: view.clone() };
        let node = self.apply(Add, &[x, &negated])?;
        let node = self.contiguous(&Placed { node, view: view.clone() })?;
        Ok(Placed { node, view })
    }

    /// What a value shows, in a buffer of its own.
    fn copied(&mut self, x: &Placed) -> Result<Placed, IrError> {
        Ok(Placed { node: self.contiguous(x)?, view: View::contiguous(&x.view.shape()) })
    }

    fn apply(&mut self, op: impl Operator + 'static, operands: &[&Placed]) -> Result<NodeIndex, IrError> {
        let node = self.graph.add_op(op).finish();
        for (order, operand) in operands.iter().enumerate() {
            self.wire(operand, node, order as u8)?;
        }
        Ok(node)
    }

    /// The node through which a value with several readers is read.
    fn shared(&mut self, node: NodeIndex, buffer: View, output: Value) -> Result<NodeIndex, IrError> {
        if self.readers[output.index()] > 1 {
            self.contiguous(&Placed { node, view: buffer })
        } else {
            Ok(node)
        }
    }
}
