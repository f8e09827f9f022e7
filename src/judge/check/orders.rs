//! Checks whether a run ended as its jobs would one at a time, in an order that the run allows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};

use super::Exploration;
use super::tally::Swap;
use crate::engine::state::{Mode, lock};
use crate::judge::oracle::{self, Excuses, Finding, Orders};
use crate::judge::report::{notes, words};
use crate::judge::run::{Course, End, Outcome, run};
use crate::search::choice::{Actor, Plan};
use crate::system::job::{Job, JobState};
use crate::system::script::{GiveUp, Part, Role, Roles, Script};

/// The maximum number of job orders to try for one run: all orders of seven jobs, and some orders of more jobs.
const MOST_ORDERS: u64 = 6_000;
/// The maximum number of orders to try if none completes, because the body asserts what only holds if jobs overlap.
const MOST_UNFINISHED: u64 = 120;
/// The maximum number of given-up jobs of a run of which each may have run or not. If more gave up, only some
/// combinations are tried.
const MOST_GIVING_UP: usize = 4;
/// Assignments of bodies to the requests of a run that are tried: past that, of each further one only its first body.
const MOST_BODIES: usize = 8;
/// The maximum number of outcomes of different orders among which to look for equal ones.
const MOST_DISTINCT: usize = 64;
/// The maximum number of outcomes to keep. When the limit is reached, all are dropped, and run again on demand.
const MOST_KEPT: usize = 20_000;
/// How often to check the time, in orders.
const CLOCK_EVERY: u64 = 16;

/// The outcomes that runs are compared with in addition to the reference run. All threads share them.
#[derive(Default)]
pub(super) struct SerialOutcomes {
    kept: Mutex<KeptOutcomes>,
    /// The result of checking the reference run, if its jobs overlapped.
    reference: OnceLock<ReferenceStanding>,
}

/// The result of checking the reference run.
pub(super) enum ReferenceStanding {
    /// The run ended as its jobs do in this order, by their numbers.
    Like(Vec<u32>),
    /// Its jobs tore each other's state: it ended as no order of them does.
    Torn(Vec<Finding>),
}

/// What identifies the part of a job in an order: its number, how it gives up, and which of its bodies it has.
type PartKey = (u32, Option<GiveUp>, usize);

/// The outcomes of orders that have run.
#[derive(Default)]
struct KeptOutcomes {
    roles: Roles,
    outcomes: BTreeMap<Vec<PartKey>, Arc<Outcome>>,
    distinct: Vec<Arc<Outcome>>,
}

/// A run under comparison: its jobs, their roles in other runs, and which of them gave up.
struct Candidate<'o> {
    outcome: &'o Outcome,
    cast: Vec<(Role, u32)>,
    /// The indices of jobs that gave up because of their deviations.
    excused: Vec<usize>,
}

/// The result of comparing a run.
pub(super) enum Fit {
    /// The run ended like the reference run.
    Reference,
    /// The run ended as its jobs do in another order, given by their indices.
    Order { order: Vec<usize>, expected: Arc<Outcome> },
    /// The run ended as no order does. `nearest` are the differences from the closest outcome, and `order` is its order of
    /// the jobs. `None` is the reference run.
    Nothing { nearest: Vec<Finding>, order: Option<Vec<usize>> },
    /// No order completed. `more_than` is the number of orders that were tried, if there are more.
    Unknown { more_than: Option<u64> },
    /// None of the orders that were tried matches, but there are more.
    Undecided { tried: u64 },
}

/// The closest of the expected outcomes so far.
#[derive(Default)]
struct Nearest {
    findings: Option<Vec<Finding>>,
    /// The order that they belong to. `None` is the reference run.
    of: Option<Vec<usize>>,
    /// The first order that completed.
    order: Option<Vec<usize>>,
}

