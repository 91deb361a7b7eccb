//! Every function of the filetests, damaged: reading it never panics, and what is accepted reads back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crossloom_ir::text::{parse, print};
use crossloom_ir::verify::verify;
use crossloom_tests::filetest::files_below;
use proptest::prelude::*;

static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    files_below(&root).unwrap().iter().map(|path| fs::read_to_string(path).unwrap()).collect()
});

/// Replaces the word (letters, digits, `_`) at a place by another word of the text, or by one of these.
fn replace_word(text: &str, at: usize, with: usize) -> String {
    const OTHERS: [&str; 9] =
        ["0", "1", "2", "3", "1099511627776", "18446744073709551615", "true", "add", "i32"];
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut spans: Vec<(usize, &str)> = Vec::new();
    let mut start = None;
    for (index, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, is_word(c)) {
            (None, true) => start = Some(index),
            (Some(from), false) => {
                spans.push((from, &text[from..index]));
                start = None;
            }
            _ => {}
        }
    }
    let (from, old) = spans[at % spans.len()];
    let choice = with % (spans.len() + OTHERS.len() * 8);
    let new = spans.get(choice).map_or(OTHERS[choice % OTHERS.len()], |(_, word)| word);
    format!("{}{new}{}", &text[..from], &text[from + old.len()..])
}

/// The function of a file, without its header, so that every change hits code.
fn function(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with(';')).collect::<Vec<_>>().join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_functions_never_panic(
        file in any::<usize>(),
        changes in proptest::collection::vec((any::<usize>(), any::<usize>()), 1..4),
    ) {
        let mut text = function(&CORPUS[file % CORPUS.len()]);
        for (at, with) in changes {
            text = replace_word(&text, at, with);
        }
        if let Ok(func) = parse(&text) {
            let printed = print(&func);
            let again = parse(&printed).unwrap_or_else(|errors| panic!("{errors}\nin\n{printed}"));
            assert_eq!(print(&again), printed);
            let _ = verify(&func);
        }
    }
}
