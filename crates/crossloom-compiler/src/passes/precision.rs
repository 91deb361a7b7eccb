//! Precision: which value is held in which type.
//!
//! Before: a function in `f32` (and whole numbers), differentiated where it is to be. After: the same function with
//! 16-bit values where the table says so, read and computed as every op reads and computes them: widened, in `f32`, the
//! result rounded once. With [`Precision::F32`] and no frozen weight and no state of another type nothing changes.
//!
//! | instruction | its operands | its results |
//! |---|---|---|
//! | product: `linear`, `matmul`, `amp_project`, `attention` and its gradient | converted to `bf16`; biases, residuals and log-sum-exps as they are | `bf16`; log-sum-exps `f32`; with a residual `f32`, unless that is `bf16` itself |
//! | movement | as they are, made one type | their type |
//! | sum: `add`, `sub`, `agf_inject`, adding rows | as they are | `f32`, unless all operands are `bf16` and no norm reads it |
//! | `mix_rows` | as they are | that of the rows that it mixes, unless a norm reads it |
//! | activation, its derivative, `mul` | as they are | `bf16` where all operands are, or where a product reads it |
//! | loss, gradient norm, optimizer | as they are | `f32` |
//! | all others: norms and their gradients, `rope`, pools, reductions, `sigmoid`, … | as they are | `bf16` where a product reads it, else `f32` |
//!
//! Whatever the row, a value stays `f32` that is a result of the function, or that loss, softmax, arg-max, gradient norm
//! or optimizer read, also by way of movements and, for gradients, sums and factors. So the residual stream and its
//! gradient, statistics, gates, logits, loss, weight gradients and the optimizer are `f32`, and queries, keys, values,
//! norm outputs, the hidden values of an MLP and the features of all taps are `bf16`.
//!
//! Gates are `f32` from the pooled rows on, and their weights are read as they are: what a `sigmoid` reads, through products, sums
//! and movements back to a pool, and what products make of these values' gradients. Gates decide by small differences
//! between pictures, which eight bits do not tell apart, and a few rows cost nothing.
//!
//! A product of which one operand is made of no parameter at all (counting and arithmetic: a matrix that resamples a grid)
//! is `f32` too: in eight bits it would be another matrix, and none of a model's large products is like that.
//!
//! An *input* that the policy names and that products alone read is `bf16` itself: it is given in the type in which it is read.
//! *State* that the policy names has the type that it names: what is put into it is made in that type, or converted, and what is read of it
//! is read as it is, whatever products are computed from. So all calls read the same numbers, those that wrote them too.
//! A *frozen* weight has the type that the policy names for it. A *trained* weight `w` stays `f32` under its own name;
//! products read the state parameter `bf16.w`, and the step that updates `w` updates that with the new content,
//! converted. One sweep from the end and one from the start: linear in the number of instructions.

mod given;

use std::collections::{BTreeMap, BTreeSet};

use crossloom_ir::func::{InstData, Param, ValueDef};
use crossloom_ir::op::{Binary, BinaryKind, Convert, Op, ScatterMode, ScatterRows, Unary, UnaryKind};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, IrErrors, Role, Value};

use super::Pass;
use crate::Context;

/// First part of the names of the 16-bit copies of trained weights.
pub const COPY: &str = "bf16.";

/// In which type products are computed from and held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Everything in `f32`.
    #[default]
    F32,
    /// By the table of this module.
    Bf16,
}

/// What the pass is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How products are computed.
    pub compute: Precision,
    /// Element types of frozen weights, by name. A weight that is not named counts as trained: its content is `f32`.
    /// Names that a function does not have are no error, for its parts share one policy.
    pub frozen: BTreeMap<String, DType>,
    /// Inputs that can be given in 16 bits. Those of them become so that nothing but products reads, which would round
    /// them anyway.
    pub given: BTreeSet<String>,
    /// Float types of state that calls share, such as caches, by what its names begin with. Whole numbers stay what they are.
    pub states: BTreeMap<String, DType>,
}

impl Policy {
    /// Whether every function stays as it is.
    pub fn is_f32(&self) -> bool {
        let mut named = self.frozen.values().chain(self.states.values());
        self.compute == Precision::F32 && named.all(|&dtype| dtype == DType::F32)
    }

