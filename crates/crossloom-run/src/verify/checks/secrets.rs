//! What must not be seen: answers by what stands before them, questions by one another, sequences by one another.

use crossloom_ir::Tensor;
use crossloom_model::inputs;

use super::super::bench::{Bench, NOTHING};
use super::super::evaluate::{Change, Named, norm};
use super::super::report::{Aspect, Proof, Verified};
use super::super::scene::Scene;
use crate::ExperimentError;

/// Something that may not be seen, and by whom.
struct Secret {
    name: &'static str,
    /// What is wrong where it is seen.
    problem: &'static str,
    /// What is changed, by sequence and position.
    changed: fn(&Bench<'_>, usize, usize) -> bool,
    /// Who may not see it.
    blind: fn(&Bench<'_>, usize, usize) -> bool,
}

const SECRETS: [Secret; 4] = [
    Secret {
        name: "answers",
        problem: "an answer is seen before it is given",
        changed: |bench, row, at| bench.sequences.all[row].answers(at),
        blind: |bench, row, at| !bench.sequences.all[row].answers(at),
    },
    Secret {
        name: "questions",
        problem: "a question sees another one about its picture",
        changed: |bench, row, at| bench.sequences.all[row].of_last_question(at),
        blind: |bench, row, at| !bench.sequences.all[row].of_last_question(at),
    },
    Secret {
        name: "first questions",
        problem: "a question sees another one about its picture",
        changed: |bench, row, at| {
            let sequence = &bench.sequences.all[row];
            at >= sequence.picture.end && !sequence.of_last_question(at)
        },
        blind: |bench, row, at| {
            let sequence = &bench.sequences.all[row];
            at < sequence.picture.end || sequence.of_last_question(at)
        },
    },
    Secret {
        name: "sequences",
        problem: "a sequence sees another one of its batch",
        changed: |_, row, _| row == 0,
        blind: |_, row, _| row != 0,
    },
];

/// Other tokens change nothing for those who may not see them, wherever in the stream; and at every point by itself, another hidden
/// state of such tokens does not change what its edges add for others.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    for secret in SECRETS {
        if secret.name.ends_with("questions") && !bench.sequences.share() {
            verified.shared("questions").note("one question per sequence: none shares a picture");
            continue;
        }
        let name = if secret.name == "first questions" { "questions" } else { secret.name };
        let off = at_large(bench, scene, &secret, verified.shared(name))?;
        verified.shared(name).at_most("off", off);
        at_points(bench, scene, &secret, verified)?;
    }
    Ok(())
}

/// Every position by itself: which rows of `[B, T, ..]` something holds for.
fn marked(bench: &Bench<'_>, of: fn(&Bench<'_>, usize, usize) -> bool) -> Vec<bool> {
    let tokens = bench.sequences.tokens;
    (0..bench.sizes.batch * tokens).map(|i| of(bench, i / tokens, i % tokens)).collect()
}

/// The largest change of a row that is blind, as a share of the row.
fn leaked(before: &Tensor<f64>, after: &Tensor<f64>, blind: &[bool]) -> f64 {
    let by_row = blind.iter().enumerate().filter(|(_, blind)| **blind).map(|(row, _)| {
        let (old, new) = (before.row(row), after.row(row));
        norm(old.iter().zip(&new).map(|(a, b)| a - b)) / norm(old).max(f64::MIN_POSITIVE)
    });
    by_row.fold(0.0, f64::max)
}

fn at_large(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    secret: &Secret,
    proof: &mut Proof,
) -> Result<f64, ExperimentError> {
    let (changed, blind) = (marked(bench, secret.changed), marked(bench, secret.blind));
    let other = bench.sequences.inputs(2);
    let (Some(now), Some(then)) = (bench.text.get(inputs::TOKENS), other.get(inputs::TOKENS)) else {
        return Ok(0.0);
    };
    let mut tokens = now.clone();
    for (i, token) in tokens.data.iter_mut().enumerate().filter(|(i, _)| changed[*i]) {
        // Another word, whatever it was.
        *token = if then.data[i] == now.data[i] { (then.data[i] + 1.0) % 2.0 } else { then.data[i] };
    }
    let given = Named::from([(inputs::TOKENS.to_owned(), tokens)]);
    let after = scene.base.changed(&Change::of_params(scene.base.func, &given), None)?;
    let mut worst = 0.0;
    for segment in &scene.stream.segments {
        let off = leaked(scene.base.value(segment.end), scene.base.after(&after, segment.end), &blind);
        if off > NOTHING && worst <= NOTHING {
            proof.fail(format!("{}, {}", secret.problem, segment.place));
        }
        worst = f64::max(worst, off);
    }
    Ok(worst)
}

fn at_points(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    secret: &Secret,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let (changed, blind) = (marked(bench, secret.changed), marked(bench, secret.blind));
    for (edge, wire) in bench.wiring.edges.iter().enumerate() {
        let Some(segment) = scene.segment(wire.point) else { continue };
        let mut h = scene.base.value(segment.start).clone();
        let width = h.last();
        for (row, values) in h.data.chunks_mut(width).enumerate().filter(|(row, _)| changed[*row]) {
            values.iter_mut().enumerate().for_each(|(i, x)| *x = ((row * 5 + i * 3) as f64).sin() - *x);
        }
        let cut = scene.cut(&bench.wiring, edge, &scene.world);
        let change = Change { values: [(segment.start, h)].into(), ..Change::default() };
        let before = scene.update(&bench.wiring, edge, &Change::default(), &cut)?;
        let after = scene.update(&bench.wiring, edge, &change, &cut)?;
        let (Some(before), Some(after)) = (before, after) else { continue };
        // What is added is the difference of two states: what is left of rounding is measured by the state.
        let state = scene.base.value(segment.end);
        let off = (0..blind.len()).filter(|row| blind[*row]).map(|row| {
            let (old, new) = (before.row(row), after.row(row));
            norm(old.iter().zip(&new).map(|(a, b)| a - b)) / norm(state.row(row)).max(f64::MIN_POSITIVE)
        });
        if off.fold(0.0, f64::max) > NOTHING {
            verified.edge(edge, Aspect::Structure).fail(format!("through it {}", secret.problem));
        }
    }
    Ok(())
}
