//! Replays a single scenario.

use std::io::Write;
use std::sync::Once;

use super::conclusion::violation;
use super::surroundings::wants_backtraces;
use super::{Exploration, Explore, poisoned};
use crate::engine::panics;
use crate::judge::report::{Report, Verdict, notes};
use crate::judge::run::End;
use crate::search::choice::Plan;
use crate::search::scenario::{Scenario, ScenarioError};

/// The variable that holds the scenario to replay.
const REPLAY: &str = "RETRYPROOF_REPLAY";

impl Explore {
    /// Returns the scenario to replay, if this test should replay one.
    pub(super) fn wanted_replay(&self, test: &str) -> Result<Option<Scenario>, ScenarioError> {
        if let Some(text) = &self.replay {
            return text.parse().map(Some);
        }
        match std::env::var(REPLAY) {
            // An unused variable in a CI matrix is empty.
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => {
                let scenario: Scenario = text.parse()?;
                if scenario.test() != test {
                    say_once(&scenario, test);
                    return Ok(None);
                }
                Ok(Some(scenario))
            }
            Err(_) => Ok(None),
        }
    }
}

/// Says once that the scenario is for another test, because a replay without a matching test would pass silently.
fn say_once(scenario: &Scenario, test: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let meant = scenario.test();
        let words = format!(
            "retryproof: {REPLAY} is for the test `{meant}`; `{test}` and all other tests are explored as usual. If no report says `{meant}: replay of one scenario`, no test of that name ran\n"
        );
        // libtest would capture `eprintln!` if the test passes.
        let _ = std::io::stderr().write_all(words.as_bytes());
    });
}

impl Exploration<'_> {
    pub(super) fn replay(mut self, scenario: &Scenario) -> Report {
        self.look_at_overlap();
        // A replay names places like an exploration does.
        self.courses();
        if scenario.test() != self.basis.test {
            self.notes.push(notes::of_another_test(scenario.test()));
        }
        // A leak between jobs has a scenario without deviations.
        if let Some(report) =
            Some(scenario).filter(|s| s.wanted().is_empty()).and_then(|_| self.report_of_leaks())
        {
            return Report { replayed: true, ..report };
        }
        let plan = Plan::Wanted(scenario.wanted().to_vec());
        // This is one run, so print the backtraces of its panics if they are turned on.
        let (ran, showing) = match wants_backtraces() {
            true => panics::aloud(|| self.show(plan)),
            false => self.show(plan),
        };
        let notes = std::mem::take(&mut self.notes);
        let report = |verdict, reason, showing| Report {
            replayed: true,
            runs: 2,
            notes: notes.clone(),
            showing: Some(showing),
            ..self.basis.settings.blank(self.basis.test, verdict, reason)
        };
        let input = self.no_such_input(&ran).map(|error| error.to_string());
        if let Some(divergence) = input.or(ran.divergence.as_ref().map(ToString::to_string)) {
            let reason = format!(
                "the scenario no longer fits the code: {divergence}\nThe timeline shows what is left of the scenario. Run the test without {REPLAY} to get a current scenario."
            );
            return report(Verdict::Incomplete, Some(reason), showing);
        }
        if let End::Stuck(stuck) = &ran.outcome.end {
            return report(Verdict::Stuck, Some(stuck.to_string()), showing);
        }
        if let Some(error) = poisoned(&ran.outcome) {
            return report(Verdict::Incomplete, Some(notes::poisoned(error)), showing);
        }
        if let (true, Some(tried)) = (showing.findings.is_empty(), self.tally.undecided) {
            return report(Verdict::Incomplete, Some(notes::undecided(1, tried)), showing);
        }
        if showing.findings.is_empty() {
            return report(Verdict::RetryProof, None, showing);
        }
        let violations = showing.findings.iter().map(|finding| violation(finding, &showing, 1)).collect();
        Report { violations, violated: 1, ..report(Verdict::Violated, None, showing) }
    }
}
