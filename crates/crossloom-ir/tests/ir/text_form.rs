//! The text form: exact layout, reading it back, and what is said about texts that are wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_ir::func::Role;
use crossloom_ir::op::{Affine, Constant, Linear};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::text::{MAX_DEPTH, MAX_ERRORS, parse, parse_with_lines, print};
use crossloom_ir::{Func, Scope, TensorType};

/// The function with its values numbered in print order.
fn renumbered(func: &Func) -> Func {
    let mut rewriter = Rewriter::new(func);
    for inst in func.insts() {
        rewriter.copy(inst).unwrap();
    }
    rewriter.finish().unwrap()
}

/// Prints, reads back and compares in both directions.
#[track_caller]
fn check_round_trip(func: &Func) {
    let text = print(func);
    let read = parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(read, renumbered(func));
    assert_eq!(print(&read), text);
}

/// Reads a text that is wrong and compares all messages.
#[track_caller]
fn check_errors(text: &str, expected: &[&str]) {
    let errors: Vec<String> = parse(text).unwrap_err().0.iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected);
}

#[test]
fn the_layout_is_this() {
    let mut func = Func::new("train");
    let x = func.add_param("pixels", Role::Input, TensorType::f32([16, 192]));
    let mut b = func.builder();
    let early = b.exp(x).unwrap();
    b.set_scope(Scope::new("vision.block.0"));
    // A parameter that appears late is printed with the others.
    let w = b.func_mut().add_param("w", Role::Weight, TensorType::f32([96, 192]));
    let act = crossloom_ir::op::Activation::from_name("gelu_tanh");
    let y = b.push(Linear { act, ..Linear::default() }, &[early, w]).unwrap()[0];
    b.set_scope(Scope::new("loss"));
    let loss = b.reduce_sum(y, &[0, 1]).unwrap();
    b.set_scope(Scope::default());
    let stepped = b.affine(w, 0.9, 0.0).unwrap();
    func.add_result("loss", loss);
    func.add_update(w, stepped).unwrap();
    assert_eq!(
        print(&func),
        r#"func @train {
  input  %0 "pixels": f32[16, 192]
  weight %1 "w": f32[96, 192]

  %2 = exp %0 : f32[16, 192]

  vision.block.0:
    %3, %4 = linear %2, %1 {act = gelu_tanh} : f32[16, 96], f32[16, 96]

  loss:
    %5 = reduce_sum %3 {axes = [0, 1]} : f32[]

  "":
    %6 = affine %1 {mul = 0.9, add = 0.0} : f32[96, 192]

  return "loss" = %5
  update %1 = %6
}
"#
    );
    check_round_trip(&func);
}

#[test]
fn small_functions_read_back() {
    check_round_trip(&Func::new("empty"));

    let mut params_only = Func::new("params_only");
    params_only.add_param("x", Role::Input, TensorType::i32([]));
    check_round_trip(&params_only);

    let mut identity = Func::new("identity");
    let x = identity.add_param("x", Role::State, TensorType::f32([0, 3]));
    identity.add_result("x", x);
    check_round_trip(&identity);

    let mut leaf = Func::new("leaf");
    let one = leaf.builder().constant(1.0, &[]).unwrap();
    leaf.add_result("one", one);
    check_round_trip(&leaf);
}

#[test]
fn any_name_and_scope_reads_back() {
    for name in [
        "",
        "a b",
        "\"quoted\\\"",
        "new\nline\r\ttab",
        "ünïcödé ✓",
        "\u{0}\u{7f}\u{2028}",
        "; %1 = }",
        "7",
        "->",
    ] {
        let mut func = Func::new(name);
        let x = func.add_param(name, Role::Input, TensorType::f32([2]));
        let mut b = func.builder();
        b.set_scope(Scope::new(name));
        let y = b.exp(x).unwrap();
        func.add_result(name, y);
        check_round_trip(&func);
    }
    for scope in ["input", "func", "return", "update", "inject.block.7->layer.4", "1e5", "exp"] {
        let mut func = Func::new("f");
        let x = func.add_param("x", Role::Input, TensorType::f32([2]));
        let mut b = func.builder();
        b.set_scope(Scope::new(scope));
        b.exp(x).unwrap();
        b.set_scope(Scope::default());
        b.exp(x).unwrap();
        check_round_trip(&func);
    }
}

