//! One scenario alone.

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

/// The variable that holds a scenario to be run alone.
const REPLAY: &str = "RETRYPROOF_REPLAY";

impl Explore {
    /// The scenario to be run alone, if one is asked for here.
    pub(super) fn wanted_replay(&self, test: &str) -> Result<Option<Scenario>, ScenarioError> {
        if let Some(text) = &self.replay {
            return text.parse().map(Some);
        }
        match std::env::var(REPLAY) {
            // As a matrix of CI jobs leaves it.
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

/// A replay of a test that there is not would pass without a word: whoever is not meant says so, the first of them.
fn say_once(scenario: &Scenario, test: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let meant = scenario.test();
        let words = format!(
            "retryproof: {REPLAY} is for the test `{meant}`; `{test}`, and all others, are explored as always. If no report says `{meant}: replay of one scenario`, no test of that name has run\n"
        );
        // Not through `eprintln!`: libtest would keep it to itself where the test passes.
        let _ = std::io::stderr().write_all(words.as_bytes());
    });
}

impl Exploration<'_> {
    pub(super) fn replay(mut self, scenario: &Scenario) -> Report {
        self.look_at_overlap();
        // Places of the replay are named as those of an exploration are.
        self.courses();
        if scenario.test() != self.basis.test {
            self.notes.push(notes::of_another_test(scenario.test()));
        }
        // Such a job is no deviation's fault, and its scenario has none.
        if let Some(report) =
            Some(scenario).filter(|s| s.wanted().is_empty()).and_then(|_| self.report_of_leaks())
        {
            return Report { replayed: true, ..report };
        }
        let plan = Plan::Wanted(scenario.wanted().to_vec());
        // One run: whoever asks for backtraces wants those of its panics.
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
                "the scenario no longer fits the code: {divergence}\nIts timeline is that of what is left of it. Run the test without {REPLAY} to have today's scenarios."
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
