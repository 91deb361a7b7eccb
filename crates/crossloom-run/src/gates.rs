//! How far gates open, over the sequences that hold data.

use crossloom_model::GATE_RESULT;
use crossloom_recipe::{Edge, Gate, GateNorm, PointAddress, Recipe, Tap, Topology};
use crossloom_runtime::{RunError, Session};
use crossloom_train::run_dir::GateRecord;
use crossloom_train::step::GateMeans;
use indexmap::IndexMap;

use crate::engine::GateValue;

/// Sums over sequences of every edge's gate, which is a mean over channels.
#[derive(Debug, Default)]
pub(crate) struct GateMoments {
    rows: usize,
    /// By edge: the sum, and the sum of squares.
    sums: IndexMap<String, (f64, f64)>,
}

impl GateMoments {
    /// Adds the gates of some sequences of a batch that was just run; the others fill it up, or were not asked for.
    pub(crate) fn add(
        &mut self,
        session: &Session,
        gates: &[(PointAddress, Vec<Tap>)],
        rows: &[usize],
    ) -> Result<(), RunError> {
        for (point, taps) in gates {
            let result = format!("{GATE_RESULT}{}", point.name());
            let values = session.read::<f32>(&result)?;
            self.add_point(*point, taps, &values, &session.result_type(&result)?.shape, rows);
        }
        self.rows += rows.len();
        Ok(())
    }

    /// The gates of each of some sequences of a batch that was just run.
    pub(crate) fn of_rows(
        session: &Session,
        gates: &[(PointAddress, Vec<Tap>)],
        rows: &[usize],
    ) -> Result<Vec<Self>, RunError> {
        let mut of_rows: Vec<Self> = rows.iter().map(|_| Self { rows: 1, ..Self::default() }).collect();
        if rows.is_empty() {
            return Ok(of_rows);
        }
        for (point, taps) in gates {
            let result = format!("{GATE_RESULT}{}", point.name());
            let (values, shape) = (session.read::<f32>(&result)?, &session.result_type(&result)?.shape);
            for (of_row, &row) in of_rows.iter_mut().zip(rows) {
                of_row.add_point(*point, taps, &values, shape, &[row]);
            }
        }
        Ok(of_rows)
    }

    /// Adds the gates of a sequence, as an engine tells them.
    pub(crate) fn add_told(&mut self, gates: &[GateValue]) {
        for GateValue { tap, point, value } in gates {
            let (sums, value) = (self.sums.entry(format!("{tap}->{point}")).or_default(), f64::from(*value));
            sums.0 += value;
            sums.1 += value * value;
        }
        self.rows += 1;
    }

    /// Adds the gates of one point, `[B, K]` or, for every channel, `[B, K, D]`, in the order of its taps.
    fn add_point(
        &mut self,
        point: PointAddress,
        taps: &[Tap],
        values: &[f32],
        shape: &[usize],
        rows: &[usize],
    ) {
        let (batch, channels) = (shape[0], shape.get(2).copied().unwrap_or(1));
        for (k, tap) in taps.iter().enumerate() {
            let sums = self.sums.entry(format!("{tap}->{}", point.name())).or_default();
            for &row in rows.iter().filter(|&&row| row < batch) {
                let of_edge = &values[(row * taps.len() + k) * channels..][..channels];
                let gate = of_edge.iter().map(|&w| f64::from(w)).sum::<f64>() / channels as f64;
                sums.0 += gate;
                sums.1 += gate * gate;
            }
        }
    }

    /// Mean and standard deviation of every edge's gate, in topology order.
    pub(crate) fn records(&self) -> IndexMap<String, GateRecord> {
        let rows = self.rows.max(1) as f64;
        let record = |&(sum, squares): &(f64, f64)| {
            let mean = sum / rows;
            GateRecord { mean, deviation: (squares / rows - mean * mean).max(0.0).sqrt() }
        };
        self.sums.iter().map(|(edge, sums)| (edge.clone(), record(sums))).collect()
    }

    /// The means alone.
    pub(crate) fn means(&self) -> GateMeans {
        self.records().into_iter().map(|(edge, gate)| (edge, gate.mean as f32)).collect()
    }
}

