//! Checks whether the names in the terms of a test exist. A name that matches nothing is probably a typo.

use std::collections::BTreeSet;

use super::Exploration;
use crate::judge::run::{End, Outcome};
use crate::search::choice::Name;
use crate::system::job::short_kind;
use crate::system::service::STORE;
use crate::world::{ComparisonRules, names};

/// A term of the test that matches nothing in any run.
#[derive(Debug, thiserror::Error)]
pub(super) enum TermError {
    #[error("`ignore(\"{name}\", …)` names no durable or observed state; {}", listed("the states", .there))]
    State { name: Name, there: Vec<String> },
    #[error("`{term}` names no effect of any run; {}", listed("the effects", .there))]
    Effect { term: String, there: Vec<String> },
    #[error("a term for jobs of the kind `{kind}` matches no job of any run; {}", listed("the kinds of jobs", .there))]
    Job { kind: String, there: Vec<String> },
    #[error("`{term}` names nothing that any run has there; correct the path, or remove the term")]
    Part { term: String },
}

fn listed(what: &str, there: &[String]) -> String {
    match there {
        [] => format!("{what}: none"),
        there => format!("{what}: `{}`", there.join("`, `")),
    }
}

/// A term that may match nothing, by its position in the list of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamingTerm {
    Ignore(usize),
    IgnoreEffect(usize),
    AsItems(usize),
    /// The list, and the position in it.
    InOrder(usize, usize),
    IgnorePayload(usize),
    Job(usize),
}

impl NamingTerm {
    fn all(terms: &ComparisonRules) -> Vec<Self> {
        let in_order = terms.in_order.iter().enumerate();
        let in_order = in_order.flat_map(|(list, all)| (0..all.len()).map(move |at| Self::InOrder(list, at)));
        (0..terms.ignored.len())
            .map(Self::Ignore)
            .chain((0..terms.ignored_effects.len()).map(Self::IgnoreEffect))
            .chain((0..terms.items.len()).map(Self::AsItems))
            .chain(in_order)
            .chain((0..terms.jobs.len()).map(Self::Job))
            .chain((0..terms.ignored_payloads.len()).map(Self::IgnorePayload))
            .collect()
    }

    /// The name of the effect or the kind of the job that the term is about, if it is about one.
    fn name(self, terms: &ComparisonRules) -> Option<&str> {
        match self {
            Self::Ignore(_) => None,
            Self::IgnoreEffect(at) => Some(&terms.ignored_effects[at].0),
            Self::AsItems(at) => Some(&terms.items[at].0),
            Self::InOrder(list, at) => Some(&terms.in_order[list][at]),
            Self::IgnorePayload(at) => Some(terms.ignored_payloads[at].0),
            Self::Job(at) => Some(terms.jobs[at].0),
        }
    }

    /// Whether the run has an effect, or a job, that the term is about.
    fn is_about(self, terms: &ComparisonRules, outcome: &Outcome) -> bool {
        let Some(name) = self.name(terms) else { return true };
        match self {
            Self::IgnorePayload(_) | Self::Job(_) => outcome.jobs.iter().any(|job| job.kind == name),
            _ => {
                let mut effects = outcome.effects.iter().chain(&outcome.told);
                effects.any(|effect| names(name, effect.service, effect.operation))
            }
        }
    }

    /// Whether the term names something in the run.
    fn matches(self, terms: &ComparisonRules, outcome: &Outcome) -> bool {
        match self {
            Self::Ignore(at) => {
                let (name, path) = &terms.ignored[at];
                let is_there = |(known, state): &(Name, String)| known == name && path.names_in(state);
                // The rows that are gone at the end are those of the only store.
                let is_gone = || outcome.gone_rows.iter().any(|row| path.reaches(row));
                outcome.state.iter().any(is_there) || name.as_str() == STORE && is_gone()
            }
            Self::IgnoreEffect(at) => outcome.left_out.contains(&at),
            Self::IgnorePayload(at) => {
                let (kind, path) = &terms.ignored_payloads[at];
                let jobs = outcome.jobs.iter().filter(|job| job.kind == *kind);
                jobs.into_iter().any(|job| path.names_in(&job.payload) || path.names_in(job.came_as()))
            }
            Self::AsItems(_) | Self::InOrder(..) | Self::Job(_) => self.is_about(terms, outcome),
        }
    }
}

