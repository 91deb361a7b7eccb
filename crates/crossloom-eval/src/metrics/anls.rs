//! ANLS of DocVQA and InfoVQA: edit-distance similarity, zero below one half.
//!
//! `score = 1 - min over truths of distance / length`, and 0 where that is below 0.5. The distance is between the
//! lower-cased texts with white space collapsed; the length is that of the longer *raw* text (upper-cased, so that `ß`
//! counts two). Hence the trap: padding an answer with spaces makes it score slightly higher.

/// Scores below this are zero.
const THRESHOLD: f64 = 0.5;

/// ANLS of `answer` against the reference answers; 0 without any.
pub fn anls(answer: &str, truths: &[String]) -> f64 {
    let collapsed_answer = collapse(answer);
    let raw_answer = raw_length(answer);
    let nearest = truths
        .iter()
        .map(|truth| {
            let length = raw_answer.max(raw_length(truth));
            let distance = strsim::levenshtein(&collapse(truth), &collapsed_answer);
            if length == 0 { 0.0 } else { distance as f64 / length as f64 }
        })
        .fold(f64::INFINITY, f64::min);
    let score = 1.0 - nearest;
    if score < THRESHOLD { 0.0 } else { score }
}

fn collapse(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn raw_length(text: &str) -> usize {
    text.to_uppercase().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, truths: &[&str], expected: f64) {
        let truths: Vec<String> = truths.iter().map(|&truth| truth.to_owned()).collect();
        let got = anls(answer, &truths);
        assert!((got - expected).abs() < 1e-12, "{answer:?} against {truths:?}: {got}, expected {expected}");
    }

    #[test]
    fn distances_by_hand() {
        for (a, b, distance) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("ab", "ba", 2), ("äb", "ab", 1)]
        {
            assert_eq!(strsim::levenshtein(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_reference_counts_and_below_one_half_is_zero() {
        check("Paris", &["paris"], 1.0);
        check("pariss", &["rome", "paris"], 1.0 - 1.0 / 6.0);
        check("abcd", &["abxy"], 0.5);
        check("abcd", &["axyz"], 0.0);
        check("", &["abc"], 0.0);
        check("", &[""], 1.0);
        check("abc", &[], 0.0);
    }

    #[test]
    fn white_space_is_collapsed_for_the_distance_but_not_for_the_length() {
        // One wrong letter of five: 1 - 1/5; the same answer padded to eight characters: 1 - 1/8.
        check("parix", &["paris"], 0.8);
        check("  parix ", &["paris"], 0.875);
        check("new   york", &["New York"], 1.0);
    }

    #[test]
    fn the_length_is_that_of_the_upper_cased_text() {
        // `straße` has six letters and seven in upper case: 1 - 1/7.
        check("strabe", &["straße"], 1.0 - 1.0 / 7.0);
    }
}
