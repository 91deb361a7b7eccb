//! The known words nearest to a misspelt one.

/// How many suggestions are made.
const SUGGESTIONS: usize = 3;
/// Longer words get no suggestion: the comparison is quadratic.
const MAX_CHARS: usize = 48;

/// Up to three words of the vocabulary that differ from `word` in less than their length, nearest first; equals in the
/// order of the vocabulary, which puts frequent words first.
pub(super) fn nearest<'a>(word: &str, vocabulary: impl Iterator<Item = &'a str>) -> Vec<String> {
    let word = word.to_lowercase();
    let letters = word.chars().count();
    if letters > MAX_CHARS {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, &str)> = vocabulary
        .filter(|known| known.chars().count() <= MAX_CHARS)
        .map(|known| (strsim::osa_distance(&word, known), known))
        .filter(|(distance, known)| *distance < letters.max(known.chars().count()))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.into_iter().take(SUGGESTIONS).map(|(_, known)| known.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_words_come_first_and_hopeless_ones_not_at_all() {
        let vocabulary = ["color", "circle", "yellow", "teal"];
        assert_eq!(nearest("colour", vocabulary.into_iter()).first().map(String::as_str), Some("color"));
        assert!(nearest("zzzzzz", vocabulary.into_iter()).is_empty());
        assert!(nearest(&"a".repeat(10_000), vocabulary.into_iter()).is_empty());
    }
}
