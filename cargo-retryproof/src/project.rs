//! The package or workspace of the current folder, as cargo describes it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::failure::Failure;

/// The output of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub(crate) struct Project {
    pub(crate) target_directory: PathBuf,
    pub(crate) workspace_root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Project {
    /// Describes the members of the workspace.
    pub(crate) fn here() -> Result<Self, Failure> {
        Self::of(&["--no-deps"])
    }

    /// Describes all dependencies as well.
    pub(crate) fn with_dependencies() -> Result<Self, Failure> {
        Self::of(&[])
    }

    fn of(more: &[&str]) -> Result<Self, Failure> {
        let mut command = cargo();
        let output = command.args(["metadata", "--format-version=1"]).args(more).output();
        let output = output.map_err(|error| Failure::NotStarted { program: "cargo".to_owned(), error })?;
        if !output.status.success() {
            return Err(Failure::NoPackage(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Failure::NoPackage(error.to_string()))
    }

    /// Returns the folder of the results.
    pub(crate) fn results(&self) -> PathBuf {
        folder_in("RETRYPROOF_RESULTS", || self.target_directory.join("retryproof").join("results"))
    }

    /// Returns the path of the page for a browser.
    pub(crate) fn page(&self) -> PathBuf {
        folder_in("RETRYPROOF_HTML_DIR", || self.target_directory.join("retryproof")).join("report.html")
    }

    /// Returns the package of the current folder, or else the only one.
    pub(crate) fn package(&self) -> Result<&Package, Failure> {
        let here = env::current_dir().map_err(|error| Failure::file(".", error))?;
        let owns = |package: &&Package| here.starts_with(package.folder());
        let closest =
            self.packages.iter().filter(owns).max_by_key(|package| package.folder().as_os_str().len());
        match (closest, self.packages.as_slice()) {
            (Some(package), _) => Ok(package),
            (None, [package]) => Ok(package),
            _ => Err(Failure::Usage(
                "this is the root of a workspace; change to the folder of a package".to_owned(),
            )),
        }
    }

    /// Returns the arguments by which cargo runs only one test binary. Empty if that is not certain.
    pub(crate) fn selection(&self, package: &str, binary: &str) -> Vec<String> {
        let Some(package) = self.packages.iter().find(|known| known.name == package) else { return vec![] };
        let mut arguments = vec!["-p".to_owned(), package.name.clone()];
        let is_named = |target: &&Target| target.name.replace('-', "_") == binary.replace('-', "_");
        let named: Vec<_> = package.targets.iter().filter(is_named).collect();
        if let [target] = named.as_slice() {
            match target.kind.first().map(String::as_str) {
                Some("lib" | "rlib") => arguments.push("--lib".to_owned()),
                Some(kind @ ("test" | "bin" | "example" | "bench")) => {
                    arguments.extend([format!("--{kind}"), target.name.clone()]);
                }
                _ => {}
            }
        }
        arguments
    }
}

impl Package {
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}

fn folder_in(variable: &str, otherwise: impl FnOnce() -> PathBuf) -> PathBuf {
    let wanted = env::var_os(variable).filter(|wanted| !wanted.is_empty() && wanted != "off");
    wanted.map_or_else(otherwise, PathBuf::from)
}

/// The cargo that started this program.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
