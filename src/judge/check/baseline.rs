//! The ratchet: recorded violations do not fail the test, only new ones do.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kept::{KeptError, replace};
use super::surroundings::{self, in_ci, say};
use crate::judge::report::{self, Coverage, Report, Verdict, Violation};
use crate::search::input;

/// The variable that turns recording on with `record`.
const BASELINE: &str = "RETRYPROOF_BASELINE";
const RECORD: &str = "record";
/// The path of the baseline file in the folder of the package.
const FILE: &str = "tests/retryproof-baseline.json";
const FORMAT: u64 = 2;
/// How many times, and how long each time, to wait for another process that records. If nothing changes for that long,
/// it died.
const TURNS: u32 = 300;
const TURN: Duration = Duration::from_millis(10);

/// Why the baseline is not used, or not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BaselineError {
    #[error("{}: it cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error(
        "{}: this is not a baseline file: {error}; restore it from the repository, or delete it and record it again with {BASELINE}={RECORD}",
        path.display()
    )]
    Corrupt { path: PathBuf, error: serde_json::Error },
    #[error(
        "{}: the file has format {found}, but this version of retryproof reads format {FORMAT}; delete it and record it again with `{BASELINE}={RECORD} cargo test`",
        path.display()
    )]
    OtherFormat { path: PathBuf, found: String },
    #[error("{}: it cannot be written: {error}", path.display())]
    Unwritable { path: PathBuf, error: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    format: u64,
    /// The entries, by the names of the binary and the test.
    tests: BTreeMap<String, Entry>,
}

/// The record of one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    violations: Vec<KnownCause>,
    coverage: Coverage,
}

/// A recorded violation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownCause {
    /// The subject of the violation.
    what: String,
    /// The deviations that lead to it, all together. Empty if the fault-free run has the violation.
    after: Vec<String>,
    /// The summary from the report, for people.
    summary: String,
}

impl KnownCause {
    /// Returns the ways that lead to each violation of a report, with the positions of the violation and of its path.
    fn all(report: &Report) -> Vec<((usize, usize), Self)> {
        let violations = report.violations.iter().enumerate();
        let paths = violations.flat_map(|(at, violation)| {
            let paths = violation.paths.iter().enumerate();
            paths.map(move |(path, taken)| ((at, path), Self::new(violation, taken)))
        });
        paths.collect()
    }

    fn new(violation: &Violation, path: &report::Path) -> Self {
        let own = || (violation.stable_subject(), violation.summary.clone());
        let (what, summary) = path.other.clone().unwrap_or_else(own);
        Self { what, after: path.identity.clone(), summary }
    }

    /// Whether `other` is this violation. A violation that fewer deviations cause is still the same one. A violation on
    /// other inputs is another one.
    fn is(&self, other: &Self) -> bool {
        let is_there = |what: &String| self.after.contains(what) || !input::is_word(what);
        let has_inputs = || other.after.iter().all(is_there);
        self.what == other.what
            && self.after.iter().all(|mishap| other.after.contains(mishap))
            && has_inputs()
    }

    /// Describes the violation in one line.
    fn text(&self) -> String {
        match self.after.as_slice() {
            [] => format!("{}, in the fault-free run", self.summary),
            after => {
                let (inputs, mishaps): (Vec<_>, Vec<_>) = after.iter().partition(|what| input::is_word(what));
                let by: String = mishaps.iter().map(|mishap| format!(" and a {mishap}")).collect();
                let by = by.strip_prefix(" and").map(|by| format!(", by{by}")).unwrap_or_default();
                let on: String = inputs.iter().map(|input| format!(", on {input}")).collect();
                format!("{}{by}{on}", self.summary)
            }
        }
    }
}

/// The ratchet of one test.
#[derive(Debug)]
pub(super) struct Ratchet {
    key: String,
    path: PathBuf,
    recorded: Result<Option<Entry>, BaselineError>,
    records: bool,
}

/// What the ratchet compared, for `cargo retryproof review`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RatchetState {
    file: PathBuf,
    /// The name of the test's entry in the file.
    entry: String,
    /// Whether the file has such an entry.
    is_recorded: bool,
    /// The violations that are not in the file, each once.
    new: Vec<NewCause>,
    /// What is covered less than recorded.
    lost: Vec<String>,
    /// What is covered now.
    coverage: Coverage,
}

/// A violation that is not in the file.
#[derive(Clone, Debug, Serialize)]
struct NewCause {
    /// One line for people.
    text: String,
    cause: KnownCause,
}

/// The ratchet's verdict on a report.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    pub(super) passes: bool,
    /// The messages to print, in one line each.
    pub(super) words: Vec<String>,
    /// The new violations, by the positions of the violation and its path in the report.
    pub(super) new: Vec<(usize, usize)>,
    /// What was compared, if the report could be compared.
    pub(super) state: Option<RatchetState>,
}

