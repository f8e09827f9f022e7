//! The assignments of inputs. Each has its own fault-free run, with which all its runs are compared.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::orders::SerialOutcomes;
use super::progress::Progress;
use super::reference::Reference;
use super::walk::Limits;
use super::{Basis, Exploration, Explore, FinishedRun};
use crate::judge::oracle::{self, Finding};
use crate::judge::pulse;
use crate::judge::report::words;
use crate::judge::run::{Body, Course, End, Ground, Outcome, run};
use crate::search::choice::{self, Choice, Name, Plan};
use crate::search::explore::Share;
use crate::search::input::{self, Assignment, Assignments, InputError};
use crate::search::scenario::Scenario;
use crate::system::seeded::{OTHER_SEEDS, SeededTexts};

/// The assignments that an exploration includes.
pub(super) enum AssignmentChoice {
    /// All assignments that the fault-free runs ask for.
    All,
    /// The same, and those that scenarios of an earlier exploration name.
    AllAnd(Vec<Vec<choice::DeviationSpec>>),
    /// The assignment of one scenario.
    One(Assignment),
}

impl Basis<'_> {
    /// Whether the case has the inputs that a scenario names.
    fn has(&self, words: &[choice::DeviationSpec]) -> bool {
        self.words == words || *self.inputs == Assignment::of_words(words)
    }
}

impl Explore {
    /// Returns the fault-free run of each assignment, and a lower bound for the number of further assignments.
    pub(super) fn cases<'b>(
        &'b self,
        body: &'b (dyn Body + Sync),
        test: &'b str,
        share: Share,
        wanted: AssignmentChoice,
    ) -> (Vec<Basis<'b>>, usize) {
        let progress = Arc::new(Progress::new(test));
        let limits = Limits::new(self.max_runs, self.max_time);
        let pulses = pulse::here();
        pulses.iter().for_each(|pulses| pulses.end_at(limits.deadline()));
        let case = |number: usize, inputs: Assignment| {
            let inputs = Arc::new(inputs);
            let (reference, ground) = self.reference(body, inputs.clone());
            let (flights, seeded) = (ground.flights, ground.seeded);
            let words = input::words(&inputs, &reference.outcome.asked);
            let unusual =
                input::unusual(&inputs, &reference.outcome.asked).iter().map(ToString::to_string).collect();
            let ignored = self.ignored_refusal(body, &inputs, &reference);
            let (serial, progress, settings) = (SerialOutcomes::default(), progress.clone(), self);
            let (limits, pulses) = (limits.clone(), pulses.clone());
            Basis {
                body,
                test,
                settings,
                share,
                progress,
                number,
                inputs,
                flights,
                seeded,
                words,
                unusual,
                reference,
                ignored,
                serial,
                idle: OnceLock::new(),
                limits,
                pulses,
            }
        };
        let named = match wanted {
            AssignmentChoice::One(assignment) => return (vec![case(0, assignment)], 0),
            AssignmentChoice::All => Vec::new(),
            AssignmentChoice::AllAnd(named) => named,
        };
        let mut cases: Vec<Basis<'b>> = Vec::new();
        let mut assignments = Assignments::default();
        while let Some(assignment) = assignments.next() {
            let case = case(cases.len(), assignment);
            assignments.ran(&case.reference.outcome.asked);
            let end = &case.reference.outcome.end;
            let is_over = *end == End::OutOfTime || end.is_unresponsive();
            cases.push(case);
            if cases.len() >= self.max_assignments || is_over {
                break;
            }
        }
        for words in named {
            if !cases.iter().any(|case| case.has(&words)) {
                cases.push(case(cases.len(), Assignment::of_words(&words)));
            }
        }
        (cases, assignments.left())
    }
}

