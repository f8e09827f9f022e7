//! Why a command fails, and the exit codes.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// The exit codes. `guide/src/cargo.md` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Green = 0,
    Violations = 1,
    Usage = 2,
    BuildFailed = 3,
    Nothing = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("cargo cannot describe the package of this folder:\n{0}")]
    NoPackage(String),
    #[error("cannot start {program}: {error}")]
    NotStarted { program: String, error: io::Error },
    #[error("there is nothing to show: {0}")]
    Nothing(String),
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::NoPackage(_) => Exit::Usage,
            Self::NotStarted { .. } | Self::Nothing(_) | Self::File { .. } | Self::Output(_) => Exit::Nothing,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), why: why.to_string() }
    }
}
