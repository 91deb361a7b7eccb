//! What a stage is made of, whatever the numbers of its values: how often each scope has each line.
//!
//! It is read from the text of a stage, so that one that was written long ago is compared with one of now: a topology, a
//! luminal graph or a function, each with its own way to say scopes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// The scope of what stands in none: inputs, weights, results, and the lines of a topology.
const NONE: &str = "(no scope)";

/// Lines by scope, without the values that they name, and how often each is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Structure(BTreeMap<String, BTreeMap<String, usize>>);

/// What a scope has in only one of two structures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeChange {
    /// The scope.
    pub scope: String,
    /// Lines that only the first has, and how often more.
    pub removed: BTreeMap<String, usize>,
    /// Lines that only the second has, and how often more.
    pub added: BTreeMap<String, usize>,
}

impl Structure {
    /// That of the text of a topology, a luminal graph or functions.
    pub fn of(text: &str) -> Self {
        let mut scopes: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        let mut heading = NONE.to_owned();
        for line in text.lines() {
            // A function names the scope of the lines below it.
            if let Some(scope) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'))
                && !scope.starts_with(' ')
            {
                scope.trim_matches('"').clone_into(&mut heading);
                continue;
            }
            if line.starts_with("func ") || line.trim_start().starts_with("return ") {
                NONE.clone_into(&mut heading);
            }
            // A luminal graph names the scope of a line behind it.
            let (line, scope) = match line.rsplit_once("  ; ") {
                Some((line, scope)) => (line, scope),
                None => (line, heading.as_str()),
            };
            let line = without_values(line);
            if line.chars().any(char::is_alphanumeric) {
                *scopes.entry(scope.to_owned()).or_default().entry(line).or_default() += 1;
            }
        }
        Self(scopes)
    }

    /// The scopes in which another structure differs, in alphabetical order.
    pub fn changes(&self, other: &Self) -> Vec<ScopeChange> {
        let none = BTreeMap::new();
        let scopes: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let of = |scope: &String| {
            let [old, new] = [self, other].map(|side| side.0.get(scope).unwrap_or(&none));
            let (removed, added) = (more(old, new), more(new, old));
            (!removed.is_empty() || !added.is_empty()).then(|| ScopeChange {
                scope: scope.clone(),
                removed,
                added,
            })
        };
        scopes.into_iter().filter_map(of).collect()
    }
}

impl ScopeChange {
    /// `+3 linear, -1 add`: by the first word of a line, for a reader who wants no attributes.
    pub fn summary(&self) -> String {
        let mut words: BTreeMap<&str, i64> = BTreeMap::new();
        for (lines, sign) in [(&self.removed, -1), (&self.added, 1)] {
            for (line, count) in lines {
                *words.entry(line.split([' ', '{', ':']).next().unwrap_or_default()).or_default() +=
                    sign * *count as i64;
            }
        }
        let other = words.iter().filter(|(_, count)| **count == 0).map(|(word, _)| format!("other {word}"));
        let count = words.iter().filter(|(_, count)| **count != 0);
        let count = count.map(|(word, count)| format!("{count:+} {word}"));
        count.chain(other).collect::<Vec<_>>().join(", ")
    }
}

/// What one has more often than another.
fn more(of: &BTreeMap<String, usize>, than: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let over = |(line, count): (&String, &usize)| {
        let more = count.saturating_sub(than.get(line).copied().unwrap_or(0));
        (more > 0).then(|| (line.clone(), more))
    };
    of.iter().filter_map(over).collect()
}

/// A line without what is assigned and what is read.
fn without_values(line: &str) -> String {
    let line = match line.split_once(" = ") {
        Some((values, rest)) if values.trim_start().starts_with('%') => rest,
        _ => line,
    };
    let words = line.split_whitespace().filter(|word| !word.starts_with('%'));
    words.collect::<Vec<_>>().join(" ").replace(" {", "{").replace('{', " {").replace(" :", ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LUMINAL: &str = "graph x\n%0 = input pixels : f32[2]\n%1 = weight w : f32[2, 2]\n\
        %2 = linear {bias = true} %0, %1 : f32[2]  ; inject.layer.0\n%3 = add %2, %0 : f32[2]  ; language\n";
    const FUNC: &str = "func @x {\n  input %0 \"a\": f32[2]\n\n  inject.layer.0:\n    %1 = linear %0, %0 {bias = true} : f32[2]\n\n  \
        language:\n    %2 = add %1, %0 : f32[2]\n\n  return \"y\" = %2\n}\n";

    #[test]
    fn numbers_of_values_are_no_difference() {
        for text in [LUMINAL, FUNC] {
            let renumbered = text.replace("%1", "%7").replace("%2", "%8");
            assert_ne!(text, renumbered);
            assert_eq!(Structure::of(text).changes(&Structure::of(&renumbered)), []);
        }
    }

    #[test]
    fn what_is_added_and_removed_is_told_by_scope() {
        for text in [LUMINAL, FUNC] {
            let other = text.replace("add", "mul").replace("bias = true", "bias = false");
            let changes = Structure::of(text).changes(&Structure::of(&other));
            let scopes: Vec<&str> = changes.iter().map(|change| change.scope.as_str()).collect();
            assert_eq!(scopes, ["inject.layer.0", "language"], "{text}");
            assert_eq!(changes[0].summary(), "other linear");
            assert_eq!(changes[1].summary(), "-1 add, +1 mul");
            assert_eq!(changes[1].removed, BTreeMap::from([("add: f32[2]".to_owned(), 1)]));
        }
        let twice = format!("{LUMINAL}%4 = add %3, %0 : f32[2]  ; language\n");
        let changes = Structure::of(LUMINAL).changes(&Structure::of(&twice));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].added.values().sum::<usize>(), 1);
    }
}