#[test]
fn numbers_read_back_to_the_same_bits() {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        1.0 / 3.0,
        1e-6,
        1e300,
        5e-324,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::EPSILON,
        16_777_217.0,
        1e16,
        123_456_789_012_345_680.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::from(0.1_f32),
        std::f64::consts::PI,
    ];
    for number in numbers {
        let mut func = Func::new("f");
        func.builder().constant(number, &[]).unwrap();
        let read = parse(&print(&func)).unwrap();
        let crossloom_ir::Op::Constant(Constant { value, .. }) = &read.insts()[0].op else {
            panic!("no constant")
        };
        assert_eq!(value.to_bits(), number.to_bits(), "{number:?} became {value:?}");
    }
}

#[test]
fn hand_written_text_may_be_relaxed() {
    let func = parse(
        "; a comment\n\nfunc @f{ ; another\r\n input %x \"x\":f32[ 2 ,3 ]\n%mul.1=affine %x{mul=2,add=1e0}:f32[2,3]\nreturn \"y\"=%mul.1\n}\n",
    )
    .unwrap();
    assert_eq!(func.insts()[0].op, Affine { mul: 2.0, add: 1.0 }.into());
    assert!(print(&func).contains("  %1 = affine %0 {mul = 2.0, add = 1.0} : f32[2, 3]\n"));
}

#[test]
fn lines_of_all_parts_are_known() {
    let (_, lines) = parse_with_lines(
        "; head\nfunc @f {\n  input %0 \"x\": f32[2]\n\n  a:\n  %1 = exp %0 : f32[2]\n  ; aside\n  %2 = exp %1 : f32[2]\n  return \"y\" = %2\n}",
    )
    .unwrap();
    assert_eq!((lines.func, lines.params, lines.insts, lines.results), (2, vec![3], vec![6, 8], vec![9]));
}

#[test]
fn every_error_is_found_with_its_line() {
    check_errors(
        r#"func @f {
  input  %x "x": f32[2, 3]
  wieght %w "w": f32[2, 3]
  input  %h "h": f61[2]
  %a = tahn %x : f32[2, 3]
  %b = add %x, %missing : f32[2, 3]
  %c = add %x, %b : f32[3, 2]
  %c, %d = exp %x : f32[2, 3]
  %e = affine %x {mul = 1.0, ad = 2.0} : f32[2, 3]
  %g = reshape %x {shape = [6], shape = [6]} : f32[6]
  return "y" = %a
  update %b = %x
  return "z" %a
}
"#,
        &[
            "line 3: `wieght` is no role of a parameter; there are input, weight and state",
            "line 4: there is no element type `f61`; there are f32, bf16, f16, i32, u8, q8_0, q4_0, q4_1, q4_k, q6_k",
            "line 5: there is no op `tahn`; did you mean `tanh`?",
            "line 6: `%missing` is not defined before this line [value %missing]",
            "line 7: add: `%c` is written as f32[3, 2], but is f32[2, 3]",
            "line 8: exp: 2 outputs, but 1 types",
            "line 8: `%c` is already defined, on line 7 [value %c]",
            "line 9: affine: attribute `add` is missing",
            "line 10: attribute `shape` is given twice",
            "line 12: `%b` is no parameter, so it cannot be updated [value %b]",
            "line 13: expected `=`, found `%a`",
        ],
    );
}

#[test]
fn the_order_of_sections_is_checked() {
    check_errors(
        "%0 = exp %1 : f32[]",
        &[
            "line 1: an instruction stands outside a function; `func @NAME {` opens one",
            "line 1: `%1` is not defined before this line [value %1]",
            "line 1: there is no function; `func @NAME {` opens one",
        ],
    );
    check_errors(
        "func @f {\n%0 = iota {shape = [2], axis = 0} : f32[2]\ninput %x \"x\": f32[]\nreturn \"y\" = %0\na:\n}\n}\nfunc @g {",
        &[
            "line 3: a parameter stands after an instruction",
            "line 5: a scope stands after a result",
            "line 7: `}` stands after the end of the function",
            "line 8: a text holds one function, this is another one",
        ],
    );
    check_errors("func @f {", &["line 1: the function is not closed; `}` closes it"]);
    check_errors("", &["line 1: there is no function; `func @NAME {` opens one"]);
}

