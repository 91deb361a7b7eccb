//! Whether weights that are named after an edge, a tap or a point act on it and on nothing else.

use std::collections::BTreeSet;

use crossloom_ir::Tensor;

use super::super::bench::{Bench, NOTHING, ROUNDING};
use super::super::evaluate::{Change, Named, apart, difference, norm};
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
use super::super::weights::moved;
use super::super::wiring::Owner;
use crate::ExperimentError;

/// Every tap's own weights move what that tap brings to its points, and what no other brings; every point's own weights, such as
/// those of its gates, move what is added there, and every edge's own weights what it adds itself. And where taps do not depend on one
/// another, what an edge adds stays when the others show something else.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let wiring = &bench.wiring;
    let names = bench.over_states.params.iter().map(|param| param.name.as_str());
    let owned = names.map(|name| (wiring.owner(name), name)).filter(|(owner, _)| !owner.is_common());
    let owned: Vec<(Owner, &str)> = owned.collect();
    let owners: BTreeSet<Owner> = owned.iter().map(|(owner, _)| *owner).collect();
    let plain = updates(bench, scene, |_| Ok(Change::default()))?;
    for owner in owners {
        let other: Named = owned
            .iter()
            .filter(|(of, _)| *of == owner)
            .filter_map(|(_, name)| Some(((*name).to_owned(), moved(bench.weights.get(*name)?, 7, name))))
            .collect();
        let change = Change::of_params(scene.base.func, &other);
        let seen = scene.base.changed(&change, Some(&scene.stream.seeing))?;
        let after = updates(bench, scene, |edge| {
            let mut change = change.clone();
            change.operands = scene.entering(wiring.edges[edge].point, &seen);
            Ok(change)
        })?;
        for (edge, wire) in wiring.edges.iter().enumerate() {
            let (Some(before), Some(after)) = (&plain[edge], &after[edge]) else { continue };
            let moves = apart(before, after) > ROUNDING;
            let brought = || {
                scene.entries[wire.point].iter().any(|&entry| {
                    let value = scene.base.func.insts()[entry.0].inputs[entry.1];
                    let (Some(depends), Some(new)) =
                        (scene.depends(entry, wire.tap), seen.operand(entry, value))
                    else {
                        return false;
                    };
                    let old = scene.base.value(value);
                    (0..old.data.len()).any(|i| depends[i] && old.data[i] != new.data[i])
                })
            };
            let name = || said(bench, owner);
            let proof = verified.edge(edge, Aspect::Structure);
            if owner.owns(wire) {
                if !moves {
                    proof.fail(format!("the weights of {} do not act on it", name()));
                }
            } else if wiring.points[wire.point].independent && (moves || owner.tap.is_some() && brought()) {
                proof.fail(format!("the weights of {} act on it", name()));
            }
        }
    }
    for (edge, wire) in wiring.edges.iter().enumerate() {
        let several = wiring.into(wire.point).count() > 1;
        let (true, true, Some(before)) = (several, wiring.points[wire.point].independent, &plain[edge])
        else {
            continue;
        };
        let operands = scene.others_differ(wiring, edge);
        let mut cut = operands.clone();
        for (entry, tensor) in scene.cut(wiring, edge, &scene.world) {
            if let (Some(now), Some(depends)) = (cut.get_mut(&entry), scene.depends(entry, wire.tap)) {
                now.data
                    .iter_mut()
                    .zip(&tensor.data)
                    .zip(&depends)
                    .filter(|(_, own)| **own)
                    .for_each(|((to, from), _)| *to = *from);
            }
        }
        let change = Change { operands, ..Change::default() };
        let Some(after) = scene.update(wiring, edge, &change, &cut)? else { continue };
        let off = norm(difference(before, &after).data);
        let size = norm(before.data.iter().copied());
        if off > ROUNDING * size + NOTHING {
            let problem =
                "what it adds depends on what other taps of its point show: their weights are not its own";
            verified.edge(edge, Aspect::Structure).fail(problem);
        }
    }
    Ok(())
}

/// What every edge adds after a change.
fn updates(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    change: impl Fn(usize) -> Result<Change, ExperimentError>,
) -> Result<Vec<Option<Tensor<f64>>>, ExperimentError> {
    let wiring = &bench.wiring;
    let of = |edge: usize| {
        let change = change(edge)?;
        let mut cut = scene.cut(wiring, edge, &scene.world);
        // What other taps bring is what it is after the change.
        for (entry, tensor) in &mut cut {
            let (Some(new), Some(own)) =
                (change.operands.get(entry), scene.depends(*entry, wiring.edges[edge].tap))
            else {
                continue;
            };
            tensor
                .data
                .iter_mut()
                .zip(&new.data)
                .zip(&own)
                .filter(|(_, own)| !**own)
                .for_each(|((to, from), _)| *to = *from);
        }
        scene.update(wiring, edge, &change, &cut)
    };
    (0..wiring.edges.len()).map(of).collect()
}

fn said(bench: &Bench<'_>, owner: Owner) -> String {
    let tap = owner.tap.map(|tap| bench.wiring.taps[tap].name.as_str());
    let point = owner.point.map(|point| bench.wiring.points[point].name.as_str());
    match (tap, point) {
        (Some(tap), Some(point)) => format!("`{tap}->{point}`"),
        (Some(name), None) | (None, Some(name)) => format!("`{name}`"),
        (None, None) => "all".to_owned(),
    }
}
