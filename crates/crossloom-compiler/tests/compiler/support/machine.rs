//! Runs a plan as a device would: every value only ever exists in the memory that the plan gives it.

use std::collections::BTreeMap;

use crossloom_compiler::Plan;
use crossloom_compiler::plan::{Block, Place};
use crossloom_ir::{Tensor, Value};

/// Bytes of an element: all types of these tests have four.
const WORD: usize = 4;

/// Memory of one call, one `f64` per element.
pub(crate) struct Machine<'p> {
    plan: &'p Plan,
    blocks: BTreeMap<Block, Vec<f64>>,
}

impl<'p> Machine<'p> {
    /// Puts arguments into the parameters' memory; the arena holds nothing but NaN.
    pub(crate) fn new(plan: &'p Plan, args: &[Tensor<f64>]) -> Self {
        let mut blocks = BTreeMap::from([(Block::Arena, vec![f64::NAN; plan.arena / WORD])]);
        blocks.extend(args.iter().enumerate().map(|(i, arg)| (Block::Param(i), arg.data.clone())));
        Self { plan, blocks }
    }

    fn range(place: Place) -> std::ops::Range<usize> {
        place.offset / WORD..(place.offset + place.len) / WORD
    }

    /// What is where a value lives.
    pub(crate) fn read(&self, value: Value) -> Tensor<f64> {
        let place = self.plan.place(value);
        let data = self.blocks[&place.block][Self::range(place)].to_vec();
        Tensor::new(self.plan.func.shape(value), data).unwrap()
    }

    /// The memory of the parameter of that index.
    pub(crate) fn param(&self, index: usize) -> &[f64] {
        &self.blocks[&Block::Param(index)]
    }

    /// Runs all steps and returns all results.
    pub(crate) fn run(&mut self) -> Vec<Tensor<f64>> {
        for step in &self.plan.steps {
            let inst = self.plan.func.inst(step.inst);
            let inputs: Vec<_> = inst.inputs.iter().map(|&v| self.read(v)).collect();
            let outputs = inst.op.eval(&inputs.iter().collect::<Vec<_>>()).unwrap();
            for (&value, tensor) in inst.outputs.iter().zip(outputs) {
                let place = self.plan.place(value);
                if place.len == 0 {
                    continue;
                }
                let block = self.blocks.get_mut(&place.block).unwrap();
                block[Self::range(place)].copy_from_slice(&tensor.data);
            }
        }
        self.plan.func.results().iter().map(|r| self.read(r.value)).collect()
    }
}