    /// The type that is named for a parameter which is float state.
    fn state(&self, func: &Func, param: &Param) -> Option<DType> {
        if param.role != Role::State || !func.dtype(param.value).is_float() {
            return None;
        }
        let mut named = self.states.iter().filter(|(prefix, _)| param.name.starts_with(prefix.as_str()));
        named.next().map(|(_, &dtype)| dtype)
    }
}

/// The pass: see the module comment.
#[derive(Debug)]
pub(super) struct SetTypes;

impl Pass for SetTypes {
    fn name(&self) -> &'static str {
        "precision"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        apply(func, &cx.policy)
    }
}

/// Sets the types of a function by the table of this module.
///
/// # Errors
/// A frozen weight that the function updates, that is no weight or whose type is none of weights; a quantized weight
/// that is read by more than products and gathers.
pub fn apply(func: &Func, policy: &Policy) -> Result<Func, IrErrors> {
    if policy.is_f32() {
        return Ok(func.clone());
    }
    check(func, policy)?;
    let marks = Marks::of(func, policy);
    let low = (policy.compute == Precision::Bf16).then_some(DType::Bf16);
    let narrow = low.map(|_| given::read_by_products(func, &marks)).unwrap_or_default();
    let asked = |param: &Param| match low {
        Some(low) if policy.given.contains(&param.name) && narrow[param.value.index()] => Some(low),
        _ => policy.state(func, param).or_else(|| policy.frozen.get(&param.name).copied()),
    };
    let mut typing = Typing {
        rewriter: Rewriter::retyped(func, |param| {
            let ty = func.ty(param.value);
            asked(param).map_or_else(|| ty.clone(), |dtype| ty.with_dtype(dtype))
        }),
        marks,
        low,
        lowered: BTreeMap::new(),
        copies: Vec::new(),
    };
    for inst in func.insts() {
        typing.inst(inst).map_err(|error| error.with_op(inst.op.mnemonic()).with_scope(&inst.scope))?;
    }
    let Typing { rewriter, copies, .. } = typing;
    Ok(update_copies(rewriter.finish()?, &copies)?)
}

fn check(func: &Func, policy: &Policy) -> Result<(), IrErrors> {
    let mut errors = Vec::new();
    for (index, param) in func.params().iter().enumerate() {
        let Some(&dtype) = policy.frozen.get(&param.name) else { continue };
        let message = if dtype.is_integer() {
            format!("the frozen weight `{}` cannot be {dtype}", param.name)
        } else if param.role != Role::Weight {
            format!("`{}` is to be frozen as {dtype}, but is no weight", param.name)
        } else if func.results().iter().any(|result| result.updates == Some(index)) {
            format!("`{}` is to be frozen as {dtype}, but is trained", param.name)
        } else {
            continue;
        };
        errors.push(IrError::new(message).with_value(param.value));
    }
    for (prefix, dtype) in policy.states.iter().filter(|(_, dtype)| !is_held(**dtype)) {
        errors.push(IrError::new(format!("state `{prefix}…` cannot be {dtype}; it may be f32 or bf16")));
    }
    if errors.is_empty() { Ok(()) } else { Err(IrErrors(errors)) }
}

/// Whether kernels write state of that type.
fn is_held(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::Bf16)
}

/// Which operand of an op are rows that are put into the first, whose type the result has.
fn put_rows(op: &Op) -> Option<usize> {
    match op {
        Op::CacheWrite(_) => Some(1),
        Op::ScatterRows(ScatterRows { mode: ScatterMode::Set }) => Some(2),
        _ => None,
    }
}

/// The weights whose copies a function reads.
pub fn copied(func: &Func) -> Vec<String> {
    let states = func.params().iter().filter(|param| param.role == Role::State);
    states.filter_map(|param| param.name.strip_prefix(COPY)).map(str::to_owned).collect()
}

/// Makes a function write the copies of those of the named weights that it updates. With gradient accumulation the
/// function that updates weights is not the one whose products read them.
///
/// # Errors
/// Never in practice: a weight that is updated is `f32`.
pub fn write_copies(func: &Func, names: &[String]) -> Result<Func, IrErrors> {
    let mut func = func.clone();
    let mut copies = Vec::new();
    for name in names {
        let Some(master) = func.param(name).map(|param| param.value) else { continue };
        let ty = func.ty(master).with_dtype(DType::Bf16);
        copies.push((master, func.add_param(format!("{COPY}{name}"), Role::State, ty)));
    }
    Ok(update_copies(func, &copies)?)
}

