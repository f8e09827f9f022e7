//! Writes the page of a test run into the target folder, for a browser.
//!
//! Each test that fails writes its part of the page into a file, and then makes the page of all parts. Processes do this at
//! the same time without a lock: each one looks at the parts again after it has replaced the page, until they are those that
//! it has used. So the last one to replace the page has used all of them.
//!
//! The parts of a run are in a folder that is named after the process that started the test binary: `cargo test` or nextest.
//! When that process has ended, its run has ended, and the next run removes its parts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;
use std::{env, process};

use super::surroundings::{self, say};
use crate::judge::html::{Part, page};
use crate::judge::report::Report;
use crate::system::effect::{fingerprint, hex};

/// The variable that says which tests are on the page: `off`, `all`, or those that fail.
const HTML: &str = "RETRYPROOF_HTML";
/// The variable that names the folder of the page.
const FOLDER: &str = "RETRYPROOF_HTML_DIR";
const PAGE: &str = "report.html";
const PARTS: &str = "report-parts";
/// The number of times that a page is made again because other processes have written parts meanwhile.
const MOST_ROUNDS: usize = 100;
/// Where the process that started this one is unknown, a run ends when it has written nothing for this long.
const SILENCE: Duration = Duration::from_secs(3_600);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: cannot write the report for a browser: {error}; set {FOLDER}=folder to write it elsewhere, or {HTML}=off",
    path.display()
)]
struct PageError {
    path: PathBuf,
    error: io::Error,
}

/// Brings the page up to date with the result of a test. Returns the page's path if the test is on it. This does not
/// affect whether the test passes.
pub(crate) fn update(report: &Report, passes: bool, added: &[String]) -> Option<PathBuf> {
    if !passes || env::var(HTML).is_ok_and(|wanted| wanted == "all") {
        let files = PageFiles::of(&report.test)?;
        let written = files.write(&Part::of(report, &files.binary, passes, added));
        return told(written, &files.page).then_some(files.page);
    }
    // A replay that passes says nothing about the other scenarios of its test.
    if !report.replayed {
        withdraw(&report.test);
    }
    None
}

/// Takes a test that passes off the page.
pub(crate) fn withdraw(test: &str) {
    if let Some(files) = PageFiles::of(test) {
        told(files.remove(), &files.page);
    }
}

/// Returns whether the result is `Ok`. Prints the first error.
fn told(result: io::Result<()>, page: &Path) -> bool {
    result
        .map_err(|error| {
            static SAID: Once = Once::new();
            SAID.call_once(|| say(&PageError { path: page.to_owned(), error }.to_string()));
        })
        .is_ok()
}

/// The files of one test of this run.
struct PageFiles {
    page: PathBuf,
    parts: PathBuf,
    run: String,
    /// The name of the test's part in the folder of its run.
    name: String,
    binary: String,
}

impl PageFiles {
    /// Returns the files of a test, unless the page is turned off, or there is no folder for it.
    fn of(test: &str) -> Option<Self> {
        if env::var_os(HTML).is_some_and(|wanted| wanted == "off") {
            return None;
        }
        let folder = env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = folder.or_else(|| surroundings::target().map(|target| target.join("retryproof")))?;
        let package = env::var("CARGO_PKG_NAME").map(|package| format!("{package}/")).unwrap_or_default();
        let binary = format!("{package}{}", surroundings::binary());
        // Two names may differ only in signs that a file name cannot have.
        let name = hex("", fingerprint(&[&binary, test]), 16) + ".part";
        Some(Self { page: folder.join(PAGE), parts: folder.join(PARTS), run: own_run(), name, binary })
    }

    fn write(&self, part: &Part) -> io::Result<()> {
        let own = self.parts.join(&self.run);
        for run in self.runs().iter().filter(|run| has_ended(run) && (**run != own || is_unknown(run))) {
            // Another process may be removing it, too.
            let _ = fs::remove_dir_all(run);
        }
        surroundings::replace_file(&own.join(&self.name), &part.stored())?;
        self.make()
    }

    /// Removes the test from the page, where an earlier run has left it.
    fn remove(&self) -> io::Result<()> {
        let own = self.parts.join(&self.run);
        let runs = self.runs();
        let stale = runs.iter().filter(|run| **run == own || has_ended(run));
        // Without a page, which is usual, this is one attempt to read a folder.
        if stale.filter(|run| fs::remove_file(run.join(&self.name)).is_ok()).count() > 0 {
            self.make()?;
        }
        Ok(())
    }

    fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.parts) else { return Vec::new() };
        let mut runs: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        runs.sort();
        runs
    }

    /// Makes the page of all parts, until there are no other ones.
    fn make(&self) -> io::Result<()> {
        let mut used = None;
        for _ in 0..MOST_ROUNDS {
            let stored = self.stored();
            if used.as_ref() == Some(&stored) {
                break;
            }
            let parts: Vec<Part> = stored.iter().filter_map(|(path, text)| read(path, text)).collect();
            match parts.is_empty() {
                false => surroundings::replace_file(&self.page, &page(parts))?,
                true => match fs::remove_file(&self.page) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                },
            }
            used = Some(stored);
        }
        Ok(())
    }

    /// Returns the texts of all parts. Of two parts of one test, the first one counts, which is that of this run.
    fn stored(&self) -> Vec<(PathBuf, String)> {
        let own = self.parts.join(&self.run);
        let mut runs = self.runs();
        runs.sort_by_key(|run| *run != own);
        let mut stored = Vec::new();
        for run in runs {
            let Ok(entries) = fs::read_dir(run) else { continue };
            let is_part = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "part");
            let mut paths: Vec<_> =
                entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_part).collect();
            paths.sort();
            // A part that is removed meanwhile is not on the page.
            stored.extend(paths.into_iter().filter_map(|path| {
                let text = fs::read_to_string(&path).ok()?;
                Some((path, text))
            }));
        }
        stored
    }
}

fn read(path: &Path, text: &str) -> Option<Part> {
    Part::read(text)
        .map_err(|error| {
            static SAID: Once = Once::new();
            SAID.call_once(|| say(&format!("{}: {error}, so {PAGE} is without it", path.display())));
        })
        .ok()
}

/// Names the run that this process belongs to: the process that started it, by its number and its start.
pub(super) fn own_run() -> String {
    match parent().and_then(|parent| Some((parent, start_of(parent)?))) {
        Some((parent, start)) => format!("{parent}-{start}"),
        None => "unknown".to_owned(),
    }
}

fn is_unknown(run: &Path) -> bool {
    named_run(run).is_none()
}

/// Returns the process and its start in the name of a run's folder.
fn named_run(run: &Path) -> Option<(u32, &str)> {
    let (process, start) = run.file_name()?.to_str()?.split_once('-')?;
    Some((process.parse().ok()?, start))
}

/// Whether no process of a run will write any more.
fn has_ended(run: &Path) -> bool {
    match named_run(run) {
        Some((process, start)) => start_of(process).as_deref() != Some(start),
        None => {
            let changed = fs::metadata(run).and_then(|about| about.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|silence| silence > SILENCE))
        }
    }
}

#[cfg(unix)]
fn parent() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent() -> Option<u32> {
    None
}

/// Returns when a process started, in digits that differ from those of any other process with its number.
fn start_of(process: u32) -> Option<String> {
    if let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) {
        // The name of the program, in parentheses, may contain blanks. The start is the 22nd field (proc(5)).
        let (_, fields) = stat.rsplit_once(')')?;
        return fields.split_whitespace().nth(19).map(str::to_owned);
    }
    if cfg!(target_os = "linux") || !cfg!(unix) {
        return None;
    }
    let process = process.to_string();
    let told = process::Command::new("ps").args(["-o", "lstart=", "-p", &process]).output().ok()?;
    let start: String =
        String::from_utf8_lossy(&told.stdout).chars().filter(|c| c.is_alphanumeric()).collect();
    (!start.is_empty()).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::report::Verdict;

    #[test]
    fn a_run_lives_as_long_as_the_process_that_started_it() {
        let own = format!("{}-{}", process::id(), start_of(process::id()).unwrap());
        assert!(!has_ended(Path::new(&own)));
        assert!(has_ended(Path::new(&format!("{own}0"))), "another process had this number before");
        assert!(has_ended(Path::new("4294967295-1")));
        assert_eq!(named_run(Path::new("parts/12-345")), Some((12, "345")));
        assert_eq!(named_run(Path::new("parts/unknown")), None);
        assert_eq!(own_run(), own_run());
    }

    #[test]
    fn the_last_one_to_write_has_used_all_parts() {
        let folder = env::temp_dir().join(format!("retryproof-page-{}", process::id()));
        let tests: Vec<String> = (0..8).map(|number| format!("test-{number}")).collect();
        for _ in 0..20 {
            let barrier = std::sync::Barrier::new(tests.len());
            std::thread::scope(|scope| {
                for test in &tests {
                    let (folder, barrier) = (&folder, &barrier);
                    scope.spawn(move || {
                        let report = crate::Explore::new().blank(test, Verdict::NothingTested, None);
                        let (page, parts) = (folder.join(PAGE), folder.join(PARTS));
                        let (run, name) = ("unknown".to_owned(), format!("{test}.part"));
                        let files = PageFiles { page, parts, run, name, binary: "it".to_owned() };
                        barrier.wait();
                        files.write(&Part::of(&report, "it", false, &[])).unwrap();
                    });
                }
            });
            let page = fs::read_to_string(folder.join(PAGE)).unwrap();
            let missing: Vec<_> =
                tests.iter().filter(|test| !page.contains(&format!("<h2>{test}</h2>"))).collect();
            assert!(missing.is_empty(), "{missing:?}");
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}
