//! The whole model, as its equations are written: what it computes from a batch, and the derivatives of the loss.

use std::collections::BTreeMap;

use crate::algebra::{Row, Rows};
use crate::batch::Batch;
use crate::injection::{features, inject, visual_input};
use crate::language::{embed, entered, layer, losses};
use crate::settings::{Point, Settings, edge};
use crate::tape::{Num, Tape};
use crate::vision::States;
use crate::weights::Weights;

/// Numbers by name, each list over the samples of a batch.
pub(crate) type Named = BTreeMap<String, Vec<f64>>;

/// What a model computes.
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    /// `[B, T, D]` by scope: `language.layer.0`, `inject.layer.0`. Zeros at padding.
    pub(crate) states: Named,
    /// W by edge, `[B]` or `[B, D]`.
    pub(crate) gates: Named,
    /// The input's visual tokens, `[B, N, D]`.
    pub(crate) visual: Vec<f64>,
    /// V̂ by tap or edge, `[B, N, D]`.
    pub(crate) features: Named,
    /// By parameter.
    pub(crate) gradients: Named,
}

/// Parameters with their shapes and numbers.
pub(crate) type Parameters = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// Runs the equations; the parameters are those they ask for.
pub(crate) fn equations(settings: &Settings, batch: &Batch, seed: u64) -> (Parameters, Outcome) {
    let tape = Tape::default();
    let weights = Weights::new(&tape, seed);
    let injection = &settings.injection;
    let (mut states, mut gates, mut visual_rows) = (Named::new(), Named::new(), Vec::new());
    let mut features_rows = Named::new();
    let mut all_losses: Vec<Num<'_>> = Vec::new();
    for sequence in &batch.sequences {
        let vision = States::of(&settings.vision, &weights, &sequence.pixels);
        let visual = visual_input(settings, &weights, &vision);
        let features = features(settings, &weights, &vision);
        visual_rows.extend(plain(&visual));
        for (tap, rows) in &features {
            features_rows.entry(tap.clone()).or_default().extend(plain(rows));
        }
        let mut h = embed(&settings.language, &weights, sequence);
        for (token, position) in sequence.visual() {
            h[position].clone_from(&visual[token]);
        }
        h = entered(&settings.language, &h);
        let mut see = |scope: String, h: &Rows<'_>| {
            let rows = h.iter().enumerate();
            let blank = |(t, row): (usize, &Row<'_>)| -> Vec<f64> {
                row.iter().map(|x| if sequence.filled(t) { x.value() } else { 0.0 }).collect()
            };
            states.entry(scope).or_default().extend(rows.flat_map(blank));
        };
        for index in 0..settings.language.layers {
            for point in [Point::before(index), Point::after(index)] {
                if point.after {
                    h = layer(&settings.language, &weights, index, &h, sequence, settings.visual_grid());
                    see(format!("language.layer.{index}"), &h);
                }
                if injection.points.contains(&point) {
                    for (tap, gate) in inject(settings, &weights, &mut h, &features, point, sequence) {
                        let numbers = gate.iter().map(|w| w.value());
                        gates.entry(edge(tap, point)).or_default().extend(numbers);
                    }
                    see(format!("inject.{}", point.name()), &h);
                }
            }
        }
        all_losses.extend(losses(&settings.language, &weights, &h, sequence));
    }
    let asked = all_losses.len() as f64;
    let loss = all_losses.into_iter().sum::<Num<'_>>() * asked.recip();
    let derivatives = tape.derivatives(loss);
    let parameters = weights.all();
    let gradients = parameters
        .iter()
        .map(|(name, (_, numbers))| (name.clone(), numbers.iter().map(|x| derivatives.by(*x)).collect()))
        .collect();
    let outcome = Outcome {
        loss: loss.value(),
        states,
        gates,
        visual: visual_rows,
        features: features_rows,
        gradients,
    };
    let values = |numbers: Row<'_>| numbers.iter().map(|x| x.value()).collect();
    let parameters = parameters.into_iter().map(|(name, (shape, numbers))| (name, (shape, values(numbers))));
    (parameters.collect(), outcome)
}

fn plain(rows: &Rows<'_>) -> Vec<f64> {
    rows.iter().flatten().map(|x| x.value()).collect()
}