impl Ratchet {
    pub(super) fn of(test: &str) -> Self {
        let path = surroundings::package().unwrap_or_default().join(FILE);
        let key = format!("{} {test}", surroundings::binary());
        let wanted = env::var_os(BASELINE).filter(|wanted| !wanted.is_empty());
        let records = wanted.as_ref().is_some_and(|wanted| wanted == RECORD);
        if let Some(wanted) = wanted.filter(|_| !records) {
            say(&format!("{BASELINE}={}: it is `{RECORD}` or not set", wanted.to_string_lossy()));
        }
        let recorded = read(&path).map(|baseline| baseline.tests.get(&key).cloned());
        Self { key, path, recorded, records }
    }

    /// Decides whether a test with this report passes. `alone` says whether it passes without a baseline.
    pub(super) fn rule(&self, report: &Report, alone: bool) -> Ruling {
        let present = KnownCause::all(report);
        let new = present.iter().map(|(at, _)| *at).collect();
        let mut ruling = Ruling { passes: alone, new, words: vec![], state: None };
        let entry = match &self.recorded {
            Ok(entry) => entry.as_ref(),
            Err(error) => {
                // Nothing is known about recorded violations, so the test passes or fails by itself.
                ruling.words.push(error.to_string());
                return ruling;
            }
        };
        if self.records && self.record(report, alone, &mut ruling) {
            return ruling;
        }
        let is_judged = matches!(report.verdict, Verdict::RetryProof | Verdict::Violated) || alone;
        let Some(now) = report.coverage.as_ref().filter(|_| is_judged) else { return ruling };
        let Some(entry) = entry else {
            if !alone {
                ruling.state = Some(self.state(&present, Vec::new(), now));
                let how = format!("{BASELINE}={RECORD} {}", report.replay_command);
                ruling
                    .words
                    .push(format!("{FILE} has no entry for this test; `{how}` records the present state"));
            }
            return ruling;
        };
        let is_new = |now: &KnownCause| !entry.violations.iter().any(|known| known.is(now));
        let new = || present.iter().filter(|(_, now)| is_new(now));
        ruling.new = new().map(|(at, _)| *at).collect();
        for (_, now) in new() {
            let line = format!("new since {FILE} was recorded: {}", now.text());
            if !ruling.words.contains(&line) {
                ruling.words.push(line);
            }
        }
        // A few kept scenarios say nothing about the others. A shard does not know what the runs of other shards reach.
        let is_whole = report.kept.is_none() && report.share.is_none();
        let lost = match report.kept {
            None => entry.coverage.lost(now, is_whole),
            Some(_) => Vec::new(),
        };
        ruling.words.extend(
            lost.iter().map(|lost| format!("the exploration covers less than recorded in {FILE}: {lost}")),
        );
        if !lost.is_empty() {
            let how = format!("{BASELINE}={RECORD} {}", report.replay_command);
            ruling.words.push(format!("restore that; or, if the change is intended, record again: `{how}`"));
        }
        if is_whole && now.exhausted {
            let is_gone = |known: &&KnownCause| !present.iter().any(|(_, now)| known.is(now));
            for gone in entry.violations.iter().filter(is_gone) {
                let what = gone.text();
                let hint = format!("{BASELINE}={RECORD} keeps it from coming back");
                ruling.words.push(format!("gone since {FILE} was recorded: {what}; {hint}"));
            }
        }
        ruling.passes = ruling.new.is_empty() && lost.is_empty();
        let new: Vec<_> = new().cloned().collect();
        ruling.state = (!ruling.passes).then(|| self.state(&new, lost, now));
        ruling
    }

    fn state(&self, new: &[((usize, usize), KnownCause)], lost: Vec<String>, now: &Coverage) -> RatchetState {
        let mut causes: Vec<NewCause> = Vec::new();
        for (_, cause) in new {
            if !causes
                .iter()
                .any(|known| (&known.cause.what, &known.cause.after) == (&cause.what, &cause.after))
            {
                causes.push(NewCause { text: cause.text(), cause: cause.clone() });
            }
        }
        RatchetState {
            file: self.path.clone(),
            entry: self.key.clone(),
            is_recorded: matches!(self.recorded, Ok(Some(_))),
            new: causes,
            lost,
            coverage: now.clone(),
        }
    }

