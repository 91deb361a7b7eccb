//! Comparisons of whole runs, and properties of the metrics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod comparison;
mod metric_properties;
