//! Where what a tap shows enters the stream, and which positions it is written to.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_recipe::Mask;

use super::super::bench::{Bench, NOTHING};
use super::super::evaluate::{Change, Named, difference, norm};
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
use super::super::sequences::Sequence;
use crate::ExperimentError;

/// What each tap shows enters at the points of its edges and nowhere else, and is written to every visual token and to nothing else.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let wiring = &bench.wiring;
    // Where taps enter that no declared point accounts for.
    let known: BTreeSet<(usize, usize)> = scene.entries.iter().flatten().copied().collect();
    const UNREAD: &str = "is computed with, but nothing reads what comes of it";
    let mut elsewhere: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for entry in scene.stream.entries.iter().filter(|entry| !known.contains(entry)) {
        let place = match scene.stream.of_inst[entry.0] {
            Some(segment) => format!("enters {}", scene.stream.segments[segment].place),
            None => UNREAD.to_owned(),
        };
        for tap in (0..wiring.taps.len()).filter(|&tap| scene.depends(*entry, tap).is_some()) {
            elsewhere.entry(tap).or_default().insert(place.clone());
        }
    }
    made_of(bench, scene, verified)?;
    let (mut alive, mut by_all) = (BTreeSet::new(), BTreeMap::<usize, BTreeSet<usize>>::new());
    for (at, point) in wiring.points.iter().enumerate() {
        let Some(segment) = scene.segment(at) else { continue };
        for (tap, declared) in wiring.taps.iter().enumerate() {
            let edge = wiring.edges.iter().position(|edge| edge.tap == tap && edge.point == at);
            let operands = scene.entering(at, &scene.other[tap]);
            let now = scene.base.value(segment.end);
            let other = scene.replay(segment, &Change { operands, ..Change::default() })?;
            let change = difference(&other, now);
            let by_row: Vec<f64> =
                change.data.chunks(change.last().max(1)).map(|row| norm(row.to_vec())).collect();
            let largest = by_row.iter().copied().fold(0.0, f64::max);
            let acts = largest > NOTHING * norm(now.data.iter().copied());
            let Some(edge) = edge else {
                if acts {
                    let problem =
                        format!("`{}` acts at `{}`, which is not declared", declared.name, point.name);
                    for edge in wiring.edges.iter().enumerate().filter(|(_, edge)| edge.tap == tap) {
                        verified.edge(edge.0, Aspect::Structure).fail(problem.clone());
                    }
                    verified.shared("undeclared edges").fail(problem);
                }
                continue;
            };
            let proof = verified.edge(edge, Aspect::Structure);
            if !acts {
                let found = elsewhere.get(&tap).map(|places| places.iter().cloned().collect::<Vec<_>>());
                proof.fail(match found {
                    Some(places) => format!(
                        "nothing of `{}` arrives at `{}`: it {}",
                        declared.name,
                        point.name,
                        places.join(", and ")
                    ),
                    None => format!("nothing of `{}` arrives at `{}`", declared.name, point.name),
                });
                continue;
            }
            alive.insert(edge);
            let written: BTreeSet<usize> = by_row
                .iter()
                .enumerate()
                .filter(|(_, size)| **size > NOTHING * largest)
                .map(|(row, _)| row)
                .collect();
            proof.measured.insert("positions", written.len() as f64);
            let said = |row: &usize| {
                let tokens = bench.sequences.tokens;
                format!("position {} of sequence {}", row % tokens, row / tokens)
            };
            let (what, wanted) = masked(bench, point.mask);
            let all = by_all.entry(at).or_default();
            all.extend(&written);
            if let Some(row) = written.difference(&wanted).find(|row| bench.is_real(**row)) {
                proof.fail(format!("it writes {}, where no {what} stands", said(row)));
            }
            // Taps at the input may have tokens of their own, which together are all.
            let (missed, last) = if wiring.edges[edge].is_input {
                (wanted.difference(all).next(), wiring.into(at).last() == Some(edge))
            } else {
                (wanted.difference(&written).next(), true)
            };
            if let (Some(row), true) = (missed, last) {
                proof.fail(format!("it does not write the {what} at {}", said(row)));
            }
        }
    }
    // What enters elsewhere is what a dead edge has lost; where a tap has none, it is too much.
    for (tap, places) in elsewhere {
        let of_tap = || (0..wiring.edges.len()).filter(|&edge| wiring.edges[edge].tap == tap);
        for edge in of_tap().filter(|_| of_tap().all(|edge| alive.contains(&edge))) {
            for place in places.iter().filter(|place| *place != UNREAD) {
                let tap = &wiring.taps[tap].name;
                let problem = format!("`{tap}` also {place}, where no edge of it leads");
                verified.edge(edge, Aspect::Structure).fail(problem);
            }
        }
    }
    Ok(())
}

/// The positions that a mask lets an edge change, in a state `[B, T, D]`, and what stands there.
fn masked(bench: &Bench<'_>, mask: Mask) -> (&'static str, BTreeSet<usize>) {
    let tokens = bench.sequences.tokens;
    let of = |is: fn(&Sequence, usize) -> bool| {
        let all = bench.sequences.all.iter().enumerate();
        all.flat_map(|(row, sequence)| {
            (0..tokens).filter(move |&at| is(sequence, at)).map(move |at| row * tokens + at)
        })
        .collect()
    };
    match mask {
        Mask::Visual => ("visual token", bench.visual_rows().into_iter().collect()),
        Mask::Text => ("text", of(Sequence::is_text)),
        Mask::All => ("token", of(Sequence::is_real)),
    }
}

/// What a tap of several states brings to its points depends on these states and on no others.
fn made_of(bench: &Bench<'_>, scene: &Scene<'_>, verified: &mut Verified) -> Result<(), ExperimentError> {
    let wiring = &bench.wiring;
    for (name, state) in &bench.states {
        let other = super::super::weights::noise(&state.shape, 1.0, 5, name);
        let named = Named::from([(name.clone(), other)]);
        let change = Change::of_params(scene.base.func, &named);
        let changed = scene.base.changed(&change, Some(&scene.stream.seeing))?;
        for (edge, wire) in wiring.edges.iter().enumerate() {
            let tap = &wiring.taps[wire.tap];
            let depends = scene.entries[wire.point].iter().any(|&entry| {
                let value = scene.base.func.insts()[entry.0].inputs[entry.1];
                let (Some(own), Some(new)) = (scene.depends(entry, wire.tap), changed.operand(entry, value))
                else {
                    return false;
                };
                let (old, others) = (scene.base.value(value), scene.of_others(wiring, edge, entry));
                let alone = |i: usize| own[i] && !others.iter().any(|(_, other)| other[i]);
                (0..old.data.len()).any(|i| alone(i) && old.data[i] != new.data[i])
            });
            let is_of = |of: &crossloom_model::VisionState| of.name() == *name;
            let alone = scene.entries[wire.point].iter().all(|&entry| {
                scene.depends(entry, wire.tap).is_none() || scene.of_others(wiring, edge, entry).is_empty()
            });
            match (tap.states.iter().any(is_of), depends) {
                (false, true) => {
                    let problem = format!(
                        "what `{}` brings depends on `{name}`, which is none of its states",
                        tap.name
                    );
                    verified.edge(edge, Aspect::Structure).fail(problem);
                }
                // Where taps are mixed before they arrive, whose a state is cannot be told there.
                (true, false) if alone => {
                    let problem = format!("what `{}` brings does not depend on `{name}`", tap.name);
                    verified.edge(edge, Aspect::Structure).fail(problem);
                }
                _ => {}
            }
        }
    }
    Ok(())
}
