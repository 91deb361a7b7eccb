//! Nodes grouped by scope, for nested boxes.

use super::Described;

/// A scope with the nodes directly in it and the scopes below it, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct ScopeTree {
    /// Last part of the path.
    pub(super) part: String,
    /// Nodes directly in this scope.
    pub(super) nodes: Vec<usize>,
    /// Scopes below.
    pub(super) children: Vec<ScopeTree>,
}

impl ScopeTree {
    /// The drawn nodes of a graph under their scopes.
    pub(super) fn of(graph: &Described) -> Self {
        let mut root = Self::default();
        for node in graph.nodes.iter().filter(|node| graph.is_drawn(node.index)) {
            let mut at = &mut root;
            for part in node.scope.split('.').filter(|part| !part.is_empty()) {
                at = at.child(part);
            }
            at.nodes.push(node.index);
        }
        root
    }

    fn child(&mut self, part: &str) -> &mut Self {
        let at = self.children.iter().position(|child| child.part == part).unwrap_or_else(|| {
            self.children.push(Self { part: part.to_owned(), ..Self::default() });
            self.children.len() - 1
        });
        &mut self.children[at]
    }
}
