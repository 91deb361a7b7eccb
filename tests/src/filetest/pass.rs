//! `test pass NAME`: the text of the rewritten function, which must compute what the original does.
//!
//! Several names, separated by spaces, run one after the other.

use crossloom_compiler::passes;
use crossloom_ir::interp::run;

use super::run::compare;
use super::source::checked;
use super::{Kind, Source};

/// See the module comment.
pub(super) struct RunPass;

/// How far a result may be off when sums are taken in another order: relative above 1, absolute below.
const TOLERANCE: f64 = 1e-9;

impl Kind for RunPass {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn expected(&self, source: &Source) -> Result<String, String> {
        let func = source.func()?;
        let mut rewritten = func.clone();
        for name in source.argument().split_whitespace() {
            let pass = passes::by_name(name).ok_or_else(|| format!("there is no pass `{name}`"))?;
            rewritten = checked(pass.run(&rewritten).map_err(|errors| errors.to_string())?)?;
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
        compare("rewritten", &func, &got, &wanted, TOLERANCE)?;
        Ok(source.with_commented(&rewritten))
    }
}
