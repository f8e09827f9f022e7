//! The end of an attempt: its job is done, retried, discarded or dead. Also calls the hooks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::Executor;
use crate::engine::life::{self, Life};
use crate::engine::panics;
use crate::engine::steps::Resource;
use crate::process::Process;
use crate::search::choice::{Actor, DeviationKind, Options, Point, Site};
use crate::system::job::{
    Backoff, CLIENT_PAUSE, Cause, Decision, Delivery, FailedAttempt, JobFailure, JobState, JobView,
    RetryPolicy,
};
use crate::system::script::GiveUp;
use crate::system::timeline::EventKind;

impl Executor {
    /// Handles the end of an attempt, including the point before the queue learns of it.
    pub(super) fn ended(&mut self, job: u32, attempt: u32, life: &Arc<Life>, result: Result<(), JobFailure>) {
        let _acting = self.shared.acting(Actor::Attempt { job, attempt });
        let mut state = self.shared.state();
        // Failure hooks are user code.
        state.touch(if result.is_ok() { Resource::Queue } else { Resource::Everything }, true);
        if state.search.is_stuck() {
            return;
        }
        state.job_ended();
        let delivery = state.delivery(job);
        let now = state.clock.now();
        let late = !state.queue.is_held_by(job, attempt);
        if life.crashes(&mut state, Site::Attempt, Point::End, None) {
            match (delivery, &result) {
                // It was removed from the queue before it ran, and it ran to its end, so there is nothing to
                // redeliver.
                _ if late => {}
                (Delivery::AtMostOnce, Ok(())) => state.queue.acknowledge(job, now),
                (delivery, _) => state.worker_died(Actor::Attempt { job, attempt }, delivery),
            }
            drop(state);
            self.tear_down(life.index, None);
        } else if late {
            let error = result.as_ref().err().map(|failure| failure.text.clone());
            state.note(|| EventKind::EndedLate { error });
            drop(state);
            self.ended_late(job, life.index, result);
        } else if let Err(mut failure) = result {
            drop(state);
            failure.text = self.shared.externals.redact(failure.text);
            match failure.refusal() {
                Some(refusal) => self.rejected(job, life.index, refusal),
                None => self.failed(job, life.index, failure),
            }
        } else if let Some(gives_up) = state.script.as_mut().and_then(|script| script.ends(job)) {
            drop(state);
            self.gives_up(job, life.index, gives_up);
        } else {
            state.note(|| EventKind::Succeeded);
            let again = delivery == Delivery::AtLeastOnce
                && state.deviate(
                    DeviationKind::Delivery,
                    Site::Attempt,
                    Point::Ack,
                    Options::Acknowledgement,
                    None,
                ) != 0;
            if again {
                state.note(|| EventKind::DeliveredAgain);
                state.queue.deliver_again(job);
            }
            state.queue.acknowledge(job, now);
            drop(state);
            self.tally.succeeded += 1;
        }
        self.shared.end_inline(job);
    }

    /// Handles the end of an attempt that had lost its lease. The queue has redelivered the job and ignores the
    /// result, but the hooks of the attempt's process are called.
    fn ended_late(&mut self, job: u32, host: usize, result: Result<(), JobFailure>) {
        let Some(failure) = result.err().filter(|failure| !failure.is_interruption()) else { return };
        let view = JobView::from(self.shared.state().queue.job(job));
        let failed = FailedAttempt::of(&failure, view);
        if let HookOutcome::Died = self.tell(host, |process| process.tell_of_error(&failed)) {
            self.tear_down(host, None);
        }
    }

    /// Handles a failed attempt.
    fn failed(&mut self, job: u32, host: usize, failure: JobFailure) {
        if failure.cause == Cause::Interrupted {
            let mut state = self.shared.state();
            state.note(|| EventKind::Interrupted);
            state.interrupted(job);
            self.tally.snoozed += 1;
            return;
        }
        if failure.cause == Cause::NotRun {
            self.shared.state().note(|| EventKind::Failed { error: failure.text.clone(), retry_at: None });
            return self.cannot_run(job, Some(host), failure.text);
        }
        let (kind, is_request, now) = {
            let state = self.shared.state();
            let failing = state.queue.job(job);
            (failing.kind, failing.request().is_some(), state.clock.now())
        };
        let hears = |(_, process): &(Arc<Life>, Process)| process.hears_of_failures(kind);
        if self.hosts[host].living.as_ref().is_some_and(|living| !hears(living)) {
            self.shared.state().queue.note_failure(job, now, failure.text.clone());
            return self.decide(job, host, Decision::Retry, failure.text);
        }
        let view = JobView::from(self.shared.state().queue.job(job));
        let failed = FailedAttempt::of(&failure, view);
        let mut error = failure.text.clone();
        let mut decision = Decision::Retry;
        // The client of a request decides by itself.
        let decide = |process: &Process| match is_request {
            true => None,
            false => process.decide(failed.job.kind, &failed),
        };
        match self.tell(host, decide) {
            HookOutcome::Heard(decided) => decision = decided.unwrap_or(Decision::Retry),
            HookOutcome::Panicked(text) => error = format!("{error}; its `decide` panicked: {text}"),
            HookOutcome::Died => return self.worker_died(job, host),
        }
        let now = self.shared.state().clock.now();
        if let Decision::Snooze(wait) = decision {
            let due = now.saturating_add(wait);
            let mut state = self.shared.state();
            state.note(|| EventKind::Snoozed { due });
            state.put_back(job, due, || format!("its `decide` decided so, the last time for {wait:?}"));
            self.tally.snoozed += 1;
            return;
        }
        match self.tell(host, |process| process.tell_of_error(&failed)) {
            HookOutcome::Died => return self.worker_died(job, host),
            HookOutcome::Panicked(text) => error = format!("{error}; an `on_error` hook panicked: {text}"),
            HookOutcome::Heard(()) => {}
        }
        self.shared.state().queue.note_failure(job, now, error.clone());
        self.decide(job, host, decision, error);
    }

