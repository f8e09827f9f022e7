//! Groups violations with the same cause into one entry of the report.
//!
//! A cause is a place in the code. An effect that should not have happened has the place of its call. A missing
//! effect, or a different state, has the section of its job in which a failure leads to it: the calls between which
//! the job must not stop. Failures and mere preemptions are different causes.
//!
//! One failure may leave several things undone, or several parts of one state different. They are one entry, too.

use std::sync::Arc;

use super::tally::Group;
use crate::judge::oracle::Finding;
use crate::judge::report::{Courses, Mishap, ShownRun};
use crate::search::choice::{DeviationKind, Name, Place};

/// A group that was run again, and the deviation without which the finding disappears.
#[derive(Debug)]
pub(super) struct ShownCause {
    pub(super) group: Group,
    pub(super) showing: ShownRun,
}

impl ShownCause {
    fn done_at(&self) -> Option<String> {
        self.showing.done_at(self.showing.findings.first()?)
    }
}

/// Two groups with the same cause are one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    subject: String,
    /// On inputs that are not the ordinary ones it is something else that does not happen, or is left otherwise.
    inputs: Arc<[String]>,
    is_switch: bool,
    place: CausePlace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CausePlace {
    /// The subject alone identifies the cause.
    Subject,
    /// The place of the effect, as `file:line`.
    Line(String),
    /// How far the job had come.
    Position(String, usize),
    /// After a call that the job's ordinary course does not make there.
    OffCourse(String, String),
}

/// The place at which a failure leaves things undone, or leaves a state otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remains {
    inputs: Arc<[String]>,
    /// The state that is left otherwise. None: what is left undone is an effect.
    state: Option<Name>,
    who: String,
    kind: DeviationKind,
    place: Option<Place>,
}

impl Remains {
    fn of(shown: &ShownCause, decisive: Option<&Mishap>, courses: &Courses) -> Option<Self> {
        let state = match &shown.group.finding {
            Finding::Missing { .. } => None,
            Finding::State { name, .. } => Some(*name),
            _ => return None,
        };
        let mishap = decisive?;
        // Without a call, only the start of a job is a known place.
        if mishap.place.is_none() && courses.position(mishap) != Some(0) {
            return None;
        }
        let inputs = shown.group.inputs.clone();
        Some(Self { inputs, state, who: mishap.who.clone(), kind: mishap.kind, place: mishap.place })
    }
}

/// A group in an entry, with what identifies its cause.
type Member<'c> = (&'c Cause, &'c Option<Remains>);

/// Groups those with the same cause, and keeps their order.
pub(super) fn entries(shown: Vec<ShownCause>, courses: &Courses) -> Vec<Vec<ShownCause>> {
    let decisive = decisive(&shown, courses);
    let remains: Vec<Option<Remains>> =
        shown.iter().zip(&decisive).map(|(shown, mishap)| Remains::of(shown, *mishap, courses)).collect();
    let causes: Vec<Cause> =
        shown.iter().zip(decisive).map(|(shown, mishap)| cause(shown, mishap, courses)).collect();
    let mut entries: Vec<(Vec<Member<'_>>, Vec<ShownCause>)> = Vec::new();
    for (shown, (cause, remains)) in shown.into_iter().zip(causes.iter().zip(&remains)) {
        let is_same = |(member, left): &Member<'_>| {
            *member == cause || is_one_stretch(member, cause, &causes) || left.is_some() && *left == remains
        };
        match entries.iter_mut().find(|(members, _)| members.iter().any(is_same)) {
            Some((members, all)) => {
                members.push((cause, remains));
                all.push(shown);
            }
            None => entries.push((vec![(cause, remains)], vec![shown])),
        }
    }
    entries.into_iter().map(|(_, shown)| shown).collect()
}

/// Whether two causes lie in one section of a job, in which a failure anywhere leads to the same violation.
fn is_one_stretch(one: &Cause, other: &Cause, all: &[Cause]) -> bool {
    let (CausePlace::Position(who, from), CausePlace::Position(same, to)) = (&one.place, &other.place) else {
        return false;
    };
    let leads_there =
        |at: usize| all.contains(&Cause { place: CausePlace::Position(who.clone(), at), ..one.clone() });
    let is_alike = (who, &one.subject, &one.inputs) == (same, &other.subject, &other.inputs);
    let is_alike = is_alike && one.is_switch == other.is_switch;
    is_alike && (*from.min(to)..*from.max(to)).all(leads_there)
}

/// Returns the decisive deviation of each group: the one without which nothing is wrong. If a group has several
/// deviations, this is the one that most groups have, and among those the last, because an earlier one may be anything
/// that leads to a retry.
fn decisive<'s>(shown: &'s [ShownCause], courses: &Courses) -> Vec<Option<&'s Mishap>> {
    let key = |mishap: &Mishap| (mishap.who.clone(), courses.position(mishap), mishap.is_switch());
    let several = || shown.iter().filter(|shown| shown.group.mishaps.len() > 1);
    let has = |of: &ShownCause, subject: &str, mishap: &Mishap| {
        of.group.subject == subject && of.group.mishaps.iter().any(|other| key(other) == key(mishap))
    };
    let count = |subject: &str, mishap: &Mishap| -> u64 {
        several().filter(|of| has(of, subject, mishap)).map(|of| of.group.runs).sum()
    };
    shown
        .iter()
        .map(|shown| match &shown.group.mishaps[..] {
            [] => None,
            [one] => Some(one),
            all => all.iter().max_by_key(|mishap| count(&shown.group.subject, mishap)),
        })
        .collect()
}

fn cause(shown: &ShownCause, decisive: Option<&Mishap>, courses: &Courses) -> Cause {
    let subject = shown.group.subject.clone();
    let is_switch = decisive.is_some_and(Mishap::is_switch);
    let by_course = || match decisive {
        None => CausePlace::Subject,
        Some(mishap) => match courses.position(mishap) {
            Some(position) => CausePlace::Position(mishap.who.clone(), position),
            None => {
                let after = mishap.after.as_ref().map(|(what, _)| what.clone());
                CausePlace::OffCourse(mishap.who.clone(), after.unwrap_or_default())
            }
        },
    };
    let place = match &shown.group.finding {
        Finding::Repeated { .. }
        | Finding::Unexpected { .. }
        | Finding::Early { .. }
        | Finding::Reused(_) => shown.done_at().map_or_else(by_course, CausePlace::Line),
        Finding::Unhygienic(_) => shown.done_at().map_or(CausePlace::Subject, CausePlace::Line),
        Finding::Panicked(_) | Finding::NotRun { .. } | Finding::LockLeft { .. } => CausePlace::Subject,
        _ => by_course(),
    };
    // An assertion of the test, and a line that acts twice, are the same cause no matter which task ran first.
    let is_switch = is_switch && place != CausePlace::Subject;
    let inputs = match place {
        CausePlace::Position(..) | CausePlace::OffCourse(..) => shown.group.inputs.clone(),
        CausePlace::Subject | CausePlace::Line(_) => Arc::default(),
    };
    Cause { subject, inputs, is_switch, place }
}
