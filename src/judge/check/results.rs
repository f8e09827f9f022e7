//! Writes the result of each test into a file, for `cargo retryproof`.
//!
//! There is one file for each test, which its next run replaces. So two runs at once lose nothing, and no run has to clean up
//! after another one. Only `measured` differs between two runs of the same code.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;
use std::{env, io, thread};

use serde::Serialize;

use super::baseline::RatchetState;
use super::kept::file_name;
use super::page::own_run;
use super::surroundings::{self, say};
use crate::judge::report::{Report, Timeline};

/// The variable that names the folder of the results, or is `off`.
const RESULTS: &str = "RETRYPROOF_RESULTS";
/// The variable that names the run to which the results belong. `cargo retryproof` sets it.
const RUN: &str = "RETRYPROOF_RUN";
/// The number of the format. Fields may be added without a new number; `cargo retryproof` reads them.
const FORMAT: u32 = 1;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: cannot write the result of the test for `cargo retryproof`: {error}; set {RESULTS}=folder to write it elsewhere, or {RESULTS}=off",
    path.display()
)]
struct ResultError {
    path: PathBuf,
    error: io::Error,
}

/// The content of a file.
#[derive(Debug, Serialize)]
struct TestResult<'r> {
    format: u32,
    /// The version of this crate.
    version: &'static str,
    package: Option<String>,
    /// The folder of the package.
    folder: Option<PathBuf>,
    binary: String,
    /// The name of libtest for the test, which may have several checks.
    libtest: Option<&'r str>,
    passes: bool,
    replayed: bool,
    code: Option<&'static str>,
    /// The messages in addition to the report.
    words: &'r [String],
    report: &'r Report,
    /// The run that the report shows, if the test fails or replays a scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Timeline>,
    /// The report as text, if the test fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratchet: Option<&'r RatchetState>,
    measured: Measured,
}

/// What differs between two runs of the same code.
#[derive(Debug, Serialize)]
struct Measured {
    run: String,
    milliseconds: u64,
}

/// Writes the result of a test. This does not affect whether the test passes.
pub(super) fn write(
    (report, passes): (&Report, bool),
    words: &[String],
    ratchet: Option<&RatchetState>,
    took: Duration,
) {
    let wanted = env::var_os(RESULTS).filter(|wanted| !wanted.is_empty()).map(PathBuf::from);
    let folder = match wanted {
        Some(off) if off.as_os_str() == "off" => return,
        Some(folder) => folder,
        None => match surroundings::target() {
            Some(target) => target.join("retryproof").join("results"),
            None => return,
        },
    };
    let thread = thread::current();
    let run = env::var(RUN).ok().filter(|run| !run.is_empty()).unwrap_or_else(own_run);
    let is_shown = !passes || report.replayed;
    let result = TestResult {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION"),
        package: env::var("CARGO_PKG_NAME").ok(),
        folder: surroundings::package(),
        binary: surroundings::binary(),
        libtest: thread.name(),
        passes,
        replayed: report.replayed,
        code: report.code().map(|code| code.as_str()),
        words,
        report,
        timeline: is_shown.then(|| report.timeline()),
        text: (!passes).then(|| report.to_string()),
        ratchet,
        measured: Measured { run, milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) },
    };
    if let Err(error) = write_into(&folder, &result) {
        static SAID: Once = Once::new();
        SAID.call_once(|| say(&error.to_string()));
    }
}

fn write_into(folder: &Path, result: &TestResult<'_>) -> Result<(), ResultError> {
    let package = result.package.as_ref().map(|package| format!("{package}-")).unwrap_or_default();
    let name = file_name(&format!("{package}{}-{}", result.binary, result.report.test), "json");
    let path = folder.join(name);
    let text = serde_json::to_string(result).map_err(io::Error::from);
    let written = text.and_then(|text| surroundings::replace_file(&path, &format!("{text}\n")));
    written.map_err(|error| ResultError { path, error })
}
