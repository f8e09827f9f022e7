//! Which two steps crossed: between two steps of one attempt came one of another's.

use crate::search::choice::{Actor, Kind, Name, Place, Point};
use crate::system::timeline::{Event, What};

/// A step that can be named: a call, or an update of durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) by: Actor,
    /// The service, or the state.
    pub(super) whose: Name,
    /// The operation; none for an update.
    pub(super) operation: Option<Name>,
    pub(super) place: Place,
}

/// One attempt stood between two of its steps while another one took one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) before: Step,
    pub(super) between: Step,
    pub(super) after: Step,
}

/// The crossings that deviations of this run have brought about.
pub(super) fn crossings(events: &[Event]) -> Vec<Crossing> {
    let overtaken = events.iter().enumerate().filter_map(|(at, event)| match &event.what {
        What::Deviated { choice, .. }
            if choice.kind == Kind::Schedule || matches!(choice.label.point, Point::Pause | Point::Stall) =>
        {
            Some((at, event.by))
        }
        _ => None,
    });
    let mut found: Vec<Crossing> = overtaken.filter_map(|(at, by)| crossing(events, at, by)).collect();
    found.dedup();
    found
}

/// What crossed the steps of `by`, who was overtaken at the event number `at`.
fn crossing(events: &[Event], at: usize, by: Actor) -> Option<Crossing> {
    let before = events[..at].iter().rev().filter(|event| event.by == by).find_map(step)?;
    let rest = &events[at..];
    let resumes = rest.iter().position(|event| event.by == by && step(event).is_some())?;
    let after = step(&rest[resumes])?;
    let meanwhile: Vec<Step> =
        rest[..resumes].iter().filter(|event| event.by != by).filter_map(step).collect();
    // The last one that touched what the overtaken one was about; or the last one at all.
    let touches = |other: &&Step| other.whose == after.whose || other.whose == before.whose;
    let between = meanwhile.iter().rev().find(touches).or(meanwhile.last())?;
    Some(Crossing { before, between: *between, after })
}

fn step(event: &Event) -> Option<Step> {
    let by = event.by;
    match &event.what {
        What::Called { service, operation, place, .. } => {
            Some(Step { by, whose: *service, operation: Some(*operation), place: *place })
        }
        What::Updated { name, place } => Some(Step { by, whose: *name, operation: None, place: *place }),
        _ => None,
    }
}
