//! One trained model: its topology with the learned gates, and its training curves.

use serde::Serialize;

/// One trained model of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Variant {
    /// Name, the same everywhere in the report.
    pub name: String,
    /// One line on what it is; may be empty.
    pub description: String,
    /// Which vision layers feed which decoder layers.
    pub topology: Topology,
    /// What is to be said of its gates, one sentence; `None` for nothing.
    pub gate_note: Option<String>,
    /// What was recorded while it was trained.
    pub curves: Curves,
    /// Trainings that followed one another, in order; none where there was one.
    pub stages: Vec<Stage>,
}

/// One of several trainings that followed one another.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stage {
    /// Name.
    pub name: String,
    /// Steps of all stages before it: where it begins in the curves.
    pub begins: u64,
    /// Steps that it was trained for.
    pub steps: u64,
    /// Parameters that it trains.
    pub trained: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Loss of its last step, in nats per answer token.
    pub loss: Option<f64>,
    /// Where it was trained, if it was taken over.
    pub taken_from: Option<String>,
}

/// A bipartite graph of vision taps and decoder points.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Topology {
    /// Addresses of the vision encoder, shallow first, such as `embed` and `block.0`. Layers without an edge are
    /// drawn faintly; leave them out to draw the taps alone.
    pub vision: Vec<String>,
    /// Addresses of the decoder, shallow first, such as `input` and `layer.0`.
    pub decoder: Vec<String>,
    /// The edges.
    pub edges: Vec<Edge>,
}

/// One edge of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Edge {
    /// Stable name, such as `block.7->layer.4`.
    pub name: String,
    /// Index into [`Topology::vision`].
    pub tap: usize,
    /// Index into [`Topology::decoder`].
    pub point: usize,
    /// The learned gate, or `None` where the edge has none (full strength).
    pub gate: Option<Gate>,
}

/// The learned gate of one edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gate {
    /// Mean over the evaluated sequences.
    pub mean: f64,
    /// Standard deviation between the evaluated sequences, if it was measured.
    pub deviation: Option<f64>,
    /// Mean gate over training; may be empty.
    pub history: Series,
}

/// Pairs of training step and value, in ascending order of steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Series {
    /// The pairs.
    pub points: Vec<(u64, f64)>,
}

impl FromIterator<(u64, f64)> for Series {
    fn from_iter<I: IntoIterator<Item = (u64, f64)>>(points: I) -> Self {
        Self { points: points.into_iter().collect() }
    }
}

/// What was recorded while one variant was trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curves {
    /// Training loss (nats per answer token).
    pub loss: Series,
    /// Loss on held-out data, if it was measured; drawn as markers.
    pub held_out_loss: Series,
    /// Score of a fixed sample of the questions, from 0 to 1, if it was asked in between.
    pub sampled_score: Series,
    /// Learning rate of the first parameter group.
    pub learning_rate: Series,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: Series,
}
