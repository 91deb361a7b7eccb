//! `test gradient`: the gradient of a scalar result against central differences in f64, and its text.

use crossloom_compiler::autodiff;
use crossloom_ir::interp::{Tensor, run};
use crossloom_ir::{Func, Value};

use super::source::checked;
use super::{Kind, Source};

/// See the module comment.
pub(super) struct Gradient;

/// Step of the difference; its error is of the order of the step squared and of rounding over the step.
const STEP: f64 = 1e-5;
/// How far gradient and difference may be apart: relative above 1, absolute below.
const TOLERANCE: f64 = 1e-6;

impl Kind for Gradient {
    fn name(&self) -> &'static str {
        "gradient"
    }

    fn expected(&self, source: &Source) -> Result<String, String> {
        let func = source.func()?;
        let (result, params) = request(source)?;
        let wrt: Vec<Value> = params
            .iter()
            .map(|name| {
                func.param(name).map(|param| param.value).ok_or(format!("there is no parameter `{name}`"))
            })
            .collect::<Result<_, _>>()?;
        let differentiated = match autodiff::gradient(&func, &result, &wrt) {
            Ok(differentiated) => checked(differentiated)?,
            Err(errors) => {
                let lines: Vec<String> =
                    errors.to_string().lines().map(|line| format!("; error: {line}\n")).collect();
                return Ok(source.with_trailer(&format!("\n{}", lines.concat())));
            }
        };
        let args = source.arguments(&func)?;
        let outputs = run(&differentiated, &args).map_err(|errors| errors.to_string())?;
        for name in &params {
            let gradient = output(&differentiated, &outputs, &format!("grad.{name}"))?;
            check(&func, &result, &args, name, gradient)?;
        }
        Ok(source.with_commented(&differentiated))
    }
}

/// The result and the parameters of the directive `gradient "loss" wrt "x", "w"`.
fn request(source: &Source) -> Result<(String, Vec<String>), String> {
    let directives = source.directives("gradient");
    let bad = || "the header needs one line `; gradient \"RESULT\" wrt \"PARAMETER\", …`".to_owned();
    let [directive] = directives.as_slice() else { return Err(bad()) };
    let (result, params) = directive.split_once(" wrt ").ok_or_else(bad)?;
    let name = |quoted: &str| {
        let inner = quoted.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.map(str::to_owned).ok_or_else(bad)
    };
    Ok((name(result)?, params.split(',').map(name).collect::<Result<_, _>>()?))
}

fn output<'a>(func: &Func, outputs: &'a [Tensor<f64>], name: &str) -> Result<&'a Tensor<f64>, String> {
    let at = func.results().iter().position(|result| result.name == name && result.updates.is_none());
    at.and_then(|at| outputs.get(at)).ok_or_else(|| format!("there is no result `{name}`"))
}

/// Compares a gradient with central differences, element by element.
fn check(
    func: &Func,
    result: &str,
    args: &[Tensor<f64>],
    name: &str,
    gradient: &Tensor<f64>,
) -> Result<(), String> {
    let param = func.params().iter().position(|param| param.name == name);
    let param = param.ok_or_else(|| format!("there is no parameter `{name}`"))?;
    let loss = |args: &[Tensor<f64>]| -> Result<f64, String> {
        let outputs = run(func, args).map_err(|errors| errors.to_string())?;
        Ok(output(func, &outputs, result)?.at(0))
    };
    let mut args = args.to_vec();
    for at in 0..args[param].data.len() {
        let x = args[param].data[at];
        args[param].data[at] = x + STEP;
        let above = loss(&args)?;
        args[param].data[at] = x - STEP;
        let below = loss(&args)?;
        args[param].data[at] = x;
        let difference = (above - below) / (2.0 * STEP);
        let got = gradient.at(at);
        let close = (got - difference).abs() <= TOLERANCE * difference.abs().max(1.0);
        if !close {
            return Err(format!("grad.{name}[{at}] is {got}, the difference quotient {difference}"));
        }
    }
    Ok(())
}