impl Exploration<'_> {
    /// The terms of the test.
    fn terms(&self) -> &ComparisonRules {
        &self.cases[0].reference.outcome.terms
    }

    /// The outcomes of the fault-free runs. None if one of them did not complete, so that its later names are unknown.
    fn fault_free(&self) -> Option<impl Iterator<Item = &Outcome> + Clone> {
        let outcomes = self.cases.iter().map(|case| &case.reference.outcome);
        outcomes.clone().all(|outcome| outcome.end == End::Completed).then_some(outcomes)
    }

    /// Returns the first state that a term names and that is not there. All states are there in every run.
    pub(super) fn unknown_state(&self) -> Option<TermError> {
        let mut outcomes = self.fault_free()?;
        let all = outcomes.clone();
        let is_state = |name: Name| all.clone().any(|o| o.state.iter().any(|(known, _)| *known == name));
        let (name, _) = self.terms().ignored.iter().find(|(name, _)| !is_state(*name))?;
        let there =
            each(&mut outcomes, |outcome| outcome.state.iter().map(|(name, _)| name.to_string()).collect());
        Some(TermError::State { name: *name, there })
    }

    /// Returns the terms that match nothing in the fault-free runs.
    fn idle_at_first(&self) -> &[NamingTerm] {
        self.cases[0].idle.get_or_init(|| {
            let (Some(outcomes), terms) = (self.fault_free(), self.terms()) else { return Vec::new() };
            let mut all = NamingTerm::all(terms);
            all.retain(|term| !outcomes.clone().any(|outcome| term.matches(terms, outcome)));
            all
        })
    }

    /// Notes which of these terms match something in a run.
    pub(super) fn look_at_terms(&mut self, outcome: &Outcome) {
        let idle = self.idle_at_first();
        if idle.len() == self.tally.met_terms.len() {
            return;
        }
        let (terms, met) = (self.terms(), &self.tally.met_terms);
        let is_met = |at: &usize| !met.contains(at) && idle[*at].matches(terms, outcome);
        let new: BTreeSet<usize> = (0..idle.len()).filter(is_met).collect();
        self.tally.met_terms.extend(new);
    }

    /// Returns the first term that matches nothing in any run. All runs must have been judged.
    pub(super) fn idle_term(&self) -> Option<TermError> {
        let mut left = self.idle_at_first().iter().enumerate();
        let (_, &term) = left.find(|(at, _)| !self.tally.met_terms.contains(at))?;
        let (terms, mut outcomes) = (self.terms(), self.fault_free()?);
        let is_known = outcomes.clone().any(|outcome| term.is_about(terms, outcome));
        let effects = |outcomes: &mut dyn Iterator<Item = &Outcome>| {
            each(outcomes, |outcome| outcome.effects.iter().map(|effect| effect.name()).collect())
        };
        let no_effect = |term: &str, name: &str, there| {
            Some(TermError::Effect { term: format!("{term}: {name}"), there })
        };
        match term {
            NamingTerm::Ignore(at) => {
                let (name, path) = &terms.ignored[at];
                Some(TermError::Part { term: format!("ignore(\"{name}\", \"{path}\")") })
            }
            NamingTerm::IgnoreEffect(at) if is_known => {
                let (name, path) = &terms.ignored_effects[at];
                Some(TermError::Part { term: format!("ignore_effect(\"{name}\", \"{path}\")") })
            }
            NamingTerm::IgnorePayload(at) if is_known => {
                let (kind, path) = &terms.ignored_payloads[at];
                let term = format!("jobs::<{}>().ignore(\"{path}\")", short_kind(kind));
                Some(TermError::Part { term })
            }
            NamingTerm::IgnoreEffect(at) => {
                no_effect("ignore_effect", &terms.ignored_effects[at].0, effects(&mut outcomes))
            }
            NamingTerm::AsItems(at) => no_effect("as_items", &terms.items[at].0, effects(&mut outcomes)),
            NamingTerm::InOrder(list, at) => {
                no_effect("effects_in_order", &terms.in_order[list][at], effects(&mut outcomes))
            }
            NamingTerm::IgnorePayload(_) | NamingTerm::Job(_) => {
                let kind = short_kind(term.name(terms).unwrap_or_default()).to_owned();
                let kinds = |outcome: &Outcome| {
                    outcome.jobs.iter().map(|job| short_kind(job.kind).to_owned()).collect()
                };
                Some(TermError::Job { kind, there: each(&mut outcomes, kinds) })
            }
        }
    }
}

/// Returns the different texts of all outcomes, in order.
fn each(outcomes: &mut dyn Iterator<Item = &Outcome>, of: impl Fn(&Outcome) -> Vec<String>) -> Vec<String> {
    let all: BTreeSet<String> = outcomes.flat_map(of).collect();
    all.into_iter().collect()
}
