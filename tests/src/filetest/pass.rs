//! `test pass NAME`: the text of the rewritten function, which must compute what the original does.
//!
//! Several names, separated by spaces, run one after the other. `NAME=f32` runs a pass for a target that has kernels for
//! floats in `f32` only, and for conversions; `NAME=bf16` for a policy that computes in `bf16`, and then results may be
//! off by what rounding makes of them; `NAME=4096` for a budget of so many bytes.

use crossloom_compiler::{Context, Kernel, NullTarget, Precision, Target, passes};
use crossloom_ir::interp::run;
use crossloom_ir::{DType, Op, TensorType};

use super::run::compare;
use super::source::checked;
use super::{Kind, Source};

/// See the module comment.
pub(super) struct RunPass;

/// How far a result may be off when sums are taken in another order: relative above 1, absolute below.
const TOLERANCE: f64 = 1e-9;

/// The same where results were rounded to `bf16` on the way.
const ROUNDED: f64 = 0.02;

/// A target with kernels for `f32` and whole numbers, and for conversions.
#[derive(Debug)]
pub struct Wide;

impl Target for Wide {
    fn name(&self) -> &'static str {
        "wide"
    }

    fn alignment(&self) -> usize {
        NullTarget.alignment()
    }

    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel> {
        let wide = inputs.iter().chain(outputs).all(|ty| matches!(ty.dtype, DType::F32 | DType::I32));
        NullTarget.kernel(op, inputs, outputs).filter(|_| wide || matches!(op, Op::Convert(_)))
    }
}

impl Kind for RunPass {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn expected(&self, source: &Source) -> Result<String, String> {
        let func = source.func()?;
        let mut rewritten = func.clone();
        let words = source.argument().split_whitespace();
        let mut tolerance = TOLERANCE;
        for (name, setting) in words.map(|word| word.split_once('=').unwrap_or((word, ""))) {
            let mut cx = Context::default();
            match setting {
                "" => {}
                "f32" => cx.target = &Wide,
                "bf16" => {
                    cx.policy.compute = Precision::Bf16;
                    tolerance = ROUNDED;
                }
                other => match other.parse() {
                    Ok(bytes) => cx.memory = Some(bytes),
                    Err(_) => return Err(format!("there is no setting `{other}`")),
                },
            }
            let pass = passes::by_name(name).ok_or_else(|| format!("there is no pass `{name}`"))?;
            rewritten = checked(pass.run(&rewritten, &cx).map_err(|errors| errors.to_string())?)?;
        }
        let names = |func: &crossloom_ir::Func| -> Vec<_> {
            let params = func.params().iter().map(|param| (param.role.name(), param.name.clone()));
            let results = func.results().iter().map(|result| {
                (if result.updates.is_some() { "update" } else { "return" }, result.name.clone())
            });
            params.chain(results).collect()
        };
        if names(&func) != names(&rewritten) {
            return Err("the pass changed parameters or results".to_owned());
        }
        let args = source.arguments(&func)?;
        let wanted = run(&func, &args).map_err(|errors| errors.to_string())?;
        let got = run(&rewritten, &args).map_err(|errors| format!("rewritten: {errors}"))?;
        compare("rewritten", &func, &got, &wanted, tolerance)?;
        Ok(source.with_commented(&rewritten))
    }
}
