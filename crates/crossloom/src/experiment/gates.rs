//! How far gates open, over the sequences that hold data.

use crossloom_cpu::exec::{Executable, RunError};
use crossloom_model::GATE_RESULT;
use crossloom_recipe::{PointAddress, VisionAddress};
use crossloom_train::run_dir::GateRecord;
use crossloom_train::step::GateMeans;
use indexmap::IndexMap;

/// Sums over sequences of every edge's gate, which is a mean over channels.
#[derive(Debug, Default)]
pub(super) struct GateMoments {
    rows: usize,
    /// By edge: the sum, and the sum of squares.
    sums: IndexMap<String, (f64, f64)>,
}

impl GateMoments {
    /// Adds the gates of the first `rows` sequences of a batch that was just run; the others only fill it up.
    pub(super) fn add(
        &mut self,
        exe: &Executable,
        gates: &[(PointAddress, Vec<VisionAddress>)],
        rows: usize,
    ) -> Result<(), RunError> {
        for (point, taps) in gates {
            let result = format!("{GATE_RESULT}{}", point.name());
            let values = exe.result(&result)?;
            let shape = exe.result_shape(&result)?;
            let (batch, channels) = (shape[0], shape.get(2).copied().unwrap_or(1));
            for (k, tap) in taps.iter().enumerate() {
                let sums = self.sums.entry(format!("{tap}->{}", point.name())).or_default();
                for row in 0..rows.min(batch) {
                    let of_edge = &values[(row * taps.len() + k) * channels..][..channels];
                    let gate = of_edge.iter().map(|&w| f64::from(w)).sum::<f64>() / channels as f64;
                    sums.0 += gate;
                    sums.1 += gate * gate;
                }
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// Mean and standard deviation of every edge's gate, in topology order.
    pub(super) fn records(&self) -> IndexMap<String, GateRecord> {
        let rows = self.rows.max(1) as f64;
        let record = |&(sum, squares): &(f64, f64)| {
            let mean = sum / rows;
            GateRecord { mean, deviation: (squares / rows - mean * mean).max(0.0).sqrt() }
        };
        self.sums.iter().map(|(edge, sums)| (edge.clone(), record(sums))).collect()
    }

    /// The means alone.
    pub(super) fn means(&self) -> GateMeans {
        self.records().into_iter().map(|(edge, gate)| (edge, gate.mean as f32)).collect()
    }
}
