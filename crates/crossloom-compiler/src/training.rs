//! From a forward function to one flat training step: forward, loss, backward, clip, optimizer.
//!
//! With gradient accumulation the step is two functions over the same state: one that adds a micro-batch's gradients to
//! accumulators, one that applies and clears them.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_ir::func::ResultDef;
use crossloom_ir::op::{AdamW, BinaryKind, GlobalNorm};
use crossloom_ir::{DType, Func, IrError, IrErrors, Role, Scope, TensorType, Value};

use crate::autodiff;

/// Parameters that share a learning rate and a weight decay.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, such as `vision`; the step reads its hyper-parameters from the input `hyper.NAME`.
    pub name: String,
    /// Names of the weights it trains.
    pub params: Vec<String>,
    /// Decoupled weight decay of matrices; vectors (biases, norms, queries) are never decayed.
    pub weight_decay: f64,
}

/// How a model is trained. Weights in no group are frozen: no gradient is computed for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The parameter groups.
    pub groups: Vec<Group>,
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Largest global gradient norm; longer gradients are scaled down to it.
    pub clip_norm: Option<f64>,
    /// Micro-batches per step, at least 1. Their gradients are summed with the weights given in the input
    /// [`MICRO_WEIGHT`], which add up to 1 over a step.
    pub accumulate: usize,
}

/// The functions of a training step.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainingFuncs {
    /// Everything in one function.
    Step(Func),
    /// Called once per micro-batch, then once.
    Accumulated {
        /// Forward, backward, and the gradients added to the accumulators.
        micro: Func,
        /// Clip, optimizer, accumulators cleared.
        apply: Func,
    },
}

/// Scalar input of an accumulating step: the micro-batch's share of the step's target tokens.
pub const MICRO_WEIGHT: &str = "micro_weight";

/// First part of the names of gradient accumulators.
pub const ACCUMULATOR: &str = "accumulate.";

/// Name of the hyper-parameter input of a group: learning rate and the two bias corrections, `[3]`.
pub fn hyper_input(group: &str) -> String {
    format!("hyper.{group}")
}

/// Builds the training step of a forward function with the scalar result `loss`.
///
/// # Errors
/// No such result; a group names an unknown weight or one that is in a group already; groups of one name; a norm limit
/// that is not positive; no micro-batch; an op without a gradient; nothing to train.
pub fn training(forward: &Func, spec: &Training) -> Result<TrainingFuncs, IrErrors> {
    let trained = resolve_groups(forward, spec)?;
    let loss = forward.result("loss").ok_or_else(|| IrError::new("the function has no result `loss`"))?;
    let mut func = forward.clone();
    func.name = format!("{}.train", forward.name);
    let weights: Vec<Value> = trained.iter().map(|t| t.weight).collect();
    let grads = autodiff::backward(&mut func, loss, &weights)?;
    // A weight the loss does not depend on (a vision block behind the last tap) stays as it is.
    let (trained, grads): (Vec<Trained>, Vec<Value>) =
        trained.into_iter().zip(grads).filter_map(|(t, grad)| Some((t, grad?))).unzip();
    if trained.is_empty() {
        return Err(IrError::new("the loss depends on no trainable weight: there is nothing to train").into());
    }
    if spec.accumulate == 1 {
        optimizer(&mut func, spec, &trained, &grads)?;
        return Ok(TrainingFuncs::Step(func));
    }
    let scope = Scope::new("optimizer.accumulate");
    let weight = func.add_param(MICRO_WEIGHT, Role::Input, TensorType::f32([]));
    for (t, &grad) in trained.iter().zip(&grads) {
        let sum = func.add_param(accumulator(&t.name), Role::State, func.ty(t.weight).clone());
        let mut b = func.builder();
        b.set_scope(scope.clone());
        let shape = b.func().shape(grad).to_vec();
        let factor = b.broadcast(weight, &shape, &[])?;
        let share = b.mul(grad, factor)?;
        let total = b.add(sum, share)?;
        func.add_update(sum, total)?;
    }
    Ok(TrainingFuncs::Accumulated { micro: func, apply: apply_func(forward, spec, &trained)? })
}

/// A weight that is trained.
struct Trained {
    name: String,
    weight: Value,
    group: usize,
    decay: f64,
}

