//! Whether weights are those of a model: every tensor that is missing, unexpected or of another shape, in one table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crossloom_model::ParamSpec;
use crossloom_recipe::PretrainedWeights;
use crossloom_recipe::selection::matcher;
use globset::GlobMatcher;

use crate::ExperimentError;

/// What a model wants, and what weights have.
pub(crate) struct Comparison<'c, 'p> {
    pub(crate) path: &'c Path,
    /// What may be missing or unexpected, and where a recipe says so; nothing where no recipe names the weights.
    pub(crate) allowed: Option<(String, &'c PretrainedWeights)>,
    pub(crate) wanted: Vec<&'p ParamSpec>,
    /// Shapes by our names.
    pub(crate) there: BTreeMap<&'c str, &'c [usize]>,
}

impl<'p> Comparison<'_, 'p> {
    /// The parameters that start from there.
    ///
    /// # Errors
    /// Everything that does not fit and is not allowed, in one table.
    pub(crate) fn fitting(self) -> Result<Vec<&'p str>, ExperimentError> {
        let Self { path, allowed, wanted, there } = self;
        let (key, lists, help): (_, [&[String]; 2], _) = match &allowed {
            Some((key, named)) => (
                key.as_str(),
                [&named.missing, &named.unexpected],
                format!("names that may be missing or unexpected are listed in {key}"),
            ),
            None => ("", [&[], &[]], "what lies beside them says which tensors there are".to_owned()),
        };
        let mut missing = Allowed::new(key, "missing", lists[0])?;
        let mut unexpected = Allowed::new(key, "unexpected", lists[1])?;
        let (mut fitting, mut misfits) = (Vec::new(), Vec::new());
        for param in &wanted {
            match there.get(param.name.as_str()) {
                Some(shape) if *shape == param.shape => fitting.push(param.name.as_str()),
                Some(shape) => misfits.push(format!(
                    "misshaped   {} is {shape:?} there, {:?} in the model",
                    param.name, param.shape
                )),
                None if missing.takes(&param.name) => {}
                None => misfits.push(format!("missing     {} {:?}", param.name, param.shape)),
            }
        }
        let known: BTreeSet<&str> = wanted.iter().map(|param| param.name.as_str()).collect();
        for (name, shape) in there.iter().filter(|(name, _)| !known.contains(*name)) {
            if !unexpected.takes(name) {
                misfits.push(format!("unexpected  {name} {shape:?}"));
            }
        }
        misfits.extend([missing, unexpected].into_iter().flat_map(Allowed::unused));
        if misfits.is_empty() {
            return Ok(fitting);
        }
        misfits.sort();
        Err(ExperimentError::Weights { path: path.to_owned(), misfits, help })
    }
}

/// Names that a recipe lets pass, and which of its patterns did.
struct Allowed<'r> {
    key: String,
    patterns: Vec<(&'r String, GlobMatcher, bool)>,
}

impl<'r> Allowed<'r> {
    fn new(weights: &str, list: &str, patterns: &'r [String]) -> Result<Self, ExperimentError> {
        let key = format!("{weights}.{list}");
        let compiled = patterns.iter().map(|pattern| Ok((pattern, matcher(pattern)?, false)));
        let patterns = compiled.collect::<Result<_, globset::Error>>().map_err(|error| {
            ExperimentError::request(
                format!("a pattern of {key} cannot be read: {error}"),
                "write names of tensors; `*` stands for any letters",
            )
        })?;
        Ok(Self { key, patterns })
    }

    fn takes(&mut self, name: &str) -> bool {
        let mut taken = false;
        for (_, matcher, used) in &mut self.patterns {
            let matches = matcher.is_match(name);
            *used |= matches;
            taken |= matches;
        }
        taken
    }

    /// What is to be said of patterns that let nothing pass.
    fn unused(self) -> impl Iterator<Item = String> {
        let Self { key, patterns } = self;
        let unused = patterns.into_iter().filter(|(.., used)| !used);
        unused.map(move |(pattern, ..)| format!("{key}: `{pattern}` matches nothing"))
    }
}
