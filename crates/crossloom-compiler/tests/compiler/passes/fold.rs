//! Folding.

use crossloom_ir::op::{Affine, Op};

use crate::support::{check_pass, mnemonics, only};

/// Folds `body`, of which `%r` is returned, on `%x` of that type; gives back the mnemonics of what is alive and left.
fn folded(ty: &str, body: &str) -> (Vec<&'static str>, Option<Affine>) {
    let source = format!("func @f {{\n  input %x \"x\": {ty}\n  \"\":\n{body}\n  return \"r\" = %r\n}}\n");
    let new = check_pass("fold", &source);
    let new = crate::support::apply("dce", &new);
    let affine = new.insts().iter().find_map(|inst| match inst.op {
        Op::Affine(op) => Some(op),
        _ => None,
    });
    (mnemonics(&new), affine)
}

fn folds_to_nothing(ty: &str, body: &str) {
    assert_eq!(folded(ty, body).0, Vec::<&str>::new(), "{body}");
}

fn folds_to_affine(body: &str, mul: f64, add: f64) {
    assert_eq!(folded("f32[2]", body), (vec!["affine"], Some(Affine { mul, add })), "{body}");
}

#[test]
fn what_changes_nothing_disappears() {
    folds_to_nothing("f32[2]", "%r = affine %x {mul = 1.0, add = 0.0} : f32[2]");
    folds_to_nothing(
        "f32[2]",
        "%0 = constant {value = 0.0, shape = [2]} : f32[2]\n %r = add %0, %x : f32[2]",
    );
    folds_to_nothing(
        "f32[2]",
        "%0 = constant {value = 0.0, shape = [2]} : f32[2]\n %r = sub %x, %0 : f32[2]",
    );
    folds_to_nothing(
        "f32[2]",
        "%1 = constant {value = 1.0, shape = [2]} : f32[2]\n %r = mul %x, %1 : f32[2]",
    );
    folds_to_nothing(
        "f32[2]",
        "%1 = constant {value = 1.0, shape = [2]} : f32[2]\n %r = div %x, %1 : f32[2]",
    );
    folds_to_nothing("f32[2]", "%r = reshape %x {shape = [2]} : f32[2]");
    folds_to_nothing("f32[2]", "%r = broadcast %x {shape = [2], axes = [0]} : f32[2]");
    folds_to_nothing("f32[2]", "%r = slice %x {axis = 0, start = 0, len = 2} : f32[2]");
    folds_to_nothing("f32[2]", "%r = pad %x {axis = 0, before = 0, after = 0} : f32[2]");
    folds_to_nothing("f32[2]", "%r = concat %x {axis = 0} : f32[2]");
    folds_to_nothing("f32[2]", "%r = reduce_max %x {axes = []} : f32[2]");
    folds_to_nothing("f32[2, 3]", "%r = transpose %x {perm = [0, 1]} : f32[2, 3]");
    let twice = "%1 = transpose %x {perm = [1, 2, 0]} : f32[3, 4, 2]\n %r = transpose %1 {perm = [2, 0, 1]} : f32[2, 3, 4]";
    folds_to_nothing("f32[2, 3, 4]", twice);
    folds_to_nothing(
        "f32[2, 3]",
        "%1 = reshape %x {shape = [6]} : f32[6]\n %r = reshape %1 {shape = [2, 3]} : f32[2, 3]",
    );
}

