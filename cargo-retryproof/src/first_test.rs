//! Writes a first test for a stack.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::failure::{Exit, Failure};
use crate::project::Project;

/// What the jobs use.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Stack {
    /// The fake services that come with retryproof
    Plain,
    /// HTTP, with reqwest
    Reqwest,
    /// PostgreSQL, with sqlx
    SqlxPostgres,
    /// Mail, with lettre
    Lettre,
}

impl Stack {
    fn template(self) -> &'static str {
        match self {
            Self::Plain => include_str!("../templates/plain.rs"),
            Self::Reqwest => include_str!("../templates/reqwest.rs"),
            Self::SqlxPostgres => include_str!("../templates/sqlx_postgres.rs"),
            Self::Lettre => include_str!("../templates/lettre.rs"),
        }
    }

    fn dependencies(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["retryproof"],
            Self::Reqwest => {
                &["retryproof --features http", "reqwest --no-default-features --features json", "serde_json"]
            }
            Self::SqlxPostgres => &[
                "retryproof",
                "retryproof-postgres",
                "sqlx --no-default-features --features runtime-tokio,postgres",
            ],
            Self::Lettre => &[
                "retryproof --features smtp",
                "lettre --no-default-features --features builder,smtp-transport",
            ],
        }
    }
}

/// Writes the file, unless it exists.
pub(crate) fn write(
    project: &Project,
    stack: Stack,
    path: &Path,
    out: &mut impl Write,
) -> Result<Exit, Failure> {
    let path: PathBuf = project.package()?.folder().join(path);
    let written = fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))
        .and_then(|()| File::options().write(true).create_new(true).open(&path))
        .and_then(|mut file| file.write_all(stack.template().as_bytes()));
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let words = "the file exists, and is left as it is; name another one with `--path`";
            return Err(Failure::Usage(format!("{}: {words}", path.display())));
        }
        Err(error) => return Err(Failure::file(path, error)),
        Ok(()) => {}
    }
    writeln!(out, "wrote {}", path.display())?;
    writeln!(
        out,
        "its job is wrong on purpose: the report shows what you get, and the comments how to mend it"
    )?;
    writeln!(out, "next:")?;
    stack.dependencies().iter().try_for_each(|what| writeln!(out, "  cargo add --dev {what}"))?;
    writeln!(out, "  cargo retryproof test")?;
    Ok(Exit::Green)
}
