//! `test verify`: every error stands in a comment after the line it is about.

use std::collections::BTreeMap;

use crossloom_ir::text::parse_with_lines;
use crossloom_ir::verify::{Site, findings};
use crossloom_ir::{IrError, text};

use super::{Kind, Source};

/// See the module comment.
pub(super) struct Verify;

const MARK: &str = "; error: ";

impl Kind for Verify {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn expected(&self, source: &Source) -> Result<String, String> {
        let lines: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with(MARK)).collect();
        let mut errors: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (line, error) in errors_of(&lines.join("\n")) {
            errors.entry(line).or_default().push(error);
        }
        let mut out = String::new();
        for (index, line) in lines.iter().enumerate() {
            out.push_str(line);
            out.push('\n');
            let indent = &line[..line.len() - line.trim_start().len()];
            for error in errors.remove(&(index + 1)).unwrap_or_default() {
                out.push_str(&format!("{indent}{MARK}{error}\n"));
            }
        }
        if errors.is_empty() {
            Ok(out)
        } else {
            Err(format!("errors beyond the end of the file: {errors:?}"))
        }
    }
}

/// The errors of a text, each with its line: of the parser, or else of the verifier.
fn errors_of(source: &str) -> Vec<(usize, String)> {
    match parse_with_lines(source) {
        Err(errors) => {
            errors.0.into_iter().map(|error| (error.line.unwrap_or(1), without_line(error))).collect()
        }
        Ok((func, lines)) => {
            let line_of = |site: Site| match site {
                Site::Func => lines.func,
                Site::Param(index) => lines.params[index],
                Site::Inst(inst) => lines.insts[inst.index()],
                Site::Result(index) => lines.results[index],
            };
            let found = findings(&func);
            if found.is_empty() && !reads_back(&func) {
                return vec![(lines.func, "does not read back from its text form".to_owned())];
            }
            found.into_iter().map(|finding| (line_of(finding.site), finding.error.to_string())).collect()
        }
    }
}

/// The message without its line, which the place of the comment says.
fn without_line(mut error: IrError) -> String {
    error.line = None;
    error.to_string()
}

fn reads_back(func: &crossloom_ir::Func) -> bool {
    let printed = text::print(func);
    text::parse(&printed).is_ok_and(|again| text::print(&again) == printed)
}
