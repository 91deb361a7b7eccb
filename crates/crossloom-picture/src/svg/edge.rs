//! The way of an edge from box to box.

use super::place::Rect;

/// Length of an arrow's head.
const HEAD: f64 = 6.0;
/// How far an edge swings out that passes boxes of its own column.
const SWING: f64 = 34.0;

/// A curve and the head of its arrow, as path data, and a point for a label.
pub(super) struct Route {
    pub(super) curve: String,
    pub(super) head: String,
    pub(super) middle: (f64, f64),
    /// It goes up: against the order of the boxes.
    pub(super) back: bool,
}

/// The way from a box to another: to the nearer side of it; down a column from bottom to top, or past what lies between.
pub(super) fn route(from: &Rect, to: &Rect) -> Route {
    let ((from_x, from_y), (to_x, to_y)) = (from.center(), to.center());
    if to.x >= from.right() {
        return sideways((from.right(), from_y), (to.x, to_y), 1.0, 1.0);
    }
    if to.right() <= from.x {
        return sideways((from.x, from_y), (to.right(), to_y), -1.0, -1.0);
    }
    let gap = to.y - from.bottom();
    if (0.0..2.5 * SWING).contains(&gap) {
        return downwards((from_x, from.bottom()), (to_x, to.y));
    }
    let mut route = if gap >= 0.0 {
        sideways((from.right(), from_y), (to.right(), to_y), 1.0, -1.0)
    } else {
        sideways((from.x, from_y), (to.x, to_y), -1.0, 1.0)
    };
    route.back = gap < 0.0;
    route
}

/// Leaves in one horizontal direction and arrives in another: 1 is to the right.
fn sideways(start: (f64, f64), end: (f64, f64), leaves: f64, arrives: f64) -> Route {
    let bend =
        if leaves == arrives { (end.0 - start.0).abs() * 0.45 } else { SWING + (start.0 - end.0).abs() };
    let tip = (end.0 - HEAD * arrives, end.1);
    let (first, second) = (start.0 + bend * leaves, tip.0 - bend * arrives);
    let curve = format!(
        "M{:.1} {:.1} C{first:.1} {:.1} {second:.1} {:.1} {:.1} {:.1}",
        start.0, start.1, start.1, end.1, tip.0, tip.1
    );
    let head = triangle(end, (tip.0, tip.1 - HEAD / 2.0), (tip.0, tip.1 + HEAD / 2.0));
    Route { curve, head, middle: middle(start, (first, start.1), (second, end.1), tip), back: false }
}

fn downwards(start: (f64, f64), end: (f64, f64)) -> Route {
    let tip = (end.0, end.1 - HEAD);
    let bend = (tip.1 - start.1).max(0.0) * 0.5;
    let (first, second) = ((start.0, start.1 + bend), (tip.0, tip.1 - bend));
    let curve = format!(
        "M{:.1} {:.1} C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
        start.0, start.1, first.0, first.1, second.0, second.1, tip.0, tip.1
    );
    let head = triangle(end, (tip.0 - HEAD / 2.0, tip.1), (tip.0 + HEAD / 2.0, tip.1));
    // Beside the curve, between the two boxes.
    let label = (f64::midpoint(start.0, end.0) + 30.0, f64::midpoint(start.1, end.1) + 7.0);
    Route { curve, head, middle: label, back: false }
}

fn triangle(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> String {
    format!("M{:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z", a.0, a.1, b.0, b.1, c.0, c.1)
}

/// The middle of a cubic curve.
fn middle(a: (f64, f64), b: (f64, f64), c: (f64, f64), d: (f64, f64)) -> (f64, f64) {
    let mean = |a: f64, b: f64, c: f64, d: f64| (a + 3.0 * b + 3.0 * c + d) / 8.0;
    (mean(a.0, b.0, c.0, d.0), mean(a.1, b.1, c.1, d.1))
}
