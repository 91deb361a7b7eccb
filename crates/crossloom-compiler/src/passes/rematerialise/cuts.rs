//! Where the forward pass is cut into segments.

use super::site::Site;

/// The ends of segments, in order; the last is the end of the forward pass. No segment makes more than `limit` bytes of what
/// is held, but for one of a single instruction, and of the places in its second half the one is taken over which the fewest
/// bytes go.
pub(super) fn cut(site: &Site<'_>, limit: u64) -> Vec<usize> {
    let crossing = crossing(site);
    let mut made = vec![0; site.forward];
    for (at, value) in site.held() {
        made[at] += site.bytes(value);
    }
    let (mut cuts, mut start) = (Vec::new(), 0);
    while start < site.forward {
        let (mut sum, mut end, mut narrow) = (made[start], start + 1, None);
        loop {
            if sum >= limit / 2 && narrow.is_none_or(|narrow: usize| crossing[end] <= crossing[narrow]) {
                narrow = Some(end);
            }
            if end == site.forward || sum + made[end] > limit {
                break;
            }
            sum += made[end];
            end += 1;
        }
        start = if end == site.forward { end } else { narrow.unwrap_or(end) };
        cuts.push(start);
    }
    cuts
}

/// For every place in front of an instruction of the forward pass, the bytes that were made before and that the forward pass
/// reads behind it.
fn crossing(site: &Site<'_>) -> Vec<u64> {
    let mut ends = vec![0; site.forward + 1];
    let (mut crossing, mut alive) = (Vec::with_capacity(site.forward + 1), 0);
    for (at, inst) in site.func.insts()[..site.forward].iter().enumerate() {
        crossing.push(alive);
        for &value in inst.outputs.iter().filter(|&&value| site.root[value.index()] == value) {
            alive += site.bytes(value);
            ends[site.last[value.index()]] += site.bytes(value);
        }
        alive -= ends[at];
    }
    crossing.push(alive);
    crossing
}
