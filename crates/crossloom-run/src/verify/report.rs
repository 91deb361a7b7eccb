//! What was found, edge by edge.

use indexmap::IndexMap;
use serde::Serialize;

/// What is proved of every edge, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// It begins at its tap, ends at its point and nowhere else, and writes the positions of its mask.
    Structure,
    /// Cutting it changes the logits.
    Liveness,
    /// Gradients reach all that is trained on it, from the weights that training starts from.
    Gradient,
    /// Permuting what is seen permutes what it adds.
    Alignment,
    /// It adds the same in a whole forward pass and in the phases.
    Phase,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Structure, Self::Liveness, Self::Gradient, Self::Alignment, Self::Phase];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Liveness => "liveness",
            Self::Gradient => "gradient",
            Self::Alignment => "alignment",
            Self::Phase => "phase",
        }
    }
}

/// What was found of one thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Proof {
    /// Numbers that were measured, by name.
    pub measured: IndexMap<&'static str, f64>,
    /// What is worth knowing and no failure.
    pub notes: Vec<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Proof {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds what is wrong, once.
    pub(crate) fn fail(&mut self, problem: impl Into<String>) {
        let problem = problem.into();
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Adds what is worth knowing, once.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Keeps the largest number of a name.
    pub(crate) fn at_most(&mut self, name: &'static str, value: f64) {
        let known = self.measured.entry(name).or_insert(value);
        *known = known.max(value);
    }
}

/// An edge and its proofs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeProof {
    /// Its name.
    pub edge: String,
    /// By aspect.
    pub proofs: IndexMap<Aspect, Proof>,
}

impl EdgeProof {
    /// Whether nothing is wrong with it.
    pub fn holds(&self) -> bool {
        self.proofs.values().all(Proof::holds)
    }
}

/// The wiring of a recipe, or of a stage of it, as it was verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verified {
    /// Every edge, in the order of the topology.
    pub edges: Vec<EdgeProof>,
    /// What all edges share, by name.
    pub shared: IndexMap<&'static str, Proof>,
}

impl Verified {
    /// One without proofs, for edges of these names.
    pub(crate) fn of(names: impl IntoIterator<Item = String>) -> Self {
        let empty = || Aspect::ALL.into_iter().map(|aspect| (aspect, Proof::default())).collect();
        let edges = names.into_iter().map(|edge| EdgeProof { edge, proofs: empty() }).collect();
        Self { edges, shared: IndexMap::new() }
    }

    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.edges.iter().all(EdgeProof::holds) && self.shared.values().all(Proof::holds)
    }

    /// Everything that is wrong: the edge, or what all share, and the problem.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_edges = self.edges.iter().flat_map(|edge| {
            let problems = edge.proofs.values().flat_map(|proof| &proof.problems);
            problems.map(|problem| (edge.edge.as_str(), problem.as_str()))
        });
        let shared = self.shared.iter();
        of_edges.chain(shared.flat_map(|(name, proof)| proof.problems.iter().map(|p| (*name, p.as_str()))))
    }

    /// The edges of which something is wrong.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.edges.iter().filter(|edge| !edge.holds()).map(|edge| edge.edge.as_str())
    }

    /// The proof of an aspect of an edge, to be added to. Edges are those of the topology, by index.
    pub(crate) fn edge(&mut self, edge: usize, aspect: Aspect) -> &mut Proof {
        self.edges[edge].proofs.entry(aspect).or_default()
    }

    /// The proof of something that all edges share, to be added to.
    pub(crate) fn shared(&mut self, name: &'static str) -> &mut Proof {
        self.shared.entry(name).or_default()
    }
}
