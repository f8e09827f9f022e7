//! Calls that a protocol forwards to a real system, such as a database.
//!
//! The call has the points and faults of a call to a service. The protocol does the real work in the middle, while
//! nothing else runs. If the work waits for something that another task holds, such as a row lock, the other tasks run,
//! and the work is resumed whenever one of their requests has ended or one of their connections is gone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::protocol::{self, Caller, Finish, Outcome, Reply, Resume, ServeOutcome, Waiting};
use crate::engine::call::{self, CallSpec, CallTarget, EnterOutcome, InFlight, Visit, dies_waiting};
use crate::engine::external_calls::real_time;
use crate::engine::state::{Shared, State, Stuck, call_site};
use crate::process::{ExternalFault, Link};
use crate::search::choice::{DeviationKind, Fault, Name, Place, WaitKind};
use crate::system::service::{FaultPlan, external_faults};
use crate::system::timeline::EventKind;

/// The real time for which the test's own request may wait for a lock that a process holds, because no process runs
/// meanwhile.
const LONGEST: Duration = Duration::from_secs(5);
/// The real time for which the boot of a process may wait for a lock.
const LONGEST_WITHOUT_OTHERS: Duration = Duration::from_secs(1);
/// The pause between two looks, in real time.
const PAUSE: Duration = Duration::from_micros(200);

/// A call to a real system, as a report names it.
#[derive(Clone, Debug)]
pub struct ForwardedCall {
    system: Name,
    operation: Name,
    text: String,
    place: Option<Place>,
    passes: bool,
    may_conflict: bool,
    may_shut_down: bool,
    awaited: &'static str,
}

impl ForwardedCall {
    /// Makes a call whose effect lasts: it may crash before it, after it happened, and after its reply, and its reply
    /// may be lost. Spaces in the name of the operation become dashes.
    pub fn new(system: impl Into<Name>, operation: impl Into<Name>) -> Self {
        let operation = operation.into();
        let operation = match operation.as_str().contains(char::is_whitespace) {
            true => Name::from(operation.as_str().split_whitespace().collect::<Vec<_>>().join("-")),
            false => operation,
        };
        Self {
            system: system.into(),
            operation,
            text: String::new(),
            place: None,
            passes: false,
            may_conflict: false,
            may_shut_down: false,
            awaited: "a lock",
        }
    }

    /// Sets the text of the request, which the timeline shows.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// Sets the place in the source that a report shows, counted from 1, for a protocol that finds it out. Otherwise it
    /// is the place of the caller's last call, because bytes do not tell where they come from.
    #[must_use]
    pub fn place(self, file: &'static str, line: u32, column: u32) -> Self {
        Self { place: Some(Place { file, line, column }), ..self }
    }

    /// Adds the fault [`ExternalFault::Conflict`]: the system may refuse the call because of a deadlock, or because it
    /// cannot be serialized.
    #[must_use]
    pub fn may_conflict(self) -> Self {
        Self { may_conflict: true, ..self }
    }

    /// Adds the fault [`ExternalFault::ShutDown`].
    #[must_use]
    pub fn may_shut_down(self) -> Self {
        Self { may_shut_down: true, ..self }
    }

    /// Sets what the call waits for, if it waits, in the words of a report. Defaults to `a lock`.
    #[must_use]
    pub fn waits_for(self, awaited: &'static str) -> Self {
        Self { awaited, ..self }
    }

    /// Marks the call as one that leaves nothing behind if its connection breaks: a read, or a statement in a
    /// transaction, which is then rolled back. It has one crash point, because all others are equivalent, and a lost
    /// reply is the same as a system that is not reached.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { passes: true, ..self }
    }
}

/// The state of work at a real system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// It has ended, with this reply.
    Ended(Reply),
    /// It waits for something that another task holds.
    Waits,
    /// The same, for at most this much virtual time from now. Then the work is called with
    /// [`ExternalFault::WaitedTooLong`].
    WaitsAtMost(Duration),
}

impl ForwardOutcome {
    /// The reply, or the longest time to wait.
    fn ended(self) -> Result<Reply, Option<Duration>> {
        match self {
            ForwardOutcome::Ended(reply) => Ok(reply),
            ForwardOutcome::Waits => Err(None),
            ForwardOutcome::WaitsAtMost(limit) => Err(Some(limit)),
        }
    }
}

