//! Decides whether a test passes, and writes its output: failing scenarios, which the next run tries first; a summary
//! for CI; a page for a browser; a result for `cargo retryproof`; and messages on stderr.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use super::apart::text_of;
use super::baseline::{Ratchet, RatchetState};
use super::inputs::AssignmentChoice;
use super::kept::{KeptFiles, KeptScenario};
use super::reference::Reference;
use super::surroundings::say;
use super::tally::{Tally, kind_of};
use super::walk::Stopwatch;
use super::{Exploration, Explore, page, results, summary};
use crate::World;
use crate::judge::report::{Coverage, MetPoints, Report, Verdict, one_line, unreached};
use crate::judge::run::Body;
use crate::search::choice::{Choice, DeviationKind, Plan};
use crate::search::scenario::Scenario;
use crate::system::job::short_kind;

/// A report, and whether the test passes with it.
struct JudgedReport {
    report: Report,
    passes: bool,
    /// Messages in addition to the report, in one line each.
    words: Vec<String>,
    /// The scenarios that the next run tries first.
    failing: Vec<Scenario>,
    /// What the ratchet compared.
    state: Option<RatchetState>,
}

impl JudgedReport {
    /// Returns the text of the report and of what is said beside it.
    fn text(&self) -> String {
        let mut text = text_of(&self.report);
        if !self.words.is_empty() {
            text.push('\n');
            self.words.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text
    }
}

/// From when on a test is slow.
const SLOW: Duration = Duration::from_secs(10);

/// Advice for a slow test, if the reason is known: this crate was built without optimization.
fn advice(took: Duration, opt_level: &str) -> Option<String> {
    (took >= SLOW && opt_level == "0").then(|| {
        format!(
            "this took {} s, since retryproof was built without optimization; two lines in Cargo.toml make it about eight times faster:\n  [profile.dev.package.\"*\"]\n  opt-level = 3",
            took.as_secs()
        )
    })
}

/// The variable that sets the maximum number of deviations of all tests.
const DEVIATIONS: &str = "RETRYPROOF_DEVIATIONS";

/// The variable is set to something else than a number.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{DEVIATIONS}: `{0}` is not a number of deviations; write a whole number, as in `1`")]
struct DeviationsError(String);

fn wanted_deviations() -> Result<Option<usize>, DeviationsError> {
    number_of_deviations(&std::env::var_os(DEVIATIONS).unwrap_or_default().to_string_lossy())
}

fn number_of_deviations(text: &str) -> Result<Option<usize>, DeviationsError> {
    match text.trim() {
        // An unused variable in a CI matrix is empty.
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| DeviationsError(number.to_owned())),
    }
}

impl Explore {
    /// Explores, and panics with the report unless the body is retry-proof.
    ///
    /// Scenarios that fail are stored under `target/retryproof/`, and the next run of this test tries them first
    /// ([`Explore::keep_regressions`]). If one of them still fails, the rest is not explored. If `GITHUB_STEP_SUMMARY`
    /// is set, the result is appended to that file as Markdown. All failing tests of a run are on one page for a browser,
    /// `target/retryproof/report.html`; `RETRYPROOF_HTML=all` adds those that pass, `RETRYPROOF_HTML=off` writes no page,
    /// and `RETRYPROOF_HTML_DIR` names another folder. `cargo retryproof list` shows the results of the last run, which are in
    /// `target/retryproof/results/`; `RETRYPROOF_RESULTS` names another folder, or is `off`. `RETRYPROOF_DEVIATIONS` replaces the
    /// number of [`deviations`](Explore::deviations) of all tests. The report is in color on a terminal, unless
    /// `NO_COLOR` or `CI` is set. A test that passes prints one line (runs, bounds, what was not explored), which
    /// `cargo test -- --nocapture` shows.
    ///
    /// # Panics
    /// Panics if the verdict is not [`Verdict::RetryProof`]. [`Verdict::Incomplete`] passes if the test calls
    /// [`Explore::allow_incomplete`], and for a replayed scenario in which nothing is wrong. [`Verdict::Violated`] passes if
    /// [`Explore::ratchet`] knows all violations.
    #[track_caller]
    pub fn check(mut self, body: impl AsyncFn(&World) + Sync) {
        let name = self.test_name(Location::caller());
        let stopwatch = Stopwatch::start();
        if let Some(most) = wanted_deviations().unwrap_or_else(|error| panic!("{error}")) {
            self.bounds.total = most;
        }
        let mut judged = self.judged(&name, &body, &stopwatch);
        judged.words.extend(advice(stopwatch.elapsed(), env!("RETRYPROOF_OPT_LEVEL")));
        let JudgedReport { report, passes, words, .. } = &judged;
        if *passes && !report.replayed {
            words.iter().for_each(|line| say(&format!("{name}: {line}")));
            // Through `eprintln!`, other than all else: libtest shows it with `--nocapture`, and keeps it to itself
            // otherwise.
            eprintln!("retryproof: {}", one_line(report));
            return;
        }
        let text = judged.text();
        assert!(passes, "{text}");
        // libtest would capture `eprintln!`, but a replay should always be visible.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn judged(&self, name: &str, body: &(dyn Body + Sync), stopwatch: &Stopwatch) -> JudgedReport {
        let ratchet = self.ratchet.then(|| Ratchet::of(name));
        let ratchet = ratchet.as_ref();
        let is_replay = !matches!(self.wanted_replay(name), Ok(None));
        let kept = (!is_replay).then(|| KeptFiles::of(name, self.keep_regressions));
        let first = kept.as_ref().filter(|kept| !kept.scenarios.is_empty());
        // The program exits after an exploration that hangs.
        let tell = |report| self.conclude(self.judge(report, ratchet), kept.as_ref(), stopwatch).text();
        let try_first =
            |kept: &KeptFiles| self.apart(name, body, &tell, || self.try_first(body, name, &kept.scenarios));
        let first = first.and_then(try_first);
        let first = first.map(|report| self.judge(report, ratchet)).filter(|judged| !judged.passes);
        let explored = || self.apart(name, body, &tell, || self.explore(body, name));
        let judged = first.unwrap_or_else(|| self.judge(explored(), ratchet));
        self.conclude(judged, kept.as_ref(), stopwatch)
    }

