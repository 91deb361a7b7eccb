//! The element types of results: what an op's own rule leaves open.
//!
//! An op's rule, [`OpSpec::infer`](super::OpSpec::infer), speaks of floats as `f32`; it sees every operand of a float type
//! as such. What is added here, for all ops:
//!
//! - An op that *computes* takes operands of any float types, also mixed. Its float results are `f32`, unless the
//!   instruction asks for another float type.
//! - An op that *moves data* ([`OpSpec::moves`](super::OpSpec::moves)) keeps the type of its operands, which must all have
//!   the same. An instruction cannot ask for another.
//! - A quantized operand stands only where the op takes one ([`OpSpec::dequantizes`](super::OpSpec::dequantizes)): the
//!   weight of a product, the table of a gather. It counts as the numbers that its blocks stand for, so the op computes.

use super::Op;
use super::spec::ensure;
use crate::{DType, TensorType};

impl Op {
    /// The type rule: output types from operand types. Float results that the op computes are `f32`.
    ///
    /// # Errors
    /// What is wrong with the operand types.
    pub fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        if inputs.iter().all(|ty| matches!(ty.dtype, DType::F32 | DType::I32 | DType::U8)) {
            return self.rule(inputs);
        }
        let mut wide = Vec::with_capacity(inputs.len());
        for (i, ty) in inputs.iter().enumerate() {
            ensure(!ty.dtype.is_quantized() || self.dequantizes(i), || {
                format!("operand {i} is {ty}; only weights of products and tables of gathers are quantized")
            })?;
            let integer = ty.dtype.is_integer();
            wide.push(if integer { (*ty).clone() } else { ty.with_dtype(DType::F32) });
        }
        let mut outputs = self.rule(&wide.iter().collect::<Vec<_>>())?;
        if let Some(kept) = self.kept_type(inputs) {
            let other = inputs.iter().find(|ty| ty.dtype.is_float() && ty.dtype != kept);
            ensure(other.is_none(), || "moves data, so its operands must be of one float type".to_owned())?;
            for ty in outputs.iter_mut().filter(|ty| ty.dtype == DType::F32) {
                ty.dtype = kept;
            }
        }
        Ok(outputs)
    }

    /// The type rule of an instruction that asks for those element types, one per output.
    ///
    /// # Errors
    /// What is wrong with the operand types, or with what is asked for.
    pub fn infer_as(&self, inputs: &[&TensorType], asked: &[DType]) -> Result<Vec<TensorType>, String> {
        let mut outputs = self.infer(inputs)?;
        ensure(outputs.len() == asked.len(), || {
            format!("has {} outputs, types are asked for {}", outputs.len(), asked.len())
        })?;
        for (i, (ty, &dtype)) in outputs.iter_mut().zip(asked).enumerate() {
            self.check_asked(inputs, ty.dtype, dtype).map_err(|why| format!("output {i} is {ty}: {why}"))?;
            ty.dtype = dtype;
        }
        Ok(outputs)
    }

    /// Checks that an instruction may ask for `asked` where the type rule gives `inferred`.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_asked(&self, inputs: &[&TensorType], inferred: DType, asked: DType) -> Result<(), String> {
        if inferred == asked {
            return Ok(());
        }
        ensure(inferred.is_float() && asked.is_float(), || {
            if asked.is_quantized() {
                format!("no result is {asked}, which is a type of weights")
            } else {
                format!("it cannot be {asked}; only float results may have another float type")
            }
        })?;
        ensure(self.kept_type(inputs).is_none(), || {
            format!("it moves data, so the result is of its operand's type, not {asked}")
        })
    }

    /// The type that the float results must have because the op only moves data.
    fn kept_type(&self, inputs: &[&TensorType]) -> Option<DType> {
        let first = inputs.iter().map(|ty| ty.dtype).find(|dtype| !dtype.is_integer())?;
        (self.moves() && first.is_float()).then_some(first)
    }
}
