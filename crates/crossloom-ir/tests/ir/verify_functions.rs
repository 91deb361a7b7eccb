//! The verifier on functions built through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_ir::func::Role;
use crossloom_ir::verify::{Site, findings, verify};
use crossloom_ir::{Func, Inst, Scope, TensorType};

/// All findings of a function, as text.
fn found(func: &Func) -> Vec<(Site, String)> {
    findings(func).into_iter().map(|f| (f.site, f.error.to_string())).collect()
}

#[test]
fn a_training_step_is_well_formed() {
    let mut func = Func::new("train");
    let x = func.add_param("x", Role::Input, TensorType::f32([2, 3]));
    let w = func.add_param("w", Role::Weight, TensorType::f32([4, 3]));
    let mut b = func.builder();
    b.set_scope(Scope::new("model.block.7->layer.4"));
    let y = b.linear(x, w, None).unwrap();
    let loss = b.reduce_sum(y, &[0, 1]).unwrap();
    // The old content of `w` is read after its update is computed: fine, the update is a result.
    let stepped = b.affine(w, 0.5, 0.0).unwrap();
    let norm = b.reduce_sum(w, &[0, 1]).unwrap();
    func.add_result("loss", loss);
    func.add_update(w, stepped).unwrap();
    func.add_result("norm", norm);
    assert_eq!(verify(&func), Ok(()));
}

#[test]
fn all_findings_are_collected_in_order() {
    let mut func = Func::new("");
    let x = func.add_param("x", Role::Input, TensorType::f32([2]));
    let state = func.add_param("x", Role::State, TensorType::f32([3]));
    let mut b = func.builder();
    b.set_scope(Scope::new("vision..attn"));
    let y = b.exp(x).unwrap();
    func.add_result("y", y);
    func.add_result("y", x);
    func.add_result("", x);
    func.add_update(x, y).unwrap();
    func.add_update(state, y).unwrap();
    func.add_update(state, state).unwrap();
    let errors: Vec<String> = found(&func).into_iter().map(|(_, error)| error).collect();
    assert_eq!(
        errors,
        [
            "the function has no name",
            "parameters 0 and 1 are both named `x` [value %1]",
            "exp: the scope \"vision..attn\" is no path of letters, digits, `_`, `-` and `>` between dots",
            "results 0 and 1 are both named `y` [value %0]",
            "the result has no name [value %0]",
            "updates `x`, which is an input; only weights and state live between calls [value %2]",
            "updates `x`, which is f32[3], with f32[2] [value %2]",
            "updates `x` a second time [value %1]",
        ]
    );
    assert_eq!(verify(&func).unwrap_err().0.len(), errors.len());
}

#[test]
fn a_bad_scope_is_reported_once_where_it_begins() {
    let mut func = Func::new("f");
    let x = func.add_param("x", Role::Input, TensorType::f32([2]));
    let mut b = func.builder();
    let y = b.exp(x).unwrap();
    b.set_scope(Scope::new("a b"));
    let z = b.exp(y).unwrap();
    b.exp(z).unwrap();
    let sites: Vec<Site> = found(&func).into_iter().map(|(site, _)| site).collect();
    assert_eq!(sites, [Site::Inst(Inst(1))]);
}

#[test]
fn a_tensor_beyond_the_limit_is_reported() {
    let mut func = Func::new("f");
    let x = func.add_param("x", Role::Input, TensorType::f32([1 << 20]));
    let y = func.builder().broadcast(x, &[1 << 21, 1 << 20], &[1]).unwrap();
    func.add_result("y", y);
    let errors = found(&func);
    assert_eq!(
        errors,
        [(
            Site::Inst(Inst(0)),
            "broadcast: f32[2097152, 1048576] has more than 1099511627776 elements [value %1]".to_owned()
        )]
    );
}
