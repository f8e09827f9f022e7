//! The definition of a correct program.
//!
//! A run is correct if its outcome is that of a fault-free execution of its jobs, one at a time, in an order that the
//! run itself allows, up to a one-to-one renaming of generated values. A job that gives up must do everything or
//! nothing. Every run within the bound is tried, with every order.

use std::collections::{BTreeMap, BTreeSet};

use crate::choice::{Chooser, Kind, scenario};
use crate::machine::Machine;
use crate::program::Program;
use crate::value::{End, Identity, Outcome};

/// The verdict on a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All runs are correct.
    Green {
        runs: u64,
    },
    Red {
        scenario: String,
        reason: String,
    },
    /// No job ends well in the fault-free run, so there is nothing to compare with.
    Nothing,
}

impl Verdict {
    pub fn is_red(&self) -> bool {
        matches!(self, Verdict::Red { .. })
    }
}

/// Pairs of jobs of which the first comes before the second in every allowed order.
type Precedence = BTreeSet<(Identity, Identity)>;

/// The outcomes of one-at-a-time executions, by the order that they respect and the jobs that they leave out.
struct Expected<'p> {
    program: &'p Program,
    known: BTreeMap<(Precedence, BTreeSet<Identity>), BTreeSet<Outcome>>,
}

/// Judges all runs of a program with at most `deviations` deviations.
pub fn judge(program: &Program, deviations: usize) -> Verdict {
    let mut expected = Expected { program, known: BTreeMap::new() };
    let (mut level, mut runs) = (vec![Vec::new()], 0);
    for depth in 0..=deviations {
        let mut next = Vec::new();
        for taken in level {
            let mut machine = Machine::new(program, Chooser::new(taken));
            machine.settle();
            runs += 1;
            let nobody_ends_well = machine.outcome().ends.values().all(|end| *end != End::Done);
            if depth == 0 && nobody_ends_well && machine.reused.is_none() {
                return Verdict::Nothing;
            }
            if let Some(reason) = expected.wrong(&machine) {
                return Verdict::Red { scenario: scenario(&machine.chooser.record), reason };
            }
            if depth < deviations {
                next.extend(machine.chooser.children());
            }
        }
        level = next;
    }
    Verdict::Green { runs }
}

/// Whether a job gives up in the fault-free run.
pub fn gives_up_unprovoked(program: &Program) -> bool {
    let mut machine = Machine::new(program, Chooser::new(Vec::new()));
    machine.settle();
    machine.outcome().ends.values().any(|end| *end != End::Done)
}

/// Judges one run, given its deviations as [`scenario`] writes them. Returns `None` if there is no such run.
pub fn judge_run(program: &Program, wanted: &str) -> Option<Verdict> {
    let mut expected = Expected { program, known: BTreeMap::new() };
    let mut taken = Vec::new();
    loop {
        let mut machine = Machine::new(program, Chooser::new(taken));
        machine.settle();
        if scenario(&machine.chooser.record) == wanted {
            return Some(match expected.wrong(&machine) {
                Some(reason) => Verdict::Red { scenario: wanted.to_owned(), reason },
                None => Verdict::Green { runs: 1 },
            });
        }
        taken = machine.chooser.children().into_iter().find(|child| {
            let mut machine = Machine::new(program, Chooser::new(child.clone()));
            machine.settle();
            let name = scenario(&machine.chooser.record);
            wanted == name || wanted.starts_with(&format!("{name} "))
        })?;
    }
}

impl Expected<'_> {
    /// Returns why a run is wrong, if it is.
    fn wrong(&mut self, machine: &Machine<'_>) -> Option<String> {
        if let Some(key) = machine.reused {
            return Some(format!("the key {key:?} was used for two requests that differ"));
        }
        let (outcome, precedence) = (machine.outcome(), machine.precedence());
        // A preemption alone is no excuse for giving up.
        let record = &machine.chooser.record;
        let is_excused = record.iter().any(|choice| choice.taken != 0 && choice.kind != Kind::Schedule);
        let gave_up: Vec<_> = match is_excused {
            true => outcome.ends.iter().filter(|(_, end)| **end != End::Done).map(|(job, _)| job).collect(),
            false => Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for omitted in subsets(&gave_up) {
            for expected in self.outcomes(&precedence, &omitted) {
                if ends_agree(&outcome, expected, is_excused) && outcome.is_alike(expected) {
                    return None;
                }
                seen.insert(expected.clone());
            }
        }
        let seen: Vec<_> = seen.iter().map(|expected| format!("\n      {expected}")).collect();
        Some(format!("it ended\n      {outcome}\n    expected one of{}", seen.concat()))
    }

    /// Returns the outcomes of all one-at-a-time executions that respect the order, without some jobs.
    fn outcomes(&mut self, precedence: &Precedence, omitted: &BTreeSet<Identity>) -> &BTreeSet<Outcome> {
        let program = self.program;
        self.known.entry((precedence.clone(), omitted.clone())).or_insert_with(|| {
            let mut orders = Orders { precedence, omitted, found: BTreeSet::new(), seen: BTreeSet::new() };
            orders.go_on(&Machine::new(program, Chooser::calm()), &BTreeSet::new());
            orders.found
        })
    }
}

/// All one-at-a-time executions that respect an order, without some jobs.
struct Orders<'e> {
    precedence: &'e Precedence,
    omitted: &'e BTreeSet<Identity>,
    found: BTreeSet<Outcome>,
    /// The states from which the search has continued already.
    seen: BTreeSet<(String, BTreeSet<Identity>)>,
}

impl Orders<'_> {
    fn before(&self, one: &Identity, other: &Identity) -> bool {
        self.precedence.contains(&(one.clone(), other.clone()))
    }

    /// Runs each of the jobs that may come next, and continues from there. `begun` are the jobs of which an attempt
    /// has run.
    fn go_on(&mut self, machine: &Machine<'_>, begun: &BTreeSet<Identity>) {
        if !self.seen.insert((machine.state(), begun.clone())) {
            return;
        }
        let mut unfinished = machine.unfinished();
        unfinished.retain(|job| !self.omitted.contains(machine.identity(*job)));
        if unfinished.is_empty() && machine.reused.is_none() {
            self.found.insert(machine.outcome());
        }
        for &job in &unfinished {
            let this = machine.identity(job);
            let comes_too_early = unfinished.iter().any(|other| self.before(machine.identity(*other), this));
            let comes_too_late = begun.iter().any(|other| self.before(this, other));
            if comes_too_early || comes_too_late {
                continue;
            }
            let begun = begun.iter().cloned().chain([this.clone()]).collect();
            let mut machine = machine.clone();
            machine.attempt_alone(job);
            self.go_on(&machine, &begun);
        }
    }
}

/// Whether the jobs of a run ended as they should have. An excused job that gave up may be expected to end well, in
/// which case its effects must show that it did everything.
fn ends_agree(outcome: &Outcome, expected: &Outcome, is_excused: bool) -> bool {
    outcome.ends.iter().all(|(job, end)| match (end, expected.ends.get(job)) {
        // The extra job shows in effects and rows, if at all.
        (End::Done, None) => true,
        (end, Some(expected)) if end == expected => true,
        (End::Done, Some(_)) => false,
        (End::Dead | End::Discarded, _) => is_excused,
    })
}

fn subsets(all: &[&Identity]) -> Vec<BTreeSet<Identity>> {
    all.iter().fold(vec![BTreeSet::new()], |subsets, job| {
        let with = subsets.iter().cloned().map(|mut subset| {
            subset.insert((*job).clone());
            subset
        });
        subsets.iter().cloned().chain(with).collect()
    })
}
