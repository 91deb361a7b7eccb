//! Which instructions become one op.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crossloom_ir::func::ValueDef;
use crossloom_ir::op::Load;
use crossloom_ir::{DType, Value};

use super::site::{Operand, Site, Source};
use super::{MAX_LOADS, MAX_STEPS};

/// Instructions that become one op. Whatever they read that no other member makes is defined before `at`.
pub(super) struct Region {
    /// Members, those of a tree in program order.
    pub(super) members: Vec<usize>,
    /// Where the fused op stands: one of the members.
    pub(super) at: usize,
}

/// All regions, in order of where they stand.
pub(super) fn find(site: &Site<'_>) -> Vec<Region> {
    let mut regions = merge_siblings(site, grow_trees(site));
    regions.retain(|region| region.members.len() > 1 || reads_narrow(site, region.at));
    regions
}

/// Whether an instruction by itself gains from fused loads: one of its operands is a broadcast or a constant.
fn reads_narrow(site: &Site<'_>, inst: usize) -> bool {
    let inputs = &site.func.insts()[inst].inputs;
    inputs.iter().any(|&v| site.load(v, site.shape(inst)).1 != Load::Full)
}

/// Every element-wise instruction as part of a tree whose inner values nobody outside reads. A tree has one shape, because
/// every element-wise op has.
fn grow_trees(site: &Site<'_>) -> Vec<Region> {
    let mut taken = vec![false; site.func.insts().len()];
    let mut regions = Vec::new();
    for root in (0..site.func.insts().len()).rev() {
        if taken[root] || !site.is_elementwise(root) {
            continue;
        }
        let members = grow(site, root, &taken);
        for &inst in &members {
            taken[inst] = true;
        }
        regions.push(Region { members, at: root });
    }
    regions.reverse();
    regions
}

fn grow(site: &Site<'_>, root: usize, taken: &[bool]) -> Vec<usize> {
    let mut members = vec![root];
    // Latest first, so that all users of a value are decided before the value itself.
    let mut frontier: BTreeSet<usize> = producers(site, root).collect();
    while let Some(candidate) = frontier.pop_last() {
        let output = site.func.insts()[candidate].outputs[0];
        let fits = members.len() < MAX_STEPS
            && site.is_elementwise(candidate)
            && site.func.dtype(output) == DType::F32
            && !taken[candidate]
            && site.users[output.index()].iter().all(|user| members.contains(user));
        if !fits {
            continue;
        }
        members.push(candidate);
        if site.loads(&members).len() > MAX_LOADS {
            members.pop();
        } else {
            frontier.extend(producers(site, candidate));
        }
    }
    members.reverse();
    members
}

fn producers<'s>(site: &'s Site<'_>, inst: usize) -> impl Iterator<Item = usize> + 's {
    site.func.insts()[inst].inputs.iter().filter_map(|&v| site.func.def_inst(v)).map(|(at, _)| at.index())
}

/// How many earlier regions that read an operand, the latest ones, are tried as partners.
const CANDIDATES: usize = 8;

/// Joins regions of one shape that read the same full operand, at the place of the first.
fn merge_siblings(site: &Site<'_>, regions: Vec<Region>) -> Vec<Region> {
    let mut readers: BTreeMap<Value, VecDeque<usize>> = BTreeMap::new();
    let mut merged: Vec<Region> = Vec::with_capacity(regions.len());
    for region in regions {
        let own = site.loads(&region.members);
        let full: Vec<Value> = own.iter().filter_map(full_value).collect();
        let candidates: BTreeSet<usize> =
            full.iter().filter_map(|v| readers.get(v)).flatten().copied().collect();
        let partner = candidates.into_iter().find(|&number| can_join(site, &merged[number], &region, &own));
        let number = partner.unwrap_or(merged.len());
        match merged.get_mut(number) {
            Some(partner) => partner.members.extend(region.members),
            None => merged.push(region),
        }
        for value in full {
            let readers = readers.entry(value).or_default();
            if !readers.contains(&number) {
                readers.truncate(CANDIDATES - 1);
                readers.push_front(number);
            }
        }
    }
    merged
}

fn full_value(operand: &Operand) -> Option<Value> {
    match *operand {
        (Source::Value(value), Load::Full) => Some(value),
        _ => None,
    }
}

/// Whether `region` with the operands `own` can be computed where the earlier `partner` stands, and should be.
fn can_join(site: &Site<'_>, partner: &Region, region: &Region, own: &[Operand]) -> bool {
    if site.shape(partner.at) != site.shape(region.at)
        || partner.members.len() + region.members.len() > MAX_STEPS
    {
        return false;
    }
    let there = |operand: &Operand| match operand.0 {
        Source::Value(v) => site.func.def_inst(v).is_none_or(|(at, _)| at.index() < partner.at),
        Source::Number(_) => true,
    };
    let both: Vec<usize> = partner.members.iter().chain(&region.members).copied().collect();
    let dies = |value: &Value| {
        let last = site.users[value.index()].last();
        matches!(site.func.def(*value), ValueDef::Output(..)) && last.is_some_and(|user| both.contains(user))
    };
    own.iter().all(there)
        && own.iter().filter_map(full_value).filter(dies).count() >= site.stores(&region.members).len()
        && site.loads(&both).len() <= MAX_LOADS
}