    fn decide(&mut self, job: u32, host: usize, decision: Decision, error: String) {
        let (policy, failures, since, now, were_suspended) = {
            let state = self.shared.state();
            let failing = state.queue.job(job);
            let policy = state.retry_policy(job);
            let since = failing.extras.as_ref().and_then(|extras| extras.since).unwrap_or_default();
            (policy, failing.failures() - 1, since, state.clock.now(), state.search.are_faults_suspended())
        };
        let is_over = policy.is_exhausted(failures, now - since);
        match decision {
            Decision::Discard => {
                self.over(job, JobState::Discarded, error);
                self.tally.discarded += 1;
            }
            Decision::Kill => self.dies(job, host, error),
            _ if were_suspended => {
                self.over(job, JobState::Popped, error);
                self.tally.failed += 1;
            }
            _ if self.shared.state().queue.job(job).request().is_some() => self.refused(job, failures, error),
            _ if policy.max_retries.is_none() => {
                self.shared.state().queue.job_mut(job).extras().deaths += 1;
                self.over(job, JobState::Discarded, error);
                self.tell_of_death(job, host);
                self.tally.discarded += 1;
            }
            _ if is_over => {
                let view = JobView::from(self.shared.state().queue.job(job));
                match self.tell(host, |process| process.tell_of_exhaustion(&view)) {
                    HookOutcome::Died => self.worker_died(job, host),
                    HookOutcome::Panicked(text) => {
                        let error = format!("{error}; its `on_exhausted` panicked: {text}");
                        self.shared.state().queue.job_mut(job).extras().error = Some(error.clone());
                        self.dies(job, host, error);
                    }
                    HookOutcome::Heard(()) => self.dies(job, host, error),
                }
            }
            decision => self.tried_again(job, &policy, failures, decision, error),
        }
    }

    /// A request has failed: its client repeats it, or that was all.
    fn refused(&mut self, job: u32, failures: u32, error: String) {
        if self.shared.state().queue.job(job).is_repeated() {
            let pause = Decision::RetryAfter(CLIENT_PAUSE);
            return self.tried_again(job, &RetryPolicy::default(), failures, pause, error);
        }
        self.over(job, JobState::Discarded, error);
        self.tally.discarded += 1;
    }

    fn tried_again(
        &mut self,
        job: u32,
        policy: &RetryPolicy,
        failures: u32,
        decision: Decision,
        mut error: String,
    ) {
        let jitter = self.shared.state().jitter(job, failures);
        let wait = match decision {
            Decision::RetryAfter(wait) => wait,
            // The backoff may be a function of the user, so it is called while nothing is locked. Its panic belongs to the
            // job and not to the test.
            _ => {
                let backoff = || policy.backoff.after(failures, jitter);
                catch_unwind(AssertUnwindSafe(backoff)).unwrap_or_else(|panic| {
                    error = format!("{error}; its `backoff` panicked: {}", panics::text(&*panic));
                    Backoff::default().after(failures, jitter)
                })
            }
        };
        let mut state = self.shared.state();
        let late = state.lateness(Site::Attempt, Point::Retry, None);
        let due = state.clock.now().saturating_add(wait).saturating_add(late);
        state.note(|| EventKind::Failed { error, retry_at: Some(due) });
        state.queue.retry(job, due);
        self.tally.failed += 1;
    }

    /// Ends the job without a place in the dead set.
    fn over(&mut self, job: u32, as_what: JobState, error: String) {
        let mut state = self.shared.state();
        if as_what == JobState::Discarded {
            state.note(|| EventKind::Discarded { error });
        }
        state.queue.give_up(job, as_what);
    }

    /// Gives a job up before it ran, as in an execution without the job. The hooks for its end are called.
    pub(super) fn gives_up_unrun(&mut self, job: u32, host: usize, gives_up: GiveUp) {
        let attempt = self.shared.state().queue.job(job).attempts;
        let _acting = self.shared.acting(Actor::Attempt { job, attempt });
        {
            let mut state = self.shared.state();
            let now = state.clock.now();
            state.queue.begins(job, now);
        }
        self.gives_up(job, host, gives_up);
    }

