//! Helpers of all test binaries of the workspace, used with `mod support;`, or with `#[path]` from another member.
#![allow(dead_code, reason = "no binary uses all of them")]

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::process::Command;
use std::time::Duration;

use expect_test::Expect;
use retryproof::{Durable, Explore, Process, Report, Verdict, Violation, World};

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The recorded events, in order.
pub(crate) type Log = Durable<Vec<String>>;

pub(crate) fn log(world: &World) -> Log {
    world.durable("log", Vec::new())
}

/// Adds a worker.
pub(crate) fn worker(world: &World, log: &Log, boot: impl Fn(&Process, &Log) + 'static) {
    let log = log.clone();
    world.process("worker", move |p| boot(p, &log));
}

/// Explores one deviation, which is enough for most tests.
pub(crate) fn one_deviation() -> Explore {
    Explore::new().name("test").deviations(1)
}

/// Asserts that nothing is wrong, and that every scenario ran.
#[track_caller]
pub(crate) fn assert_green(report: &Report) {
    assert_eq!(report.verdict(), Verdict::RetryProof, "{report}");
    assert!(report.exhausted(), "{report}");
}

/// Asserts that the report has a violation with this summary, in this scenario.
#[track_caller]
pub(crate) fn assert_violated(report: &Report, summary: &str, scenario: &str) {
    assert_eq!(report.verdict(), Verdict::Violated, "{report}");
    let mut about = report.violations().iter().filter(|violation| violation.summary.starts_with(summary));
    let found =
        about.any(|violation| violation.paths.iter().any(|path| path.scenario.to_string() == scenario));
    assert!(found, "no violation `{summary}` in the scenario `{scenario}`:\n{report}");
}

/// Whether one of the ways that lead to a violation has this scenario.
pub(crate) fn comes_about_in(violation: &Violation, scenario: &str) -> bool {
    violation.paths.iter().any(|path| path.scenario.to_string() == scenario)
}

/// Returns the scenarios of all violations, and of all ways that lead to them.
pub(crate) fn scenarios(report: &Report) -> Vec<String> {
    let paths = report.violations().iter().flat_map(|violation| &violation.paths);
    paths.map(|path| path.scenario.to_string()).collect()
}

/// Returns the message with which `code` panics.
#[track_caller]
pub(crate) fn panic_of(code: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic with a text")).to_owned(),
    }
}

/// Returns the lines of a text that have this part, without their indentation.
pub(crate) fn lines_of(text: &str, part: &str) -> String {
    text.lines().filter(|line| line.contains(part)).map(|line| format!("{}\n", line.trim_start())).collect()
}

/// Returns the only line of a text that has this part.
pub(crate) fn line_of<'t>(text: &'t str, part: &str) -> &'t str {
    let mut lines = text.lines().filter(|line| line.contains(part));
    match (lines.next(), lines.next()) {
        (Some(line), None) => line,
        _ => panic!("not one line has `{part}`:\n{text}"),
    }
}

/// Asserts that a file, by its path from the root of the repository and without its ending, has a test of this name.
pub(crate) fn assert_is_test(file: &str, name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{file}.rs"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let at = text.find(&format!("fn {name}()")).unwrap_or_else(|| panic!("there is no {file}::{name}"));
    let attributes = text[..at].rsplit("\n\n").next().unwrap_or_default();
    assert!(attributes.contains("test"), "{file}::{name} is no test");
}

/// Returns the path of a test as its binary knows it: `own_path(module_path!(), "panics_often")`.
pub(crate) fn own_path(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

/// Returns a command that runs one ignored test of this binary: `own_test(module_path!(), "panics_often")`.
pub(crate) fn own_test(module: &str, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
    command.args(["--ignored", "--exact", &own_path(module, test), "--test-threads=1"]);
    command
}

/// Returns the same command in a pseudo terminal, which `script` (util-linux) makes.
pub(crate) fn on_a_terminal(plain: &Command) -> Command {
    let words: Vec<_> = std::iter::once(plain.get_program()).chain(plain.get_args()).collect();
    let words: Vec<_> = words.into_iter().map(|word| word.to_str().expect("UTF-8")).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("'{}'", words.join("' '")), "/dev/null"]);
    script
}

/// Compares a text with an inline snapshot. `UPDATE_EXPECT=1 cargo test` writes all of them.
///
/// The numbers of lines are left out of places, because they change with every edit above them.
#[track_caller]
pub(crate) fn check(text: impl Display, expected: Expect) {
    expected.assert_eq(&without_lines(&text.to_string()));
}

/// Compares a line of a text with an inline snapshot of the whole line. An update takes the line that is most similar
/// to the old one, so check in the diff that it says the same.
#[track_caller]
pub(crate) fn has_line(text: impl Display, expected: Expect) {
    let text = without_lines(&text.to_string());
    let wanted = expected.data().trim();
    assert!(!wanted.is_empty(), "an empty line is in every text: expect a part of the line, and bless it");
    let lines = text.lines().map(str::trim).filter(|line| likeness(line, wanted) > 0);
    let line = lines.max_by_key(|line| (likeness(line, wanted), Reverse(line.len())));
    assert!(line.is_some(), "no line has a word of `{wanted}`:\n{text}");
    if line != Some(wanted) {
        eprintln!("no such line in:\n{text}");
    }
    expected.assert_eq(line.unwrap_or_default());
}

/// Counts the words that two lines have in common. A line that contains the other one is more similar than that.
fn likeness(line: &str, wanted: &str) -> usize {
    if line == wanted {
        return usize::MAX;
    }
    if !wanted.is_empty() && line.contains(wanted) {
        return usize::MAX - 1;
    }
    let words: BTreeSet<_> = wanted.split_whitespace().collect();
    line.split_whitespace().collect::<BTreeSet<_>>().intersection(&words).count()
}

/// `tests/it/lines.rs:12:5` is `tests/it/lines.rs:…`.
fn without_lines(text: &str) -> String {
    let mut parts = text.split(".rs:");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
        let number = &part[..part.len() - rest.len()];
        kept.push_str(if number.is_empty() { ".rs:" } else { ".rs:…" });
        // A colon after the number belongs to the sentence.
        kept.push_str(if number.ends_with(':') { ":" } else { "" });
        kept.push_str(rest);
    }
    kept
}
