//! Shows what is new since a baseline was recorded, and records what is accepted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::results::{self, Coverage, KnownCause, Ratchet};
use crate::text::in_one_line;

/// The format of baseline files that this version writes.
const FORMAT: u64 = 2;

/// A baseline file (`src/judge/check/baseline.rs` of retryproof).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    format: u64,
    tests: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    violations: Vec<KnownCause>,
    coverage: Coverage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accept,
    Skip,
    Quit,
}

/// The numbers of decisions.
#[derive(Default)]
struct Tally {
    accepted: usize,
    skipped: usize,
}

/// Asks for each finding of the last run.
pub(crate) fn review(
    project: &Project,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<Exit, Failure> {
    let results = results::last(project)?;
    let ratchets: Vec<_> =
        results.iter().filter_map(|result| Some((result, result.ratchet.as_ref()?))).collect();
    if ratchets.is_empty() {
        writeln!(out, "nothing to review: no test with a ratchet has a new finding in the last run")?;
        return Ok(Exit::Green);
    }
    let mut tally = Tally::default();
    for (result, ratchet) in ratchets {
        writeln!(out, "\n{} ({})", in_one_line(&result.report.test), ratchet.file.display())?;
        if !ask_about(ratchet, &mut tally, input, out)? {
            break;
        }
    }
    writeln!(out, "{} accepted, {} skipped", tally.accepted, tally.skipped)?;
    Ok(Exit::Green)
}

/// Asks about each finding of a test, and records those that are accepted. Returns false after `quit`.
fn ask_about(
    ratchet: &Ratchet,
    tally: &mut Tally,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let (mut accepted, mut is_quit) = (Vec::new(), false);
    for new in &ratchet.new {
        writeln!(out, "  new: {}", in_one_line(&new.text))?;
        match ask(input, out)? {
            Answer::Accept => accepted.push(new.cause.clone()),
            Answer::Skip => tally.skipped += 1,
            Answer::Quit => is_quit = true,
        }
        if is_quit {
            break;
        }
    }
    let mut is_less_accepted = false;
    if !ratchet.lost.is_empty() && !is_quit {
        ratchet.lost.iter().try_for_each(|lost| writeln!(out, "  covers less: {}", in_one_line(lost)))?;
        match ask(input, out)? {
            Answer::Accept => is_less_accepted = true,
            Answer::Skip => tally.skipped += 1,
            Answer::Quit => is_quit = true,
        }
    }
    if !accepted.is_empty() || is_less_accepted {
        tally.accepted += accepted.len() + usize::from(is_less_accepted);
        let coverage = (is_less_accepted || !ratchet.is_recorded).then_some(&ratchet.coverage);
        record(&ratchet.file, &ratchet.entry, &accepted, coverage)?;
    }
    Ok(!is_quit)
}

/// Asks until there is an answer. The end of the input is `quit`.
fn ask(input: &mut impl BufRead, out: &mut impl Write) -> Result<Answer, Failure> {
    loop {
        write!(out, "  accept, skip or quit? [a/s/q] ")?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(out)?;
            return Ok(Answer::Quit);
        }
        match line.trim() {
            "a" | "accept" => return Ok(Answer::Accept),
            "s" | "skip" => return Ok(Answer::Skip),
            "q" | "quit" => return Ok(Answer::Quit),
            _ => {}
        }
    }
}

/// Adds violations to the entry of a test, and leaves all else as it is now.
fn record(path: &Path, key: &str, causes: &[KnownCause], coverage: Option<&Coverage>) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::file(path, error);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failure)?;
    let _lock = Lock::take(path)?;
    let mut baseline = match fs::read_to_string(path) {
        Ok(text) => {
            let corrupt = |error| {
                Failure::file(path, format!("this is not a baseline file of format {FORMAT}: {error}"))
            };
            serde_json::from_str(&text).map_err(corrupt)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Baseline { format: FORMAT, tests: BTreeMap::new() }
        }
        Err(error) => return Err(failure(error)),
    };
    if baseline.format != FORMAT {
        let why = format!("the file has format {}, but this version writes format {FORMAT}", baseline.format);
        return Err(Failure::file(path, why));
    }
    let new = || coverage.map(|coverage| Entry { violations: Vec::new(), coverage: coverage.clone() });
    let entry = match (baseline.tests.get(key).cloned(), new()) {
        (Some(entry), None) => Some(entry),
        (Some(entry), Some(new)) => Some(Entry { violations: entry.violations, ..new }),
        (None, new) => new,
    };
    let Some(mut entry) = entry else {
        return Err(Failure::file(path, "its entry is gone since the last run; run the test again"));
    };
    for cause in causes {
        if !entry.violations.contains(cause) {
            entry.violations.push(cause.clone());
        }
    }
    baseline.tests.insert(key.to_owned(), entry);
    let text = serde_json::to_string_pretty(&baseline).map_err(|error| failure(error.into()))?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&beside, format!("{text}\n")).and_then(|()| fs::rename(&beside, path)).map_err(failure)
}

/// The lock file next to a baseline, which tests that record take as well.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, Failure> {
        let beside = path.with_extension("json.lock");
        match File::options().write(true).create_new(true).open(&beside) {
            Ok(_) => Ok(Self(beside)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::file(beside, "a test run is recording; if no test runs, delete this file"))
            }
            Err(error) => Err(Failure::file(beside, error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
