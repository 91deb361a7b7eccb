//! `test run`: cases of `with` and `gives` lines after the function.
//!
//! ```text
//! ; with "x" = [1, 2, 3]
//! ; gives "y" = [2, 4, 6]
//!
//! ; with "x" = [1, 2, NaN]
//! ; gives error: MESSAGE
//! ```
//!
//! What a function gives for a parameter it updates is `gives update "name" = …`. The numbers are compared with the
//! reference in f64; so are the reference in f32 and the function expanded into primitives.

use crossloom_ir::expand::to_primitives;
use crossloom_ir::interp::{Tensor, run};
use crossloom_ir::{Func, IrErrors};

use super::source::{arguments, assigned, checked, join_continuations};
use super::tensor::{difference, print_lines, read};
use super::{Kind, Source};

/// See the module comment.
pub(super) struct Run;

/// How far the written numbers, which have seven digits, may be from the reference in f64.
const WRITTEN: f64 = 1e-6;
/// How far the reference in f32 and the expansion into primitives may be off, unless the header says more.
const ROUNDED: f64 = 1e-5;

/// The lines of a case.
#[derive(Default)]
struct Case {
    with: Vec<String>,
    gives: Vec<String>,
}

impl Kind for Run {
    fn name(&self) -> &'static str {
        "run"
    }

    fn expected(&self, source: &Source) -> Result<String, String> {
        let func = source.func()?;
        let tolerance = match source.directives("tolerance").as_slice() {
            [] => ROUNDED,
            [one] => one.parse().map_err(|_| format!("`{one}` is no tolerance"))?,
            _ => return Err("there is more than one tolerance".to_owned()),
        };
        let mut trailer = String::new();
        for case in cases(source.trailer())? {
            trailer.push('\n');
            trailer.push_str(&check_case(&func, &case, tolerance)?);
        }
        if trailer.is_empty() {
            return Err(
                "there is no case; a line `; with …` or `; gives` after the function begins one".to_owned()
            );
        }
        Ok(source.with_trailer(&trailer))
    }
}

/// The cases of a trailer; a `with` line after a `gives` line begins the next one.
fn cases(trailer: &[String]) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    // The lines as written are kept, continuations and all, so that what is right is not reformatted.
    let mut blocks: Vec<Vec<String>> = Vec::new();
    for line in trailer.iter().filter(|line| !line.trim().is_empty()) {
        match blocks.last_mut() {
            Some(block) if line.starts_with(";   ") => block.push(line.clone()),
            _ => blocks.push(vec![line.clone()]),
        }
    }
    for block in blocks {
        let text = block.join("\n");
        if text.starts_with("; with ") {
            if cases.last().is_none_or(|case| !case.gives.is_empty()) {
                cases.push(Case::default());
            }
            cases.last_mut().into_iter().for_each(|case| case.with.push(text.clone()));
        } else if text.starts_with("; gives") {
            if cases.is_empty() {
                cases.push(Case::default());
            }
            cases.last_mut().into_iter().for_each(|case| case.gives.push(text.clone()));
        } else {
            return Err(format!("`{text}` is neither a `with` nor a `gives` line"));
        }
    }
    Ok(cases)
}

/// What follows the keyword of a line and its continuations.
fn content(text: &str, keyword: &str) -> String {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let joined = join_continuations(&lines).concat();
    joined.strip_prefix(keyword).unwrap_or_default().trim().to_owned()
}

/// The lines of the case as they should be.
fn check_case(func: &Func, case: &Case, tolerance: f64) -> Result<String, String> {
    let with: Vec<String> = case.with.iter().map(|line| content(line, "; with")).collect();
    let args = arguments(func, &with, false)?;
    let mut out = String::new();
    for line in &case.with {
        out.push_str(line);
        out.push('\n');
    }
    match run(func, &args) {
        Ok(results) => {
            compare_f32(func, &args, &results, tolerance)?;
            compare_primitives(func, &args, &results, tolerance)?;
            out.push_str(&gives(func, case, &results)?);
        }
        Err(errors) => out.push_str(&format!("; gives error: {}\n", one_line(&errors))),
    }
    Ok(out)
}

fn one_line(errors: &IrErrors) -> String {
    errors.to_string().replace('\n', "; ")
}

/// How a result is named in a `gives` line.
fn label(func: &Func, index: usize) -> String {
    let result = &func.results()[index];
    format!("{}\"{}\"", if result.updates.is_some() { "update " } else { "" }, result.name)
}

/// The `gives` lines as they should be: those that are right stay; without any, all results are written.
fn gives(func: &Func, case: &Case, results: &[Tensor<f64>]) -> Result<String, String> {
    let written: Vec<String> = case.gives.iter().map(|line| content(line, "; gives")).collect();
    let fresh = written.iter().all(|text| text.is_empty() || text.starts_with("error:"));
    let mut out = String::new();
    for (index, result) in results.iter().enumerate() {
        let label = label(func, index);
        let named =
            |text: &&String| text.strip_prefix(&label).is_some_and(|rest| rest.trim_start().starts_with('='));
        let Some(at) = written.iter().position(|text| named(&text)) else {
            if fresh {
                out.push_str(&print_lines(&format!("gives {label} ="), result));
            }
            continue;
        };
        let value = assigned(written[at].trim_start_matches("update "))?.1.to_owned();
        let right = read(&value, func.ty(func.results()[index].value))
            .is_ok_and(|wanted| difference(result, &wanted, WRITTEN).is_none());
        if right {
            out.push_str(&format!("{}\n", case.gives[at]));
        } else {
            out.push_str(&print_lines(&format!("gives {label} ="), result));
        }
    }
    if out.is_empty() {
        return Err(format!("the `gives` lines name no result; results are {}", all_labels(func)));
    }
    Ok(out)
}

fn all_labels(func: &Func) -> String {
    (0..func.results().len()).map(|index| label(func, index)).collect::<Vec<_>>().join(", ")
}

fn compare_f32(
    func: &Func,
    args: &[Tensor<f64>],
    wanted: &[Tensor<f64>],
    tolerance: f64,
) -> Result<(), String> {
    let args: Vec<Tensor<f32>> = args.iter().map(Tensor::cast).collect();
    let results = run(func, &args).map_err(|errors| format!("in f32: {errors}"))?;
    let results: Vec<Tensor<f64>> = results.iter().map(Tensor::cast).collect();
    compare("in f32", func, &results, wanted, tolerance)
}

fn compare_primitives(
    func: &Func,
    args: &[Tensor<f64>],
    wanted: &[Tensor<f64>],
    tolerance: f64,
) -> Result<(), String> {
    let what = "expanded into primitives";
    let primitive = to_primitives(func).map_err(|errors| format!("{what}: {errors}"))?;
    let primitive = checked(primitive).map_err(|errors| format!("{what}: {errors}"))?;
    let results = run(&primitive, args).map_err(|errors| format!("{what}: {errors}"))?;
    compare(what, func, &results, wanted, tolerance)
}

/// Compares all results with those of the reference.
pub(super) fn compare(
    what: &str,
    func: &Func,
    results: &[Tensor<f64>],
    wanted: &[Tensor<f64>],
    tolerance: f64,
) -> Result<(), String> {
    for (index, (result, wanted)) in results.iter().zip(wanted).enumerate() {
        if let Some(message) = difference(result, wanted, tolerance) {
            return Err(format!("{what}, {} {message}", label(func, index)));
        }
    }
    Ok(())
}
