//! Failing scenarios, which are stored in files, one per test. The next run of that test tries them first.
//!
//! Those under `target/retryproof/` failed in the last run, and are removed when they pass. Those under
//! `retryproof-regressions/`, which a test can turn on, stay.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::surroundings::{self, say};
use crate::search::scenario::{Scenario, ScenarioError};
use crate::system::effect::fingerprint;

/// The variable that names the folder for failing scenarios, or is `off`.
const KEEP: &str = "RETRYPROOF_KEEP";
/// The folder of the package for the scenarios that stay.
const REGRESSIONS: &str = "retryproof-regressions";
/// The first line of a file, followed by its format.
const HEADER: &str = "# retryproof scenarios, format ";
const FORMAT: &str = "1";
/// The maximum number of scenarios of one test in a file.
const MOST_KEPT: usize = 20;
/// The maximum number of bytes of the test's name in a file name.
const LONGEST_NAME: usize = 120;

/// Why a file of scenarios, or a line of it, is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    #[error("{}: it cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error(
        "{}: the first line is not `{HEADER}{FORMAT}`, so this version cannot use the file; delete it: scenarios that still fail will be found again",
        path.display()
    )]
    OtherFormat { path: PathBuf },
    #[error("{}:{line}: {error}; the line is skipped", path.display())]
    NoScenario { path: PathBuf, line: usize, error: ScenarioError },
    #[error(
        "{}: cannot store failing scenarios here: {error}; set {KEEP}=folder to store them elsewhere, or {KEEP}=off",
        path.display()
    )]
    Unwritable { path: PathBuf, error: io::Error },
}

/// The files of one test, and the scenarios in them.
#[derive(Debug, Default)]
pub(super) struct KeptFiles {
    test: String,
    /// The file of scenarios that failed in the last run.
    last: Option<PathBuf>,
    /// The file of scenarios that stay, if the test asks for it.
    lasting: Option<PathBuf>,
    pub(super) scenarios: Vec<KeptScenario>,
}

/// A scenario that failed before.
#[derive(Clone, Debug)]
pub(super) struct KeptScenario {
    pub(super) scenario: Scenario,
    /// The file in which it stays whether it fails or not.
    pub(super) stays_in: Option<PathBuf>,
}

impl KeptFiles {
    /// Reads the files of a test. `stay` says whether the test asks for regressions.
    pub(super) fn of(test: &str, stay: bool) -> Self {
        let (last, name) = (own_file(test, "txt"), file_name(test, "txt"));
        let lasting = surroundings::package().filter(|_| stay);
        let lasting =
            lasting.map(|package| package.join(REGRESSIONS).join(surroundings::binary()).join(&name));
        let mut kept = Self { test: test.to_owned(), last, lasting, scenarios: Vec::new() };
        kept.read();
        kept
    }

    fn read(&mut self) {
        for (path, stays) in [(self.lasting.clone(), true), (self.last.clone(), false)] {
            let Some(path) = path else { continue };
            let (found, errors) = read(&path, &self.test);
            let is_ours = |error: &KeptError| matches!(error, KeptError::NoScenario { .. });
            if stays && !errors.iter().all(is_ours) {
                // An unreadable file may have been written by someone: leave it as it is.
                self.lasting = None;
            }
            errors.iter().for_each(|error| say(&error.to_string()));
            for scenario in found {
                if !self.scenarios.iter().any(|known| known.scenario == scenario) {
                    let stays_in = stays.then(|| path.clone());
                    self.scenarios.push(KeptScenario { scenario, stays_in });
                }
            }
        }
    }