impl Explore {
    /// Returns the fault-free run with these inputs, and what the runs that are compared with it share.
    fn reference(&self, body: &(dyn Body + Sync), inputs: Arc<Assignment>) -> (Reference, Ground) {
        let mut ground = Ground { inputs, ..self.ground() };
        let mut reference: Reference = run(body, Course::timed(Plan::ordinary()), &ground).into();
        if !reference.outcome.flights.is_empty() {
            // Calls that are made side by side have a choice more, now that they are known.
            ground.flights = Arc::new(std::mem::take(&mut reference.outcome.flights));
            reference = run(body, Course::timed(Plan::ordinary()), &ground).into();
        }
        ground.seeded = Arc::new(self.seeded_texts(body, &ground, &reference.outcome));
        reference.outcome.mark_seeded(&ground.seeded);
        (reference, ground)
    }

    /// Finds the texts that depend on random numbers, by fault-free runs with other seeds.
    fn seeded_texts(&self, body: &(dyn Body + Sync), ground: &Ground, reference: &Outcome) -> SeededTexts {
        if !reference.generated.has_draws() || reference.end != End::Completed {
            return SeededTexts::default();
        }
        let [second, third] = OTHER_SEEDS.map(|bits| {
            let (inputs, flights) = (ground.inputs.clone(), ground.flights.clone());
            let ground = Ground { inputs, flights, seed: ground.seed ^ bits, ..self.ground() };
            run(body, Course::timed(Plan::ordinary()), &ground).outcome
        });
        if second.end != End::Completed || third.end != End::Completed {
            return SeededTexts::default();
        }
        SeededTexts::of([&reference.parts(), &second.parts(), &third.parts()])
    }

    /// Checks whether the last refusal of a fault-free run was ignored, by comparison with the run without the refusal.
    fn ignored_refusal(
        &self,
        body: &(dyn Body + Sync),
        inputs: &Assignment,
        reference: &Reference,
    ) -> Option<Finding> {
        let Reference { outcome: refused, record } = reference;
        if refused.end != End::Completed {
            return None;
        }
        let asked = refused.asked.iter().rfind(|asked| asked.refused().is_some())?;
        let inputs = Arc::new(inputs.without(asked.question));
        let ground = Ground { inputs, ..self.ground() };
        let accepted = run(body, Course::plain(Plan::ordinary()), &ground).outcome;
        oracle::ignored(refused, record, &accepted, asked)
    }
}

impl<'b> Exploration<'b> {
    /// Continues with the inputs of this case.
    pub(super) fn enter(&mut self, case: usize) {
        self.basis = &self.cases[case];
        self.ground.inputs = self.basis.inputs.clone();
        self.ground.flights = self.basis.flights.clone();
        self.ground.seeded = self.basis.seeded.clone();
        self.ground.finishes = self.basis.reference.outcome.jobs.iter().all(|job| !job.state.is_under_way());
    }

    /// Returns the case whose scenarios have these inputs.
    pub(super) fn case_of(&self, scenario: &Scenario) -> Option<usize> {
        self.cases.iter().position(|case| case.has(scenario.wanted_inputs()))
    }

    /// Returns the scenario of a run with the inputs of this case.
    pub(super) fn scenario(&self, record: &[Choice]) -> Scenario {
        Scenario::of_record(self.basis.test, record).on(&self.basis.words)
    }

    /// Adds a note that lists the inputs, if there are any.
    pub(super) fn note_inputs(&mut self) {
        let mut answers: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        let mut order = Vec::new();
        for asked in self.cases.iter().flat_map(|case| &case.reference.outcome.asked) {
            answers.entry(asked.question).or_insert_with(|| {
                order.push(asked.question);
                asked.answers.clone()
            });
        }
        if order.is_empty() {
            return;
        }
        let inputs: Vec<_> = order.iter().map(|question| (*question, &answers[question][..])).collect();
        self.notes.push(words::inputs(&inputs, self.cases.len()));
    }

    /// Returns why a run cannot have the inputs of its scenario, if it cannot.
    pub(super) fn no_such_input(&self, ran: &FinishedRun) -> Option<InputError> {
        let reference = &self.basis.reference.outcome.asked;
        let never = || input::never_asked(&self.basis.inputs, [reference, &ran.outcome.asked]);
        ran.no_such_input.clone().or_else(never)
    }
}
