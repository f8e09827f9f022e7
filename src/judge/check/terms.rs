//! Checks whether the names in the terms of a test exist. A name that matches nothing is probably a typo.

use super::Exploration;
use crate::judge::run::Outcome;
use crate::search::choice::Name;
use crate::system::job::short_kind;
use crate::world::names;

/// A term of the test that matches nothing in any fault-free run.
#[derive(Debug, thiserror::Error)]
pub(super) enum TermError {
    #[error("`ignore(\"{name}\", …)` names no durable or observed state; {}", listed("the states", .there))]
    State { name: Name, there: Vec<String> },
    #[error("`{term}` names no effect of a fault-free run; {}", listed("the effects", .there))]
    Effect { term: String, there: Vec<String> },
    #[error("a term for jobs of the kind `{kind}` matches no job of a fault-free run; {}", listed("the kinds of jobs", .there))]
    Job { kind: String, there: Vec<String> },
}

fn listed(what: &str, there: &[String]) -> String {
    match there {
        [] => format!("{what}: none"),
        there => format!("{what}: `{}`", there.join("`, `")),
    }
}

impl Exploration<'_> {
    /// Returns the first term that matches nothing.
    pub(super) fn idle_term(&self) -> Option<TermError> {
        let outcomes = || self.cases.iter().map(|case| &case.reference.outcome);
        // If one of the runs did not complete, its later names are unknown.
        if outcomes().any(|outcome| outcome.end != crate::judge::run::End::Completed) {
            return None;
        }
        let all = |of: &dyn Fn(&Outcome) -> Vec<String>| {
            let mut all: Vec<_> = outcomes().flat_map(of).collect();
            all.sort();
            all.dedup();
            all
        };
        let terms = &self.basis.reference.outcome.terms;
        let is_state = |name: Name| outcomes().any(|o| o.state.iter().any(|(known, _)| *known == name));
        if let Some((name, _)) = terms.ignored.iter().find(|(name, _)| !is_state(*name)) {
            let there = all(&|outcome| outcome.state.iter().map(|(name, _)| name.to_string()).collect());
            return Some(TermError::State { name: *name, there });
        }
        let happens = |name: &str| {
            outcomes().any(|outcome| {
                outcome.effects.iter().chain(&outcome.told).any(|e| names(name, e.service, e.operation))
            })
        };
        let of_effects = terms.ignored_effects.iter().map(|(name, _)| ("ignore_effect", name));
        let of_items = terms.items.iter().map(|(name, _)| ("as_items", name));
        let in_order = terms.in_order.iter().flatten().map(|name| ("effects_in_order", name));
        if let Some((term, name)) =
            of_effects.chain(of_items).chain(in_order).find(|(_, name)| !happens(name))
        {
            let there = all(&|outcome| outcome.effects.iter().map(|effect| effect.name()).collect());
            return Some(TermError::Effect { term: format!("{term}: {name}"), there });
        }
        let comes = |kind: &str| outcomes().any(|outcome| outcome.jobs.iter().any(|job| job.kind == kind));
        let kinds = terms.jobs.iter().map(|(kind, _)| *kind);
        let kinds = kinds.chain(terms.ignored_payloads.iter().map(|(kind, _)| *kind));
        let kind = kinds.into_iter().find(|kind| !comes(kind))?;
        let there = all(&|outcome| outcome.jobs.iter().map(|job| short_kind(job.kind).to_owned()).collect());
        Some(TermError::Job { kind: short_kind(kind).to_owned(), there })
    }
}
