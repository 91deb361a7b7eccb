//! The topology of a variant with its learned gates.

use crossloom_recipe::{Gate, Tap, Topology, VisionAddress};
use crossloom_report as report;
use crossloom_train::run_dir::GateRecord;
use indexmap::IndexMap;

use crate::{ExperimentError, VariantOutcome};

/// All layers, shallow first, and the edges with their gates.
pub(super) fn topology(
    outcome: &VariantOutcome,
    gates: &IndexMap<String, GateRecord>,
    series: &dyn Fn(&str) -> report::Series,
) -> Result<report::Topology, ExperimentError> {
    let topology = Topology::new(&outcome.recipe)?;
    let mut states = vec![Tap::State(VisionAddress::Embed)];
    states.extend((1..=outcome.recipe.model.vision.layers).map(|block| VisionAddress::Block(block).into()));
    if outcome.recipe.model.vision.post_norm {
        states.push(VisionAddress::PostNorm.into());
    }
    // What is made of states stands behind them.
    states.extend(topology.sources().into_iter().filter(|tap| tap.state().is_none()));
    let points: Vec<String> = topology.places().iter().map(|p| p.name()).collect();
    let decoder = decoder_places(outcome.recipe.model.language.layers, &points);
    let gated = |point| {
        let injection = outcome.recipe.topology.injection_at(point);
        injection.is_some_and(|injection| !matches!(injection.of.gate, Gate::None {}))
    };
    let mut edges = Vec::new();
    for edge in topology.edges() {
        let (tap, point) = (
            states.iter().position(|s| *s == edge.tap),
            decoder.iter().position(|p| *p == edge.point.name()),
        );
        let (Some(tap), Some(point)) = (tap, point) else { continue };
        let name = edge.name();
        let gate = gates.get(&name).filter(|_| gated(edge.point)).map(|gate| report::Gate {
            mean: gate.mean,
            deviation: Some(gate.deviation),
            history: series(&format!("gate/{name}")),
        });
        edges.push(report::Edge { name, tap, point, gate });
    }
    Ok(report::Topology { vision: states.iter().map(ToString::to_string).collect(), decoder, edges })
}

/// The places of the decoder, shallow first; inside or behind a layer only where a point is there.
fn decoder_places(layers: usize, points: &[String]) -> Vec<String> {
    let mut places = vec!["input".to_owned()];
    for layer in 0..layers {
        let name = format!("layer.{layer}");
        let within = ["attention", "inside", "after"].map(|side| format!("{name}.{side}"));
        places.push(name);
        places.extend(within.into_iter().filter(|place| points.contains(place)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_behind_a_layer_stands_before_the_next_layer() {
        let points = ["layer.2.after", "layer.0.after", "layer.1"].map(str::to_owned);
        let places = ["input", "layer.0", "layer.0.after", "layer.1", "layer.2", "layer.2.after"];
        assert_eq!(decoder_places(3, &points), places);
    }
}