impl Nearest {
    fn offer(&mut self, findings: Vec<Finding>, of: Option<&[usize]>) {
        if self.findings.as_ref().is_none_or(|known| findings.len() < known.len()) {
            (self.findings, self.of) = (Some(findings), of.map(<[usize]>::to_vec));
        }
    }
}

impl<'o> Candidate<'o> {
    fn new(outcome: &'o Outcome, cast: Vec<(Role, u32)>, excused: Vec<usize>) -> Self {
        Self { outcome, cast, excused }
    }

    /// Each way in which the jobs may have run. Of those that are as near, the plainest is the last.
    fn ways(&self) -> Vec<Way> {
        let is_dead =
            |at: &usize| matches!(self.outcome.jobs[*at].state, JobState::Dead | JobState::Discarded);
        let mut ways = Vec::new();
        for bodies in self.bodies() {
            for unrun in self.unrun(&self.excused) {
                let dead = self.excused.iter().copied().filter(is_dead);
                let run: Vec<_> = dead.filter(|at| !unrun.contains(at)).collect();
                let way = Way { unrun, having_run: Vec::new(), bodies: bodies.clone() };
                ways.push(way.clone());
                if !run.is_empty() {
                    ways.push(Way { having_run: run, ..way });
                }
            }
        }
        ways
    }

    /// With which of its bodies each request has run: whichever its client has sent.
    fn bodies(&self) -> Vec<Vec<(usize, usize)>> {
        let mut all = vec![Vec::new()];
        for (at, job) in self.outcome.jobs.iter().enumerate() {
            let others = job.bodies().split_off(1);
            let so_far = all.clone();
            for body in others.into_iter().filter(|_| so_far.len() <= MOST_BODIES) {
                let with = so_far.iter().map(|so_far| [&so_far[..], &[(at, body)]].concat());
                all.splice(0..0, with);
            }
        }
        all
    }

    /// Returns sets of given-up jobs that did not run: all subsets of a few jobs. For many: all, those without
    /// effects, and none.
    fn unrun(&self, among: &[usize]) -> Vec<Vec<usize>> {
        if among.len() <= MOST_GIVING_UP {
            return subsets(among);
        }
        let did_nothing = |at: &usize| {
            let number = self.outcome.jobs[*at].number;
            let is_by = |by: Actor| matches!(by, Actor::Attempt { job, .. } if job == number);
            !self.outcome.effects.iter().any(|effect| is_by(effect.by))
        };
        let idle = among.iter().copied().filter(did_nothing).collect();
        vec![among.to_vec(), idle, Vec::new()]
    }

    /// Returns what happens in an order of the jobs, given by their indices, if they run in this way.
    fn parts(&self, order: &[usize], way: &Way) -> Vec<Part> {
        let part = |&at: &usize| {
            let (role, number) = self.cast[at].clone();
            let has_run = way.having_run.contains(&at);
            let gives_up =
                (has_run || way.unrun.contains(&at)).then(|| how_it_gave_up(&self.outcome.jobs[at], has_run));
            let body = way.bodies.iter().find(|(of, _)| *of == at).map_or(0, |(_, body)| *body);
            Part { role, number, gives_up, body }
        };
        order.iter().map(part).collect()
    }

    /// Returns the jobs in the order of another run, given by the numbers of their roles there. Jobs that are not in
    /// that run come last.
    fn in_the_order_of(&self, roles: &[u32]) -> Vec<usize> {
        let place = |at: &usize| {
            let number = self.cast[*at].1;
            (roles.iter().position(|role| *role == number).unwrap_or(usize::MAX), *at)
        };
        let mut order: Vec<usize> = (0..self.cast.len()).collect();
        order.sort_by_key(place);
        order
    }
}

/// Whether an outcome is new, and adds it to `seen`.
fn is_new(seen: &mut Vec<Arc<Outcome>>, outcome: &Arc<Outcome>) -> bool {
    let is_new = !seen.iter().any(|known| Arc::ptr_eq(known, outcome));
    if is_new && seen.len() < MOST_DISTINCT {
        seen.push(outcome.clone());
    }
    is_new
}

