//! Requests and replies on their way between sockets and tasks.

use std::sync::Arc;
use std::time::Duration;

use super::protocol::{Endpoint, Finish, Talk, Waiting};
use crate::engine::externals;
use crate::search::choice::Actor;
use crate::system::clock::TaskId;

/// A request that waits to be served, or the second half of one that was made outside any step.
pub(super) struct ArrivedRequest {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) line: u64,
    pub(super) by: Option<Actor>,
    pub(super) talk: Box<dyn Talk>,
    pub(super) finish: Option<Finish>,
}

/// A reply on its way to a task of the executor.
pub(super) struct PendingReply {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) line: u64,
    pub(super) caller: externals::Caller,
    pub(super) talk: Box<dyn Talk>,
    pub(super) finish: Finish,
    pub(super) due: Duration,
}

/// A caller that will never receive a reply.
pub(super) struct SilentCaller {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) line: u64,
    pub(super) by: Option<(Actor, TaskId)>,
    pub(super) talk: Box<dyn Talk>,
    pub(super) until: Duration,
}

impl ArrivedRequest {
    pub(super) fn second_half(
        endpoint: Arc<Endpoint>,
        line: u64,
        by: Actor,
        talk: Box<dyn Talk>,
        finish: Finish,
    ) -> Self {
        Self { endpoint, line, by: Some(by), talk, finish: Some(finish) }
    }
}

/// A call that waits in a real system for another task.
pub(super) struct WaitingCall {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) line: u64,
    pub(super) actor: Actor,
    /// `None` if the call was made outside any step.
    pub(super) caller: Option<externals::Caller>,
    pub(super) talk: Box<dyn Talk>,
    pub(super) waiting: Waiting,
    /// The virtual time at which it gives up.
    pub(super) until: Option<Duration>,
}

impl WaitingCall {
    /// Makes a call that waits from now on.
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        line: u64,
        (actor, caller): (Actor, Option<externals::Caller>),
        talk: Box<dyn Talk>,
        waiting: Waiting,
    ) -> Self {
        let until = waiting.limit.map(|limit| endpoint.now().saturating_add(limit));
        Self { endpoint, line, actor, caller, talk, waiting, until }
    }
}

/// Resumes all calls that wait, in the order in which they began to wait. Those whose limit is over at `now` end first.
/// Returns those that still wait, and those that have ended in that same order, regardless of which the system served
/// first.
pub(super) fn resume_all(
    waiting: Vec<WaitingCall>,
    now: Option<Duration>,
) -> (Vec<WaitingCall>, Vec<(WaitingCall, Finish)>) {
    let mut left: Vec<_> = waiting.into_iter().enumerate().collect();
    let mut ended = Vec::new();
    loop {
        let before = left.len();
        let mut still = Vec::new();
        for (order, mut waiting) in left {
            let is_over = now.is_some_and(|now| waiting.until.is_some_and(|until| until <= now));
            match (waiting.waiting.resume)(is_over) {
                Some(finish) => ended.push((order, waiting, finish)),
                None => still.push((order, waiting)),
            }
        }
        left = still;
        // One that has ended may let another one continue.
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    ended.sort_by_key(|(order, ..)| *order);
    let left = left.into_iter().map(|(_, waiting)| waiting).collect();
    (left, ended.into_iter().map(|(_, waiting, finish)| (waiting, finish)).collect())
}
