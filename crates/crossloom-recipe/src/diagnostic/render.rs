//! Diagnostics as plain text: message, file and line, the line itself, a caret, a hint.

use std::fmt;

use super::{Diagnostic, Diagnostics, Location, Severity};

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl Location {
    /// The place and, unless a whole file is meant, its line with carets under it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>, gutter: usize) -> fmt::Result {
        write!(f, "\n{:gutter$}--> {}", "", self.file)?;
        if self.excerpt.is_empty() && self.start == 0 {
            return Ok(());
        }
        if self.file != "--set" {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, "\n{:gutter$} |", "")?;
        write!(f, "\n{} | {}", self.line, self.excerpt.trim_end())?;
        write!(f, "\n{:gutter$} | {:caret$}{}", "", "", "^".repeat(self.width), caret = self.caret)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        let mut gutter = 1;
        if let Some(location) = &self.location {
            gutter = location.line.to_string().len();
            location.fmt(f, gutter)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        for note in &self.notes {
            write!(f, "\n{:gutter$} = note: {note}", "")?;
        }
        if let Some(variant) = &self.variant {
            write!(f, "\n{:gutter$} = note: in variant `{variant}`", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}
