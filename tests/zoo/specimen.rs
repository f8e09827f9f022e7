//! The jobs of the zoo, and how they are judged.

use std::fmt::Write;

use retryproof::report::Oracle;
use retryproof::{Explore, Report, Verdict, Violation};

/// Explores a job with these settings.
pub(crate) type Run = fn(&Explore) -> Report;

/// Changes settings.
type Set = fn(Explore) -> Explore;

/// A row of `docs/spec/jobs.md`.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) specimens: Vec<Specimen>,
}

/// A job, and what the harness must find in it.
pub(crate) struct Specimen {
    /// Its behavior, in a few words.
    pub(crate) what: &'static str,
    run: Run,
    /// Settings that differ from the defaults.
    set: Option<(&'static str, Set)>,
    pub(crate) verdict: Verdict,
    /// All violations.
    because: Vec<Because>,
    /// Parts of the report.
    says: Vec<&'static str>,
}

/// Why a job is bad: the oracle, the summary, the scenario, and a part of the line of the last deviation.
#[derive(Debug, PartialEq)]
pub(crate) struct Because {
    oracle: Oracle,
    summary: String,
    scenario: String,
    line: &'static str,
}

/// The `summary` may end with `…`. The `scenario` does not have the name of the test, and is empty for the fault-free
/// run. The `line` is empty if the scenario has none.
pub(crate) fn because(
    oracle: Oracle,
    summary: &'static str,
    scenario: impl Into<String>,
    line: &'static str,
) -> Because {
    Because { oracle, summary: summary.to_owned(), scenario: scenario.into(), line }
}

fn specimen(what: &'static str, verdict: Verdict, run: Run) -> Specimen {
    Specimen { what, run, set: None, verdict, because: Vec::new(), says: Vec::new() }
}

/// A job that the harness must pass.
pub(crate) fn good(what: &'static str, run: Run) -> Specimen {
    specimen(what, Verdict::RetryProof, run)
}

/// A job that the harness must fail for these reasons and no others.
pub(crate) fn bad(what: &'static str, because: impl Into<Vec<Because>>, run: Run) -> Specimen {
    Specimen { because: because.into(), ..specimen(what, Verdict::Violated, run) }
}

/// A job that waits forever.
pub(crate) fn stuck(what: &'static str, says: &'static str, run: Run) -> Specimen {
    specimen(what, Verdict::Stuck, run).says(says)
}

impl Specimen {
    /// Explores the job with another setting than the defaults.
    pub(crate) fn with(self, words: &'static str, set: Set) -> Self {
        Self { set: Some((words, set)), ..self }
    }

    /// Requires the report to contain this text.
    pub(crate) fn says(mut self, part: &'static str) -> Self {
        self.says.push(part);
        self
    }

    /// Returns the other settings, in words.
    pub(crate) fn settings(&self) -> &'static str {
        self.set.map_or("", |(words, _)| words)
    }

    pub(crate) fn explore(&self, family: &Family) -> Report {
        (self.run)(&self.with_settings(family, Explore::new()))
    }

    fn with_settings(&self, family: &Family, explore: Explore) -> Explore {
        let explore = explore.name(self.name(family)).replay_command("cargo test --test zoo");
        self.set.map_or(explore.clone(), |(_, set)| set(explore))
    }

    /// Returns the name of its exploration, with which a scenario of it can be replayed.
    pub(crate) fn name(&self, family: &Family) -> String {
        let words = format!("{}: {}", family.name, self.what);
        words.chars().map(|c| if c == ' ' { '-' } else { c }).filter(|c| !",`".contains(*c)).collect()
    }

    /// Returns what is wrong with the report.
    fn wrong(&self, family: &Family, report: &Report) -> Vec<String> {
        let mut wrong = Vec::new();
        if report.verdict() != self.verdict {
            wrong.push(format!("its verdict is {:?}, expected {:?}", report.verdict(), self.verdict));
        }
        if self.verdict == Verdict::RetryProof {
            if !report.exhausted() {
                wrong.push("not all of its scenarios were run".to_owned());
            }
            wrong.extend(report.warnings().iter().map(|warning| format!("a warning: {}", warning.summary)));
        }
        for reason in &self.because {
            let is_among = |report: &Report| report.violations().iter().any(|v| reason.is(v, report.test()));
            if !is_among(report) && !is_among(&self.replayed(family, &reason.scenario)) {
                wrong.push(format!("not found: {reason:?}"));
            }
        }
        for violation in report.violations() {
            if !self.because.iter().any(|reason| reason.is_about(violation)) {
                wrong.push(format!("found for no reason given: {}", told(violation, report.test())));
            }
        }
        let text = report.to_string();
        wrong.extend(
            self.says.iter().filter(|part| !text.contains(**part)).map(|part| format!("not said: {part}")),
        );
        wrong
    }

    /// Replays a scenario that is not the first of its kind, because the report only names the first.
    fn replayed(&self, family: &Family, scenario: &str) -> Report {
        let name = self.name(family);
        (self.run)(
            &self.with_settings(family, Explore::new()).replay(format!("{name} {scenario}").trim_end()),
        )
    }
}

impl Because {
    /// Whether the violation has this reason.
    fn is_about(&self, violation: &Violation) -> bool {
        let same = match self.summary.strip_suffix('…') {
            Some(beginning) => violation.summary.starts_with(beginning),
            None => self.summary == violation.summary,
        };
        self.oracle == violation.oracle && same
    }

    fn is(&self, violation: &Violation, test: &str) -> bool {
        let line = line_of(violation);
        self.is_about(violation)
            && self.scenario == scenario_of(violation, test)
            && line.is_empty() == self.line.is_empty()
            && line.contains(self.line)
    }
}

/// Formats a violation like the reason that the job would need.
fn told(violation: &Violation, test: &str) -> String {
    let Violation { oracle, summary, .. } = violation;
    format!(
        "because(Oracle::{oracle:?}, {summary:?}, {:?}, {:?})",
        scenario_of(violation, test),
        line_of(violation)
    )
}

pub(crate) fn scenario_of(violation: &Violation, test: &str) -> String {
    violation.scenario.to_string()[test.len()..].trim_start().to_owned()
}

/// Returns the line of code of the last deviation.
fn line_of(violation: &Violation) -> String {
    let Some((file, line)) = violation.place.as_ref().and_then(|place| place.rsplit_once(':')) else {
        return String::new();
    };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let source = std::fs::read_to_string(path).expect("the file of a place can be read");
    let line: usize = line.parse().expect("a place ends in a line");
    source.lines().nth(line - 1).expect("the line of a place is there").trim().to_owned()
}

impl Family {
    pub(crate) fn new(name: &'static str, specimens: impl Into<Vec<Specimen>>) -> Self {
        Self { name, specimens: specimens.into() }
    }

    /// Explores all jobs of the family, and panics with what is wrong.
    pub(crate) fn judge(&self) {
        let mut wrong = String::new();
        for specimen in &self.specimens {
            let report = specimen.explore(self);
            let mut complaints = specimen.wrong(self, &report);
            complaints.extend(crate::table::differs(self, specimen, &report));
            if !complaints.is_empty() {
                _ = write!(wrong, "\n{}: {}\n", self.name, specimen.what);
                complaints.iter().for_each(|complaint| _ = writeln!(wrong, "  {complaint}"));
                _ = writeln!(wrong, "{report}");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
}
