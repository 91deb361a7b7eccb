//! Taps, points and named edges.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::Serialize;

use crate::schema::{PointAddress, Recipe, Tap, TopologySpec, VisionAddress, Wiring};

/// Why an edge is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// The projected tap is put in place of the image tokens.
    Input,
    /// The adapted tap is fused into the hidden state.
    Injection,
}

/// A connection from a tap to a point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Edge {
    /// Why it is there.
    pub kind: EdgeKind,
    /// What it starts at.
    pub tap: Tap,
    /// The place in the decoder it leads to.
    pub point: PointAddress,
}

impl Edge {
    /// Its stable name, which metrics, parameters and diagnostics use: `block.7->layer.4` for `before layer.4`,
    /// `block.7->layer.4.after` for `after layer.4`, `block.7->input` for the input. It depends on the two
    /// ends only, and two edges never share it.
    pub fn name(&self) -> String {
        format!("{}->{}", self.tap, self.point.name())
    }
}

/// A recipe's wiring that does not fit its taps and points.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A diagonal wiring of unequal rows.
    #[error("a diagonal wiring needs as many taps as points, found {taps} and {points}")]
    Diagonal {
        /// Number of taps.
        taps: usize,
        /// Number of points.
        points: usize,
    },
    /// A broadcast of more or less than one tap.
    #[error("a broadcast has one tap, found {taps}")]
    Broadcast {
        /// Number of taps.
        taps: usize,
    },
    /// A pair that is not among the taps and points, or twice in the list.
    #[error("the pair `{edge}` is listed twice, or its ends are not listed as tap and point")]
    Pair {
        /// Name of the edge.
        edge: String,
    },
    /// A tap or a point that is listed twice.
    #[error("`{address}` is listed twice")]
    Duplicate {
        /// As the recipe spells it, such as `block.7` or `layer.4`.
        address: String,
    },
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A vision state, or a source made of some.
    Tap(Tap),
    /// A place in the decoder.
    Point(PointAddress),
}

/// The bipartite graph of taps and points of one recipe.
///
/// All orders are stable: taps and points as in the recipe; the edges of the input first, then injection by injection those of its
/// points, and at a point tap by tap (as in `wiring` where pairs are listed).
#[derive(Debug, Clone)]
pub struct Topology {
    pub(super) title: String,
    pub(super) spec: TopologySpec,
    graph: DiGraph<Node, Edge>,
    edges: Vec<Edge>,
}

impl Topology {
    /// The topology of a recipe.
    ///
    /// # Errors
    /// When the wiring does not fit the taps and points. A recipe that was [loaded](crate::load) always fits.
    pub fn new(recipe: &Recipe) -> Result<Self, TopologyError> {
        let spec = &recipe.topology;
        let points: Vec<PointAddress> = spec.points().collect();
        duplicates(&points)?;
        let input = |tap: &Tap| Edge { kind: EdgeKind::Input, tap: tap.clone(), point: PointAddress::Input };
        let mut edges: Vec<Edge> = spec.input.taps().iter().map(input).collect();
        for injection in std::iter::once(&spec.main).chain(spec.named.values()) {
            duplicates(&injection.taps)?;
            for (tap, point) in wire(&injection.wiring, &injection.taps, &injection.points)? {
                edges.push(Edge { kind: EdgeKind::Injection, tap, point });
            }
        }

        let mut graph = DiGraph::new();
        let mut nodes: Vec<(Node, NodeIndex)> = Vec::new();
        let mut index = |node: Node, graph: &mut DiGraph<Node, Edge>| {
            if let Some((_, index)) = nodes.iter().find(|(known, _)| *known == node) {
                return *index;
            }
            let index = graph.add_node(node.clone());
            nodes.push((node, index));
            index
        };
        let taps = spec.taps().into_iter().chain(spec.input.taps()).map(Node::Tap);
        let places = points.iter().chain([&PointAddress::Input]).map(|point| Node::Point(*point));
        for node in taps.chain(places) {
            index(node, &mut graph);
        }
        for edge in &edges {
            let (tap, point) =
                (index(Node::Tap(edge.tap.clone()), &mut graph), index(Node::Point(edge.point), &mut graph));
            graph.add_edge(tap, point, edge.clone());
        }
        Ok(Self { title: recipe.name.clone(), spec: spec.clone(), graph, edges })
    }

    /// The same topology under another title, for example the name of its variant.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// What is injected, in the order of the recipe. The input's taps are among them only if they are also injected.
    pub fn taps(&self) -> Vec<Tap> {
        self.spec.taps()
    }

    /// Places that receive an injection, in the order of the recipe; never the input.
    pub fn points(&self) -> Vec<PointAddress> {
        self.spec.points().collect()
    }