/// A transaction that is open in a real system, for as long as this lives.
///
/// Meanwhile, a call of the same attempt to anything else causes the warning RP0081, and an enqueue RP0082.
#[derive(Debug)]
pub struct OpenTransaction {
    is_over: Arc<AtomicBool>,
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The moments at which what a real system keeps expires on the world's clock, such as a lock with a time to live.
///
/// A task then also stalls until just past the next of them, and retries may be days late.
#[derive(Clone, Debug)]
pub struct Expirations {
    shared: Arc<Shared>,
}

impl Expirations {
    /// Moves an expiration from `before` to `after`, both since the world began. `None` is no expiration.
    pub fn replace(&self, before: Option<Duration>, after: Option<Duration>) {
        if before != after {
            self.shared.state().ledger.expiries.replace(before, after);
        }
    }
}

/// The work of a call: first with the injected fault, then again whenever it is resumed.
type Work = Box<dyn FnMut(Option<ExternalFault>) -> ForwardOutcome + Send>;

impl Caller<'_> {
    /// Notes that the caller has an open transaction in the real system of `call`, in which it makes that call.
    pub fn open_transaction(&self, call: &ForwardedCall) -> OpenTransaction {
        let place = call.place.unwrap_or_else(|| self.place());
        let mut state = self.shared().state();
        let actor = state.actor();
        OpenTransaction { is_over: state.connections.begin_outside(call.system, actor, place) }
    }

    /// The expirations of the world. The work of a call may replace some of them. Do not keep this after the call.
    pub fn expirations(&self) -> Expirations {
        Expirations { shared: self.shared().clone() }
    }

    /// Makes a call to a real system, in the name of the process.
    ///
    /// `work` does it. With [`ExternalFault::Unreachable`] it must do nothing, and with [`ExternalFault::ReplyLost`] it
    /// must do everything but reply; both usually end in [`Reply::reset`]. With [`ExternalFault::Conflict`] and
    /// [`ExternalFault::ShutDown`] it does nothing but undo a transaction, and replies with an error of the protocol. If it returns [`ForwardOutcome::Waits`], it
    /// is called again without a fault whenever something has happened that may let it continue, and must not wait.
    /// With [`ExternalFault::WaitedTooLong`], it stops waiting, and ends.
    ///
    /// It runs in real time. Nothing else runs meanwhile, and no virtual time passes.
    pub fn forward(
        &self,
        call: ForwardedCall,
        work: impl FnMut(Option<ExternalFault>) -> ForwardOutcome + Send + 'static,
    ) -> ServeOutcome {
        assert!(
            !self.is_misused(),
            "a job called through the test's own address (`world.…`), where nothing can go wrong; give it that of its process (`p.…`)"
        );
        let link = self.link().clone();
        let place = call.place.unwrap_or_else(|| self.place());
        // Nobody knows what the call touches outside.
        link.shared().reduce_no_more();
        let endpoint = ForwardTarget { link, call, place, work: Box::new(work), fault: None, limit: None };
        let Some(flight) = InFlight::begin(endpoint) else { return ServeOutcome::reply(Reply::reset()) };
        if flight.output.is_some() {
            return ServeOutcome(Outcome::Takes(Duration::ZERO, finish(flight)));
        }
        match flight.target.dies_waiting() {
            true => ServeOutcome::reply(Reply::reset()),
            false => {
                let (what, limit) = (flight.target.what(), flight.target.limit);
                let mut flight = Some(flight);
                let resume = move |is_over: bool| {
                    let mut resumed = flight.take()?;
                    resumed.output = resumed.target.go_on(is_over.then_some(ExternalFault::WaitedTooLong));
                    match resumed.output {
                        Some(_) => Some(finish(resumed)),
                        None => {
                            flight = Some(resumed);
                            None
                        }
                    }
                };
                ServeOutcome(Outcome::Waits(Waiting { what, limit, resume: Box::new(resume) }))
            }
        }
    }

    /// Does work at a real system that is no call: a handshake, or the end of a transaction without an effect. It has
    /// no points and no faults, but it may wait like one. `work` is called with true once it has waited for as long as it
    /// may.
    pub fn forward_aside(
        &self,
        mut work: impl FnMut(bool) -> ForwardOutcome + Send + 'static,
    ) -> ServeOutcome {
        match work(false).ended() {
            Ok(reply) => ServeOutcome::reply(reply),
            Err(limit) => {
                let resume: Resume = Box::new(move |is_over| {
                    let reply = work(is_over).ended().ok()?;
                    Some(Box::new(move || reply) as Finish)
                });
                let what = format!("at {}, for a lock", self.place());
                ServeOutcome(Outcome::Waits(Waiting { what, limit, resume }))
            }
        }
    }
}

fn finish(flight: InFlight<ForwardTarget>) -> Finish {
    Box::new(move || flight.arrive().flatten().unwrap_or_else(Reply::reset))
}

/// Resumes work in real time until it ends, for a caller that blocks everything else: the boot of a process. What it waits
/// for cannot come from another process. So if it takes too long, the run is stuck, unless the caller has a limit.
pub(super) fn end_wait(
    endpoint: &protocol::Endpoint,
    Waiting { what, limit, mut resume }: Waiting,
) -> Finish {
    let began = real_time();
    while began.elapsed() < LONGEST_WITHOUT_OTHERS {
        if let Some(finish) = resume(false) {
            return finish;
        }
        std::thread::park_timeout(PAUSE);
    }
    let shared = endpoint.link.shared();
    if let Some(limit) = limit {
        shared.advance(endpoint.now().saturating_add(limit));
        if let Some(finish) = resume(true) {
            return finish;
        }
    }
    let caller = endpoint.link.life().map_or("the test", |life| life.process.as_str());
    let waiting = format!(
        "the boot of {caller} waits {what}, and nothing else runs while a process boots: start what may wait with `p.spawn`"
    );
    shared.state().search.get_stuck(Stuck::Deadlock { waiting: vec![waiting] });
    Box::new(Reply::reset)
}