fn how_it_gave_up(job: &Job, has_run: bool) -> GiveUp {
    let error = job.error().unwrap_or_default().into();
    GiveUp { has_run, state: job.state, error, failures: job.failures() }
}

/// How the jobs run in a serial run, given by their indices.
#[derive(Clone, Debug, Default)]
struct Way {
    /// Jobs that give up instead of running.
    unrun: Vec<usize>,
    /// Jobs that give up after they have done everything. Their deaths are reported.
    having_run: Vec<usize>,
    /// Requests that do not run with their first body.
    bodies: Vec<(usize, usize)>,
}

impl<'b> Exploration<'b> {
    /// Returns what is wrong with the outcome of a run. If that cannot be decided, the tally records it and the result
    /// is empty.
    pub(super) fn findings(&mut self, outcome: &Outcome) -> Vec<Finding> {
        self.compared_with = None;
        let mut findings = oracle::alone(outcome);
        findings.extend(self.basis.ignored.clone().filter(|_| outcome.went_wrong == 0));
        if matches!(outcome.end, End::Panicked(_)) {
            findings.extend(self.too_much(outcome));
            return findings;
        }
        match self.fit(outcome) {
            Fit::Reference | Fit::Unknown { .. } => {}
            Fit::Order { order, expected } if self.is_judging => self.note_order(outcome, &order, &expected),
            Fit::Order { .. } => {}
            Fit::Nothing { nearest, order } => {
                findings.extend(nearest);
                self.compared_with = order;
            }
            Fit::Undecided { tried } => self.tally.undecided = self.tally.undecided.max(Some(tried)),
        }
        findings
    }

