//! Which values share memory because one only renames, narrows or overwrites the other.

use crossloom_ir::func::ValueDef;
use crossloom_ir::interp::strides;
use crossloom_ir::op::Op;
use crossloom_ir::{Func, Value};

use crate::Kernel;

/// A value as part of the memory of another, its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The value that owns the memory.
    pub(super) root: Value,
    /// First byte within the root.
    pub(super) offset: usize,
}

/// Memory sharing of a whole function.
#[derive(Debug)]
pub(super) struct Aliases {
    /// For every value, where in which root it lies.
    pub(super) views: Vec<View>,
    /// For every instruction, the (input, output) pairs done in place.
    pub(super) in_place: Vec<Vec<(usize, usize)>>,
    /// For every instruction, whether it only renames memory.
    pub(super) renames: Vec<bool>,
    /// For every value, whether nobody reads it and the kernel that would make it can leave it out.
    pub(super) skipped: Vec<bool>,
    /// For every root, the last instruction that reads or makes what lives in its memory; `usize::MAX` if it outlives
    /// the function. A parameter that nothing reads has none.
    pub(super) last_use: Vec<Option<usize>>,
    /// For every root, the values that live in its memory.
    members: Vec<Vec<Value>>,
}

impl Aliases {
    /// Decides on all sharing, in one sweep in program order; `kernels` says, by instruction, what can be done in place.
    pub(super) fn of(func: &Func, kernels: &[Option<Kernel>]) -> Self {
        let count = func.value_count();
        let mut this = Self {
            views: (0..count).map(|i| View { root: Value(i as u32), offset: 0 }).collect(),
            in_place: vec![Vec::new(); func.insts().len()],
            renames: vec![false; func.insts().len()],
            skipped: skipped(func, kernels),
            last_use: vec![None; count],
            members: (0..count).map(|i| vec![Value(i as u32)]).collect(),
        };
        this.resolve_views(func);
        this.find_last_uses(func);
        this.choose_in_place(func, kernels);
        this
    }

    /// The root of a value.
    pub(super) fn root(&self, value: Value) -> Value {
        self.views[value.index()].root
    }

    fn resolve_views(&mut self, func: &Func) {
        for (index, inst) in func.insts().iter().enumerate() {
            let Some(shift) = view_offset(func, &inst.op, &inst.inputs) else { continue };
            let source = self.views[inst.inputs[0].index()];
            self.views[inst.outputs[0].index()] = View { root: source.root, offset: source.offset + shift };
            self.members[source.root.index()].push(inst.outputs[0]);
            self.renames[index] = true;
        }
    }

    fn find_last_uses(&mut self, func: &Func) {
        for (index, inst) in func.insts().iter().enumerate() {
            for &value in inst.inputs.iter().chain(&inst.outputs) {
                let root = self.root(value);
                self.last_use[root.index()] = Some(index);
            }
        }
        for result in func.results() {
            let root = self.root(result.value);
            self.last_use[root.index()] = Some(usize::MAX);
        }
    }

    fn choose_in_place(&mut self, func: &Func, kernels: &[Option<Kernel>]) {
        // By root, the parameter whose new content it is.
        let mut homes = vec![None; func.value_count()];
        for result in func.results().iter().filter(|result| result.updates.is_some()) {
            homes[self.root(result.value).index()] = result.updates;
        }
        for (index, inst) in func.insts().iter().enumerate() {
            if self.renames[index] {
                continue;
            }
            let mut taken_inputs: Vec<Value> = Vec::new();
            let mut taken_outputs: Vec<usize> = Vec::new();
            let able = kernels.get(index).and_then(Option::as_ref).map_or(&[][..], |kernel| &kernel.in_place);
            for (i, o) in inst.op.in_place().into_iter().filter(|pair| able.contains(pair)) {
                let (Some(&input), Some(&output)) = (inst.inputs.get(i), inst.outputs.get(o)) else {
                    continue;
                };
                let view = self.views[input.index()];
                let whole = view.offset == 0 && func.ty(view.root).bytes() == func.ty(output).bytes();
                let dies = self.last_use[view.root.index()] == Some(index);
                let allowed = dies
                    && match func.def(view.root) {
                        // A parameter may only be overwritten by its own update.
                        ValueDef::Param(param) => homes[output.index()] == Some(param),
                        // An update may only lie where nothing is written before its parameter is last read.
                        ValueDef::Output(first_write, _) => homes[output.index()].is_none_or(|param| {
                            let old = func.params()[param].value;
                            self.last_use[old.index()].is_none_or(|last| last < first_write.index())
                        }),
                    };
                let other_operand =
                    inst.inputs.iter().enumerate().any(|(j, &v)| j != i && self.root(v) == view.root);
                let free = !taken_inputs.contains(&view.root) && !taken_outputs.contains(&o);
                let skipped = self.skipped[output.index()];
                if whole && allowed && !other_operand && free && !skipped {
                    taken_inputs.push(view.root);
                    taken_outputs.push(o);
                    self.share(output, view.root);
                    self.in_place[index].push((i, o));
                }
            }
        }
    }

    /// Puts everything that lives in `output` into `root`.
    fn share(&mut self, output: Value, root: Value) {
        let moved = std::mem::take(&mut self.members[output.index()]);
        for &value in &moved {
            self.views[value.index()].root = root;
        }
        self.members[root.index()].extend(moved);
        self.last_use[root.index()] = self.last_use[output.index()].max(self.last_use[root.index()]);
    }
}

/// If the op only renames memory: how far into its operand the result starts, in bytes.
pub(crate) fn view_offset(func: &Func, op: &Op, inputs: &[Value]) -> Option<usize> {
    match op {
        Op::Reshape(_) => Some(0),
        Op::Slice(slice) => {
            let ty = func.ty(inputs[0]);
            let shape = &ty.shape;
            let contiguous = shape[..slice.axis].iter().all(|&extent| extent == 1);
            contiguous.then(|| ty.dtype.bytes_of(slice.start * strides(shape)[slice.axis]))
        }
        _ => None,
    }
}

/// For every value, whether it is a result that nobody reads and that its kernel can leave out.
fn skipped(func: &Func, kernels: &[Option<Kernel>]) -> Vec<bool> {
    let uses = func.use_counts();
    let mut skipped = vec![false; func.value_count()];
    for (inst, kernel) in func.insts().iter().zip(kernels) {
        let optional = kernel.iter().flat_map(|kernel| &kernel.optional);
        for output in optional.filter_map(|&o| inst.outputs.get(o)) {
            skipped[output.index()] = uses[output.index()] == 0;
        }
    }
    skipped
}