    /// Keeps the failing scenarios, appends the summary, brings the page up to date, and writes the result.
    fn conclude(
        &self,
        mut judged: JudgedReport,
        kept: Option<&KeptFiles>,
        stopwatch: &Stopwatch,
    ) -> JudgedReport {
        let report = &judged.report;
        let is_told = matches!(report.verdict, Verdict::NothingTested | Verdict::Nondeterministic);
        if let Some(kept) = kept.filter(|_| !is_told) {
            kept.add(&judged.failing);
            // Kept scenarios that still fail stay in the file.
            let path = report.kept.is_none().then(|| kept.keep(&judged.failing)).flatten();
            let words = |path: PathBuf| {
                format!("kept in {}: the next run of this test tries it first", path.display())
            };
            judged.words.extend(path.map(words));
        }
        summary::append(&judged.report, judged.passes, &judged.words);
        if !judged.passes {
            summary::annotate(&judged.report);
        }
        let (took, state) = (stopwatch.elapsed(), judged.state.as_ref());
        results::write((&judged.report, judged.passes), &judged.words, state, took);
        let page = page::update(&judged.report, judged.passes, &judged.words);
        let page = page.filter(|_| !judged.passes);
        judged.words.extend(page.map(|page| format!("as pictures: {}", page.display())));
        judged
    }

    fn judge(&self, mut report: Report, ratchet: Option<&Ratchet>) -> JudgedReport {
        let mut passes = match report.verdict {
            Verdict::RetryProof => true,
            Verdict::Incomplete => self.allow_incomplete && report.is_limited,
            _ => false,
        };
        // Take one path of each code from each cause.
        let mut new: Vec<(usize, usize)> = Vec::new();
        for (at, violation) in report.violations.iter().enumerate() {
            for (path, its) in violation.paths.iter().enumerate() {
                if !violation.paths[..path].iter().any(|before| before.code == its.code) {
                    new.push((at, path));
                }
            }
        }
        let (mut words, mut state) = (Vec::new(), None);
        if let Some(ratchet) = ratchet.filter(|_| !report.replayed) {
            let ruling = ratchet.rule(&report, passes);
            (passes, words, new, state) = (ruling.passes, ruling.words, ruling.new, ruling.state);
        }
        let scenario = |&(at, path): &(usize, usize)| report.violations[at].paths[path].scenario.clone();
        let mut failing: Vec<_> = new.iter().map(scenario).collect();
        if report.verdict == Verdict::Stuck {
            failing.extend(report.showing.as_ref().map(|showing| showing.scenario.clone()));
        }
        let mut different: Vec<Scenario> = Vec::new();
        for scenario in failing {
            if !different.contains(&scenario) {
                different.push(scenario);
            }
        }
        // Show a new violation, not one that is already known.
        report.lead_with(new.first().copied().unwrap_or_default());
        JudgedReport { report, passes, words, failing: different, state }
    }

    /// Runs the kept scenarios. Returns the report if one of them still fails.
    fn try_first(&self, body: &(dyn Body + Sync), test: &str, kept: &[KeptScenario]) -> Option<Report> {
        if cfg!(panic = "abort") {
            return None;
        }
        let share = self.share().ok()?;
        // The scenarios name their inputs, which may differ from the present ones.
        let named = kept.iter().map(|kept| kept.scenario.wanted_inputs().to_vec());
        let wanted = AssignmentChoice::AllAnd(named.collect());
        self.begin(body, test, (share, wanted), |exploration| exploration.try_first(kept))
    }
}

