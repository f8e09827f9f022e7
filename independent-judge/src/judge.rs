//! The definition of a correct program.
//!
//! A run is correct if its outcome is that of a fault-free execution of its jobs, one at a time, in an order that the
//! run itself allows, up to a one-to-one renaming of generated values. A job that gives up is all or nothing: either
//! it has no effect, or all of it has happened. The judge tries every run within the bound, and every order.

use std::collections::{BTreeMap, BTreeSet};

use crate::choice::{Chooser, Kind, scenario};
use crate::machine::Machine;
use crate::program::Program;
use crate::value::{End, Identity, Outcome};

/// The verdict on a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This many runs, all of them correct.
    Green {
        runs: u64,
    },
    Red {
        scenario: String,
        reason: String,
    },
    /// In the fault-free run no job succeeds, so there is nothing to compare with.
    Nothing,
}

impl Verdict {
    pub fn is_red(&self) -> bool {
        matches!(self, Verdict::Red { .. })
    }
}

/// Pairs of jobs. In every allowed order the first job of a pair comes before the second.
type Precedence = BTreeSet<(Identity, Identity)>;

/// The outcomes of one-at-a-time executions, by their constraints: the order, and the jobs that are left out.
struct Expected<'p> {
    program: &'p Program,
    known: BTreeMap<(Precedence, BTreeSet<Identity>), BTreeSet<Outcome>>,
}

/// Judges all runs of a program with at most this many deviations.
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

/// Reports whether a job gives up in the fault-free run.
pub fn gives_up_unprovoked(program: &Program) -> bool {
    let mut machine = Machine::new(program, Chooser::new(Vec::new()));
    machine.settle();
    machine.outcome().ends.values().any(|end| *end != End::Done)
}

/// Judges one run, given its deviations in the format of [`scenario`]. Returns `None` if there is no such run.
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
    /// The reason why a run is wrong, if it is.
    fn wrong(&mut self, machine: &Machine<'_>) -> Option<String> {
        if let Some(key) = machine.reused {
            return Some(format!("the key {key:?} was used for two requests that differ"));
        }
        let (outcome, precedence) = (machine.outcome(), machine.precedence());
        // An interleaving alone does not excuse giving up.
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

    /// The outcomes of all one-at-a-time executions that respect the order, without some jobs.
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
    /// States from which the search has already continued.
    seen: BTreeSet<(String, BTreeSet<Identity>)>,
}

impl Orders<'_> {
    fn before(&self, one: &Identity, other: &Identity) -> bool {
        self.precedence.contains(&(one.clone(), other.clone()))
    }

    /// Runs any of the jobs that may come next, then any of those that may come after it, and so on. `begun` has the
    /// jobs that had an attempt.
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

/// Reports whether the jobs of a run ended as expected. If giving up is excused, a job that gave up may have been
/// expected to succeed. Its effects then show whether all of it has happened.
fn ends_agree(outcome: &Outcome, expected: &Outcome, is_excused: bool) -> bool {
    outcome.ends.iter().all(|(job, end)| match (end, expected.ends.get(job)) {
        // The job was enqueued without need. Its effects and rows show what it did.
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
