//! Patterns of names: `blk.{n}.attn_q.weight`, `language_model.*`. `{adapter}` and `{corner}` are written out before a pattern is
//! looked at.
//!
//! `{n}` is a number without leading zeros, `*` at the end is whatever follows. A row of a table has the same of these on
//! both sides, so that what one side took the other can be filled with.

/// What a name has where its pattern has `{n}` and `*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken<'a> {
    number: Option<&'a str>,
    rest: Option<&'a str>,
}

const NUMBER: &str = "{n}";
/// What stands for an adapter, and for one whose queries begin at corners.
pub(super) const ADAPTER: &str = "{adapter}";
pub(super) const CORNER: &str = "{corner}";

/// What `name` has in place of the pattern's `{n}` and `*`; none if it does not fit.
pub(super) fn take<'a>(pattern: &str, name: &'a str) -> Option<Taken<'a>> {
    let (mut pattern, mut name, mut taken) = (pattern, name, Taken::default());
    if let Some((before, behind)) = pattern.split_once(NUMBER) {
        let after = name.strip_prefix(before)?;
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, rest) = after.split_at(digits);
        if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
            return None;
        }
        (taken.number, name, pattern) = (Some(number), rest, behind);
    }
    match pattern.strip_suffix('*') {
        Some(start) => taken.rest = Some(name.strip_prefix(start)?),
        None if pattern == name => {}
        None => return None,
    }
    Some(taken)
}

/// The name that has `taken` in place of the pattern's `{n}` and `*`.
pub(super) fn fill(pattern: &str, taken: Taken<'_>) -> String {
    let name = pattern.replacen(NUMBER, taken.number.unwrap_or(NUMBER), 1);
    match (name.strip_suffix('*'), taken.rest) {
        (Some(start), Some(rest)) => format!("{start}{rest}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_number_is_one_as_it_is_written_and_a_star_takes_the_rest() {
        let taken = take("blk.{n}.attn_q.weight", "blk.12.attn_q.weight").unwrap();
        assert_eq!(fill("layers.{n}.self_attn.q_proj.weight", taken), "layers.12.self_attn.q_proj.weight");
        assert_eq!(fill("b.*", take("a.*", "a.x.y").unwrap()), "b.x.y");
        assert_eq!(fill("b.{n}.c*", take("{n}*", "7.z").unwrap()), "b.7.c.z");
        assert_eq!(fill("c{n}", take("a{n}", "a0").unwrap()), "c0");
        for (pattern, name) in [
            ("blk.{n}.a", "blk.07.a"),
            ("blk.{n}.a", "blk..a"),
            ("blk.{n}.a", "blk.-1.a"),
            ("blk.{n}.a", "blk.1.ab"),
            ("a.*", "b.x"),
            ("a", "ab"),
        ] {
            assert_eq!(take(pattern, name), None, "{pattern} {name}");
        }
    }
}