    /// Returns what happened too often, or should not have happened, in a run whose body panicked. The run may have
    /// ended before the rest happened, but a failed assertion does not hide what did happen.
    fn too_much(&self, outcome: &Outcome) -> Vec<Finding> {
        let reference = &self.basis.reference.outcome;
        if reference.end != End::Completed || self.torn().is_some() {
            return Vec::new();
        }
        let findings =
            oracle::differences(outcome, reference, outcome.record.has_overlaps(), &Excuses::default());
        let is_too_much = |finding: &Finding| match finding {
            Finding::Repeated { expected, actual, .. } => actual > expected,
            Finding::Unexpected { .. } => true,
            _ => false,
        };
        let too_much: Vec<_> = findings.into_iter().filter(is_too_much).collect();
        if too_much.is_empty() {
            return too_much;
        }
        let cast = lock(&self.basis.serial.kept).roles.of(&outcome.jobs, &oracle::generated(outcome));
        let candidate = Candidate::new(outcome, cast, Vec::new());
        let (mut least, mut tried) = (too_much, 0);
        let mut seen: Vec<Arc<Outcome>> = Vec::new();
        Orders::of(&outcome.jobs).visit(|order| {
            tried += 1;
            self.basis.progress.tell_orders(tried);
            let expected = self.in_order(&candidate, order, &Way::default());
            if expected.end == End::Completed && is_new(&mut seen, &expected) {
                let findings = oracle::differences(outcome, &expected, true, &Excuses::default());
                let findings: Vec<_> = findings.into_iter().filter(is_too_much).collect();
                if findings.len() < least.len() {
                    least = findings;
                }
            }
            match least.is_empty() || self.is_enough(tried) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        least
    }

    fn fit(&mut self, outcome: &Outcome) -> Fit {
        let reference = &self.basis.reference.outcome;
        let standing = self.standing();
        let torn = matches!(standing, ReferenceStanding::Torn(_));
        let orders = Orders::of(&outcome.jobs);
        if let (ReferenceStanding::Like(order), true) = (standing, oracle::same(outcome, reference)) {
            let places: Vec<_> = order.iter().map(|number| *number as usize - 1).collect();
            if orders.allow(&places) && oracle::early(outcome, reference).is_none() {
                return Fit::Reference;
            }
        }
        let cast = lock(&self.basis.serial.kept).roles.of(&outcome.jobs, &oracle::generated(outcome));
        let excused = oracle::excused(outcome);
        let candidate = Candidate::new(outcome, cast, excused);
        let mut nearest = Nearest::default();
        if let (ReferenceStanding::Like(numbers), []) = (standing, &candidate.excused[..]) {
            let roles =
                lock(&self.basis.serial.kept).roles.of(&reference.jobs, &oracle::generated(reference));
            let roles: Vec<_> = numbers.iter().map(|number| roles[*number as usize - 1].1).collect();
            if orders.allow(&candidate.in_the_order_of(&roles)) {
                let serial = outcome.record.has_overlaps() || orders.are_several();
                let findings = oracle::differences(outcome, reference, serial, &Excuses::default());
                if findings.is_empty() {
                    return Fit::Reference;
                }
                nearest.offer(findings, None);
            }
        }
        match self.search(&candidate, &orders, nearest) {
            // Only the reference run is left to compare with.
            Fit::Unknown { more_than } if !torn => {
                let serial = outcome.record.has_overlaps();
                let nearest = oracle::differences(outcome, reference, serial, &Excuses::default());
                match more_than {
                    Some(tried) if !nearest.is_empty() => Fit::Undecided { tried },
                    _ => Fit::Nothing { nearest, order: None },
                }
            }
            fit => fit,
        }
    }

    /// Whether to stop trying orders. A run that is shown again is decided like the first time, regardless of the time.
    fn is_enough(&self, tried: u64) -> bool {
        let is_time_up = || tried % CLOCK_EVERY == CLOCK_EVERY - 1 && self.basis.limits.is_time_up();
        tried == MOST_ORDERS || self.is_judging && is_time_up()
    }

    /// Tries the orders that the run allows, beginning with the one that the run suggests.
    fn search(&mut self, candidate: &Candidate<'_>, orders: &Orders<'_>, mut nearest: Nearest) -> Fit {
        let (mut tried, mut found, mut is_cut, ways) = (0, None, false, candidate.ways());
        let mut seen: Vec<Arc<Outcome>> = Vec::new();
        let all = orders.visit(|order| {
            let none_ends = tried == MOST_UNFINISHED && nearest.order.is_none();
            if none_ends || self.is_enough(tried) {
                is_cut = true;
                return ControlFlow::Break(());
            }
            tried += 1;
            self.basis.progress.tell_orders(tried);
            match self.try_order(candidate, (order, &ways), &mut seen, &mut nearest) {
                Some(expected) => {
                    found = Some((order.to_vec(), expected));
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        });
        match found {
            Some((order, expected)) => Fit::Order { order, expected },
            None if nearest.order.is_none() => Fit::Unknown { more_than: is_cut.then_some(tried) },
            None if all && !is_cut => {
                let (nearest, order) = self.told(candidate, nearest);
                Fit::Nothing { nearest, order }
            }
            None => Fit::Undecided { tried },
        }
    }

    /// Returns the outcome of an order if the run ended like it, with each given-up job having run or not.
    fn try_order(
        &self,
        candidate: &Candidate<'_>,
        (order, ways): (&[usize], &[Way]),
        seen: &mut Vec<Arc<Outcome>>,
        nearest: &mut Nearest,
    ) -> Option<Arc<Outcome>> {
        let excuses = Excuses::of(candidate.outcome, &candidate.excused);
        let mut best: Option<Vec<Finding>> = None;
        for way in ways {
            let expected = self.in_order(candidate, order, way);
            if expected.end != End::Completed {
                continue;
            }
            nearest.order.get_or_insert_with(|| order.to_vec());
            if !is_new(seen, &expected) {
                continue;
            }
            // A closer comparison is expensive, and cannot be closer than the best so far.
            let least = oracle::least_differences(candidate.outcome, &expected);
            if least > 0 && nearest.findings.as_ref().is_some_and(|known| known.len() <= least) {
                continue;
            }
            let findings = oracle::differences(candidate.outcome, &expected, true, &excuses);
            if findings.is_empty() {
                return Some(expected);
            }
            // Among equally close outcomes, prefer the one in which more jobs ran, so that a repeated effect is reported
            // as such.
            if best.as_ref().is_none_or(|known| findings.len() <= known.len()) {
                best = Some(findings);
            }
        }
        best.into_iter().for_each(|findings| nearest.offer(findings, Some(order)));
        None
    }

    /// Returns the findings of a run that ended as no order does, with what given-up jobs did halfway reported as such,
    /// and the order that they were compared with.
    fn told(&self, candidate: &Candidate<'_>, nearest: Nearest) -> (Vec<Finding>, Option<Vec<usize>>) {
        let (findings, mut of) = (nearest.findings.unwrap_or_default(), nearest.of);
        let (Some(order), false) = (nearest.order, candidate.excused.is_empty()) else {
            return (findings, of);
        };
        let excuses = Excuses::of(candidate.outcome, &candidate.excused);
        let mut best = findings;
        for &at in &candidate.excused {
            let others: Vec<_> = candidate.excused.iter().copied().filter(|other| *other != at).collect();
            let bases = candidate.unrun(&others);
            let bases = candidate.bodies().into_iter().flat_map(|bodies| {
                let way = |unrun: &Vec<usize>| {
                    let (unrun, bodies) = (unrun.clone(), bodies.clone());
                    Way { unrun, bodies, having_run: Vec::new() }
                };
                bases.iter().map(way).collect::<Vec<_>>()
            });
            for base in bases {
                let mut without = base.clone();
                without.unrun.push(at);
                let in_order = |way| self.in_order(candidate, &order, way);
                let (with, without) = (in_order(&base), in_order(&without));
                let job = &candidate.outcome.jobs[at];
                if let Some(told) = oracle::half_way(candidate.outcome, job, &with, &without, &excuses) {
                    if told.is_empty() || told.len() <= best.len() {
                        (best, of) = (told, Some(order.clone()));
                    }
                }
            }
        }
        (best, of)
    }

    /// Returns the outcome of running the jobs one at a time in this order and in this way.
    fn in_order(&self, candidate: &Candidate<'_>, order: &[usize], way: &Way) -> Arc<Outcome> {
        let parts = candidate.parts(order, way);
        let key: Vec<_> = parts.iter().map(|part| (part.number, part.gives_up.clone(), part.body)).collect();
        if let Some(known) = lock(&self.basis.serial.kept).outcomes.get(&key) {
            return known.clone();
        }
        let script = Some(Box::new(Script::new(parts)));
        let course = Course { mode: Mode::SerialBaseline, script, ..Course::plain(Plan::ordinary()) };
        let outcome = run(self.basis.body, course, &self.ground).outcome;
        let mut kept = lock(&self.basis.serial.kept);
        let known = kept.distinct.iter().find(|known| oracle::identical(&outcome, known)).cloned();
        let outcome = known.unwrap_or_else(|| Arc::new(outcome));
        if kept.distinct.len() < MOST_DISTINCT && !kept.distinct.iter().any(|it| Arc::ptr_eq(it, &outcome)) {
            kept.distinct.push(outcome.clone());
        }
        if kept.outcomes.len() >= MOST_KEPT {
            kept.outcomes.clear();
        }
        kept.outcomes.insert(key, outcome.clone());
        outcome
    }

    /// Returns the result of checking the reference run. If its jobs overlapped, it must have been checked before.
    fn standing(&self) -> &'b ReferenceStanding {
        let basis = self.basis;
        basis
            .serial
            .reference
            .get_or_init(|| ReferenceStanding::Like(suggested(&basis.reference.outcome.jobs)))
    }

    pub(super) fn torn(&self) -> Option<&'b [Finding]> {
        match self.standing() {
            ReferenceStanding::Torn(findings) => Some(findings),
            ReferenceStanding::Like(_) => None,
        }
    }

    /// Checks the reference run, whose overlapping jobs may have torn each other's state without any deviation. If it
    /// ended as no order of its jobs does, runs cannot be compared with it.
    pub(super) fn look_at_overlap(&mut self) {
        let reference = &self.basis.reference.outcome;
        if !reference.record.has_overlaps() || reference.end != End::Completed {
            return;
        }
        let orders = Orders::of(&reference.jobs);
        let cast = lock(&self.basis.serial.kept).roles.of(&reference.jobs, &oracle::generated(reference));
        let candidate = Candidate::new(reference, cast, Vec::new());
        let standing = match self.search(&candidate, &orders, Nearest::default()) {
            Fit::Order { order, .. } => {
                ReferenceStanding::Like(order.into_iter().map(|at| reference.jobs[at].number).collect())
            }
            Fit::Nothing { nearest, .. } => ReferenceStanding::Torn(nearest),
            Fit::Undecided { tried } => {
                self.tally.undecided = Some(tried);
                ReferenceStanding::Like(suggested(&reference.jobs))
            }
            Fit::Unknown { .. } | Fit::Reference => ReferenceStanding::Like(suggested(&reference.jobs)),
        };
        self.basis.serial.reference.get_or_init(|| standing);
    }

    /// Adds a note about a run that was accepted because its jobs may run in another order than in the reference run,
    /// if it did not end like the reference run.
    fn note_order(&mut self, outcome: &Outcome, order: &[usize], expected: &Outcome) {
        let reference = &self.basis.reference.outcome;
        let ReferenceStanding::Like(numbers) = self.standing() else { return };
        let swapped = {
            let kept = &mut lock(&self.basis.serial.kept).roles;
            let cast = kept.of(&outcome.jobs, &oracle::generated(outcome));
            let roles = kept.of(&reference.jobs, &oracle::generated(reference));
            let place =
                |at: usize| numbers.iter().position(|number| roles[*number as usize - 1].1 == cast[at].1);
            let places: Vec<_> = order.iter().map(|at| (*at, place(*at))).collect();
            let earlier = |(at, place): &(usize, Option<usize>)| {
                let overtaken = places
                    .iter()
                    .skip_while(|(other, _)| other != at)
                    .find(|(_, other)| other.is_some() && other < place);
                Some((*at, overtaken?.0))
            };
            places.iter().find_map(earlier)
        };
        let Some((before, after)) = swapped else { return };
        let excuses = Excuses::default();
        let Some(difference) = oracle::differences(expected, reference, true, &excuses).into_iter().next()
        else {
            return;
        };
        let (before, after) = notes::names(&outcome.jobs[before], &outcome.jobs[after]);
        self.tally.swap(Swap { before, after, difference: words::in_short(&difference), runs: 1 });
    }
}

/// Returns the numbers of the jobs in the order that their run suggests.
fn suggested(jobs: &[Job]) -> Vec<u32> {
    let mut suggested = Vec::new();
    Orders::of(jobs).visit(|order| {
        suggested = order.iter().map(|at| jobs[*at].number).collect();
        ControlFlow::Break(())
    });
    suggested
}

/// Returns all subsets of a few elements: the full set first, then the smaller ones.
fn subsets(all: &[usize]) -> Vec<Vec<usize>> {
    let subset = |mask: usize| (0..all.len()).filter(|at| mask & 1 << at != 0).map(|at| all[at]).collect();
    (0..1 << all.len()).rev().map(subset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_all_there_are() {
        assert_eq!(subsets(&[]), [[0; 0]]);
        assert_eq!(subsets(&[3, 5]), [vec![3, 5], vec![5], vec![3], vec![]]);
    }
}
