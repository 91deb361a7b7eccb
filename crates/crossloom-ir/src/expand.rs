//! Expanding ops into their definitions.

use crate::func::InstData;
use crate::rewrite::Rewriter;
use crate::{Builder, DType, Func, IrError, Op, Value};

/// Rewrites `func` until only primitive ops are left.
///
/// # Errors
/// An expansion that breaks a type rule.
pub fn to_primitives(func: &Func) -> Result<Func, IrError> {
    expand_where(func, |_| true)
}

/// Replaces every instruction whose op `select` picks, and every one its expansion emits that `select` picks again, by
/// its expansion; primitives stay.
///
/// # Errors
/// An expansion that breaks a type rule.
pub fn expand_where(func: &Func, select: impl Fn(&Op) -> bool) -> Result<Func, IrError> {
    expand_insts(func, |_, inst| select(&inst.op))
}

/// As [`expand_where`], but `select` sees the instruction and the function it stands in, and with them its types.
///
/// # Errors
/// An expansion that breaks a type rule.
pub fn expand_insts(func: &Func, select: impl Fn(&Func, &InstData) -> bool) -> Result<Func, IrError> {
    let mut current = func.clone();
    loop {
        let (next, changed) = expand_once(&current, &select)?;
        if !changed {
            return Ok(next);
        }
        current = next;
    }
}

fn expand_once(func: &Func, select: &impl Fn(&Func, &InstData) -> bool) -> Result<(Func, bool), IrError> {
    let mut rewriter = Rewriter::new(func);
    let mut changed = false;
    for inst in func.insts() {
        if select(func, inst) {
            let inputs = rewriter.get_all(&inst.inputs)?;
            let mut builder = rewriter.builder(&inst.scope);
            if let Some(outputs) = expand_inst(&mut builder, inst, &inputs, &func.dtypes(&inst.outputs))? {
                rewriter.set_all(&inst.outputs, &outputs);
                changed = true;
                continue;
            }
        }
        rewriter.copy(inst)?;
    }
    Ok((rewriter.finish()?, changed))
}

/// Emits the expansion of one instruction whose outputs have those element types. Its inner values are `f32`: the results
/// alone are rounded, by a conversion at the end where they are of another type.
///
/// # Errors
/// The expansion breaks a type rule or gives outputs of other types.
pub fn expand_inst(
    b: &mut Builder<'_>,
    inst: &InstData,
    inputs: &[Value],
    asked: &[DType],
) -> Result<Option<Vec<Value>>, IrError> {
    let located = |error: IrError| error.with_op(inst.op.mnemonic()).with_scope(&inst.scope);
    let types: Vec<_> = inputs.iter().map(|&v| b.func().ty(v).clone()).collect();
    let Some(mut outputs) = inst.op.expand(b, inputs).map_err(located)? else { return Ok(None) };
    let types: Vec<_> = types.iter().collect();
    let expected = inst.op.infer_as(&types, asked).map_err(|m| located(IrError::new(m)))?;
    for (output, ty) in outputs.iter_mut().zip(&expected) {
        if b.func().dtype(*output).is_float() && ty.dtype.is_float() {
            *output = b.convert(*output, ty.dtype).map_err(located)?;
        }
    }
    let given: Vec<_> = outputs.iter().map(|&v| b.func().ty(v).clone()).collect();
    if given == expected {
        Ok(Some(outputs))
    } else {
        Err(located(IrError::new(format!("expands to {given:?} instead of {expected:?}"))))
    }
}
