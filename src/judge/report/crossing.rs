//! Finds interleavings: a step of one attempt that came between two steps of another attempt.

use crate::search::choice::{Actor, DeviationKind, Name, Place, Point};
use crate::system::timeline::{Event, EventKind};

/// A step that the report can name: a call, or an update of durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CrossingStep {
    pub(super) by: Actor,
    /// The name of the service or the state.
    pub(super) whose: Name,
    /// The operation of a call. `None` for an update.
    pub(super) operation: Option<Name>,
    pub(super) place: Place,
}

/// A step of one attempt between two consecutive steps of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) before: CrossingStep,
    pub(super) between: CrossingStep,
    pub(super) after: CrossingStep,
}

/// Returns the interleavings that the deviations of this run caused.
pub(super) fn crossings(events: &[Event]) -> Vec<Crossing> {
    let overtaken = events.iter().enumerate().filter_map(|(at, event)| match &event.what {
        EventKind::Deviated { choice, .. }
            if choice.kind == DeviationKind::Preemption
                || matches!(choice.label.point, Point::Pause | Point::Stall) =>
        {
            Some((at, event.by))
        }
        _ => None,
    });
    let mut found: Vec<Crossing> = overtaken.filter_map(|(at, by)| crossing(events, at, by)).collect();
    found.dedup();
    found
}

/// Returns the interleaving at event `at`, where another task ran instead of `by`.
fn crossing(events: &[Event], at: usize, by: Actor) -> Option<Crossing> {
    let before = events[..at].iter().rev().filter(|event| event.by == by).find_map(step)?;
    let rest = &events[at..];
    let resumes = rest.iter().position(|event| event.by == by && step(event).is_some())?;
    let after = step(&rest[resumes])?;
    let meanwhile: Vec<CrossingStep> =
        rest[..resumes].iter().filter(|event| event.by != by).filter_map(step).collect();
    // Prefer the last step on the same service or state. Otherwise take the last step.
    let touches = |other: &&CrossingStep| other.whose == after.whose || other.whose == before.whose;
    let between = meanwhile.iter().rev().find(touches).or(meanwhile.last())?;
    Some(Crossing { before, between: *between, after })
}

/// Returns the step that an event is, if the report can name it.
pub(super) fn step(event: &Event) -> Option<CrossingStep> {
    let by = event.by;
    match &event.what {
        EventKind::Called { service, operation, place, .. } => {
            Some(CrossingStep { by, whose: *service, operation: Some(*operation), place: *place })
        }
        EventKind::Updated { name, place } => {
            Some(CrossingStep { by, whose: *name, operation: None, place: *place })
        }
        _ => None,
    }
}
