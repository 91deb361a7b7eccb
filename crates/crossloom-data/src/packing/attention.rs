//! Who may look at whom.

use super::{IMAGE_SEGMENT, PADDING_SEGMENT};

/// Whether the position `query` of a row may attend to the position `key`, where `segments` is that row of
/// `segments_bt`: the key is not later (when `causal`), it belongs to the picture or to the query's own segment, and it
/// is not padding, except that padding attends to itself. Positions outside the row may not.
///
/// This is the rule that masks are built from; backends may compute it differently, but not to another effect.
pub fn may_attend(segments: &[i32], query: usize, key: usize, causal: bool) -> bool {
    let (Some(&query_segment), Some(&key_segment)) = (segments.get(query), segments.get(key)) else {
        return false;
    };
    (!causal || key <= query)
        && (key_segment == IMAGE_SEGMENT || key_segment == query_segment)
        && (key_segment != PADDING_SEGMENT || key == query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_as_a_picture() {
        let segments = [0, 0, 1, 1, 2, -1, -1];
        let picture: Vec<String> = (0..7)
            .map(|query| {
                (0..7).map(|key| if may_attend(&segments, query, key, true) { '#' } else { '.' }).collect()
            })
            .collect();
        assert_eq!(picture, ["#......", "##.....", "###....", "####...", "##..#..", "##...#.", "##....#"]);
        assert!(may_attend(&segments, 0, 1, false), "without causality the picture sees itself whole");
        assert!(!may_attend(&segments, 0, 2, false), "the picture never sees a question");
        assert!(!may_attend(&segments, 9, 0, false) && !may_attend(&segments, 0, 9, false));
    }
}
