//! VQA accuracy of VQAv2 and OK-VQA: agreement with ten human answers.
//!
//! For every human answer left out in turn, the score is `min(1, matches among the others / 3)`; the result is the mean.
//! Both sides are normalised first ([`normalise`]), as the EvalAI server does. One reference answer alone can never
//! match, because it is the one left out: the metric needs the several answers of its benchmarks.

/// Accuracy of `answer` against all human answers of its question.
pub fn vqa_accuracy(answer: &str, human: &[String]) -> f64 {
    if human.is_empty() {
        return 0.0;
    }
    let answer = normalise(answer);
    let matches: Vec<bool> = human.iter().map(|other| normalise(other) == answer).collect();
    let total = matches.iter().filter(|&&matched| matched).count();
    let sum: f64 = matches
        .iter()
        .map(|&left_out| {
            let others = total - usize::from(left_out);
            (others as f64 / 3.0).min(1.0)
        })
        .sum();
    sum / human.len() as f64
}

/// EvalAI's normal form. In order:
/// 1. lower case; commas and question marks deleted; `'s` split off its word; outer white space stripped;
/// 2. each punctuation mark of a fixed set is deleted where it stood next to a space somewhere in the text, and replaced
///    by a space otherwise; the first 32 full stops that no digit follows are deleted;
/// 3. word by word: number words up to ten become digits, articles go, missing apostrophes are put back.
///
/// The effective rules of the reference are kept, including what its table cannot reach: `im` stays `im`, because its
/// entry is spelt `Im` and is looked up in lower case.
pub fn normalise(text: &str) -> String {
    let text = text.to_lowercase().replace([',', '?'], "").replace("'s", " 's");
    let text = text.trim().replace(['\n', '\t'], " ");
    let words = strip_punctuation(text.trim());
    let words = words.split_whitespace().map(number_word).filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.map(|word| with_apostrophes(word).unwrap_or_else(|| word.to_owned())).collect::<Vec<_>>().join(" ")
}

fn strip_punctuation(text: &str) -> String {
    const MARKS: &str = ";/[]\"{}()=+\\_-><@`,?!";
    let mut out = text.to_owned();
    for mark in MARKS.chars() {
        let at_a_space = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if at_a_space { "" } else { " " });
    }
    // The reference passes a flag where its library expects a count; the flag's value is 32.
    let mut budget = 32;
    let chars: Vec<char> = out.chars().collect();
    let mut kept = String::with_capacity(out.len());
    for (i, &c) in chars.iter().enumerate() {
        let before_digit = chars.get(i + 1).is_some_and(|next| next.is_numeric());
        if c == '.' && !before_digit && budget > 0 {
            budget -= 1;
        } else {
            kept.push(c);
        }
    }
    kept
}

fn number_word(word: &str) -> &str {
    const WORDS: [&str; 11] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    const DIGITS: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    if word == "none" {
        return "0";
    }
    WORDS.iter().position(|&known| known == word).map_or(word, |value| DIGITS[value])
}

/// Words whose only missing apostrophe stands before the last letters given, e.g. `don't` from `dont`.
const ENDINGS: [(&str, &[&str]); 6] = [
    (
        "n't",
        &[
            "ai", "are", "ca", "could", "did", "does", "do", "had", "has", "have", "is", "might", "must",
            "need", "ought", "sha", "should", "was", "were", "wo", "would",
        ],
    ),
    (
        "'ve",
        &["could", "might", "must", "not", "should", "they", "we", "what", "where", "who", "would", "you"],
    ),
    ("'d", &["he", "how", "it", "someone", "something", "there", "they", "where", "who", "you"]),
    ("'ll", &["how", "it", "somebody", "someone", "something", "they", "what", "who", "why", "you"]),
    ("'re", &["there", "they", "what", "why", "you"]),
    ("'s", &["he", "how", "somebody", "someone", "that", "there", "what", "when", "where", "who", "why"]),
];

/// Words with two apostrophes, of which either may be missing.
const DOUBLE: [(&str, &[&str]); 2] = [
    ("n't've", &["could", "had", "might", "should", "would"]),
    ("'d've", &["he", "it", "she", "somebody", "someone", "something", "there", "they", "we", "who", "you"]),
];

/// The word with its apostrophes put back, where the table has it.
fn with_apostrophes(word: &str) -> Option<String> {
    const IRREGULAR: [(&str, &str); 12] = [
        ("maam", "ma'am"),
        ("oclock", "o'clock"),
        ("ow's'at", "'ow's'at"),
        ("'ows'at", "'ow's'at"),
        ("'ow'sat", "'ow's'at"),
        ("somebody'd", "somebodyd"),
        ("twas", "'twas"),
        ("yall", "y'all"),
        ("yall'll", "y'all'll"),
        ("y'allll", "y'all'll"),
        ("yall'd've", "y'all'd've"),
        ("y'alld've", "y'all'd've"),
    ];
    if let Some((_, full)) = IRREGULAR.iter().find(|(known, _)| *known == word) {
        return Some((*full).to_owned());
    }
    if word == "y'all'dve" {
        return Some("y'all'd've".to_owned());
    }
    for (ending, stems) in ENDINGS {
        if let Some(stem) = word.strip_suffix(&ending.replace('\'', ""))
            && stems.contains(&stem)
        {
            return Some(format!("{stem}{ending}"));
        }
    }
    for (ending, stems) in DOUBLE {
        let (first, second) = ending.split_at(ending.len() - 3);
        let spellings = [format!("{}{second}", first.replace('\'', "")), format!("{first}ve")];
        for spelling in spellings {
            if let Some(stem) = word.strip_suffix(&spelling)
                && stems.contains(&stem)
            {
                return Some(format!("{stem}{ending}"));
            }
        }
    }
    None
}
