//! Exact match: equal text once case and ASCII punctuation are ignored.
//!
//! lmms-eval compares after lower-casing and deleting the 32 ASCII punctuation characters, wherever they stand (`t-shirt`
//! equals `tshirt`), and nothing else. It compares white space too, but its model wrappers strip replies first, so outer
//! white space is ignored here; inner white space counts.

/// Whether `answer` and `truth` are the same text after [`normalise`].
pub fn exact_match(answer: &str, truth: &str) -> bool {
    normalise(answer) == normalise(truth)
}

/// Lower case, no ASCII punctuation, no outer white space.
pub fn normalise(text: &str) -> String {
    text.trim().to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_punctuation_and_outer_white_space_do_not_matter_but_inner_white_space_does() {
        let equal = [
            ("Yes.", "yes"),
            (" red\n", "Red"),
            ("T-shirt", "tshirt"),
            ("it's", "ITS"),
            ("", "…".trim_matches('…')),
        ];
        for (a, b) in equal {
            assert!(exact_match(a, b), "{a:?} {b:?}");
        }
        let different =
            [("light blue", "lightblue"), ("red  car", "red car"), ("yes", "no"), ("1", "one"), ("é", "e")];
        for (a, b) in different {
            assert!(!exact_match(a, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn punctuation_beyond_ascii_stays() {
        assert!(!exact_match("«red»", "red"));
    }
}
