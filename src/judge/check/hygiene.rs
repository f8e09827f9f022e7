//! Collects what the runs did that is risky in production.

use super::Exploration;
use crate::judge::report::Warning;
use crate::judge::run::Outcome;

impl Exploration<'_> {
    /// Records the risks of a run.
    pub(super) fn look_at_hygiene(&mut self, outcome: &Outcome) {
        self.tally.hygiene.extend(outcome.record.hygiene().iter().cloned());
    }

    /// Returns the warnings, each once, except for those that are violations.
    pub(super) fn warnings(&mut self) -> Vec<Warning> {
        let outcome = &self.basis.reference.outcome;
        if outcome.terms.warnings_denied {
            return Vec::new();
        }
        self.look_at_hygiene(outcome);
        self.tally.hygiene.iter().map(Warning::new).collect()
    }
}