    /// Adds scenarios that failed now to the regressions, if the test asks for it.
    pub(super) fn add(&self, failing: &[Scenario]) {
        let known = |scenario: &&Scenario| {
            self.scenarios.iter().any(|kept| kept.stays_in.is_some() && kept.scenario == **scenario)
        };
        let added: Vec<_> = worth_keeping(failing).filter(|scenario| !known(scenario)).collect();
        // Nobody would commit what CI adds.
        if let Some(path) = self.lasting.as_ref().filter(|_| !added.is_empty() && !surroundings::in_ci()) {
            warn(append(path, &lines(added.into_iter())));
        }
    }

    /// Replaces the stored scenarios with those that failed now. Returns the file if it is not empty.
    pub(super) fn keep(&self, failing: &[Scenario]) -> Option<PathBuf> {
        let path = self.last.as_ref()?;
        let lines = lines(worth_keeping(failing));
        if lines.is_empty() {
            // The file may not exist. If it cannot be removed, its scenarios are tried again each time.
            let _ = fs::remove_file(path);
            return None;
        }
        warn(replace(path, &format!("{HEADER}{FORMAT}\n{lines}"))).then(|| path.clone())
    }
}

/// Filters out the fault-free run, which always runs first.
fn worth_keeping(failing: &[Scenario]) -> impl Iterator<Item = &Scenario> {
    failing.iter().filter(|scenario| !scenario.wanted().is_empty()).take(MOST_KEPT)
}

fn lines<'s>(scenarios: impl Iterator<Item = &'s Scenario>) -> String {
    scenarios.map(|scenario| format!("{scenario}\n")).collect()
}

/// Returns the file in which a test stores scenarios until they pass, unless storing is turned off.
pub(crate) fn own_file(test: &str, extension: &str) -> Option<PathBuf> {
    let folder = folder(env::var_os(KEEP).map(PathBuf::from), surroundings::target())?;
    let package = env::var("CARGO_PKG_NAME").map(|package| format!("{package}-")).unwrap_or_default();
    Some(folder.join(format!("{package}{}", surroundings::binary())).join(file_name(test, extension)))
}

/// Returns the folder for scenarios of the last run: the variable's value, or else one in the target folder.
fn folder(wanted: Option<PathBuf>, target: Option<PathBuf>) -> Option<PathBuf> {
    match wanted.filter(|wanted| !wanted.as_os_str().is_empty()) {
        Some(off) if off.as_os_str() == "off" => None,
        Some(folder) => Some(folder),
        None => target.map(|target| target.join("retryproof")),
    }
}

/// Makes a file name from the name of a test: replaces special characters, and shortens long names.
pub(super) fn file_name(test: &str, extension: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '#') { c } else { '-' };
    let name: String = test.replace("::", ".").chars().map(plain).collect();
    match name.char_indices().find(|(at, c)| at + c.len_utf8() > LONGEST_NAME) {
        None => format!("{name}.{extension}"),
        Some((at, _)) => format!("{}-{:016x}.{extension}", &name[..at], fingerprint(&[test])),
    }
}

/// Reads the scenarios of a test from a file, and the errors of lines that cannot be used.
fn read(path: &Path, test: &str) -> (Vec<Scenario>, Vec<KeptError>) {
    let path_of_error = || path.to_owned();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return (Vec::new(), Vec::new());
        }
        Err(error) => return (Vec::new(), vec![KeptError::Unreadable { path: path_of_error(), error }]),
    };
    if text.lines().next().and_then(|first| first.strip_prefix(HEADER)).map(str::trim) != Some(FORMAT) {
        return (Vec::new(), vec![KeptError::OtherFormat { path: path_of_error() }]);
    }
    let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
    for (line, text) in text.lines().enumerate() {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        match text.parse::<Scenario>() {
            Ok(scenario) if scenario.test() == test && !scenarios.contains(&scenario) => {
                scenarios.push(scenario);
            }
            // This is a scenario of another test whose name maps to the same file name.
            Ok(_) => {}
            Err(error) => {
                errors.push(KeptError::NoScenario { path: path_of_error(), line: line + 1, error });
            }
        }
    }
    (scenarios, errors)
}