#[test]
fn syntax_errors_say_what_was_expected() {
    for (line, expected) in [
        ("$", "the character '$' has no meaning here"),
        ("% = exp", "`%` needs a label: letters, digits, `_` or `.`"),
        ("\"open", "a string has no closing quote on its line"),
        ("\"\\x\":", "unknown escape; there are \\\" \\\\ \\n \\r \\t and \\u{HEX}"),
        ("\"\\u{d800}\":", "\\u needs the hexadecimal number of a character in braces"),
        ("%0 = exp %1, : f32[]", "expected a value such as `%0`, found `:`"),
        ("%0 = exp %1 : f32[2", "expected `,`, the line ends"),
        ("%0 = exp %1 : f32[-2]", "`-2` is no extent of an axis"),
        ("%0 = exp %1 : f32[2] extra", "`extra` is left over at the end of the statement"),
        ("%0 = constant {value = 1e999} : f32[]", "`1e999` is no number"),
        ("%0 = constant {value = 1.2.3} : f32[]", "`1.2.3` is no number"),
        ("%0 = constant {value = } : f32[]", "expected the value of an attribute, found `}`"),
        ("return \"y\" = ", "expected a value such as `%0`, the line ends"),
    ] {
        check_errors(&format!("func @f {{\n{line}\n}}"), &[&format!("line 2: {expected}")]);
    }
}

#[test]
fn texts_are_bounded() {
    let nested = |depth: usize| {
        format!("func @f {{\n%0 = iota {{shape = {}{}}} : f32[]\n}}", "[".repeat(depth), "]".repeat(depth))
    };
    let too_deep = format!("line 2: lists nest at most {MAX_DEPTH} deep");
    assert_eq!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().to_string(), too_deep);
    assert_eq!(parse(&nested(100_000)).unwrap_err().to_string(), too_deep);
    assert_ne!(parse(&nested(MAX_DEPTH)).unwrap_err().to_string(), too_deep);

    let many = format!("func @f {{\n{}}}", "?\n".repeat(MAX_ERRORS + 20));
    let errors = parse(&many).unwrap_err().0;
    assert_eq!(errors.len(), MAX_ERRORS + 1);
    assert_eq!(errors[MAX_ERRORS].to_string(), "and 20 more errors");
}

#[test]
fn sizes_that_would_overflow_are_errors() {
    let huge = "9223372036854775807";
    for line in [
        format!("input %0 \"x\": f32[{huge}, {huge}]"),
        format!("input %0 \"x\": f32[{huge}, {huge}, 0]"),
        "input %0 \"x\": f32[1099511627777]".to_owned(),
        "%0 = constant {value = 1.0, shape = [1048576, 1048577]} : f32[1048576, 1048577]".to_owned(),
        format!("%0 = iota {{shape = [2], axis = {huge}}} : f32[2]"),
        "%0 = iota {shape = [2], axis = 1099511627777} : f32[2]".to_owned(),
    ] {
        let errors = parse(&format!("func @f {{\n{line}\n}}")).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert_eq!(errors.0[0].line, Some(2), "{errors}");
    }
    check_errors(
        "func @f {\ninput %a \"a\": f32[1048576, 1]\ninput %b \"b\": f32[1, 2097152]\n%c = matmul %a, %b : f32[1048576, 2097152]\n}",
        &["line 4: [1048576, 2097152] is larger than a tensor may be, 1099511627776 elements"],
    );
    check_errors(
        "func @f {\ninput %a \"a\": f32[1048576, 1]\ninput %b \"b\": f32[1, 2097152]\n%c = matmul %a, %b : f32[2]\n}",
        &["line 4: matmul: gives a tensor of more than 1099511627776 elements, f32[1048576, 2097152]"],
    );
}
