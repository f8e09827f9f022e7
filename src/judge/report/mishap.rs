//! Identifies the deviations of a run by names that are the same in every run with that deviation.

use std::collections::{BTreeMap, BTreeSet};

use crate::search::choice::{
    Actor, Choice, DeviationKind, Ending, Fault, Label, Options, Place, Point, Site,
};
use crate::system::effect::Effect;
use crate::system::job::{Job, short_kind};
use crate::system::timeline::{Event, EventKind};

/// A call of a job: its operation, and its ordinal among the calls of that operation in its attempt.
type Call = (String, usize);

/// One deviation, without the numbers of its job and its attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mishap {
    pub(crate) kind: DeviationKind,
    /// The kind of the job, or the name of the process or of the task.
    pub(crate) who: String,
    /// The call, or another site, at which it was injected.
    at: Call,
    point: Point,
    option: u32,
    fault: Option<Fault>,
    /// The process was asked to stop instead of crashing.
    is_deploy: bool,
    /// The process crashes at the start of every attempt of the job.
    is_poison: bool,
    /// The last call of the attempt that had happened by then. Between this call and the deviation, the attempt changes
    /// nothing outside of its process.
    pub(crate) after: Option<Call>,
    /// The place of the call that identifies the deviation.
    pub(crate) place: Option<Place>,
}

/// The calls of each kind of job in the fault-free run, in the order in which they happened.
#[derive(Debug, Default)]
pub(crate) struct Courses {
    happened: BTreeMap<String, Vec<Call>>,
    /// The places of the calls, by actor and operation.
    places: BTreeMap<(String, String), BTreeSet<Place>>,
    /// The places of calls that only runs with deviations make.
    off_course: BTreeMap<(String, String), BTreeSet<Place>>,
}

impl Mishap {
    /// Returns the deviations of a run, in order. `calls` holds the last call of the actor for each deviation.
    pub(crate) fn all(record: &[Choice], jobs: &[Job], calls: &[Option<(Place, Site)>]) -> Vec<Self> {
        let deviated = record.iter().enumerate().filter(|(_, choice)| choice.taken != 0);
        let mut calls = calls.iter().copied();
        let mishap = |(at, _)| {
            let mut mishap = Self::of(record, at, jobs);
            let call = calls.next().flatten();
            let call = call.filter(|(_, of)| mishap.call().is_some_and(|(what, _)| *what == site(*of)));
            mishap.place = call.map(|(place, _)| place);
            mishap
        };
        deviated.map(mishap).collect()
    }

    fn of(record: &[Choice], at: usize, jobs: &[Job]) -> Self {
        let choice = record[at];
        let Choice { kind, label, options, taken } = choice;
        let before = &record[..at];
        let is_call = matches!(label.site, Site::Call { .. });
        let here = is_call && (label.point == Point::Happened || choice.fault().is_some_and(writes));
        let nth_call =
            |at: usize| (site(record[at].label.site), nth(&record[..at], record[at].label, Point::Before));
        let has_happened = |earlier: &Choice| {
            let is_its = earlier.label.actor == label.actor;
            is_its && (earlier.label.point == Point::Happened || earlier.fault().is_some_and(writes))
        };
        let after = match here {
            true => Some(nth_call(at)),
            false => before.iter().rposition(has_happened).map(nth_call),
        };
        let nth = match is_call && label.point != Point::Before {
            true => nth(before, label, Point::Before),
            false => nth(before, label, label.point) + 1,
        };
        let is_deploy =
            matches!(options, Options::Ending if Ending::at_option(taken as usize) != Ending::Crash);
        Self {
            kind,
            who: who(label.actor, jobs),
            at: (site(label.site), nth),
            point: label.point,
            option: taken,
            fault: choice.fault(),
            is_deploy,
            is_poison: options == Options::Poison && taken == 2,
            after,
            place: None,
        }
    }

    /// The call that identifies the deviation.
    fn call(&self) -> Option<&Call> {
        match &self.after {
            Some(after) if *after == self.at => Some(after),
            _ if self.at.0.contains('.') => Some(&self.at),
            after => after.as_ref(),
        }
    }

    /// Whether the deviation only changes which task runs next.
    pub(crate) fn is_switch(&self) -> bool {
        self.kind == DeviationKind::Preemption
    }

    /// Describes the deviation in a few words: `a lost reply`.
    pub(crate) fn in_brief(&self) -> &'static str {
        match (self.kind, self.fault) {
            (DeviationKind::Crash, _) if self.is_deploy => "a deploy",
            (DeviationKind::Crash, _) if self.is_poison => "a poison job",
            (_, Some(Fault::Lost)) => "a lost job",
            (DeviationKind::Crash, _) => "a crash",
            (_, Some(Fault::StaleRead)) => "a stale read",
            (_, Some(Fault::Outage | Fault::OutageForEver)) => "an outage",
            (_, Some(Fault::Refused | Fault::StillRefused)) => "a refused enqueue",
            (_, Some(fault)) if fault.happens() => "a lost reply",
            (DeviationKind::Fault, _) | (_, Some(_)) => "a failed call",
            (_, _) if matches!(self.point, Point::Pause | Point::Stall) => "a stalled worker",
            (DeviationKind::Delivery, _) => "a second delivery",
            (DeviationKind::Preemption, _) if self.point == Point::Webhook => {
                "an early, late or lost webhook"
            }
            (DeviationKind::Preemption, _) => "another order",
            (DeviationKind::Delay, _) if self.point == Point::Reply => "a late reply",
            (DeviationKind::Delay, _) => "a delay",
        }
    }
}

/// Whether a call with this fault changes something although the caller sees an error.
fn writes(fault: Fault) -> bool {
    fault.happens() && fault != Fault::StaleRead
}

