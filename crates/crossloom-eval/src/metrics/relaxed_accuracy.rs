//! ChartQA's relaxed accuracy: numbers may be off by 5 %, everything else must be equal up to case.
//!
//! Both sides are read as Python's `float` reads them, after a trailing `%` was taken off and the value divided by 100.
//! Quirks that are kept: equality does not strip white space; `1,000` is no number; a true value of 0 falls back to text
//! equality, so `0.0` is wrong for `0`; the tolerance is relative to the true value.

/// Largest relative error of a number that still counts.
const TOLERANCE: f64 = 0.05;

/// Whether `answer` matches `truth`.
pub fn relaxed_match(answer: &str, truth: &str) -> bool {
    match (number(answer), number(truth)) {
        (Some(answer), Some(truth)) if truth != 0.0 => (answer - truth).abs() / truth.abs() <= TOLERANCE,
        _ => answer.to_lowercase() == truth.to_lowercase(),
    }
}

/// The text as a number, where it is one.
fn number(text: &str) -> Option<f64> {
    if text.ends_with('%') {
        python_float(text.trim_end_matches('%')).map(|percent| percent / 100.0)
    } else {
        python_float(text)
    }
}

/// What Python's `float(text)` accepts: outer white space, and single underscores between digits, besides the usual.
fn python_float(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.contains('_') {
        return text.parse().ok();
    }
    let bytes = text.as_bytes();
    let digit_at = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let sound = bytes
        .iter()
        .enumerate()
        .all(|(i, &byte)| byte != b'_' || (digit_at(i.checked_sub(1)) && digit_at(Some(i + 1))));
    if sound { text.replace('_', "").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_off_by_five_percent_of_the_truth() {
        for (answer, truth) in
            [("105", "100"), ("95", "100"), ("-9.6", "-10"), ("14%", "0.14"), ("1e2", "100"), (" 3 ", "3")]
        {
            assert!(relaxed_match(answer, truth), "{answer:?} for {truth:?}");
        }
        for (answer, truth) in
            [("106", "100"), ("94.9", "100"), ("10", "-10"), ("14", "14%"), ("100", "105.3")]
        {
            assert!(!relaxed_match(answer, truth), "{answer:?} for {truth:?}");
        }
    }

    #[test]
    fn text_must_be_equal_up_to_case_and_white_space_counts() {
        assert!(relaxed_match("Yes", "yes"));
        assert!(!relaxed_match("yes ", "yes"));
        assert!(!relaxed_match("yes.", "yes"));
    }

    #[test]
    fn the_known_traps() {
        // A thousands separator is no number, so the text must be equal.
        assert!(!relaxed_match("1,000", "1000"));
        assert!(relaxed_match("1,000", "1,000"));
        // A true zero is compared as text.
        assert!(relaxed_match("0", "0"));
        assert!(!relaxed_match("0.0", "0"));
        // NaN and infinity parse, and are within 5 % of nothing.
        assert!(!relaxed_match("nan", "nan"));
        assert!(!relaxed_match("inf", "inf"));
        // Python's own number syntax.
        assert!(relaxed_match("1_000", "1000"));
        assert!(!relaxed_match("_1000", "1000"));
        assert!(!relaxed_match("10__00", "1000"));
        // The per cent sign must come last: with a space after it, it is text.
        assert!(!relaxed_match("14% ", "0.14"));
        assert!(relaxed_match("14%%", "0.14"));
    }
}
