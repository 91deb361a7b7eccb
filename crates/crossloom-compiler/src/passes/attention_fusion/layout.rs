//! Where heads lie in memory: what was split, repeated and merged around an attention.
//!
//! The elements of a value, in row-major order, are counted by *digits*, the last one fastest; each has an extent and the
//! distance that one step of it moves in another value, the root. Reshapes leave digits as they are, transposes order
//! them anew, broadcasts add digits that do not move. So the question whether a value is some other one split into
//! heads is the question whether its digits are the ones that such a split has.

use crossloom_ir::op::{Broadcast, Op, Transpose};
use crossloom_ir::{Func, Value};

/// An operand of a product of attention: rows by width, or width by rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) value: Value,
    /// Width by rows.
    pub(super) swapped: bool,
}

/// How an attention reads its operands.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) samples: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    /// Of one head.
    pub(super) width: usize,
    /// Values with the elements of q, k and v in the order of the op; those that are swapped must be transposed first.
    pub(super) operands: [Operand; 3],
}

/// Where the result of an attention stands.
pub(super) struct Merged {
    /// The instruction whose output has the elements of the op's output in their order.
    pub(super) at: usize,
    /// The values on the way from the product to there.
    pub(super) passed: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Digit {
    extent: usize,
    stride: usize,
}

/// Longest chain of movements that is followed.
const MAX_CHAIN: usize = 12;

/// The layout of an attention with those operands of its two products; `gone` are values that will not be computed.
pub(super) fn find(func: &Func, [q, k, v]: [Operand; 3], gone: &[bool]) -> Option<Layout> {
    let ((lead, queries, width), (_, keys, _)) = (q.extents(func)?, k.extents(func)?);
    if v.extents(func)? != (lead, keys, width) || lead * queries * keys * width == 0 {
        return None;
    }
    let views = [q.views(func, gone), k.views(func, gone), v.views(func, gone)];
    for samples in (1..=lead).filter(|samples| lead.is_multiple_of(*samples)) {
        let heads = lead / samples;
        let matching = |view: &View, rows: usize| {
            let kv_heads = view.elements / (samples * rows * width);
            let fits = kv_heads > 0
                && heads.is_multiple_of(kv_heads)
                && view.digits == heads_of(samples, kv_heads, heads / kv_heads, rows, width);
            fits.then_some((view.root, kv_heads))
        };
        let Some(q) = views[0].iter().filter_map(|view| matching(view, queries)).find(|(_, h)| *h == heads)
        else {
            continue;
        };
        let pair = views[1].iter().filter_map(|view| matching(view, keys)).find_map(|(k, kv_heads)| {
            let mut values = views[2].iter().filter_map(|view| matching(view, keys));
            values.find(|(_, other)| *other == kv_heads).map(|(v, _)| (k, v, kv_heads))
        });
        if let Some((k, v, kv_heads)) = pair {
            let operands = [q.0, k, v].map(|value| Operand { value, swapped: false });
            return Some(Layout { samples, heads, kv_heads, queries, keys, width, operands });
        }
    }
    // Every head is a sample of its own.
    let operands = [q, k, v];
    Some(Layout { samples: lead, heads: 1, kv_heads: 1, queries, keys, width, operands })
}

impl Operand {
    /// Number of heads of all samples, rows and width.
    fn extents(self, func: &Func) -> Option<(usize, usize, usize)> {
        let [lead @ .., x, y] = func.shape(self.value) else { return None };
        let (rows, width) = if self.swapped { (*y, *x) } else { (*x, *y) };
        Some((lead.iter().product(), rows, width))
    }

    /// The operand as a view of the values it is made of by movements alone, the earliest first.
    fn views(self, func: &Func, gone: &[bool]) -> Vec<View> {
        let mut chain = vec![self.value];
        let mut last = self.value;
        while let Some((_, inst)) = func.def_inst(last) {
            let moves = matches!(inst.op, Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_));
            if !moves || gone[inst.inputs[0].index()] || chain.len() > MAX_CHAIN {
                break;
            }
            last = inst.inputs[0];
            chain.push(last);
        }
        let view = |from: usize| {
            let mut digits = row_major(func.shape(chain[from]));
            for pair in chain[..=from].windows(2).rev() {
                digits = moved(func, pair[0], pair[1], digits)?;
            }
            if self.swapped {
                let rank = func.shape(self.value).len();
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.swap(rank - 2, rank - 1);
                digits = transposed(&digits, func.shape(self.value), &perm)?;
            }
            let root = chain[from];
            Some(View { root, elements: func.ty(root).elements(), digits: joined(&digits) })
        };
        (0..chain.len()).rev().filter_map(view).collect()
    }
}

/// An operand, rows by width, as a view of a value.
struct View {
    root: Value,
    elements: usize,
    digits: Vec<Digit>,
}

