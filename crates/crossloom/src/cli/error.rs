//! How a verb fails: what is said, and with which exit code.

use std::io;

use crossloom_data::assets::AssetError;
use crossloom_recipe::Diagnostics;

use crossloom_run::ExperimentError;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not fit what there is.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to type instead.
        help: Option<String>,
    },
    /// A recipe cannot be used.
    #[error("{diagnostics}\n\nerror: `{path}` cannot be used: {}", crate::cli::counted(diagnostics.errors(), "error"))]
    Recipe {
        /// The recipe, as it was typed.
        path: String,
        /// Everything that is wrong with it.
        diagnostics: Diagnostics,
    },
    /// It was tried and failed.
    #[error("{message}")]
    Failed {
        /// What went wrong, and where.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Stopped on request.
    #[error("{0}")]
    Interrupted(String),
    /// Standard output could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// Wrong arguments.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// A failure that is not the fault of the arguments.
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self::Failed { message: message.to_string(), help: None }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Usage { help, .. } | Self::Failed { help, .. } => help.as_deref(),
            Self::Recipe { .. } | Self::Interrupted(_) | Self::Output(_) => None,
        }
    }

    /// The exit code: 1 failed, 2 wrong usage or recipe, 130 interrupted. A reader that went away, as `head` does, is no
    /// failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Recipe { .. } => 2,
            Self::Failed { .. } => 1,
            Self::Interrupted(_) => 130,
            Self::Output(error) => u8::from(error.kind() != io::ErrorKind::BrokenPipe),
        }
    }
}

impl From<ExperimentError> for CliError {
    fn from(error: ExperimentError) -> Self {
        match error {
            ExperimentError::Request { message, help } => Self::Usage { message, help: Some(help) },
            ExperimentError::Stopped => Self::Interrupted(error.to_string()),
            other => Self::Failed { message: with_sources(&other), help: other.help().map(str::to_owned) },
        }
    }
}

impl From<AssetError> for CliError {
    fn from(error: AssetError) -> Self {
        match error {
            AssetError::Unknown { .. } => {
                Self::usage(error.to_string(), "`crossloom data ls` lists what can be fetched")
            }
            other => Self::failed(with_sources(&other)),
        }
    }
}

/// The message, and those of its sources that it does not already contain.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = error.source();
    }
    message
}
