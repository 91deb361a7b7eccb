//! What the columns cost, and which of them nothing beats at their cost.

use serde::{Deserialize, Serialize};

use super::{Column, Comparison, Standing};

/// What a column costs; a figure is missing where it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Parameters of the whole model.
    pub parameters: Option<u64>,
    /// Those of them that training changes.
    pub trained: Option<u64>,
    /// Floating-point operations of a training step.
    pub step_flops: Option<u64>,
    /// Median time of a training step in milliseconds, over seeds their mean.
    pub step_ms: Option<f64>,
}

/// A cost that models are weighed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Parameters.
    Parameters,
    /// Operations of a training step.
    StepFlops,
    /// Time of a training step.
    StepTime,
}

impl Cost {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Parameters, Self::StepFlops, Self::StepTime];

    /// In words, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::StepFlops => "FLOPs of a training step",
            Self::StepTime => "time of a training step, ms",
        }
    }

    /// That of a column; none where it is not known.
    pub fn of(self, column: &Column) -> Option<f64> {
        let costs = column.costs?;
        match self {
            Self::Parameters => costs.parameters.map(|count| count as f64),
            Self::StepFlops => costs.step_flops.map(|count| count as f64),
            Self::StepTime => costs.step_ms,
        }
    }
}

impl Comparison {
    /// The models on the Pareto front of score and a cost: those at whose cost, or below it, no other has as high a score, in the order of
    /// the columns. Models of unknown cost, and references, are not on it.
    pub fn front(&self, cost: Cost) -> Vec<&str> {
        let models: Vec<(&Column, f64)> = (self.columns.iter())
            .filter(|column| column.role == Standing::Model)
            .filter_map(|column| Some((column, cost.of(column)?)))
            .collect();
        let score = |column: &Column| column.results.overall.mean;
        let beaten = |(column, own): &(&Column, f64)| {
            models.iter().any(|(other, cost)| {
                let as_good = score(other) >= score(column) && cost <= own;
                as_good && (score(other) > score(column) || cost < own)
            })
        };
        models.iter().filter(|model| !beaten(model)).map(|(column, _)| column.name.as_str()).collect()
    }
}