/// Counts how often the label's actor reached this point of the site before.
fn nth(before: &[Choice], label: Label, point: Point) -> usize {
    let is_it = |other: Label| (other.actor, other.site, other.point) == (label.actor, label.site, point);
    before.iter().filter(|choice| is_it(choice.label)).count()
}

fn who(actor: Actor, jobs: &[Job]) -> String {
    match actor {
        Actor::Attempt { job, .. } => {
            let kind = jobs.iter().find(|known| known.number == job).map_or("?", |job| job.kind);
            short_kind(kind).to_owned()
        }
        other => other.to_string(),
    }
}

fn site(site: Site) -> String {
    match site {
        Site::Call { service, operation } => format!("{service}.{operation}"),
        Site::Attempt => "attempt".to_owned(),
        Site::Wait(what) => what.to_string(),
        Site::Line(line) => line.function.name.to_owned(),
        Site::Queue => "queue".to_owned(),
    }
}

impl Courses {
    /// Makes the courses of the fault-free run.
    pub(crate) fn new(record: &[Choice], jobs: &[Job], events: &[Event]) -> Self {
        let mut courses = Self::default();
        let mut begun: Vec<(String, Actor)> = Vec::new();
        let mut is_first = |who: &String, actor: Actor| match begun.iter().find(|(known, _)| known == who) {
            Some((_, first)) => *first == actor,
            None => {
                begun.push((who.clone(), actor));
                true
            }
        };
        for (at, choice) in
            record.iter().enumerate().filter(|(_, choice)| choice.label.point == Point::Happened)
        {
            let (label, who) = (choice.label, who(choice.label.actor, jobs));
            if is_first(&who, label.actor) {
                let call = (site(label.site), nth(&record[..at], label, Point::Before));
                courses.happened.entry(who).or_default().push(call);
            }
        }
        for event in events {
            if let EventKind::Called { service, operation, place, .. } = &event.what {
                let call = (who(event.by, jobs), format!("{service}.{operation}"));
                courses.places.entry(call).or_default().insert(*place);
            }
        }
        courses
    }

    /// Adds the calls for other inputs. For each job, the longer course is kept.
    pub(crate) fn absorb(&mut self, other: Self) {
        for (who, calls) in other.happened {
            let known = self.happened.entry(who).or_default();
            if calls.len() > known.len() {
                *known = calls;
            }
        }
        for (call, places) in other.places {
            self.places.entry(call).or_default().extend(places);
        }
    }

    /// Adds the calls of deviations that the fault-free run does not make.
    pub(crate) fn leave(&mut self, mishaps: &[Mishap]) {
        for mishap in mishaps {
            let (Some((what, _)), Some(place)) = (mishap.call(), mishap.place) else { continue };
            let call = (mishap.who.clone(), what.clone());
            if !self.places.get(&call).is_some_and(|places| places.contains(&place)) {
                self.off_course.entry(call).or_default().insert(place);
            }
        }
    }

    /// Returns how many calls of its ordinary course the job had made before the deviation. Returns `None` if the job
    /// was not on its ordinary course.
    pub(crate) fn position(&self, mishap: &Mishap) -> Option<usize> {
        let Some(after) = &mishap.after else { return Some(0) };
        let happened = self.happened.get(&mishap.who)?;
        Some(1 + happened.iter().position(|call| call == after)?)
    }

    /// Names a call in a way that does not change when lines move: by its ordinal among the places that make this
    /// call, in source order.
    fn name(&self, who: &str, what: &str, place: Option<Place>) -> String {
        let call = (who.to_owned(), what.to_owned());
        let ordinary = self.places.get(&call).into_iter().flatten();
        let off_course = self.off_course.get(&call).into_iter().flatten();
        let nth = place.and_then(|place| ordinary.chain(off_course).position(|known| *known == place));
        match nth {
            None | Some(0) => format!("{who}/{what}"),
            Some(nth) => format!("{who}/{what}#{}", nth + 1),
        }
    }

    /// Whether the job had made this effect before a deviation that leads to a retry.
    fn had_done(&self, effect: &Effect, mishap: &Mishap) -> bool {
        let is_again =
            matches!(mishap.kind, DeviationKind::Crash | DeviationKind::Fault | DeviationKind::Delivery);
        let happened = self.happened.get(&mishap.who).into_iter().flatten();
        let done = happened.enumerate().find(|(_, (what, _))| *what == effect.name());
        is_again && done.is_some_and(|(at, _)| self.position(mishap).is_some_and(|position| position > at))
    }

    /// Names a deviation in a way that does not change when lines move or loops run more often. `done` is the effect
    /// that was repeated. A failure anywhere after that effect repeats it, so all later calls have the same name.
    pub(crate) fn identity(&self, mishap: &Mishap, done: Option<&Effect>) -> String {
        let kind = match mishap.kind {
            DeviationKind::Crash => "crash",
            DeviationKind::Fault => "fault",
            DeviationKind::Delivery => "delivery",
            DeviationKind::Preemption => "schedule",
            DeviationKind::Delay => "delay",
        };
        let name = |what: &str| self.name(&mishap.who, what, mishap.place);
        if let Some(effect) = done.filter(|effect| self.had_done(effect, mishap)) {
            return format!("{kind} after {}", self.name(&mishap.who, &effect.name(), effect.place));
        }
        match mishap.call() {
            None => format!("{kind} at the start of {}", mishap.who),
            Some(call) if mishap.after.as_ref() == Some(call) => {
                format!("{kind} after {}", name(&call.0))
            }
            Some(call) => format!("{kind} at {}", name(&call.0)),
        }
    }
}