/// The real system as the target of one call.
struct ForwardTarget {
    link: Link,
    call: ForwardedCall,
    place: Place,
    work: Work,
    fault: Option<Fault>,
    /// The longest virtual time to wait.
    limit: Option<Duration>,
}

impl fmt::Debug for ForwardTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardTarget").field("call", &self.call).finish_non_exhaustive()
    }
}

impl ForwardTarget {
    fn go_on(&mut self, fault: Option<ExternalFault>) -> Option<Reply> {
        match (self.work)(fault).ended() {
            Ok(reply) => Some(reply),
            Err(limit) => {
                self.limit = limit;
                None
            }
        }
    }

    /// Draws the crash while the call waits. Returns whether the process dies there or the run is stuck.
    fn dies_waiting(&self) -> bool {
        let mut state = self.link.shared().state();
        let text = format!("waits {}", self.what());
        self.link.as_caller(&mut state, |state| state.note(|| EventKind::Remarked { text }));
        dies_waiting(&self.link, &mut state, WaitKind::External, self.place)
    }

    fn what(&self) -> String {
        let ForwardedCall { system, operation, awaited, .. } = self.call;
        format!("at {} for `{system}.{operation}`, which waits for {awaited}", self.place)
    }
}

impl CallTarget for ForwardTarget {
    /// `None` while it waits.
    type Output = Option<Reply>;
    type Visit<'v> = ForwardVisit<'v>;

    fn link(&self) -> &Link {
        &self.link
    }

    fn open(&mut self) -> ForwardVisit<'_> {
        ForwardVisit { endpoint: self }
    }

    fn given(&mut self) -> Option<Reply> {
        let began = real_time();
        let mut reply = self.go_on(None);
        while reply.is_none() && began.elapsed() < LONGEST {
            std::thread::park_timeout(PAUSE);
            reply = self.go_on(None);
        }
        Some(reply.unwrap_or_else(Reply::reset))
    }

    fn after_death(&mut self) -> Option<Option<Reply>> {
        None
    }

    fn work(&mut self, fault: Option<Fault>) -> Option<Reply> {
        self.fault = fault;
        self.go_on(seen(fault))
    }

    fn note_reply(&self, state: &mut State, _: &Option<Reply>) {
        if let Some(fault) = seen(self.fault) {
            state.note(|| EventKind::Replied { reply: Err(fault.to_string()) });
        }
    }

    fn received(&mut self, _: &Option<Reply>) {
        // What the work holds, such as a connection, must not outlive the call.
        self.work = Box::new(|_| ForwardOutcome::Waits);
    }
}

fn seen(fault: Option<Fault>) -> Option<ExternalFault> {
    fault.map(|fault| match fault {
        Fault::ReplyLost => ExternalFault::ReplyLost,
        Fault::Conflict => ExternalFault::Conflict,
        Fault::ShutDown => ExternalFault::ShutDown,
        _ => ExternalFault::Unreachable,
    })
}

/// The real system during the first half of a call.
struct ForwardVisit<'v> {
    endpoint: &'v ForwardTarget,
}

impl<'v> Visit<'v> for ForwardVisit<'v> {
    type Output = Option<Reply>;

    fn link(&self) -> &'v Link {
        &self.endpoint.link
    }

    fn spec(&self) -> CallSpec {
        let ForwardedCall { system, operation, passes, .. } = self.endpoint.call;
        let reply = if passes { call::Reply::Passing } else { call::Reply::Write };
        let site = call_site(system, operation);
        CallSpec { site, place: self.endpoint.place, faults: DeviationKind::Fault, reply }
    }

    fn announce(&mut self, state: &mut State) {
        let ForwardedCall { system, operation, .. } = self.endpoint.call;
        let place = self.endpoint.place;
        state.calls_outside(system, operation, place);
        if state.timeline.is_recording() {
            let request = self.endpoint.call.text.clone();
            state.note(|| EventKind::Called { service: system, operation, request, place });
        }
    }

    fn faults(&mut self, _: &State) -> FaultPlan {
        let ForwardedCall { passes, may_conflict, may_shut_down, .. } = self.endpoint.call;
        let mut faults = external_faults(!passes);
        if may_conflict {
            faults = faults.with(Fault::Conflict);
        }
        if may_shut_down {
            faults = faults.with(Fault::ShutDown);
        }
        FaultPlan::Choose(faults)
    }

    fn enter(self, _: Option<Fault>, _: &mut State) -> EnterOutcome<Option<Reply>> {
        EnterOutcome::UnderWay
    }
}
