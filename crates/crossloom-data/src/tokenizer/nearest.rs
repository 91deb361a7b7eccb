//! The known words nearest to a misspelt one.

/// How many suggestions are made.
const SUGGESTIONS: usize = 3;
/// Longer words get no suggestion: the comparison is quadratic.
const MAX_CHARS: usize = 48;

/// Up to three words of the vocabulary that differ from `word` in less than their length, nearest first; equals in the
/// order of the vocabulary, which puts frequent words first.
pub(super) fn nearest<'a>(word: &str, vocabulary: impl Iterator<Item = &'a str>) -> Vec<String> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    if word.len() > MAX_CHARS {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, &str)> = vocabulary
        .filter(|known| known.chars().count() <= MAX_CHARS)
        .map(|known| (distance(&word, &known.chars().collect::<Vec<_>>()), known))
        .filter(|(distance, known)| *distance < word.len().max(known.chars().count()))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.into_iter().take(SUGGESTIONS).map(|(_, known)| known.to_owned()).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut two_back = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    let mut current = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        current[0] = i;
        for j in 1..=b.len() {
            let replace = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(two_back[j - 2] + 1);
            }
            current[j] = best;
        }
        std::mem::swap(&mut two_back, &mut previous);
        std::mem::swap(&mut previous, &mut current);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits_and_swaps() {
        let measure =
            |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(measure("red", "red"), 0);
        assert_eq!(measure("rde", "red"), 1);
        assert_eq!(measure("colour", "color"), 1);
        assert_eq!(measure("", "teal"), 4);
        assert_eq!(measure("kitten", "sitting"), 3);
    }

    #[test]
    fn nearest_words_come_first_and_hopeless_ones_not_at_all() {
        let vocabulary = ["color", "circle", "yellow", "teal"];
        assert_eq!(nearest("colour", vocabulary.into_iter()).first().map(String::as_str), Some("color"));
        assert!(nearest("zzzzzz", vocabulary.into_iter()).is_empty());
        assert!(nearest(&"a".repeat(10_000), vocabulary.into_iter()).is_empty());
    }
}