/// The step writes the 16-bit copy of every weight that it updates.
fn update_copies(mut func: Func, copies: &[(Value, Value)]) -> Result<Func, IrError> {
    for &(master, copy) in copies {
        let ValueDef::Param(index) = func.def(master) else { continue };
        let Some(new) = func.results().iter().find(|r| r.updates == Some(index)).map(|r| r.value) else {
            continue;
        };
        let scope = func.def_inst(new).map(|(_, inst)| inst.scope.clone()).unwrap_or_default();
        let rounded = func.push_as(Convert, &[new], &[func.dtype(copy)], &scope)?;
        func.add_update(copy, rounded[0])?;
    }
    Ok(func)
}

/// The row of the table that an op is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Product,
    Movement,
    Sum,
    Mix,
    Activation,
    Wide,
    Other,
}

fn row(op: &Op) -> Row {
    match op {
        Op::Linear(_) | Op::Matmul(_) | Op::AmpProject(_) | Op::Attention(_) | Op::AttentionGrad(_) => {
            Row::Product
        }
        Op::Binary(Binary(BinaryKind::Add | BinaryKind::Sub))
        | Op::AgfInject(_)
        | Op::ScatterRows(ScatterRows { mode: ScatterMode::Add }) => Row::Sum,
        Op::MixRows(_) => Row::Mix,
        Op::Unary(Unary(UnaryKind::Act(_) | UnaryKind::ActGrad(_))) | Op::Binary(Binary(BinaryKind::Mul)) => {
            Row::Activation
        }
        Op::CrossEntropy(_) | Op::AdamW(_) | Op::MultiAdamW(_) | Op::GlobalNorm(_) => Row::Wide,
        op if op.moves() => Row::Movement,
        _ => Row::Other,
    }
}

/// Whether a product reads that operand in 16 bits.
fn is_low_operand(op: &Op, operand: usize) -> bool {
    match op {
        Op::Linear(_) | Op::Matmul(_) => operand < 2,
        Op::Attention(_) => operand < 3,
        // do, q, k, v, o; then the log-sum-exps.
        Op::AttentionGrad(_) => operand < 5,
        Op::AmpProject(op) => {
            let (w1, w2) = op.weight_indices();
            !(op.bias && (operand == w1 + 1 || operand == w2 + 1))
        }
        _ => false,
    }
}

/// What the readers of a value say about it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "six questions, each answered on its own")]
struct Mark {
    /// A product reads it.
    product: bool,
    /// A norm reads it, so it is the residual stream.
    norm: bool,
    /// It must stay `f32`.
    wide: bool,
    /// It becomes an optimizer's gradient.
    gradient: bool,
    /// A sigmoid reads it, at the end of products, sums and movements.
    gate: bool,
    /// No parameter has part in it.
    constant: bool,
    /// It is state of a type that the policy names, or such state with rows put into it.
    state: Option<DType>,
    /// It is put into such state, as it is or in another shape.
    kept: Option<DType>,
}

struct Marks(Vec<Mark>);

