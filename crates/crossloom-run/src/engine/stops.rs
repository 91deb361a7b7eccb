//! Texts that end an answer, across the borders of tokens.

/// What of an answer's text may be told.
#[derive(Debug)]
pub(super) struct Stops {
    texts: Vec<String>,
    /// What may yet become one of them.
    withheld: String,
}

/// What may be told now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// This, and more may come.
    Some(String),
    /// This, and there the answer ends.
    Last(String),
}

impl Stops {
    pub(super) fn new(texts: &[String]) -> Self {
        Self { texts: texts.to_vec(), withheld: String::new() }
    }

    /// Adds text; what is in front of the first text that ends the answer, or cannot become one any more, is told.
    pub(super) fn push(&mut self, text: &str) -> Told {
        self.withheld.push_str(text);
        let first = self.texts.iter().filter_map(|stop| self.withheld.find(stop.as_str())).min();
        if let Some(first) = first {
            let mut told = std::mem::take(&mut self.withheld);
            told.truncate(first);
            return Told::Last(told);
        }
        let begins = |&(at, _): &(usize, char)| {
            let end = &self.withheld[at..];
            self.texts.iter().any(|stop| stop.starts_with(end))
        };
        let from = self.withheld.char_indices().find(begins).map_or(self.withheld.len(), |(at, _)| at);
        let kept = self.withheld.split_off(from);
        Told::Some(std::mem::replace(&mut self.withheld, kept))
    }

    /// What is withheld, where nothing follows.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.withheld)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a text that comes in these pieces, with the end if it is reached.
    fn told(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let texts: Vec<String> = stops.iter().map(|&text| text.to_owned()).collect();
        let (mut stops, mut all) = (Stops::new(&texts), String::new());
        for piece in pieces {
            match stops.push(piece) {
                Told::Some(text) => all += &text,
                Told::Last(text) => return (all + &text, true),
            }
            assert!(texts.iter().all(|text| !all.contains(text.as_str())));
        }
        (all + &stops.rest(), false)
    }

    #[test]
    fn a_text_is_found_wherever_its_borders_are() {
        let whole = "say abcabd, and more";
        for cut in 0..=whole.len() {
            for second in cut..=whole.len() {
                let pieces = [&whole[..cut], &whole[cut..second], &whole[second..]];
                assert_eq!(told(&["abd", "nor"], &pieces), ("say abc".to_owned(), true), "{pieces:?}");
                assert_eq!(told(&["moreover"], &pieces), (whole.to_owned(), false));
            }
        }
    }

    #[test]
    fn the_first_of_several_ends_and_nothing_is_withheld_in_vain() {
        assert_eq!(told(&["d", "bc"], &["ab", "cd"]), ("a".to_owned(), true));
        assert_eq!(told(&["é!"], &["caf", "é", "?"]), ("café?".to_owned(), false));
        let mut stops = Stops::new(&["xy".to_owned()]);
        assert_eq!(stops.push("ax"), Told::Some("a".to_owned()));
        assert_eq!(stops.push("z"), Told::Some("xz".to_owned()));
    }
}
