//! The results that the tests have written (`src/judge/check/results.rs` of retryproof).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::project::Project;

const FORMAT: u64 = 1;

/// The result of one check.
#[derive(Debug, Deserialize)]
pub(crate) struct TestResult {
    pub(crate) package: Option<String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) binary: String,
    pub(crate) libtest: Option<String>,
    pub(crate) passes: bool,
    pub(crate) replayed: bool,
    pub(crate) code: Option<String>,
    pub(crate) report: Report,
    pub(crate) timeline: Option<Vec<Event>>,
    pub(crate) text: Option<String>,
    pub(crate) ratchet: Option<Ratchet>,
    pub(crate) measured: Measured,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) test: String,
    pub(crate) verdict: String,
    pub(crate) reason: Option<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) runs: u64,
    pub(crate) deviations: usize,
    pub(crate) exhausted: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Violation {
    pub(crate) code: String,
    pub(crate) summary: String,
    pub(crate) scenario: String,
    pub(crate) cause: Vec<String>,
    pub(crate) place: Option<String>,
    pub(crate) runs: u64,
    pub(crate) help: String,
}

impl Violation {
    /// Returns the file and the line of the last deviation.
    pub(crate) fn file_and_line(&self) -> Option<(&str, u64)> {
        let (file, line) = self.place.as_deref()?.rsplit_once(':')?;
        Some((file, line.parse().ok()?))
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) what: String,
    pub(crate) deviation: bool,
}

/// What a ratchet compared.
#[derive(Debug, Deserialize)]
pub(crate) struct Ratchet {
    pub(crate) file: PathBuf,
    pub(crate) entry: String,
    pub(crate) is_recorded: bool,
    pub(crate) new: Vec<NewCause>,
    pub(crate) lost: Vec<String>,
    pub(crate) coverage: Coverage,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NewCause {
    pub(crate) text: String,
    pub(crate) cause: KnownCause,
}

/// A violation in a baseline file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownCause {
    pub(crate) what: String,
    pub(crate) after: Vec<String>,
    pub(crate) summary: String,
}

/// The coverage in a baseline file, in the order in which retryproof writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coverage {
    exhausted: bool,
    bounds: std::collections::BTreeMap<String, u64>,
    points: std::collections::BTreeMap<String, Vec<String>>,
    points_after_failures: std::collections::BTreeMap<String, Vec<String>>,
    unreached: std::collections::BTreeMap<String, u64>,
    checked: Vec<String>,
    excused: Vec<String>,
    poisoned: bool,
    undecided: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Measured {
    pub(crate) run: String,
    pub(crate) milliseconds: u64,
}

/// Reads all results, those of the last run first. A file that cannot be used is named on stderr.
fn all(folder: &Path) -> Vec<TestResult> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut results = Vec::new();
    for path in paths {
        match read(&path) {
            Ok(result) => results.push((changed(&path), result)),
            Err(failure) => {
                let _ = writeln!(io::stderr(), "warning: {failure}");
            }
        }
    }
    results.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
    results.into_iter().map(|(_, result)| result).collect()
}

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn read(path: &Path) -> Result<TestResult, Failure> {
    #[derive(Deserialize)]
    struct Head {
        format: u64,
        version: String,
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
    let no_result = |error| Failure::file(path, format!("this is not a result of a check: {error}"));
    let head: Head = serde_json::from_str(&text).map_err(no_result)?;
    if head.format != FORMAT {
        let (found, version) = (head.format, crate::text::in_one_line(&head.version));
        let why = format!(
            "retryproof {version} wrote this result in format {found}, but this cargo-retryproof reads format {FORMAT}; install the cargo-retryproof of that version"
        );
        return Err(Failure::file(path, why));
    }
    serde_json::from_str(&text).map_err(no_result)
}

/// Returns the results of the last run, by package, binary and name.
pub(crate) fn last(project: &Project) -> Result<Vec<TestResult>, Failure> {
    let folder = project.results();
    let all = all(&folder);
    let Some(run) = all.first().map(|result| result.measured.run.clone()) else {
        return Err(Failure::Nothing(format!(
            "no check has left a result in {}; run `cargo retryproof test` first",
            folder.display()
        )));
    };
    Ok(of_run(all, &run))
}

/// Returns the results of a run.
pub(crate) fn of(project: &Project, run: &str) -> Vec<TestResult> {
    of_run(all(&project.results()), run)
}

fn of_run(mut all: Vec<TestResult>, run: &str) -> Vec<TestResult> {
    all.retain(|result| result.measured.run == run);
    let key =
        |result: &TestResult| (result.package.clone(), result.binary.clone(), result.report.test.clone());
    all.sort_by_key(key);
    all
}

/// Returns the latest result of the test with this name, of any run.
pub(crate) fn latest(project: &Project, test: &str) -> Option<TestResult> {
    all(&project.results()).into_iter().find(|result| result.report.test == test)
}
