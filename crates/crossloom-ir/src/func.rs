//! Functions: arenas of values and instructions.

use std::fmt;
use std::sync::Arc;

use crate::{Builder, DType, Inst, IrError, Op, TensorType, Value};

/// Dotted path that says which part of the model an instruction belongs to, such as `vision.block.7.attn`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope of that path; parts are separated by dots, the empty path is the root.
    pub fn new(path: impl AsRef<str>) -> Self {
        Self(Arc::from(path.as_ref()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scope `part` below this one.
    #[must_use]
    pub fn child(&self, part: &str) -> Self {
        if self.0.is_empty() { Self::new(part) } else { Self::new(format!("{}.{part}", self.0)) }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a parameter is to the function, which decides who owns its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Given anew at every call: pixels, token ids, the learning rate.
    Input,
    /// A model parameter; lives between calls.
    Weight,
    /// Other memory that lives between calls: optimizer moments, gradient accumulators.
    State,
}

impl Role {
    /// The printed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Weight => "weight",
            Self::State => "state",
        }
    }

    /// The role of that printed name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Input, Self::Weight, Self::State].into_iter().find(|role| role.name() == name)
    }
}

/// A named parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Unique name, such as `multi_modal_projector.linear_1.weight`.
    pub name: String,
    /// What it is to the function.
    pub role: Role,
    /// Its value.
    pub value: Value,
}

/// A named result; `updates` makes it the new content of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultDef {
    /// Unique name among the results.
    pub name: String,
    /// The value returned.
    pub value: Value,
    /// Index of the weight or state parameter whose memory receives the value.
    pub updates: Option<usize>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct InstData {
    /// What it computes.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<Value>,
    /// Results, all of them defined by this instruction.
    pub outputs: Vec<Value>,
    /// The part of the model it belongs to.
    pub scope: Scope,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueDef {
    /// The parameter of that index.
    Param(usize),
    /// That output of that instruction.
    Output(Inst, usize),
}

#[derive(Clone, Debug, PartialEq)]
struct ValueData {
    ty: TensorType,
    def: ValueDef,
}

/// A straight-line function over static tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Func {
    /// The function's name.
    pub name: String,
    params: Vec<Param>,
    insts: Vec<InstData>,
    values: Vec<ValueData>,
    results: Vec<ResultDef>,
}

impl Func {
    /// An empty function.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            params: Vec::new(),
            insts: Vec::new(),
            values: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Adds a parameter.
    pub fn add_param(&mut self, name: impl Into<String>, role: Role, ty: TensorType) -> Value {
        let value = Value(self.values.len() as u32);
        self.values.push(ValueData { ty, def: ValueDef::Param(self.params.len()) });
        self.params.push(Param { name: name.into(), role, value });
        value
    }

    /// Appends an instruction after checking it against the op's type rule; returns its outputs. Float results that the
    /// op computes are `f32`; what only moves data keeps its type.
    ///
    /// # Errors
    /// The type rule's complaint, with the op and the scope.
    pub fn push(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Value],
        scope: &Scope,
    ) -> Result<Vec<Value>, IrError> {
        self.append(op.into(), inputs, None, scope)
    }

    /// As [`Func::push`], but asks for the element type of every output. A float result that the op computes may have
    /// any float type, to which it is rounded; other results have the type that they have.
    ///
    /// # Errors
    /// The type rule's complaint, or why a result cannot have the type that is asked for.
    pub fn push_as(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Value],
        asked: &[DType],
        scope: &Scope,
    ) -> Result<Vec<Value>, IrError> {
        self.append(op.into(), inputs, Some(asked), scope)
    }

    fn append(
        &mut self,
        op: Op,
        inputs: &[Value],
        asked: Option<&[DType]>,
        scope: &Scope,
    ) -> Result<Vec<Value>, IrError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let inferred = match asked {
            None => op.infer(&types),
            Some(asked) => op.infer_as(&types, asked),
        };
        let out_types = inferred.map_err(|message| {
            let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
            IrError::new(format!("{message} (operands: {})", shown.join(", ")))
                .with_op(op.mnemonic())
                .with_scope(scope)
        })?;
        let inst = Inst(self.insts.len() as u32);
        let outputs: Vec<Value> = out_types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| {
                let value = Value(self.values.len() as u32);
                self.values.push(ValueData { ty, def: ValueDef::Output(inst, i) });
                value
            })
            .collect();
        self.insts.push(InstData {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            scope: scope.clone(),
        });
        Ok(outputs)
    }

    /// Adds a named result.
    pub fn add_result(&mut self, name: impl Into<String>, value: Value) {
        self.results.push(ResultDef { name: name.into(), value, updates: None });
    }

    /// Makes `value` the new content of the parameter `param`.
    ///
    /// # Errors
    /// `param` is no parameter.
    pub fn add_update(&mut self, param: Value, value: Value) -> Result<(), IrError> {
        let ValueDef::Param(index) = self.def(param) else {
            return Err(IrError::new("is no parameter, so it cannot be updated").with_value(param));
        };
        let name = self.params[index].name.clone();
        self.results.push(ResultDef { name, value, updates: Some(index) });
        Ok(())
    }

    /// A builder that appends at the end of this function.
    pub fn builder(&mut self) -> Builder<'_> {
        Builder::new(self)
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.index()].ty
    }

    /// Element type of a value.
    pub fn dtype(&self, value: Value) -> DType {
        self.ty(value).dtype
    }

    /// Element types of values, as [`Func::push_as`] takes them.
    pub fn dtypes(&self, values: &[Value]) -> Vec<DType> {
        values.iter().map(|&v| self.dtype(v)).collect()
    }

    /// Shape of a value.
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.ty(value).shape
    }

    /// Where a value comes from.
    pub fn def(&self, value: Value) -> ValueDef {
        self.values[value.index()].def
    }

    /// The instruction that defines a value, if it is no parameter.
    pub fn def_inst(&self, value: Value) -> Option<(Inst, &InstData)> {
        match self.def(value) {
            ValueDef::Param(_) => None,
            ValueDef::Output(inst, _) => Some((inst, self.inst(inst))),
        }
    }

    /// Parameters in order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// Instructions in program order.
    pub fn insts(&self) -> &[InstData] {
        &self.insts
    }

    /// One instruction.
    pub fn inst(&self, inst: Inst) -> &InstData {
        &self.insts[inst.index()]
    }

    /// Results in order.
    pub fn results(&self) -> &[ResultDef] {
        &self.results
    }

    /// The result of that name that updates no parameter.
    pub fn result(&self, name: &str) -> Option<Value> {
        self.results.iter().find(|r| r.updates.is_none() && r.name == name).map(|r| r.value)
    }

    /// Drops all results; values and instructions stay.
    pub fn clear_results(&mut self) {
        self.results.clear();
    }

    /// Number of values.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// For every value, how many operands and results read it.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        let operands = self.insts.iter().flat_map(|inst| inst.inputs.iter().copied());
        for value in operands.chain(self.results.iter().map(|r| r.value)) {
            counts[value.index()] += 1;
        }
        counts
    }
}