fn resolve_groups(forward: &Func, spec: &Training) -> Result<Vec<Trained>, IrErrors> {
    let weights: BTreeMap<&str, Value> = forward
        .params()
        .iter()
        .filter(|p| p.role == Role::Weight)
        .map(|p| (p.name.as_str(), p.value))
        .collect();
    let (mut errors, mut groups, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut trained: Vec<Trained> = Vec::new();
    for (group, g) in spec.groups.iter().enumerate() {
        if !groups.insert(g.name.as_str()) {
            errors.push(IrError::new(format!("there is more than one group `{}`", g.name)));
        }
        for name in &g.params {
            match weights.get(name.as_str()) {
                None => errors
                    .push(IrError::new(format!("group `{}` names `{name}`, which is no weight", g.name))),
                Some(_) if !seen.insert(name.as_str()) => {
                    errors
                        .push(IrError::new(format!("weight `{name}` is named more than once in the groups")));
                }
                Some(&weight) if forward.dtype(weight) != DType::F32 => errors.push(IrError::new(format!(
                    "group `{}` names `{name}`, which is {}; weights are trained in f32",
                    g.name,
                    forward.ty(weight)
                ))),
                Some(&weight) => {
                    let decay = if forward.ty(weight).rank() >= 2 { g.weight_decay } else { 0.0 };
                    trained.push(Trained { name: name.clone(), weight, group, decay });
                }
            }
        }
    }
    if let Some(limit) = spec.clip_norm.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
        errors
            .push(IrError::new(format!("the largest gradient norm is {limit}, must be positive and finite")));
    }
    if spec.accumulate == 0 {
        errors.push(IrError::new("a step takes at least one micro-batch, not 0"));
    }
    if errors.is_empty() { Ok(trained) } else { Err(IrErrors(errors)) }
}

fn accumulator(name: &str) -> String {
    format!("{ACCUMULATOR}{name}")
}

/// The function that applies accumulated gradients: same weights, no batch inputs.
fn apply_func(forward: &Func, spec: &Training, trained: &[Trained]) -> Result<Func, IrErrors> {
    let mut func = Func::new(format!("{}.apply", forward.name));
    let mut own = Vec::with_capacity(trained.len());
    let mut sums = Vec::with_capacity(trained.len());
    for t in trained {
        let ty = forward.ty(t.weight).clone();
        let weight = func.add_param(t.name.clone(), Role::Weight, ty.clone());
        sums.push(func.add_param(accumulator(&t.name), Role::State, ty));
        own.push(Trained { name: t.name.clone(), weight, group: t.group, decay: t.decay });
    }
    let scope = Scope::new("optimizer.accumulate");
    optimizer(&mut func, spec, &own, &sums)?;
    for &sum in &sums {
        let mut b = func.builder();
        b.set_scope(scope.clone());
        let zeros = b.zeros_like(sum)?;
        func.add_update(sum, zeros)?;
    }
    Ok(func)
}

/// Appends clipping and AdamW; adds the result `grad_norm` and the updates.
fn optimizer(func: &mut Func, spec: &Training, trained: &[Trained], grads: &[Value]) -> Result<(), IrError> {
    let hypers: Vec<Value> = spec
        .groups
        .iter()
        .map(|g| func.add_param(hyper_input(&g.name), Role::Input, TensorType::f32([3])))
        .collect();
    let (norm, scale) = clip(func, spec, grads)?;
    let scope = Scope::new("optimizer.adamw");
    for (t, &grad) in trained.iter().zip(grads) {
        let ty = func.ty(t.weight).clone();
        let m = func.add_param(format!("optimizer.m.{}", t.name), Role::State, ty.clone());
        let v = func.add_param(format!("optimizer.v.{}", t.name), Role::State, ty);
        let op = AdamW { beta1: spec.beta1, beta2: spec.beta2, eps: spec.eps, weight_decay: t.decay };
        let out = func.push(op, &[t.weight, grad, m, v, hypers[t.group], scale], &scope)?;
        for (param, value) in [t.weight, m, v].into_iter().zip(out) {
            func.add_update(param, value)?;
        }
    }
    func.add_result("grad_norm", norm);
    Ok(())
}

/// The global norm of the gradients, and the factor that brings it down to the largest allowed one. The factor is not
/// finite when the norm is not, which tells the optimizer to leave everything as it is.
fn clip(func: &mut Func, spec: &Training, grads: &[Value]) -> Result<(Value, Value), IrError> {
    let mut b = func.builder();
    b.set_scope(Scope::new("optimizer.clip"));
    let norm = b.one(GlobalNorm, grads)?;
    let guard = b.sub(norm, norm)?;
    let limited = match spec.clip_norm {
        None => b.constant(1.0, &[])?,
        Some(limit) => {
            let shifted = b.affine(norm, 1.0 / limit, 1e-6 / limit)?;
            let ratio = b.recip(shifted)?;
            let one = b.constant(1.0, &[])?;
            b.binary(BinaryKind::Min, ratio, one)?
        }
    };
    let scale = b.add(limited, guard)?;
    Ok((norm, scale))
}

/// The updates among a function's results.
pub fn updates(func: &Func) -> impl Iterator<Item = &ResultDef> {
    func.results().iter().filter(|r| r.updates.is_some())
}
