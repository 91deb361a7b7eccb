//! Where what a tap shows enters the stream, and which positions it is written to.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bench::{Bench, NOTHING};
use super::super::evaluate::{Change, difference, norm};
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
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
    let visual: BTreeSet<usize> = bench.visual_rows().into_iter().collect();
    let mut alive = BTreeSet::new();
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
            if let Some(row) = written.difference(&visual).next() {
                proof.fail(format!("it writes {}, where no visual token stands", said(row)));
            }
            if let Some(row) = visual.difference(&written).next() {
                proof.fail(format!("it does not write the visual token at {}", said(row)));
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
