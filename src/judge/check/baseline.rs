//! The ratchet: what was wrong when it was last recorded is no reason to fail, only what is new is.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kept::{KeptError, replace};
use super::surroundings::{self, in_ci, say};
use crate::judge::report::{Coverage, Report, Verdict, Violation};
use crate::search::input;

/// `record`, or not set.
const BASELINE: &str = "RETRYPROOF_BASELINE";
const RECORD: &str = "record";
/// Below the folder of the package.
const FILE: &str = "tests/retryproof-baseline.json";
const FORMAT: u64 = 2;
/// How often, and how long each time, one waits for another who is recording. Whoever has not moved for that long is dead.
const TURNS: u32 = 300;
const TURN: Duration = Duration::from_millis(10);

/// Why the baseline is not used, or not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BaselineError {
    #[error("{}: it cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error(
        "{}: it is no baseline: {error}; take it from the repository again, or delete it and record it anew with {BASELINE}={RECORD}",
        path.display()
    )]
    Corrupt { path: PathBuf, error: serde_json::Error },
    #[error(
        "{}: its format is {found}, and this version of retryproof knows {FORMAT}; delete the file and record it again with `{BASELINE}={RECORD} cargo test`",
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
    /// By the binary's and the test's name.
    tests: BTreeMap<String, Entry>,
}

/// What was recorded of one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    violations: Vec<Known>,
    coverage: Coverage,
}

/// A violation that was there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// What it is about.
    what: String,
    /// What brings it about: all of these together. None: nothing needs to go wrong.
    after: Vec<String>,
    /// As a report words it, for people.
    summary: String,
}

impl Known {
    /// The ways in which all violations of a report come about, with their places in it: of the violation, and of the path.
    fn all(report: &Report) -> Vec<((usize, usize), Self)> {
        let violations = report.violations.iter().enumerate();
        let paths = violations.flat_map(|(at, violation)| {
            let paths = violation.paths.iter().enumerate();
            paths.map(move |(path, taken)| ((at, path), Self::new(violation, &taken.identity)))
        });
        paths.collect()
    }

    fn new(violation: &Violation, after: &[String]) -> Self {
        let (what, after) = (violation.stable_subject(), after.to_vec());
        Self { what, after, summary: violation.summary.clone() }
    }

    /// Whether that is this one. What fewer mishaps bring about by themselves is no other one. On other inputs it is.
    fn is(&self, other: &Self) -> bool {
        let is_there = |what: &String| self.after.contains(what) || !input::is_word(what);
        let has_inputs = || other.after.iter().all(is_there);
        self.what == other.what
            && self.after.iter().all(|mishap| other.after.contains(mishap))
            && has_inputs()
    }

    /// In one line.
    fn text(&self) -> String {
        match self.after.as_slice() {
            [] => format!("{}, when nothing goes wrong", self.summary),
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

/// What the ratchet says of a report.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    pub(super) passes: bool,
    /// A line each.
    pub(super) words: Vec<String>,
    /// What is new, by its place in the report: the violation, and the path.
    pub(super) new: Vec<(usize, usize)>,
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

    /// Whether a test with this report passes. `alone`: whether it passes by itself.
    pub(super) fn rule(&self, report: &Report, alone: bool) -> Ruling {
        let present = Known::all(report);
        let new = present.iter().map(|(at, _)| *at).collect();
        let mut ruling = Ruling { passes: alone, new, words: vec![] };
        let entry = match &self.recorded {
            Ok(entry) => entry.as_ref(),
            Err(error) => {
                // What was known is not known: the test passes or fails by itself.
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
                let how = format!("{BASELINE}={RECORD} {}", report.replay_command);
                ruling.words.push(format!("{FILE} has nothing of this test; `{how}` records it as it is"));
            }
            return ruling;
        };
        let is_new = |now: &Known| !entry.violations.iter().any(|known| known.is(now));
        let new = || present.iter().filter(|(_, now)| is_new(now));
        ruling.new = new().map(|(at, _)| *at).collect();
        for (_, now) in new() {
            let line = format!("new since {FILE} was recorded: {}", now.text());
            if !ruling.words.contains(&line) {
                ruling.words.push(line);
            }
        }
        // Of a few scenarios only nothing is known of the others; of a shard, not what the others of its runs meet.
        let is_whole = report.kept.is_none() && report.share.is_none();
        let lost = match report.kept {
            None => entry.coverage.lost(now, is_whole),
            Some(_) => Vec::new(),
        };
        ruling.words.extend(lost.iter().map(|lost| format!("covered less than {FILE} has recorded: {lost}")));
        if !lost.is_empty() {
            let how = format!("{BASELINE}={RECORD} {}", report.replay_command);
            ruling
                .words
                .push(format!("bring that back; or, if it is meant to be gone, record it anew: `{how}`"));
        }
        if is_whole && now.exhausted {
            let is_gone = |known: &&Known| !present.iter().any(|(_, now)| known.is(now));
            for gone in entry.violations.iter().filter(is_gone) {
                let what = gone.text();
                let hint = format!("{BASELINE}={RECORD} keeps it from coming back");
                ruling.words.push(format!("gone since {FILE} was recorded: {what}; {hint}"));
            }
        }
        ruling.passes = ruling.new.is_empty() && lost.is_empty();
        ruling
    }

    /// Records what is in the report, if that is a whole one. False: it is to be compared as always.
    fn record(&self, report: &Report, alone: bool, ruling: &mut Ruling) -> bool {
        if report.kept.is_some() {
            // The whole is explored in a moment.
            ruling.passes = true;
            return true;
        }
        let is_whole = report.exhausted && matches!(report.verdict, Verdict::RetryProof | Verdict::Violated);
        let obstacle = if in_ci() {
            "CI is set, and what is recorded there nobody has looked at"
        } else if !(is_whole || alone) || report.share.is_some() || report.coverage.is_none() {
            "only a whole exploration can be recorded, with a reference run that nothing is wrong with"
        } else {
            let mut violations: Vec<Known> = Vec::new();
            for (_, now) in Known::all(report) {
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
        // Once more from the text: so that an error says in which line.
        _ => serde_json::from_str(&text).map_err(corrupt),
    }
}

/// Puts what is to be known of one test into the file, and leaves the others as they are now.
fn write(path: &Path, key: &str, entry: Entry) -> Result<(), BaselineError> {
    let unwritable = |error: &dyn std::fmt::Display| BaselineError::Unwritable {
        path: path.into(),
        error: error.to_string(),
    };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(|error| unwritable(&error))?;
    let _turn = Turn::take(path).map_err(|error| unwritable(&error))?;
    let mut baseline = read(path)?;
    baseline.tests.insert(key.to_owned(), entry);
    let text = serde_json::to_string_pretty(&baseline).map_err(|error| unwritable(&error))?;
    replace(path, &format!("{text}\n")).map_err(|error| match error {
        KeptError::Unwritable { error, .. } => unwritable(&error),
        error => unwritable(&error),
    })
}

/// Whoever has it writes; the others wait. A file beside the other one: tests record from several processes at once.
struct Turn(PathBuf);

impl Turn {
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
            "{} has been there for {:?}; if nobody is recording, delete it",
            beside.display(),
            TURN * TURNS
        );
        Err(io::Error::other(words))
    }
}

impl Drop for Turn {
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
            Known { what: what.into(), after, summary: String::new() }
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