impl Exploration<'_> {
    fn try_first(mut self, kept: &[KeptScenario]) -> Option<Report> {
        // The exploration reports what is wrong with the reference run.
        if self.reference_is_no_good().is_some() {
            return None;
        }
        // The exploration reports violations of the reference runs.
        self.tally = Tally::of_references(self.cases.len());
        let mut tried = 0;
        for KeptScenario { scenario, stays_in } in kept {
            let Some(case) = self.case_of(scenario) else { continue };
            self.enter(case);
            let ran = self.run(Plan::Wanted(scenario.wanted().to_vec()));
            let input = self.no_such_input(&ran).map(|error| error.to_string());
            if let Some(divergence) = input.or(ran.divergence.as_ref().map(ToString::to_string)) {
                if let Some(file) = stays_in {
                    let file = file.display();
                    say(&format!(
                        "{file}: `{scenario}` no longer fits the code ({divergence}); delete its line"
                    ));
                }
                continue;
            }
            if stays_in.is_some() || self.is_inside(&ran.record) {
                tried += 1;
                self.judge(&ran);
            }
        }
        let at_least = self.tally.runs;
        if !self.tally.has_found() {
            return None;
        }
        let verdict = match self.tally.only_stuck() {
            Some(stuck) => (Verdict::Stuck, Some(stuck)),
            None => (Verdict::Violated, None),
        };
        let report = self.finish(verdict.0, verdict.1, false, at_least);
        Some(Report { kept: Some(tried), ..report })
    }

    /// Whether this exploration could reach a run with this record.
    fn is_inside(&self, record: &[Choice]) -> bool {
        let settings = self.basis.settings;
        let deviations: Vec<DeviationKind> = record.iter().filter(|c| c.taken != 0).map(|c| c.kind).collect();
        let count = |kind: DeviationKind| deviations.iter().filter(|other| **other == kind).count();
        let in_kinds = deviations.iter().all(|&kind| count(kind) <= settings.bounds.of(kind));
        in_kinds && (deviations.len() <= settings.bounds.total || settings.samples())
    }

    /// Returns what is covered, if the ratchet needs it.
    pub(super) fn coverage(&self, report: &Report) -> Option<Coverage> {
        let settings = self.basis.settings;
        if !settings.ratchet {
            return None;
        }
        let bounds = &settings.bounds;
        // Deviations that the bounds exclude are not covered.
        let is_open = |kind: DeviationKind| bounds.of(kind).min(bounds.total) > 0;
        let (mut met, mut ordinary) = (MetPoints::default(), MetPoints::default());
        let mut inputs = BTreeSet::new();
        for case in self.cases {
            let Reference { record, outcome } = &case.reference;
            met.add(record, kind_of(outcome));
            let open = record.iter().filter(|choice| is_open(choice.kind)).copied().collect::<Vec<_>>();
            ordinary.add(&open, kind_of(outcome));
            inputs.extend(case.words.iter().map(|word| format!("input {word}")));
        }
        let mut after_failures = self.tally.met.points().clone();
        after_failures.retain(|point, _| !met.points().contains_key(point));
        let kinds = [
            ("crashes", DeviationKind::Crash),
            ("faults", DeviationKind::Fault),
            ("deliveries", DeviationKind::Delivery),
            ("preemptions", DeviationKind::Preemption),
            ("delays", DeviationKind::Delay),
        ];
        let mut limits: BTreeMap<String, u64> = kinds
            .map(|(name, kind)| (name.to_owned(), bounds.of(kind).min(bounds.total) as u64))
            .into_iter()
            .collect();
        limits.insert("deviations".to_owned(), bounds.total as u64);
        limits.insert("random".to_owned(), settings.random);
        limits.insert("pct".to_owned(), settings.pct.map_or(0, |(_, runs)| runs));
        let terms = &self.basis.reference.outcome.terms;
        let (mut checked, mut excused) = terms.checked_and_excused();
        checked.append(&mut inputs);
        for outcome in self.cases.iter().map(|case| &case.reference.outcome) {
            checked.extend(outcome.state.iter().map(|(name, _)| format!("state {name}")));
            checked.extend(outcome.record.told_of_failures().map(|service| format!("reports to {service}")));
            let requests = outcome.jobs.iter().filter(|job| job.request().is_some());
            excused.extend(requests.map(|job| format!("request {}", short_kind(job.kind))));
        }
        Some(Coverage {
            exhausted: report.exhausted,
            bounds: limits,
            points: ordinary.points().clone(),
            points_after_failures: after_failures,
            unreached: unreached(&report.lines),
            checked,
            excused,
            poisoned: self.is_poisoned,
            undecided: self.tally.undecided.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_for_deviations_is_a_number() {
        assert_eq!(number_of_deviations(" 3 "), Ok(Some(3)));
        assert_eq!(number_of_deviations(""), Ok(None));
        assert_eq!(
            number_of_deviations("two").unwrap_err().to_string(),
            "RETRYPROOF_DEVIATIONS: `two` is not a number of deviations; write a whole number, as in `1`"
        );
    }

    #[test]
    fn only_a_slow_test_of_an_unoptimized_build_is_told_how_to_be_fast() {
        let told = advice(Duration::from_millis(48_500), "0").unwrap();
        assert_eq!(
            told,
            "this took 48 s, since retryproof was built without optimization; two lines in Cargo.toml make it about eight times faster:\n  [profile.dev.package.\"*\"]\n  opt-level = 3"
        );
        assert_eq!(advice(Duration::from_millis(9_999), "0"), None);
        assert_eq!(advice(Duration::from_secs(48), "3"), None);
    }
}