    /// All edges, the input's first.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The edges that inject.
    pub fn injections(&self) -> impl Iterator<Item = &Edge> + '_ {
        self.edges.iter().filter(|edge| edge.kind == EdgeKind::Injection)
    }

    /// Tap and point of every edge that injects.
    pub fn pairs(&self) -> Vec<(Tap, PointAddress)> {
        self.injections().map(|edge| (edge.tap.clone(), edge.point)).collect()
    }

    /// The edges that feed the input.
    pub fn inputs(&self) -> impl Iterator<Item = &Edge> + '_ {
        self.edges.iter().filter(|edge| edge.kind == EdgeKind::Input)
    }

    /// The edges into a point, in stable order.
    pub fn edges_into(&self, point: PointAddress) -> Vec<Edge> {
        self.around(&Node::Point(point), Direction::Incoming)
    }

    /// The edges from a tap, in stable order.
    pub fn edges_from(&self, tap: &Tap) -> Vec<Edge> {
        self.around(&Node::Tap(tap.clone()), Direction::Outgoing)
    }

    /// The edge with a name.
    pub fn edge(&self, name: &str) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.name() == name)
    }

    /// Every place that receives something, from the input to the last layer.
    pub fn places(&self) -> Vec<PointAddress> {
        let mut places: Vec<PointAddress> = self.edges.iter().map(|edge| edge.point).collect();
        places.sort_unstable_by_key(|point| match point {
            PointAddress::Input => (0, 0),
            PointAddress::Before(layer) => (1, 4 * layer),
            PointAddress::Attention(layer) => (1, 4 * layer + 1),
            PointAddress::Inside(layer) => (1, 4 * layer + 2),
            PointAddress::After(layer) => (1, 4 * layer + 3),
        });
        places.dedup();
        places
    }

    /// Everything that an edge starts at, vision states from the first block to the last, then sources by name.
    pub fn sources(&self) -> Vec<Tap> {
        let mut taps: Vec<Tap> = self.edges.iter().map(|edge| edge.tap.clone()).collect();
        taps.sort_unstable();
        taps.dedup();
        taps
    }

    /// Every vision state that is read, by edges or for the sources of edges, from the first block to the last: what an encoder has
    /// to compute.
    pub fn states(&self) -> Vec<VisionAddress> {
        let mut states = Vec::new();
        for edge in &self.edges {
            self.spec.states_of(&edge.tap, &mut states);
        }
        states.sort_unstable();
        states.dedup();
        states
    }

    /// The graph itself, for algorithms of petgraph. An edge's index is its place in [`edges`](Self::edges).
    pub fn graph(&self) -> &DiGraph<Node, Edge> {
        &self.graph
    }

    fn around(&self, node: &Node, direction: Direction) -> Vec<Edge> {
        let Some(index) = self.graph.node_indices().find(|index| self.graph[*index] == *node) else {
            return Vec::new();
        };
        let mut edges: Vec<_> = self
            .graph
            .edges_directed(index, direction)
            .map(|edge| (edge.id(), edge.weight().clone()))
            .collect();
        edges.sort_unstable_by_key(|(id, _)| *id);
        edges.into_iter().map(|(_, edge)| edge).collect()
    }
}

type Pair = (Tap, PointAddress);

/// The pairs of a wiring, point by point.
fn wire(wiring: &Wiring, taps: &[Tap], points: &[PointAddress]) -> Result<Vec<Pair>, TopologyError> {
    if taps.is_empty() && points.is_empty() {
        return Ok(Vec::new());
    }
    let dense = || points.iter().flat_map(|point| taps.iter().map(|tap| (tap.clone(), *point))).collect();
    match wiring {
        Wiring::Dense => Ok(dense()),
        Wiring::Diagonal if taps.len() == points.len() => {
            Ok(taps.iter().cloned().zip(points.iter().copied()).collect())
        }
        Wiring::Diagonal => Err(TopologyError::Diagonal { taps: taps.len(), points: points.len() }),
        Wiring::Broadcast if taps.len() == 1 => Ok(dense()),
        Wiring::Broadcast => Err(TopologyError::Broadcast { taps: taps.len() }),
        Wiring::Pairs(pairs) => {
            for (index, (tap, point)) in pairs.iter().enumerate() {
                let listed = taps.contains(tap) && points.contains(point);
                if !listed || pairs[..index].contains(&(tap.clone(), *point)) {
                    let edge = Edge { kind: EdgeKind::Injection, tap: tap.clone(), point: *point }.name();
                    return Err(TopologyError::Pair { edge });
                }
            }
            let at = |point: &PointAddress| {
                pairs.iter().filter(move |pair| pair.1 == *point).cloned().collect::<Vec<_>>()
            };
            Ok(points.iter().flat_map(at).collect())
        }
    }
}

fn duplicates<A: PartialEq + std::fmt::Display>(addresses: &[A]) -> Result<(), TopologyError> {
    match addresses.iter().enumerate().find(|(index, address)| addresses[..*index].contains(address)) {
        Some((_, address)) => Err(TopologyError::Duplicate { address: address.to_string() }),
        None => Ok(()),
    }
}