/// What is to be said of gates that are closed or open for every evaluated sample; `None` where there are none, or where
/// the recipe does not let gates depend on the picture.
pub(crate) fn saturation(recipe: &Recipe, gates: &IndexMap<String, GateRecord>) -> Option<String> {
    /// Nearer to 0 or 1 than this, and varying less, a gate is as good as fixed.
    const NEAR: f64 = 1e-3;
    let topology = Topology::new(recipe).ok()?;
    // A constant is meant to be one.
    let agf = |point| match &recipe.topology.injection_at(point)?.of.gate {
        Gate::Agf(agf) => Some(agf),
        _ => None,
    };
    let learned = |point| agf(point).is_some();
    let learned: Vec<String> =
        topology.injections().filter(|edge| learned(edge.point)).map(Edge::name).collect();
    let gates: Vec<&GateRecord> = learned.iter().filter_map(|edge| gates.get(edge)).collect();
    let fixed = || gates.iter().filter(|gate| gate.deviation < NEAR);
    let closed = fixed().filter(|gate| gate.mean.abs() < NEAR).count();
    let open = fixed().filter(|gate| gate.mean > 1.0 - NEAR).count();
    let are = |count: usize| if count == 1 { "is" } else { "are" };
    let (all, end) = (gates.len(), "for every sample");
    let what = match (closed, open) {
        (0, 0) => return None,
        (_, 0) => format!("{closed} of {all} gates {} closed {end}", are(closed)),
        (0, _) => format!("{open} of {all} gates {} open {end}", are(open)),
        _ => format!("{closed} of {all} gates {} closed and {open} open {end}", are(closed)),
    };
    let they = if closed + open == 1 { "it does" } else { "they do" };
    let unnormed = |edge: &Edge| agf(edge.point).is_some_and(|agf| agf.norm == GateNorm::None);
    let pretrained = recipe.model.weights.is_some() || recipe.model.language.weights.is_some();
    let help = if pretrained && topology.injections().any(unnormed) {
        "; a few positions and channels of a pretrained model's hidden state are far larger than the others, which the gate's \
         `norm = \"rms\"` evens out"
    } else {
        ""
    };
    Some(format!("{what}: {they} not depend on the picture{help}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crossloom_recipe::{PretrainedWeights, VisionAddress};

    use super::*;

    #[test]
    fn moments_are_those_of_the_edge_and_of_the_rows_that_were_asked() {
        let [early, late] = [VisionAddress::Block(1), VisionAddress::PostNorm].map(Tap::State);
        let mut moments = GateMoments::default();
        // Rows of two taps; the last row only fills the batch.
        moments.add_point(
            PointAddress::Before(0),
            &[early, late.clone()],
            &[0.1, 0.5, 0.3, 0.9, 7.0, 7.0],
            &[3, 2],
            &[0, 1],
        );
        // One tap, a gate for each of two channels.
        moments.add_point(
            PointAddress::After(2),
            &[late],
            &[0.2, 0.4, 0.6, 0.8, 7.0, 7.0],
            &[3, 1, 2],
            &[0, 1],
        );
        moments.rows = 2;
        let records = moments.records();
        let told: Vec<(&str, f64, f64)> =
            records.iter().map(|(edge, gate)| (edge.as_str(), gate.mean, gate.deviation)).collect();
        let expected = [
            ("block.1->layer.0", 0.2, 0.1),
            ("post_norm->layer.0", 0.7, 0.2),
            ("post_norm->layer.2.after", 0.5, 0.2),
        ];
        assert_eq!(told.len(), expected.len());
        for ((edge, mean, deviation), (name, of_mean, of_deviation)) in told.into_iter().zip(expected) {
            assert_eq!(edge, name);
            assert!(
                (mean - of_mean).abs() < 1e-6 && (deviation - of_deviation).abs() < 1e-6,
                "{edge}: {mean} {deviation}"
            );
        }
    }

    /// Gates of edges that `cli` of `synthetic.toml` has.
    fn gates(pairs: &[(f64, f64)]) -> IndexMap<String, GateRecord> {
        let record = |&(mean, deviation): &(f64, f64)| GateRecord { mean, deviation };
        pairs
            .iter()
            .enumerate()
            .map(|(i, pair)| (format!("block.{}->layer.{}", i % 4 + 1, i / 4), record(pair)))
            .collect()
    }

    #[test]
    fn gates_that_are_the_same_for_every_sample_are_told() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
        let loaded = crossloom_recipe::load(&path, &crossloom_recipe::LoadOptions::default()).unwrap();
        let cli = &loaded.variant("cli").unwrap().recipe;
        let said = |pairs: &[(f64, f64)]| saturation(cli, &gates(pairs));
        let mixed = [(1e-9, 0.0), (0.0002, 0.0001), (0.9999, 0.0), (0.5, 0.0), (0.0005, 0.01)];
        assert_eq!(
            said(&mixed).unwrap(),
            "2 of 5 gates are closed and 1 open for every sample: they do not depend on the picture"
        );
        assert_eq!(
            said(&[(1.0, 0.0), (0.3, 0.1)]).unwrap(),
            "1 of 2 gates is open for every sample: it does not depend on the picture"
        );
        assert_eq!(
            said(&[(0.0, 0.0), (0.0, 0.0)]).unwrap(),
            "2 of 2 gates are closed for every sample: they do not depend on the picture"
        );
        assert_eq!(said(&[(0.018, 0.0), (0.99, 0.0)]), None);
        let mut pretrained = cli.clone();
        pretrained.model.language.weights = Some(PretrainedWeights {
            path: "model".to_owned(),
            hash: None,
            missing: Vec::new(),
            unexpected: Vec::new(),
        });
        let of_pretrained = |recipe: &Recipe| saturation(recipe, &gates(&[(0.0, 0.0)])).unwrap();
        assert!(of_pretrained(&pretrained).ends_with("`norm = \"rms\"` evens out"));
        let Gate::Agf(agf) = &mut pretrained.topology.main.gate else { unreachable!() };
        agf.norm = GateNorm::Rms;
        assert!(of_pretrained(&pretrained).ends_with("it does not depend on the picture"));
        let mut fixed = cli.clone();
        fixed.topology.main.gate = Gate::Constant { value: 1.0 };
        assert_eq!(saturation(&fixed, &gates(&[(1.0, 0.0)])), None, "a fixed weight is meant to be one");
    }
}
