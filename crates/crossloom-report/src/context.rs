//! What the sections share: the data, one look per variant, and one gate scale for all pictures.

use std::cmp::Ordering;

use crate::chart::ramp::Ramp;
use crate::data::{AccuracyRow, ReportData, RowKind};
use crate::verdict::overall;

/// The data of a report together with what must look the same in every section.
pub(crate) struct Context<'a> {
    pub(crate) data: &'a ReportData,
    /// Colour scale of gate values, shared by all variants.
    pub(crate) gates: Ramp,
    /// The names with a look of their own, where not all have one.
    marked: Option<Vec<&'a str>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(data: &'a ReportData) -> Self {
        let gates = data
            .variants
            .iter()
            .flat_map(|variant| &variant.topology.edges)
            .filter_map(|edge| edge.gate.as_ref())
            .map(|gate| gate.mean);
        Self { data, gates: Ramp::fit(gates), marked: marked(data) }
    }

    /// Number of the look (colour, marker, dash) of a variant: its place among the variants, then among the rows. Where there
    /// are more than looks can tell apart, the baseline and the models with the highest scores have one, and [`OTHER`] is
    /// that of all others.
    pub(crate) fn slot(&self, name: &str) -> usize {
        if let Some(marked) = &self.marked {
            return marked.iter().position(|marked| *marked == name).unwrap_or(OTHER);
        }
        let variants = &self.data.variants;
        variants.iter().position(|variant| variant.name == name).unwrap_or_else(|| {
            let others = self.data.accuracy.rows.iter().filter(|row| !self.is_variant(&row.name));
            variants.len() + others.take_while(|row| row.name != name).count()
        })
    }

    /// Whether there are more variants than looks.
    pub(crate) fn is_crowded(&self) -> bool {
        self.marked.is_some()
    }

    fn is_variant(&self, name: &str) -> bool {
        self.data.variants.iter().any(|variant| variant.name == name)
    }

    /// Whether `name` answers without the picture.
    pub(crate) fn is_blind(&self, name: &str) -> bool {
        self.data.accuracy.rows.iter().any(|row| row.name == name && row.kind != RowKind::Model)
    }
}

/// As many looks can be told apart.
const LOOKS: [&str; 8] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"];

/// The look of variants that have none of their own.
pub(crate) const OTHER: usize = LOOKS.len();

/// The names that have a look where not all can: the baseline, then what answers without the picture, then the best.
fn marked(data: &ReportData) -> Option<Vec<&str>> {
    let rows = &data.accuracy.rows;
    let unknown = data.variants.iter().filter(|variant| rows.iter().all(|row| row.name != variant.name));
    if rows.len() + unknown.clone().count() <= LOOKS.len() {
        return None;
    }
    let baseline = data.accuracy.baseline.as_deref();
    let mut ranked: Vec<&AccuracyRow> = rows.iter().collect();
    ranked.sort_by(|a, b| {
        let rank = |row: &AccuracyRow| match row.kind {
            _ if Some(row.name.as_str()) == baseline => 0,
            RowKind::Model => 2,
            RowKind::QuestionOnly | RowKind::Prior => 1,
        };
        rank(a).cmp(&rank(b)).then_with(|| by_score(a, b))
    });
    let names = ranked.into_iter().map(|row| row.name.as_str());
    Some(names.chain(unknown.map(|variant| variant.name.as_str())).take(LOOKS.len()).collect())
}

/// The higher score first, rows without one last; equal ones keep their order.
pub(crate) fn by_score(a: &AccuracyRow, b: &AccuracyRow) -> Ordering {
    let score = |row: &AccuracyRow| overall(row).map_or(f64::NEG_INFINITY, |score| score.mean);
    score(b).total_cmp(&score(a))
}

/// Class that gives a variant's look its colour.
pub(crate) fn look(slot: usize) -> &'static str {
    LOOKS.get(slot).copied().unwrap_or("other")
}