impl Marks {
    /// Goes from readers to what they read.
    fn of(func: &Func, policy: &Policy) -> Self {
        let mut marks = Self::gates(func);
        for param in func.params() {
            marks[param.value.index()].state = policy.state(func, param);
        }
        for inst in func.insts() {
            if put_rows(&inst.op).is_some() || matches!(inst.op, Op::Reshape(_)) {
                marks[inst.outputs[0].index()].state = marks[inst.inputs[0].index()].state;
            }
            if inst.inputs.iter().all(|v| marks[v.index()].constant) {
                for output in &inst.outputs {
                    marks[output.index()].constant = true;
                }
            }
        }
        for result in func.results() {
            marks[result.value.index()].wide = true;
        }
        for inst in func.insts().iter().rev() {
            let out = inst.outputs.first().map_or_else(Mark::default, |v| marks[v.index()]);
            let wide_product = Self::is_wide_product(&marks, inst);
            for (i, input) in inst.inputs.iter().enumerate() {
                let mark = &mut marks[input.index()];
                match &inst.op {
                    op if put_rows(op) == Some(i) => mark.kept = mark.kept.or(out.state),
                    Op::Reshape(_) => mark.kept = mark.kept.or(out.kept),
                    _ => {}
                }
                match &inst.op {
                    op if op.moves() => {
                        mark.product |= out.product;
                        mark.norm |= out.norm;
                        mark.wide |= out.wide;
                        mark.gradient |= out.gradient;
                    }
                    Op::AdamW(_) | Op::MultiAdamW(_) | Op::GlobalNorm(_) => mark.gradient = true,
                    Op::Binary(_) | Op::Affine(_) => mark.gradient |= out.gradient,
                    Op::CrossEntropy(_) | Op::CrossEntropyGrad(_) | Op::Softmax(_) | Op::Argmax(_) => {
                        mark.wide = true;
                    }
                    Op::LayerNorm(_)
                    | Op::RmsNorm(_)
                    | Op::AddLayerNorm(_)
                    | Op::AddRmsNorm(_)
                    | Op::LayerNormGrad(_)
                    | Op::RmsNormGrad(_) => mark.norm = true,
                    op => mark.product |= !wide_product && is_low_operand(op, i),
                }
            }
        }
        for result in func.results() {
            marks[result.value.index()].kept = None;
        }
        Self(marks)
    }

    /// The values that gates are made of. They are known before anything else is asked, for gradients read them too.
    fn gates(func: &Func) -> Vec<Mark> {
        let mut marks = vec![Mark::default(); func.value_count()];
        for inst in func.insts().iter().rev() {
            let of_gate = inst.outputs.iter().any(|v| marks[v.index()].gate);
            let goes_on = |operand: usize| match &inst.op {
                Op::Unary(Unary(UnaryKind::Sigmoid)) => true,
                Op::Linear(_) | Op::Matmul(_) | Op::Binary(_) | Op::Affine(_) => of_gate,
                // The queries; the rows are features or hidden states.
                Op::AttnPool(_) => of_gate && operand == 1,
                op => of_gate && op.moves(),
            };
            for (_, input) in inst.inputs.iter().enumerate().filter(|(operand, _)| goes_on(*operand)) {
                marks[input.index()].gate = true;
            }
        }
        marks
    }

    /// Whether an instruction is computed in `f32` though it is a product: it makes a value of a gate or reads one, as
    /// gradients do; or it reads what no parameter has part in.
    fn is_wide_product(marks: &[Mark], inst: &InstData) -> bool {
        inst.outputs.iter().chain(&inst.inputs).any(|v| marks[v.index()].gate)
            || inst.inputs.iter().any(|v| marks[v.index()].constant)
    }

    fn of_value(&self, value: Value) -> Mark {
        self.0[value.index()]
    }
}

struct Typing<'f> {
    marks: Marks,
    /// The type of the table's 16-bit values; none where everything is computed in `f32`.
    low: Option<DType>,
    rewriter: Rewriter<'f>,
    /// Values of the new function and what they are in 16 bits.
    lowered: BTreeMap<Value, Value>,
    /// Trained weights that products read, with their copies.
    copies: Vec<(Value, Value)>,
}