/// Replaces a whole file in one step.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), KeptError> {
    surroundings::replace_file(path, text)
        .map_err(|error| KeptError::Unwritable { path: path.to_owned(), error })
}

/// Appends lines to a file in one write, because other processes may append at the same time.
fn append(path: &Path, lines: &str) -> Result<(), KeptError> {
    let written = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let mut file = File::options().create(true).append(true).open(path)?;
        let header = if file.metadata()?.len() == 0 { format!("{HEADER}{FORMAT}\n") } else { String::new() };
        file.write_all(format!("{header}{lines}").as_bytes())
    };
    written().map_err(|error| KeptError::Unwritable { path: path.to_owned(), error })
}

/// Prints an error once per folder. Returns whether the write succeeded.
fn warn(written: Result<(), KeptError>) -> bool {
    static SAID: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let Err(error) = written else { return true };
    if let KeptError::Unwritable { path, .. } = &error {
        let folder = path.parent().unwrap_or(path).to_owned();
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.insert(folder) {
            return false;
        }
    }
    say(&error.to_string());
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(name: &str, text: &str) -> (Vec<String>, Vec<String>) {
        let path = env::temp_dir().join(format!("retryproof-kept-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        let (scenarios, errors) = read(&path, "a::b");
        fs::remove_file(&path).unwrap();
        let errors = errors.iter().map(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"));
        (scenarios.iter().map(ToString::to_string).collect(), errors.collect())
    }

    #[test]
    fn a_file_has_a_header_and_a_scenario_a_line() {
        let text = "# retryproof scenarios, format 1\n\n# why\na::b job#1.1:end=crash\na::b job#1.1:end=crash\nother job#1.1:end=crash\n";
        assert_eq!(in_file("plain", text), (vec!["a::b job#1.1:end=crash".to_owned()], vec![]));
    }

    #[test]
    fn another_version_is_told_and_not_used() {
        for text in
            ["# retryproof scenarios, format 2\na::b job#1.1:end=crash\n", "", "a::b job#1.1:end=crash\n"]
        {
            let (scenarios, errors) = in_file("version", text);
            assert_eq!(scenarios, [""; 0], "{text}");
            assert_eq!(errors.len(), 1, "{text}");
            assert!(errors[0].starts_with("FILE: the first line is not `# retryproof scenarios, format 1`"));
        }
    }

    #[test]
    fn a_broken_line_is_told_and_the_others_are_used() {
        let text = "# retryproof scenarios, format 1\na::b crash\na::b job#1.1:end=crash\n";
        let (scenarios, errors) = in_file("line", text);
        assert_eq!(scenarios, ["a::b job#1.1:end=crash"]);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("FILE:2: `crash` (word 2 of the scenario) is not `choice=option`"),
            "{errors:?}"
        );
        assert!(errors[0].ends_with("; the line is skipped"), "{errors:?}");
    }

    #[test]
    fn a_name_makes_a_file_name() {
        assert_eq!(file_name("shop::orders#2", "txt"), "shop.orders#2.txt");
        assert_eq!(file_name("tests/x.rs:12", "txt"), "tests-x.rs-12.txt");
        let long = file_name(&"ü".repeat(200), "txt");
        assert!(long.len() < 150 && long.starts_with("üü") && long.ends_with(".txt"), "{long}");
        assert_ne!(file_name(&"a".repeat(200), "txt"), file_name(&"a".repeat(201), "txt"));
    }

    #[test]
    fn the_variable_says_where() {
        let target = || Some(PathBuf::from("t"));
        assert_eq!(folder(None, target()), Some("t/retryproof".into()));
        assert_eq!(folder(Some("".into()), target()), Some("t/retryproof".into()));
        assert_eq!(folder(Some("off".into()), target()), None);
        assert_eq!(folder(Some("elsewhere".into()), target()), Some("elsewhere".into()));
        assert_eq!(folder(None, None), None);
    }
}
