//! One offline HTML file that shows a run: accuracy, topology, gates, training, samples, and how to do it again.
//!
//! [`render`] takes a [`ReportData`], which knows nothing of recipes, tensors or run directories, and returns the
//! whole page as a string. The page holds its own style, script, charts and pictures, loads nothing, and works from
//! `file://`, on paper and without JavaScript (the script only adds hovering and filtering).
//!
//! Invariants:
//! - *Nothing in the data can become markup.* All output goes through one writer whose unescaped parts must be
//!   `&'static str`; the page's content security policy allows only the one script whose hash it names.
//! - *The same data gives the same bytes.* Nothing reads the clock, the environment or a hash map's order.
//! - *Bad data never panics.* Non-finite numbers are printed as such, edges that point nowhere are listed, and an
//!   empty section says why it is empty.
//!
//! ```
//! use crossloom_report::{ReportData, render};
//!
//! let page = render(&ReportData { name: "quickstart".into(), ..ReportData::default() });
//! assert!(page.starts_with("<!DOCTYPE html>"));
//! ```

mod chart;
mod context;
mod data;
mod markup;
mod number;
mod page;
mod section;
mod verdict;

pub use data::{
    AccuracyColumn, AccuracyRow, AccuracyTable, Answer, Asset, Curves, Edge, Estimate, Gate, KernelChoice,
    KeyFigure, Provenance, ReportData, Reproduction, RowKind, Sample, SampleSet, Series, Stage, Timing,
    Topology, Variant,
};
pub use verdict::verdict;

/// Renders `data` as one self-contained HTML page (UTF-8).
///
/// Never fails: what is missing or malformed in `data` is said on the page.
pub fn render(data: &ReportData) -> String {
    page::page(&context::Context::new(data))
}

/// The picture of scores over costs with the Pareto front, as on the page, as one SVG file; none where the costs of models are not known.
pub fn score_over_cost(data: &ReportData) -> Option<String> {
    section::cost::alone(&context::Context::new(data))
}