impl Typing<'_> {
    fn inst(&mut self, inst: &InstData) -> Result<(), IrError> {
        let row = row(&inst.op);
        let mut inputs = self.rewriter.get_all(&inst.inputs)?;
        match (row, self.low) {
            (Row::Product, Some(low)) if !Marks::is_wide_product(&self.marks.0, inst) => {
                for (_, input) in inputs.iter_mut().enumerate().filter(|(i, _)| is_low_operand(&inst.op, *i))
                {
                    *input = self.as_low(*input, low, inst)?;
                }
            }
            (Row::Movement, _) => self.make_one_type(inst, &mut inputs)?,
            _ => {}
        }
        let outputs = if row == Row::Movement {
            self.rewriter.builder(&inst.scope).push(inst.op.clone(), &inputs)?
        } else {
            let types: Vec<DType> =
                (0..inst.outputs.len()).map(|i| self.result_type(row, inst, &inputs, i)).collect();
            self.rewriter.builder(&inst.scope).push_as(inst.op.clone(), &inputs, &types)?
        };
        self.rewriter.set_all(&inst.outputs, &outputs);
        Ok(())
    }

    /// The type of a result, by the table.
    fn result_type(&self, row: Row, inst: &InstData, inputs: &[Value], output: usize) -> DType {
        let value = inst.outputs[output];
        let old = self.rewriter.old().dtype(value);
        let mark = self.marks.of_value(value);
        if let (Some(kept), DType::F32) = (mark.kept, old) {
            return kept;
        }
        let (Some(low), DType::F32) = (self.low, old) else { return old };
        let new = self.rewriter.new_func();
        let all_low = || {
            let mut floats = inputs.iter().filter(|&&v| !new.dtype(v).is_integer());
            floats.all(|&v| new.dtype(v) == low)
        };
        let is_low = !mark.wide
            && !mark.gradient
            && !mark.gate
            && match row {
                Row::Product if Marks::is_wide_product(&self.marks.0, inst) => false,
                Row::Product => match &inst.op {
                    Op::Attention(_) => output == 0,
                    Op::Linear(op) if op.residual && output == 0 => {
                        inputs.last().is_some_and(|&residual| new.dtype(residual) == low)
                    }
                    _ => true,
                },
                Row::Sum => !mark.norm && all_low(),
                Row::Mix => !mark.norm && inputs.first().is_some_and(|&rows| new.dtype(rows) == low),
                Row::Activation => !mark.norm && (mark.product || all_low()),
                Row::Other => !mark.norm && mark.product,
                Row::Movement | Row::Wide => false,
            };
        if is_low { low } else { DType::F32 }
    }

    /// Makes the operands of a movement one float type: 16 bits where a product reads the result.
    fn make_one_type(&mut self, inst: &InstData, inputs: &mut [Value]) -> Result<(), IrError> {
        let mark = self.marks.of_value(inst.outputs[0]);
        if let (Some(rows), Some(state)) = (put_rows(&inst.op), mark.state) {
            inputs[rows] = match state {
                DType::F32 => self.rewriter.builder(&inst.scope).convert(inputs[rows], state)?,
                narrow => self.as_low(inputs[rows], narrow, inst)?,
            };
            return Ok(());
        }
        let new = self.rewriter.new_func();
        let floats: Vec<DType> = new.dtypes(inputs).into_iter().filter(|dtype| dtype.is_float()).collect();
        let Some(&first) = floats.first() else { return Ok(()) };
        let target = match self.low {
            Some(low) if mark.product && !mark.wide && !mark.norm && !mark.gradient => low,
            _ if floats.iter().all(|&dtype| dtype == first) => return Ok(()),
            _ => DType::F32,
        };
        for input in inputs.iter_mut() {
            if !self.rewriter.new_func().dtype(*input).is_float() {
                continue;
            }
            *input = match self.low {
                Some(low) if low == target => self.as_low(*input, low, inst)?,
                _ => self.rewriter.builder(&inst.scope).convert(*input, target)?,
            };
        }
        Ok(())
    }

    /// A value of the new function in 16 bits: converted once, or the copy of a trained weight. What is 16 bits wide or
    /// quantized already is read as it is.
    fn as_low(&mut self, value: Value, low: DType, inst: &InstData) -> Result<Value, IrError> {
        let new = self.rewriter.new_func();
        if new.dtype(value) != DType::F32 {
            return Ok(value);
        }
        if let Some(&known) = self.lowered.get(&value) {
            return Ok(known);
        }
        let trained = match new.def(value) {
            ValueDef::Param(index) => Some(&new.params()[index]).filter(|param| param.role == Role::Weight),
            ValueDef::Output(..) => None,
        };
        let lowered = match trained.map(|param| format!("{COPY}{}", param.name)) {
            Some(name) => {
                let ty = new.ty(value).with_dtype(low);
                let mut builder = self.rewriter.builder(&inst.scope);
                let copy = builder.func_mut().add_param(name, Role::State, ty);
                self.copies.push((value, copy));
                copy
            }
            None => self.rewriter.builder(&inst.scope).convert(value, low)?,
        };
        self.lowered.insert(value, lowered);
        Ok(lowered)
    }
}
