//! What the sections share: the data, one look per variant, and one gate scale for all pictures.

use crate::chart::ramp::Ramp;
use crate::data::{ReportData, RowKind};

/// The data of a report together with what must look the same in every section.
pub(crate) struct Context<'a> {
    pub(crate) data: &'a ReportData,
    /// Colour scale of gate values, shared by all variants.
    pub(crate) gates: Ramp,
}

impl<'a> Context<'a> {
    pub(crate) fn new(data: &'a ReportData) -> Self {
        let gates = data
            .variants
            .iter()
            .flat_map(|variant| &variant.topology.edges)
            .filter_map(|edge| edge.gate.as_ref())
            .map(|gate| gate.mean);
        Self { data, gates: Ramp::fit(gates) }
    }

    /// Number of the look (colour, marker, dash) of a variant: its place among the variants, then among the rows.
    pub(crate) fn slot(&self, name: &str) -> usize {
        let variants = &self.data.variants;
        variants.iter().position(|variant| variant.name == name).unwrap_or_else(|| {
            let others = self.data.accuracy.rows.iter().filter(|row| !self.is_variant(&row.name));
            variants.len() + others.take_while(|row| row.name != name).count()
        })
    }

    fn is_variant(&self, name: &str) -> bool {
        self.data.variants.iter().any(|variant| variant.name == name)
    }

    /// Whether `name` answers without the picture.
    pub(crate) fn is_blind(&self, name: &str) -> bool {
        self.data.accuracy.rows.iter().any(|row| row.name == name && row.kind != RowKind::Model)
    }
}

/// Class that gives a variant's look its colour.
pub(crate) fn look(slot: usize) -> &'static str {
    const LOOKS: [&str; 8] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"];
    LOOKS.get(slot % LOOKS.len()).copied().unwrap_or("v0")
}
