//! Picks the next job, and the process that takes it.

use std::sync::Arc;

use super::{Executor, ProcessSlot};
use crate::engine::life::Life;
use crate::engine::state::{Mode, State};
use crate::process::{Order, Process};
use crate::system::job::JobError;
use crate::system::queue::Head;
use crate::system::script::ScriptTurn;

/// The rank of a job for a process: the position of its queue, then its own.
type Rank = (usize, u64);

impl ProcessSlot {
    /// The living incarnation, if it takes jobs.
    fn taking(&self) -> Option<&(Arc<Life>, Process)> {
        self.living.as_ref().filter(|(life, _)| !life.is_dead() && !life.is_stopping())
    }

    /// The job that this process takes next from `heads`.
    fn wants(&self, state: &mut State, heads: &[Head], may_take: impl Fn(u32) -> bool) -> Option<Head> {
        let (_, process) = self.taking()?;
        let mut order = None;
        let mut best: Option<(Rank, Head)> = None;
        for &head in heads.iter().filter(|head| process.handles_kind(head.kind) && may_take(head.job)) {
            let queue = state.queue_of(head.kind);
            let order = order.get_or_insert_with(|| process.order(&mut || state.draw_fetch()));
            let Some(place) = order.place(queue) else { continue };
            let rank = (place, head.turn);
            if best.is_none_or(|(known, _)| rank < known) {
                best = Some((rank, head));
            }
        }
        best.map(|(_, head)| head)
    }

    pub(super) fn free_slots(&self) -> usize {
        self.living.as_ref().map_or(0, |(_, process)| process.slot_count().saturating_sub(self.busy))
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.free_slots() > 0
    }
}

impl Executor {
    /// The next job and the process that takes it. Each process looks at the queues that it serves, in its order.
    /// Among the processes, the job that has been ready longest wins. `only` restricts the search to jobs of one
    /// kind. Unless `busy_too`, only processes with a free slot count.
    pub(super) fn next(&self, only: Option<&str>, busy_too: bool) -> Option<(u32, usize)> {
        let mut state = self.shared.state();
        if state.queue.ready_count() == 0 {
            return None;
        }
        let mut heads = std::mem::take(&mut state.heads);
        heads.clear();
        heads.extend(state.queue.heads().filter(|head| only.is_none_or(|only| only == head.kind)));
        let mut next: Option<(Head, usize)> = None;
        for (index, host) in self.hosts.iter().enumerate() {
            if !busy_too && !host.has_free_slot() {
                continue;
            }
            if let Some(head) = host.wants(&mut state, &heads, |job| self.may_take(index, job)) {
                if next.is_none_or(|(known, _)| head.turn < known.turn) {
                    next = Some((head, index));
                }
            }
        }
        state.heads = heads;
        next.map(|(head, host)| (head.job, host))
    }

    /// Starts an attempt if a job is ready and a slot is free.
    pub(super) fn take_job(&mut self) -> bool {
        let mode = self.shared.state().search.mode();
        if matches!(mode, Mode::SerialBaseline | Mode::IsolatedBaseline) {
            return self.attempts().next().is_none() && self.take_in_any_order();
        }
        let Some((job, host)) = self.next(None, false) else { return self.fail_unhandled() };
        let host = self.taker_of(job, host);
        self.shared.state().queue.take(job);
        self.begin(job, host);
        true
    }

