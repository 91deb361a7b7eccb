//! Whatever is read as a text: no panic, and what is accepted is well-formed and reads back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_ir::Op;
use crossloom_ir::text::{parse, print};
use crossloom_ir::verify::verify;
use proptest::prelude::*;

const SEED: &str = r#"func @train {
  input  %0 "pixels": f32[16, 192]
  weight %1 "w": f32[96, 192]
  state  %2 "moment": f32[96, 192]
  input  %3 "ids": i32[16]

  vision.block.0:
    %4, %5 = linear %0, %1 {act = gelu_tanh} : f32[16, 96], f32[16, 96]
    %6 = reshape %4 {shape = [4, 4, 96]} : f32[4, 4, 96]
    %7 = transpose %6 {perm = [1, 0, 2]} : f32[4, 4, 96]
    %8 = matmul %6, %7 {transpose_b = true} : f32[4, 4, 4]
    %9 = slice %8 {axis = 1, start = 1, len = 2} : f32[4, 2, 4]
    %10 = pad %9 {axis = 2, before = 1, after = 3} : f32[4, 2, 8]
    %11 = concat %10, %10 {axis = 0} : f32[8, 2, 8]
    %12 = constant {value = -1e-6, shape = [8]} : f32[8]
    %13 = broadcast %12 {shape = [8, 2, 8], axes = [2]} : f32[8, 2, 8]
    %14 = iota {shape = [8, 2, 8], axis = 1} : f32[8, 2, 8]
    %15 = less_than %13, %14 : f32[8, 2, 8]

  "":
    %16 = reduce_sum %15 {axes = [0, 1, 2]} : f32[]
    %17 = affine %1 {mul = 0.9, add = 0.0} : f32[96, 192]

  return "loss" = %16
  update %1 = %17
}
"#;

/// Reads a text; what is accepted must print to something that reads back as the same.
fn check(text: &str) {
    let Ok(func) = parse(text) else { return };
    let printed = print(&func);
    let again = parse(&printed).unwrap_or_else(|errors| panic!("{errors}\nin\n{printed}"));
    assert_eq!(print(&again), printed);
    // Whether it is well-formed is up to the text; finding out must not panic.
    let _ = verify(&func);
}

/// A change to one place of a text.
#[derive(Clone, Debug)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, String),
    SwapLines(usize, usize),
    Number(usize, String),
}

fn edit() -> impl Strategy<Value = Edit> {
    let mut pieces: Vec<String> = [
        "%",
        "%0",
        "@",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "=",
        "\"",
        ";",
        "\n",
        "-",
        ".",
        "e",
        "f32[2]",
        "func @g {",
        "true",
        "NaN",
        "[[[",
        "é",
        "\u{0}",
        "\\u{41}",
        "{axis = 0}",
        "return",
        "update",
    ]
    .map(str::to_owned)
    .to_vec();
    pieces.extend(Op::mnemonics().into_iter().map(str::to_owned));
    let numbers =
        ["0", "1", "2", "7", "4294967296", "1099511627776", "18446744073709551615", "-1", "1e308", "0.5"]
            .map(str::to_owned);
    prop_oneof![
        (any::<usize>(), 1..20_usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<usize>(), proptest::sample::select(pieces)).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Edit::SwapLines(a, b)),
        (any::<usize>(), proptest::sample::select(numbers.to_vec()))
            .prop_map(|(at, number)| Edit::Number(at, number)),
    ]
}

fn apply(text: &str, edit: &Edit) -> String {
    let chars: Vec<char> = text.chars().collect();
    let splice = |from: usize, to: usize, with: &str| {
        let (before, after) = (&chars[..from], &chars[to..]);
        before.iter().copied().chain(with.chars()).chain(after.iter().copied()).collect::<String>()
    };
    match edit {
        Edit::Delete(at, len) => {
            let from = at % (chars.len() + 1);
            splice(from, (from + len).min(chars.len()), "")
        }
        Edit::Insert(at, piece) => {
            let from = at % (chars.len() + 1);
            splice(from, from, piece)
        }
        Edit::SwapLines(a, b) => {
            let mut lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let count = lines.len();
                lines.swap(a % count, b % count);
            }
            lines.join("\n")
        }
        Edit::Number(at, number) => {
            let starts: Vec<usize> = (0..chars.len())
                .filter(|&i| chars[i].is_ascii_digit() && (i == 0 || !chars[i - 1].is_ascii_digit()))
                .collect();
            let Some(&from) = starts.get(at % starts.len().max(1)) else { return text.to_owned() };
            let length = chars[from..].iter().take_while(|c| c.is_ascii_digit()).count();
            splice(from, from + length, number)
        }
    }
}

#[test]
fn the_seed_is_valid_and_printed_as_it_is_written() {
    assert_eq!(print(&parse(SEED).unwrap()), SEED);
    verify(&parse(SEED).unwrap()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_lines_never_panic(line in "[%@{}\\[\\],:=\";a-z0-9 ._>\\\\-]{0,80}") {
        check(&format!("func @f {{\ninput %0 \"x\": f32[2]\n{line}\n}}"));
    }

    #[test]
    fn mutated_functions_never_panic(edits in proptest::collection::vec(edit(), 1..8)) {
        let mut text = SEED.to_owned();
        for edit in &edits {
            text = apply(&text, edit);
        }
        check(&text);
    }
}