#[test]
fn constants_are_computed() {
    let number = |body: &str, value: f64, shape: &str| {
        let source = format!(
            "func @f {{\n  input %x \"x\": f32[2]\n  \"\":\n %c = constant {{value = 2.0, shape = [2, 3]}} : f32[2, 3]\n{body}\n  return \"r\" = %r\n}}\n"
        );
        let new = crate::support::apply("dce", &check_pass("fold", &source));
        let Op::Constant(c) = &only(&new, "constant").op else { panic!("{body}") };
        assert_eq!((c.value, format!("{:?}", c.shape)), (value, shape.to_owned()), "{body}");
        assert_eq!(new.insts().len(), 1, "{body}");
    };
    number("%r = affine %c {mul = 3.0, add = 1.0} : f32[2, 3]", 7.0, "[2, 3]");
    number("%r = recip %c : f32[2, 3]", 0.5, "[2, 3]");
    number("%r = add %c, %c : f32[2, 3]", 4.0, "[2, 3]");
    number("%r = less_than %c, %c : f32[2, 3]", 0.0, "[2, 3]");
    number("%r = reduce_sum %c {axes = [0, 1]} : f32[]", 12.0, "[]");
    number("%r = reduce_max %c {axes = [1]} : f32[2]", 2.0, "[2]");
    number("%r = reshape %c {shape = [6]} : f32[6]", 2.0, "[6]");
    number("%r = transpose %c {perm = [1, 0]} : f32[3, 2]", 2.0, "[3, 2]");
    number("%r = broadcast %c {shape = [4, 2, 3], axes = [1, 2]} : f32[4, 2, 3]", 2.0, "[4, 2, 3]");
    number("%r = slice %c {axis = 1, start = 1, len = 1} : f32[2, 1]", 2.0, "[2, 1]");
    let zero = "%0 = constant {value = 0.0, shape = [2]} : f32[2]\n %r = pad %0 {axis = 0, before = 1, after = 0} : f32[3]";
    number(zero, 0.0, "[3]");
}

#[test]
fn nothing_is_folded_into_infinity() {
    let body = "%0 = constant {value = 0.0, shape = [2]} : f32[2]\n %r = log %0 : f32[2]";
    assert_eq!(folded("f32[2]", body).0, ["constant", "log"]);
}

#[test]
fn a_padded_constant_that_is_not_zero_stays() {
    let body = "%1 = constant {value = 1.0, shape = [2]} : f32[2]\n %r = pad %1 {axis = 0, before = 1, after = 0} : f32[3]";
    assert_eq!(folded("f32[2]", body).0, ["constant", "pad"]);
}

#[test]
fn sums_and_products_with_constants_are_one_affine() {
    let c = "%c = constant {value = 3.0, shape = [2]} : f32[2]\n";
    folds_to_affine(&format!("{c} %r = add %c, %x : f32[2]"), 1.0, 3.0);
    folds_to_affine(&format!("{c} %r = add %x, %c : f32[2]"), 1.0, 3.0);
    folds_to_affine(&format!("{c} %r = sub %c, %x : f32[2]"), -1.0, 3.0);
    folds_to_affine(&format!("{c} %r = sub %x, %c : f32[2]"), 1.0, -3.0);
    folds_to_affine(&format!("{c} %r = mul %x, %c : f32[2]"), 3.0, 0.0);
    // What a product with a constant becomes is itself folded into the affine it reads.
    folds_to_affine(&format!("{c} %1 = mul %x, %c : f32[2]\n %r = mul %c, %1 : f32[2]"), 9.0, 0.0);
    folds_to_affine(&format!("{c} %1 = mul %x, %c : f32[2]\n %r = add %1, %c : f32[2]"), 3.0, 3.0);
    folds_to_affine(
        "%1 = affine %x {mul = 2.0, add = 0.0} : f32[2]\n %r = affine %1 {mul = 3.0, add = 1.0} : f32[2]",
        6.0,
        1.0,
    );
    folds_to_affine(
        "%1 = affine %x {mul = 2.0, add = 5.0} : f32[2]\n %r = affine %1 {mul = 1.0, add = 1.0} : f32[2]",
        2.0,
        6.0,
    );
    folds_to_nothing(
        "f32[2]",
        "%1 = affine %x {mul = -1.0, add = 0.0} : f32[2]\n %r = affine %1 {mul = -1.0, add = 0.0} : f32[2]",
    );
}

#[test]
fn a_product_with_zero_stays_because_the_other_factor_may_be_nan() {
    let body = "%0 = constant {value = 0.0, shape = [2]} : f32[2]\n %r = mul %x, %0 : f32[2]";
    folds_to_affine(body, 0.0, 0.0);
}

#[test]
fn a_sum_inside_a_product_is_not_distributed() {
    let body =
        "%1 = affine %x {mul = 1.0, add = 5.0} : f32[2]\n %r = affine %1 {mul = 3.0, add = 0.0} : f32[2]";
    assert_eq!(folded("f32[2]", body).0, ["affine", "affine"]);
}
