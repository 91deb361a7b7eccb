//! Functions that the construction API cannot build, taken apart and broken by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{Finding, Function, Site, check, elements_within_limit, findings};
use crate::func::{InstData, Param, ResultDef, ValueDef};
use crate::{Func, Inst, TensorType, Value, text};

/// A function's parts, free to be changed.
struct Parts {
    params: Vec<Param>,
    insts: Vec<InstData>,
    results: Vec<ResultDef>,
    values: Vec<(TensorType, ValueDef)>,
}

impl Parts {
    /// `y = tanh(x)`, `z = y + w`, in scopes `a` and `b.0`.
    fn sound() -> Self {
        let func: Func = text::parse(
            r#"func @f {
                input  %0 "x": f32[2, 3]
                weight %1 "w": f32[2, 3]
                a:
                %2 = tanh %0 : f32[2, 3]
                b.0:
                %3 = add %2, %1 : f32[2, 3]
                return "z" = %3
                update %1 = %3
            }"#,
        )
        .unwrap();
        assert!(findings(&func).is_empty());
        let values =
            (0..func.value_count() as u32).map(Value).map(|v| (func.ty(v).clone(), func.def(v))).collect();
        Self {
            params: func.params().to_vec(),
            insts: func.insts().to_vec(),
            results: func.results().to_vec(),
            values,
        }
    }

    fn findings(&self) -> Vec<Finding> {
        check(&Function {
            name: "f",
            params: &self.params,
            insts: &self.insts,
            results: &self.results,
            values: self.values.iter().map(|(ty, def)| (ty, *def)).collect(),
        })
    }
}

/// Breaks the sound function and compares what is found.
#[track_caller]
fn check_broken(break_it: impl FnOnce(&mut Parts), expected: &[(Site, &str)]) {
    let mut parts = Parts::sound();
    assert_eq!(parts.findings(), []);
    break_it(&mut parts);
    let found: Vec<(Site, String)> =
        parts.findings().into_iter().map(|f| (f.site, f.error.to_string())).collect();
    let found: Vec<(Site, &str)> = found.iter().map(|(site, error)| (*site, error.as_str())).collect();
    assert_eq!(found, expected);
}

const TANH: Site = Site::Inst(Inst(0));
const ADD: Site = Site::Inst(Inst(1));

#[test]
fn an_operand_comes_from_before() {
    check_broken(
        |p| p.insts.swap(0, 1),
        &[
            (TANH, "add: reads a value that is not defined before it [value %2] [in b.0]"),
            (TANH, "is defined here, but recorded as output 0 of inst1 [value %3]"),
            (ADD, "is defined here, but recorded as output 0 of inst0 [value %2]"),
        ],
    );
    check_broken(
        |p| p.insts[0].inputs[0] = Value(2),
        &[(TANH, "tanh: reads a value that is not defined before it [value %2] [in a]")],
    );
    check_broken(
        |p| p.insts[0].inputs[0] = Value(99),
        &[(TANH, "tanh: reads a value that is not defined before it [value %99] [in a]")],
    );
}

#[test]
fn a_value_is_defined_once() {
    check_broken(
        |p| p.insts[1].outputs[0] = Value(2),
        &[
            (Site::Func, "belongs to no parameter and to no instruction [value %3]"),
            (ADD, "is defined a second time [value %2]"),
            (Site::Result(0), "result `z` is a value that nothing defines [value %3]"),
            (Site::Result(1), "result `w` is a value that nothing defines [value %3]"),
        ],
    );
    check_broken(
        |p| p.insts[1].outputs.push(Value(7)),
        &[
            (ADD, "is no value of the function, but is defined here [value %7]"),
            (ADD, "add: has 1 outputs, 2 are recorded [in b.0]"),
        ],
    );
    check_broken(
        |p| p.params[0].value = Value(1),
        &[
            (Site::Func, "belongs to no parameter and to no instruction [value %0]"),
            (Site::Param(0), "is defined here, but recorded as parameter 1 [value %1]"),
            (Site::Param(1), "is defined a second time [value %1]"),
            (TANH, "tanh: reads a value that is not defined before it [value %0] [in a]"),
        ],
    );
}

#[test]
fn recorded_types_are_those_of_the_type_rule() {
    check_broken(
        |p| p.values[3].0 = TensorType::f32([3, 2]),
        &[
            (ADD, "add: gives f32[2, 3], recorded is f32[3, 2] [value %3] [in b.0]"),
            (Site::Result(1), "updates `w`, which is f32[2, 3], with f32[3, 2] [value %3]"),
        ],
    );
    check_broken(
        |p| p.values[0].0 = TensorType::i32([2, 3]),
        &[(TANH, "tanh: needs a float operand, not i32[2, 3] (operands: i32[2, 3]) [in a]")],
    );
    check_broken(
        |p| p.values[0].0 = TensorType::f32([]),
        &[(TANH, "tanh: gives f32[], recorded is f32[2, 3] [value %2] [in a]")],
    );
}

#[test]
fn an_update_has_a_target() {
    check_broken(
        |p| p.results[1].updates = Some(5),
        &[(Site::Result(1), "updates parameter 5, there are 2 [value %3]")],
    );
}

#[test]
fn sizes_do_not_overflow() {
    let huge = usize::MAX / 2;
    check_broken(
        |p| p.values[0].0 = TensorType::f32([huge, huge]),
        &[(
            Site::Param(0),
            "f32[9223372036854775807, 9223372036854775807] has more than 1099511627776 elements [value %0]",
        )],
    );
    assert!(elements_within_limit(&[1 << 20, 1 << 20]));
    assert!(!elements_within_limit(&[1 << 20, (1 << 20) + 1]));
    assert!(!elements_within_limit(&[huge, huge, 0]));
    assert!(elements_within_limit(&[]));
    assert!(elements_within_limit(&[0, 0]));
}