impl Layout {
    /// Whether the op's output has the elements of the product's in their order.
    pub(super) fn is_plain(&self) -> bool {
        self.output_digits() == joined(&row_major(&[self.samples, self.heads, self.queries, self.width]))
    }

    /// The op's output as a view of the product's.
    fn output_digits(&self) -> Vec<Digit> {
        let head = self.queries * self.width;
        joined(&[
            Digit { extent: self.samples, stride: self.heads * head },
            Digit { extent: self.queries, stride: self.width },
            Digit { extent: self.heads, stride: head },
            Digit { extent: self.width, stride: 1 },
        ])
    }

    /// Follows the product's output to where its heads are merged as the op merges them.
    pub(super) fn merged(&self, func: &Func, output: Value, users: &[Vec<usize>]) -> Option<Merged> {
        let wanted = self.output_digits();
        let shape = [self.samples, self.queries, self.heads * self.width];
        let (mut value, mut digits) = (output, row_major(func.shape(output)));
        let (mut passed, mut merged) = (Vec::new(), None);
        loop {
            if joined(&digits) == wanted && (merged.is_none() || func.shape(value) == shape) {
                let (at, _) = func.def_inst(value)?;
                merged = Some(Merged { at: at.index(), passed: passed.clone() });
            }
            let next = match *users[value.index()].as_slice() {
                [user] => func.insts().get(user),
                _ => None,
            };
            let next = next.filter(|inst| matches!(inst.op, Op::Reshape(_) | Op::Transpose(_)));
            let Some(inst) = next.filter(|_| passed.len() < MAX_CHAIN) else { return merged };
            let Some(moved) = moved(func, inst.outputs[0], value, digits) else { return merged };
            digits = moved;
            passed.push(value);
            value = inst.outputs[0];
        }
    }
}

/// The digits of `[samples, kv_heads group, rows, width]` in a root `[samples, rows, kv_heads, width]`.
fn heads_of(samples: usize, kv_heads: usize, group: usize, rows: usize, width: usize) -> Vec<Digit> {
    joined(&[
        Digit { extent: samples, stride: rows * kv_heads * width },
        Digit { extent: kv_heads, stride: width },
        Digit { extent: group, stride: 0 },
        Digit { extent: rows, stride: kv_heads * width },
        Digit { extent: width, stride: 1 },
    ])
}

fn row_major(shape: &[usize]) -> Vec<Digit> {
    let strides = crossloom_ir::interp::strides(shape);
    shape.iter().zip(strides).map(|(&extent, stride)| Digit { extent, stride }).collect()
}

/// The same count with as few digits as possible.
fn joined(digits: &[Digit]) -> Vec<Digit> {
    let mut all: Vec<Digit> = Vec::with_capacity(digits.len());
    for &digit in digits.iter().filter(|digit| digit.extent != 1) {
        match all.last_mut() {
            Some(last) if last.stride == digit.extent * digit.stride => {
                last.extent *= digit.extent;
                last.stride = digit.stride;
            }
            _ => all.push(digit),
        }
    }
    all
}

/// The digits of `to`, which a movement makes of `from`.
fn moved(func: &Func, to: Value, from: Value, digits: Vec<Digit>) -> Option<Vec<Digit>> {
    match &func.def_inst(to)?.1.op {
        Op::Reshape(_) => Some(digits),
        Op::Transpose(Transpose { perm }) => transposed(&digits, func.shape(from), perm),
        Op::Broadcast(Broadcast { shape, axes }) => {
            let groups = by_axis(&digits, func.shape(from))?;
            let group = |(axis, &extent): (usize, &usize)| match axes.iter().position(|&to| to == axis) {
                Some(from) => groups[from].clone(),
                None => vec![Digit { extent, stride: 0 }],
            };
            Some(shape.iter().enumerate().flat_map(group).collect())
        }
        _ => None,
    }
}

fn transposed(digits: &[Digit], shape: &[usize], perm: &[usize]) -> Option<Vec<Digit>> {
    let groups = by_axis(digits, shape)?;
    Some(perm.iter().flat_map(|&axis| groups[axis].clone()).collect())
}

/// The digits that count along every axis of a shape, digits split where an axis ends within them.
fn by_axis(digits: &[Digit], shape: &[usize]) -> Option<Vec<Vec<Digit>>> {
    let mut left = joined(digits);
    let mut groups = vec![Vec::new(); shape.len()];
    for (group, &extent) in groups.iter_mut().zip(shape).rev() {
        let mut need = extent;
        while need > 1 {
            let digit = left.pop()?;
            if need.is_multiple_of(digit.extent) {
                need /= digit.extent;
                group.push(digit);
            } else if digit.extent.is_multiple_of(need) {
                left.push(Digit { extent: digit.extent / need, stride: digit.stride * need });
                group.push(Digit { extent: need, stride: digit.stride });
                need = 1;
            } else {
                return None;
            }
        }
        group.reverse();
    }
    Some(groups)
}