    /// One at a time: any waiting job may come next, a scheduled one when it is due.
    fn take_in_any_order(&mut self) -> bool {
        let (job, due, gives_up) = {
            let mut state = self.shared.state();
            let now = state.clock.now();
            let mut waiting: Vec<_> = state.queue.ready().into_iter().map(|job| (now, job)).collect();
            waiting.extend(state.queue.held_up().map(|job| (now, job)));
            waiting.extend(state.queue.timed());
            waiting
                .retain(|(_, job)| self.host_for(&state, *job).is_some() && state.queue.may_come_next(*job));
            if waiting.is_empty() {
                drop(state);
                return self.fail_unhandled();
            }
            let turn = match state.script.take() {
                None => ScriptTurn { next: state.pick(waiting.len()), gives_up: None, body: 0 },
                Some(mut script) => {
                    let candidates: Vec<_> = waiting.iter().map(|(_, job)| *job).collect();
                    let picked = script.pick(state.queue.jobs(), || state.handed_out(), &candidates);
                    state.script = Some(script);
                    picked
                }
            };
            let (due, job) = waiting[turn.next];
            state.queue.take(job);
            state.queue.job_mut(job).set_body(turn.body);
            (job, due, turn.gives_up)
        };
        self.shared.advance(due);
        let host = {
            let state = self.shared.state();
            self.host_for(&state, job).expect("a host was there a moment ago")
        };
        if let Some(gives_up) = gives_up {
            self.gives_up_unrun(job, host, gives_up);
            return true;
        }
        let isolated = self.shared.state().search.mode() == Mode::IsolatedBaseline;
        let former = self.hosts[host].last_begun.filter(|former| *former != job);
        if isolated && former.is_some() && !self.hosts[host].context.has_tasks() {
            self.reboot(host);
        }
        self.begin(job, host);
        true
    }

    /// A living process that handles the job, serves its queue and has a free slot.
    pub(super) fn host_for(&self, state: &State, job: u32) -> Option<usize> {
        self.host_with(state, job, |index| self.hosts[index].has_free_slot())
    }

    /// A living process that handles the job, serves its queue and is free.
    pub(super) fn host_with(
        &self,
        state: &State,
        job: u32,
        is_free: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        (0..self.hosts.len()).find(|&index| is_free(index) && self.can_take(state, index, job))
    }

    /// Whether a process lives that handles the job and serves its queue.
    pub(super) fn can_take(&self, state: &State, index: usize, job: u32) -> bool {
        let kind = state.queue.job(job).kind;
        let queue = state.queue_of(kind);
        let serves =
            |(_, process): &(Arc<Life>, Process)| process.handles_kind(kind) && process.serves(queue);
        self.may_take(index, job) && self.hosts[index].taking().is_some_and(serves)
    }

    /// The reason why no process will ever run the job, if there is one.
    pub(super) fn why_never(&self, job: u32) -> Option<JobError> {
        let state = self.shared.state();
        let kind = state.queue.job(job).kind;
        let queue = state.queue_of(kind);
        let living = || self.hosts.iter().filter_map(|host| host.living.as_ref().map(|(_, process)| process));
        if living().any(|process| process.handles_kind(kind) && process.serves(queue)) {
            return None;
        }
        let kind = kind.to_owned();
        Some(match living().any(|process| process.handles_kind(&kind)) {
            true => JobError::NotServed { job, kind, queue },
            false => match state.record.sender_of(&kind) {
                Some(service) => JobError::NobodyCalledBack { job, kind, service },
                None => JobError::NoHandler { job, kind },
            },
        })
    }

    /// Moves a ready job that no process will ever run to the dead set.
    pub(super) fn fail_unhandled(&mut self) -> bool {
        if self.hosts.iter().any(|host| host.living.is_none() && host.copy_of.is_none()) {
            return false;
        }
        if self.shared.state().queue.ready_count() == 0 {
            return false;
        }
        let mut heads: Vec<_> = self.shared.state().queue.heads().collect();
        heads.sort_by_key(|head| head.turn);
        let unrunnable = heads.iter().find_map(|head| self.why_never(head.job).map(|why| (head.job, why)));
        let Some((job, why)) = unrunnable else { return false };
        self.shared.state().queue.take(job);
        self.cannot_run(job, None, why.to_string());
        true
    }
}

impl Order {
    /// The position of a queue in this order. `None` if the process does not serve it.
    fn place(&self, queue: crate::search::choice::Name) -> Option<usize> {
        match self {
            Order::Any => Some(0),
            Order::Of(queues) => queues.iter().position(|&served| served == queue),
        }
    }
}
