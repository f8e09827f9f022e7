//! What runs did that is asking for trouble.

use super::Exploration;
use crate::judge::report::Warning;
use crate::judge::run::Outcome;

impl Exploration<'_> {
    /// Takes down what a run did.
    pub(super) fn look_at_hygiene(&mut self, outcome: &Outcome) {
        self.tally.hygiene.extend(outcome.record.hygiene().iter().cloned());
    }

    /// What is worth a warning, each once; nothing where it is a violation.
    pub(super) fn warnings(&mut self) -> Vec<Warning> {
        let outcome = &self.basis.reference.outcome;
        if outcome.terms.warnings_denied {
            return Vec::new();
        }
        self.look_at_hygiene(outcome);
        self.tally.hygiene.iter().map(Warning::new).collect()
    }
}
