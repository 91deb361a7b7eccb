//! From regions to fused ops.

use std::collections::BTreeMap;

use crossloom_ir::op::{Affine, Binary, Constant, FusedElementwise, Op, Step, Unary};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrError, Value};

use super::regions::Region;
use super::site::{Site, Source};

/// The function with every region as one op.
pub(super) fn rewrite(site: &Site<'_>, regions: &[Region]) -> Result<Func, IrError> {
    let count = site.func.insts().len();
    let mut region_at: Vec<Option<&Region>> = vec![None; count];
    // What is not copied: members of regions, and constants that only regions read.
    let mut absorbed: Vec<bool> = (0..count).map(|inst| site.is_number(inst)).collect();
    for region in regions {
        region_at[region.at] = Some(region);
        for &inst in &region.members {
            absorbed[inst] = true;
        }
    }
    let mut emitter = Emitter { site, rewriter: Rewriter::new(site.func), numbers: BTreeMap::new() };
    for (index, inst) in site.func.insts().iter().enumerate() {
        match region_at[index] {
            Some(region) => emitter.emit(region)?,
            None if absorbed[index] => {}
            None => emitter.rewriter.copy(inst)?,
        }
    }
    emitter.rewriter.finish()
}

struct Emitter<'s, 'f> {
    site: &'s Site<'f>,
    rewriter: Rewriter<'f>,
    /// The scalars made so far, by their bits.
    numbers: BTreeMap<u64, Value>,
}

impl Emitter<'_, '_> {
    fn emit(&mut self, region: &Region) -> Result<(), IrError> {
        let (site, func) = (self.site, self.site.func);
        let shape = site.shape(region.at);
        let sources = site.loads(&region.members);
        let scope = &func.insts()[region.at].scope;
        let mut operands = Vec::with_capacity(sources.len());
        for (source, _) in &sources {
            operands.push(match *source {
                Source::Value(value) => self.rewriter.get(value)?,
                Source::Number(bits) => match self.numbers.get(&bits) {
                    Some(&value) => value,
                    None => {
                        let mut b = self.rewriter.builder(scope);
                        let number = f64::from_bits(bits);
                        let value = b.one(Constant { value: number, shape: vec![] }, &[])?;
                        self.numbers.insert(bits, value);
                        value
                    }
                },
            });
        }
        let mut register: BTreeMap<Value, usize> = BTreeMap::new();
        let mut body = Vec::with_capacity(region.members.len());
        for &member in &region.members {
            let inst = &func.insts()[member];
            let mut args = Vec::with_capacity(inst.inputs.len());
            for &input in &inst.inputs {
                let found = register.get(&input).copied().or_else(|| {
                    let load = site.load(input, shape);
                    sources.iter().position(|source| *source == load)
                });
                args.push(
                    found.ok_or_else(|| IrError::new("is no operand of the region").with_value(input))?,
                );
            }
            if matches!(inst.op, Op::Convert(_)) {
                // Reading widens, and storing rounds.
                register.insert(inst.outputs[0], args[0]);
                continue;
            }
            body.push(match &inst.op {
                Op::Unary(Unary(kind)) => Step::Unary(*kind, args[0]),
                Op::Binary(Binary(kind)) => Step::Binary(*kind, args[0], args[1]),
                Op::Affine(Affine { mul, add }) => Step::Affine(args[0], *mul, *add),
                other => return Err(IrError::new("is no element-wise op").with_op(other.mnemonic())),
            });
            register.insert(inst.outputs[0], sources.len() + body.len() - 1);
        }
        let stored = site.stores(&region.members);
        let stores = stored.iter().filter_map(|v| register.get(v).copied()).collect();
        let loads = sources.iter().map(|(_, mode)| *mode).collect();
        let op = FusedElementwise { shape: shape.to_vec(), loads, body, stores };
        let outputs = self.rewriter.builder(scope).push_as(op, &operands, &func.dtypes(&stored))?;
        self.rewriter.set_all(&stored, &outputs);
        Ok(())
    }
}