    /// Records the content of a complete report. Returns false if the report must be compared as usual.
    fn record(&self, report: &Report, alone: bool, ruling: &mut Ruling) -> bool {
        if report.kept.is_some() {
            // The whole exploration follows.
            ruling.passes = true;
            return true;
        }
        let is_whole = report.exhausted && matches!(report.verdict, Verdict::RetryProof | Verdict::Violated);
        let obstacle = if in_ci() {
            "CI is set, and a baseline must be reviewed before it is committed"
        } else if !(is_whole || alone) || report.share.is_some() || report.coverage.is_none() {
            "only a complete exploration whose reference run has no violation can be recorded"
        } else {
            let mut violations: Vec<KnownCause> = Vec::new();
            for (_, now) in KnownCause::all(report) {
                if !violations.iter().any(|known| (&known.what, &known.after) == (&now.what, &now.after)) {
                    violations.push(now);
                }
            }
            let count = report.violations.len();
            let entry = Entry { violations, coverage: report.coverage.clone().unwrap_or_default() };
            match write(&self.path, &self.key, entry) {
                Ok(()) => {
                    let s = if count == 1 { "" } else { "s" };
                    ruling.words.push(format!("{FILE}: recorded, with {count} violation{s}"));
                    (ruling.passes, ruling.new) = (true, Vec::new());
                    return true;
                }
                Err(error) => {
                    ruling.words.push(error.to_string());
                    return false;
                }
            }
        };
        ruling.words.push(format!("{FILE}: not recorded: {obstacle}"));
        false
    }
}

fn read(path: &Path) -> Result<Baseline, BaselineError> {
    let path_of_error = || path.to_owned();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Baseline { format: FORMAT, ..Baseline::default() });
        }
        Err(error) => return Err(BaselineError::Unreadable { path: path_of_error(), error }),
    };
    let corrupt = |error| BaselineError::Corrupt { path: path_of_error(), error };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(corrupt)?;
    match value.get("format") {
        Some(format) if format.as_u64() != Some(FORMAT) => {
            Err(BaselineError::OtherFormat { path: path_of_error(), found: format.to_string() })
        }
        // Parse the text again, because only then does the error name the line.
        _ => serde_json::from_str(&text).map_err(corrupt),
    }
}

/// Writes the entry of one test into the file, and leaves the entries of other tests as they are now.
fn write(path: &Path, key: &str, entry: Entry) -> Result<(), BaselineError> {
    let unwritable = |error: &dyn std::fmt::Display| BaselineError::Unwritable {
        path: path.into(),
        error: error.to_string(),
    };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(|error| unwritable(&error))?;
    let _turn = BaselineLock::take(path).map_err(|error| unwritable(&error))?;
    let mut baseline = read(path)?;
    baseline.tests.insert(key.to_owned(), entry);
    let text = serde_json::to_string_pretty(&baseline).map_err(|error| unwritable(&error))?;
    replace(path, &format!("{text}\n")).map_err(|error| match error {
        KeptError::Unwritable { error, .. } => unwritable(&error),
        error => unwritable(&error),
    })
}

/// A lock file next to the baseline: its owner writes, others wait. Tests may record from several processes at once.
struct BaselineLock(PathBuf);

impl BaselineLock {
    fn take(path: &Path) -> io::Result<Self> {
        let beside = path.with_extension("json.lock");
        for _ in 0..TURNS {
            match File::options().write(true).create_new(true).open(&beside) {
                Ok(_) => return Ok(Self(beside)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => rest(),
                Err(error) => return Err(error),
            }
        }
        let words = format!(
            "{} has existed for {:?}; if no other test run is recording, delete it",
            beside.display(),
            TURN * TURNS
        );
        Err(io::Error::other(words))
    }
}

impl Drop for BaselineLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, between runs; no run sees it")]
fn rest() {
    std::thread::sleep(TURN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_more_mishaps_bring_about_is_no_other_violation() {
        let known = |what: &str, after: &[&str]| {
            let after = after.iter().map(|mishap| (*mishap).to_owned()).collect();
            KnownCause { what: what.into(), after, summary: String::new() }
        };
        let crash = known("repeated a", &["crash at A/b.c"]);
        assert!(crash.is(&known("repeated a", &["crash at A/b.c", "fault at A/b.c"])));
        assert!(!crash.is(&known("repeated a", &["crash at A/b.d"])), "at another call");
        assert!(!crash.is(&known("repeated b", &["crash at A/b.c"])));
        assert!(!known("repeated a", &["crash at A/b.c", "fault at A/b.c"]).is(&crash));
        let declined = known("repeated a", &["crash at A/b.c", "input:card=declined"]);
        assert!(!crash.is(&declined) && !declined.is(&crash), "on other inputs");
    }

    #[test]
    fn many_write_at_once_and_none_is_lost() {
        let path = env::temp_dir().join(format!("retryproof-baseline-{}.json", std::process::id()));
        let entry = || Entry { violations: Vec::new(), coverage: Coverage::default() };
        std::thread::scope(|scope| {
            for test in 0..20 {
                let path = &path;
                scope.spawn(move || write(path, &format!("t{test}"), entry()).unwrap());
            }
        });
        assert_eq!(read(&path).unwrap().tests.len(), 20);
        fs::remove_file(&path).unwrap();
    }
}
