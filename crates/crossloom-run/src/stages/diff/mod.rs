//! What differs between two variants: their wiring, their settings, their figures, and what they are made of.

mod edges;
mod picture;

use crossloom_recipe::Topology;
use crossloom_train::checkpoint::RecipeChange;
use serde::Serialize;

use super::explain::{Explained, Figure, explain, figures};
use super::structure::{ScopeChange, Structure};
use super::{Depth, Format, Mode, Stage, Subject, drawn, render, title};
use crate::ExperimentError;
use crate::changes::settings_changed;

pub use self::edges::{EdgeDiff, Move};

/// What differs between two variants.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// The first variant, with its recipe's name.
    pub first: String,
    /// The second one.
    pub second: String,
    /// Their edges.
    pub edges: EdgeDiff,
    /// The settings of what is trained in which they differ.
    pub settings: Vec<RecipeChange>,
    /// Their figures, those that are equal too.
    pub figures: Vec<Figure>,
    /// Where their graphs differ: of the function that is differentiated, before any pass.
    pub scopes: Vec<ScopeChange>,
}

/// Compares two variants. Both are built for training, each for its own sizes.
///
/// # Errors
/// One of them cannot be built or compiled.
pub fn diff(first: &Subject<'_>, second: &Subject<'_>) -> Result<Diff, ExperimentError> {
    let explained = |subject: &Subject<'_>| -> Result<Explained, ExperimentError> {
        explain(subject.name, subject.recipe, subject.shapes, 1, subject.backend, None)
    };
    let structure = |subject: &Subject<'_>| -> Result<Structure, ExperimentError> {
        let subject = Subject { mode: Mode::Train, ..*subject };
        Ok(Structure::of(&render(&subject, Stage::Ir, Format::Text, Depth::Nodes)?))
    };
    let topology = |subject: &Subject<'_>| Topology::new(subject.recipe).map_err(ExperimentError::from);
    Ok(Diff {
        first: title(first),
        second: title(second),
        edges: EdgeDiff::of(&topology(first)?, &topology(second)?),
        settings: settings_changed(first.recipe, second.recipe),
        figures: figures(&explained(first)?, &explained(second)?),
        scopes: structure(first)?.changes(&structure(second)?),
    })
}

impl Diff {
    /// Both topologies as one picture, in a form that draws.
    pub fn drawn(&self, format: Format) -> String {
        drawn(&self.picture(), format)
    }

    /// Whether nothing of the wiring, the settings and the graphs differs.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty() && self.settings.is_empty() && self.scopes.is_empty()
    }
}
