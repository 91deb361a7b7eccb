//! Whether cutting an edge changes the logits, and only where it can.

use crossloom_recipe::Mask;

use super::super::bench::{Bench, NOTHING};
use super::super::evaluate::{Change, difference, norm};
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
use crate::ExperimentError;

/// What every edge adds to the hidden state at its point, and what of it arrives at the logits: of text behind the picture, and of
/// nothing before it.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let wiring = &bench.wiring;
    let Some(logits) = scene.base.func.result("logits") else { return Ok(()) };
    let now = scene.base.value(logits);
    for (edge, wire) in wiring.edges.iter().enumerate() {
        let cut = scene.cut(wiring, edge, &scene.world);
        let update = scene.update(wiring, edge, &Change::default(), &cut)?;
        let (Some(update), Some(segment)) = (update, scene.segment(wire.point)) else { continue };
        let stream = norm(scene.base.value(segment.end).data.iter().copied());
        let proof = verified.edge(edge, Aspect::Liveness);
        let adds = norm(update.data.iter().copied()) / stream;
        proof.measured.insert("update", adds);
        let changed = scene.base.changed(&Change { operands: cut, ..Change::default() }, None)?;
        let off = difference(scene.base.after(&changed, logits), now);
        let [mut before, mut behind, mut size] = [0.0; 3];
        for (row, values) in off.data.chunks(off.last().max(1)).enumerate() {
            let (sequence, at) = (row / bench.sequences.tokens, row % bench.sequences.tokens);
            let sequence = &bench.sequences.all[sequence];
            let values = norm(values.to_vec());
            if at < sequence.picture.start {
                before += values * values;
            } else if at >= sequence.picture.end && sequence.questions.iter().any(|q| at < q.answer.end) {
                behind += values * values;
                size += norm(now.row(row)).powi(2);
            }
        }
        let reaches = (behind / size.max(f64::MIN_POSITIVE)).sqrt();
        proof.measured.insert("logits", reaches);
        if adds <= NOTHING {
            proof.fail("it adds nothing to the hidden state at its point");
        } else if reaches <= NOTHING {
            proof.fail("it adds to the hidden state, but no logit of the text depends on it");
        }
        if before > 0.0 && wiring.points[wire.point].mask == Mask::Visual {
            proof.fail("it changes what stands before the picture");
        }
    }
    Ok(())
}
