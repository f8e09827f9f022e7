//! Marks the second half of a bug: what a later attempt of the job did because an earlier one had failed.

use super::{Mark, words};
use crate::judge::oracle::Finding;
use crate::search::choice::{Actor, DeviationKind, Name, Place};
use crate::system::effect::Effect;
use crate::system::timeline::{Event, EventKind};

/// Returns the mark for a finding, if a later attempt made the failed call again, or ended without it.
pub(super) fn mark(finding: &Finding, events: &[Event]) -> Option<Mark> {
    let failed = events.iter().rposition(is_failure)?;
    let Actor::Attempt { job, attempt } = events[failed].by else { return None };
    let is_later = |event: &&Event| match event.by {
        Actor::Attempt { job: same, attempt: later } => same == job && later > attempt,
        Actor::Test | Actor::Process(_) | Actor::Task(_) => false,
    };
    let (before, after) = events.split_at(failed);
    match finding {
        Finding::State { .. } => {
            let failed_call =
                before.iter().rev().filter(|event| event.by == events[failed].by).find_map(call)?;
            let again = after.iter().filter(is_later).find(|event| call(event) == Some(failed_call))?;
            let (service, operation, place) = failed_call;
            let text = words::call_again(again.by, service, operation);
            Some(Mark { place, text, primary: false })
        }
        Finding::Missing { effect: Effect { by: Actor::Attempt { job: same, .. }, .. }, .. }
            if *same == job =>
        {
            let done =
                after.iter().rfind(|event| matches!(event.what, EventKind::Succeeded)).filter(is_later)?;
            let (_, _, place) = after.iter().rev().filter(|event| event.by == done.by).find_map(call)?;
            let text = words::last_call_of_done_job(done.by);
            Some(Mark { place, text, primary: false })
        }
        _ => None,
    }
}

fn is_failure(event: &Event) -> bool {
    match &event.what {
        EventKind::Deviated { choice, .. } => {
            matches!(choice.kind, DeviationKind::Crash | DeviationKind::Fault)
        }
        _ => false,
    }
}

fn call(event: &Event) -> Option<(Name, Name, Place)> {
    match &event.what {
        EventKind::Called { service, operation, place, .. } => Some((*service, *operation, *place)),
        _ => None,
    }
}