    fn gives_up(&mut self, job: u32, host: usize, gives_up: GiveUp) {
        let GiveUp { state: end, error, failures, .. } = gives_up;
        let (policy, is_over, is_request) = {
            let mut state = self.shared.state();
            let now = state.clock.now();
            (0..failures).for_each(|_| state.queue.note_failure(job, now, error.to_string()));
            let policy = state.retry_policy(job);
            let is_over = policy.is_exhausted(failures.saturating_sub(1), Duration::ZERO);
            (policy, is_over, state.queue.job(job).request().is_some())
        };
        let error = error.into_string();
        if end == JobState::Dead {
            if is_over {
                let view = JobView::from(self.shared.state().queue.job(job));
                let _ = self.tell(host, |process| process.tell_of_exhaustion(&view));
            }
            self.dies(job, host, error);
        } else if end == JobState::Discarded && policy.max_retries.is_none() && !is_request {
            self.shared.state().queue.job_mut(job).extras().deaths += 1;
            self.over(job, end, error);
            self.tell_of_death(job, host);
        } else {
            self.over(job, end, error);
        }
    }

    /// Moves the job to the dead set, and calls the death handlers.
    fn dies(&mut self, job: u32, host: usize, error: String) {
        {
            let mut state = self.shared.state();
            let now: Duration = state.clock.now();
            state.note(|| EventKind::Failed { error, retry_at: None });
            state.queue.bury(job, now);
        }
        self.tell_of_death(job, host);
        self.tally.dead += 1;
    }

    /// Moves a job that could not run to the dead set, with the reason.
    pub(super) fn cannot_run(&mut self, job: u32, host: Option<usize>, reason: String) {
        self.shared.barrier();
        let _acting = self.shared.acting(Actor::Test);
        {
            let mut state = self.shared.state();
            let now = state.clock.now();
            state.queue.bury_unrun(job, now, reason);
        }
        self.tally.dead += 1;
        match host.or_else(|| self.hosts.iter().position(|host| host.living.is_some())) {
            Some(host) => self.tell_of_death(job, host),
            // There is no process to notify.
            None => self.shared.state().queue.job_mut(job).extras().deaths_told += 1,
        }
        self.shared.end_inline(job);
    }

    /// Whether the queue has handed the job out more often than its kind allows.
    pub(super) fn is_received_too_often(&self, job: u32, attempt: u32) -> bool {
        self.shared.state().max_receives(job).is_some_and(|most| attempt > most)
    }

    /// The job is moved to the dead set without another attempt.
    pub(super) fn received_too_often(&mut self, job: u32, attempt: u32, host: usize, payload: Box<str>) {
        let _acting = self.shared.acting(Actor::Attempt { job, attempt });
        let error = format!("it was received {} times, which is as often as its kind allows", attempt - 1);
        {
            let mut state = self.shared.state();
            let now = state.clock.now();
            state.queue.job_mut(job).payload = payload;
            state.queue.note_failure(job, now, error.clone());
        }
        self.dies(job, host, error);
        self.shared.end_inline(job);
    }

    fn tell_of_death(&mut self, job: u32, host: usize) {
        let view = JobView::from(self.shared.state().queue.job(job));
        match self.tell(host, |process| process.tell_of_death(&view)) {
            HookOutcome::Heard(()) => self.shared.state().queue.job_mut(job).extras().deaths_told += 1,
            HookOutcome::Panicked(text) => {
                let mut state = self.shared.state();
                let extras = state.queue.job_mut(job).extras();
                let error = extras.error.take().unwrap_or_default();
                extras.error = Some(format!("{error}; a death handler panicked: {text}"));
            }
            // The job is already dead, and this process, too.
            HookOutcome::Died => self.tear_down(host, None),
        }
    }

    /// Calls hooks of a process in its name.
    fn tell<R>(&mut self, host: usize, code: impl FnOnce(&Process) -> R) -> HookOutcome<R> {
        let host = &mut self.hosts[host];
        let Some((life, process)) = &host.living else { return HookOutcome::Died };
        let now = self.shared.state().clock.now();
        let told = catch_unwind(AssertUnwindSafe(|| {
            host.context.within(now, life, || life::run_as(life, || code(process)))
        }));
        match told {
            _ if life.is_dead() => HookOutcome::Died,
            Ok(heard) => HookOutcome::Heard(heard),
            Err(panic) => HookOutcome::Panicked(panics::text(&*panic)),
        }
    }

    /// The process died in a hook, so the queue does not learn of the end of the attempt.
    fn worker_died(&mut self, job: u32, host: usize) {
        {
            let mut state = self.shared.state();
            let (delivery, attempt) = (state.delivery(job), state.queue.job(job).attempts);
            state.worker_died(Actor::Attempt { job, attempt }, delivery);
        }
        self.tear_down(host, None);
    }
}

/// The result of a hook.
enum HookOutcome<R> {
    Heard(R),
    Panicked(String),
    Died,
}
