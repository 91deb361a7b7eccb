//! `fused_elementwise`: a region of element-wise ops as one sweep.

use super::program::{Load, Step, take_loads};
use crate::attrs::{Attr, Attrs};
use crate::interp::{coordinates, strides};
use crate::op::spec::{OpSpec, ensure};
use crate::op::{Affine, Binary, Unary, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Computes a small program for every element of `shape`. Any number of operands, each read as its [`Load`] says; the
/// steps of `body` run in order; the numbers in `stores` are the outputs, each of the shape. Numbers count the operands
/// first, then the steps: with two operands, the first step is number 2.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedElementwise {
    /// Shape of the region and of every output.
    pub shape: Vec<usize>,
    /// How each operand is read.
    pub loads: Vec<Load>,
    /// The program.
    pub body: Vec<Step>,
    /// Numbers of the values that are outputs.
    pub stores: Vec<usize>,
}

impl FusedElementwise {
    /// The type of an operand of that mode.
    fn operand_type(&self, load: Load) -> TensorType {
        TensorType::f32(load.axes(self.shape.len()).iter().map(|&axis| self.shape[axis]).collect::<Vec<_>>())
    }
}

impl OpSpec for FusedElementwise {
    const MNEMONICS: &'static [&'static str] = &["fused_elementwise"];

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new().ints("shape", &self.shape);
        attrs.push(
            "loads",
            Attr::List(self.loads.iter().map(|load| Attr::Word(load.name().to_owned())).collect()),
        );
        attrs.push("body", Attr::List(self.body.iter().map(|step| step.to_attr()).collect()));
        attrs.ints("stores", &self.stores)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            shape: attrs.take_ints("shape")?,
            loads: take_loads(attrs)?,
            body: attrs.take_list("body")?.iter().map(Step::from_attr).collect::<Result<_, _>>()?,
            stores: attrs.take_ints("stores")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let count = self.loads.len();
        ensure(inputs.len() == count, || format!("loads {count} operands, {} were given", inputs.len()))?;
        for (i, (ty, &load)) in inputs.iter().zip(&self.loads).enumerate() {
            ensure(!self.shape.is_empty() || matches!(load, Load::Full | Load::Scalar), || {
                format!("operand {i} cannot be loaded as a {} of a scalar region", load.name())
            })?;
            check::is(&format!("operand {i}, loaded as {},", load.name()), ty, &self.operand_type(load))?;
        }
        for (i, step) in self.body.iter().enumerate() {
            let number = count + i;
            for read in step.reads() {
                ensure(read < number, || {
                    format!("step {number} reads {read}, which is not computed before it")
                })?;
            }
        }
        ensure(!self.stores.is_empty(), || "stores nothing".to_owned())?;
        let end = count + self.body.len();
        for &store in &self.stores {
            ensure(store < end, || format!("stores {store}, there are only {end} values"))?;
        }
        Ok(vec![TensorType::f32(self.shape.clone()); self.stores.len()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let elements: usize = self.shape.iter().product();
        let mut stored = vec![Vec::with_capacity(elements); self.stores.len()];
        let mut values = Vec::with_capacity(self.loads.len() + self.body.len());
        for i in 0..elements {
            let at = coordinates(i, &self.shape);
            values.clear();
            for (x, load) in inputs.iter().zip(&self.loads) {
                let axes = load.axes(self.shape.len());
                values.push(x.at(axes.iter().zip(strides(&x.shape)).map(|(&axis, s)| at[axis] * s).sum()));
            }
            for step in &self.body {
                values.push(step.value(&values));
            }
            for (out, &store) in stored.iter_mut().zip(&self.stores) {
                out.push(values[store]);
            }
        }
        Ok(stored.iter().map(|out| Tensor::from_fn(self.shape.clone(), |i| out[i])).collect())
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let mut values = Vec::with_capacity(self.loads.len() + self.body.len());
        for (&x, load) in inputs.iter().zip(&self.loads) {
            values.push(b.broadcast(x, &self.shape, &load.axes(self.shape.len()))?);
        }
        for step in &self.body {
            values.push(match *step {
                Step::Unary(kind, x) => b.one(Unary(kind), &[values[x]])?,
                Step::Binary(kind, x, y) => b.one(Binary(kind), &[values[x], values[y]])?,
                Step::Affine(x, mul, add) => b.one(Affine { mul, add }, &[values[x]])?,
            });
        }
        Ok(Some(self.stores.iter().map(|&store| values[store]).collect()))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let elements = self.shape.iter().product::<usize>() as u64;
        Cost::new(elements * self.body.iter().map(Step::flops).sum::<u64>(), inputs, outputs)
    }

    /// Every element is read before it is written, so any output may lie over any operand of the region's shape.
    fn in_place(&self) -> Vec<(usize, usize)> {
        let full = (0..self.loads.len()).filter(|&i| self.loads[i] == Load::Full);
        full.flat_map(|i| (0..self.stores.len()).map(move |store| (i, store))).collect()
    }
}
