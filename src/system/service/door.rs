//! The door to a service: faults go around a service, never into one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Cx, Operation, Refusal, Service, ServiceError};
use crate::search::choice::{Name, Options};

/// What a throttled caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long a client waits for an answer.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A stale look-up does not show what was made in this last stretch of time: longer than the first retries take, and
/// than a dead worker's lease.
const STALE: Duration = Duration::from_secs(3_600);

/// How a service behaves in all its calls, by the test's own choice.
///
/// ```
/// use retryproof::{World, service::Behave, service::payments::Charge};
///
/// let world = World::fake();
/// world.process("worker", |p| {
///     let payments = p.payments();
///     p.handle(async move |order: u32| payments.charge(Charge::of_order(order, 500)).await);
/// });
/// world.payments().behave(Behave::Crash);
/// world.enqueue(6_u32);
/// let failed = world.drain_all().run().unwrap_err();
/// assert!(failed.to_string().contains("503"), "{failed}");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Behave {
    /// As it should; what may go wrong is explored.
    #[default]
    Well,
    /// Each call is answered 503 before anything happened; one of an operation that is
    /// [`done_before_crash`](Operation::done_before_crash), after it.
    Crash,
    /// Each call is answered 429, and nothing happens.
    Throttle,
    /// Each answer takes so long. A client waits for 30 seconds; what it no longer hears of happens all the same.
    Slow(Duration),
}

/// How a call can fail, whatever the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503; nothing happened.
    Unavailable,
    /// It happened, and the caller sees 503.
    ReplyLost,
    /// 429; nothing happened.
    Throttled,
    /// The client's own timeout; nothing happened.
    TimedOut,
    /// The client's own timeout; it happened all the same.
    TimedOutButDone,
    /// A look-up that does not yet show the newest records. The caller sees nothing unusual.
    StaleRead,
    /// 503 from here on for a stretch of time; nothing happens.
    Outage,
    /// 503 from here on for ever; nothing happens.
    OutageForEver,
    /// The line breaks before the request is read; nothing happens. This one and the next three befall calls that come
    /// over a line.
    Reset,
    /// It happens, and then the line breaks.
    ResetButDone,
    /// It happens, and then the line is closed without an answer.
    ClosedButDone,
    /// It happens, and the line is closed in the middle of the answer.
    HalfReply,
}

use Fault::{
    ClosedButDone, HalfReply, Outage, OutageForEver, ReplyLost, Reset, ResetButDone, StaleRead, Throttled,
    TimedOut, TimedOutButDone, Unavailable,
};

/// What may go wrong at a call, option by option, with the names of the options. Those that a world must ask for come
/// after those that every world has.
type Faults = (&'static [Fault], &'static [&'static str]);

const WRITE: Faults = (
    &[Unavailable, ReplyLost, Throttled, TimedOut, TimedOutButDone],
    &["ok", "unavailable", "reply-lost", "throttled", "timed-out", "timed-out-but-done"],
);
const WRITE_OUTAGES: Faults = (
    &[Unavailable, ReplyLost, Throttled, TimedOut, TimedOutButDone, Outage, OutageForEver],
    &[
        "ok",
        "unavailable",
        "reply-lost",
        "throttled",
        "timed-out",
        "timed-out-but-done",
        "outage",
        "outage-for-ever",
    ],
);
const READ: Faults = (&[Unavailable, Throttled, TimedOut], &["ok", "unavailable", "throttled", "timed-out"]);
const READ_STALE: Faults = (
    &[Unavailable, Throttled, TimedOut, StaleRead],
    &["ok", "unavailable", "throttled", "timed-out", "stale"],
);
const READ_OUTAGES: Faults = (
    &[Unavailable, Throttled, TimedOut, Outage, OutageForEver],
    &["ok", "unavailable", "throttled", "timed-out", "outage", "outage-for-ever"],
);
const READ_STALE_OUTAGES: Faults = (
    &[Unavailable, Throttled, TimedOut, StaleRead, Outage, OutageForEver],
    &["ok", "unavailable", "throttled", "timed-out", "stale", "outage", "outage-for-ever"],
);

/// Faults, and the names of their options.
macro_rules! faults {
    ($($name:ident: [$($fault:ident $option:literal),*];)*) => {
        $(const $name: Faults = (&[$($fault),*], &["ok", $($option),*]);)*
    };
}

// The faults of a call that comes over a line: those that any call has, then those of the line.
faults! {
    WRITE_LINE: [
        Unavailable "unavailable", ReplyLost "reply-lost", Throttled "throttled", TimedOut "timed-out",
        TimedOutButDone "timed-out-but-done", Reset "reset", ResetButDone "reset-but-done",
        ClosedButDone "closed-but-done", HalfReply "half-a-reply"
    ];
    WRITE_OUTAGES_LINE: [
        Unavailable "unavailable", ReplyLost "reply-lost", Throttled "throttled", TimedOut "timed-out",
        TimedOutButDone "timed-out-but-done", Outage "outage", OutageForEver "outage-for-ever", Reset "reset",
        ResetButDone "reset-but-done", ClosedButDone "closed-but-done", HalfReply "half-a-reply"
    ];
    READ_LINE: [
        Unavailable "unavailable", Throttled "throttled", TimedOut "timed-out", Reset "reset",
        HalfReply "half-a-reply"
    ];
    READ_STALE_LINE: [
        Unavailable "unavailable", Throttled "throttled", TimedOut "timed-out", StaleRead "stale", Reset "reset",
        HalfReply "half-a-reply"
    ];
    READ_OUTAGES_LINE: [
        Unavailable "unavailable", Throttled "throttled", TimedOut "timed-out", Outage "outage",
        OutageForEver "outage-for-ever", Reset "reset", HalfReply "half-a-reply"
    ];
    READ_STALE_OUTAGES_LINE: [
        Unavailable "unavailable", Throttled "throttled", TimedOut "timed-out", StaleRead "stale", Outage "outage",
        OutageForEver "outage-for-ever", Reset "reset", HalfReply "half-a-reply"
    ];
}

// The faults of what throttles nobody, a database.
faults! {
    PLAIN_WRITE: [
        Unavailable "unavailable", ReplyLost "reply-lost", TimedOut "timed-out", TimedOutButDone "timed-out-but-done"
    ];
    PLAIN_WRITE_OUTAGES: [
        Unavailable "unavailable", ReplyLost "reply-lost", TimedOut "timed-out", TimedOutButDone "timed-out-but-done",
        Outage "outage", OutageForEver "outage-for-ever"
    ];
    PLAIN_READ: [Unavailable "unavailable", TimedOut "timed-out"];
    PLAIN_READ_STALE: [Unavailable "unavailable", TimedOut "timed-out", StaleRead "stale"];
    PLAIN_READ_OUTAGES: [
        Unavailable "unavailable", TimedOut "timed-out", Outage "outage", OutageForEver "outage-for-ever"
    ];
    PLAIN_READ_STALE_OUTAGES: [
        Unavailable "unavailable", TimedOut "timed-out", StaleRead "stale", Outage "outage",
        OutageForEver "outage-for-ever"
    ];
}

// The faults of what does not last unless something else follows: however the line breaks, it has not happened.
faults! {
    PROVISIONAL: [Unavailable "unavailable"];
    PROVISIONAL_OUTAGES: [Unavailable "unavailable", Outage "outage", OutageForEver "outage-for-ever"];
}

/// How a line ends without a whole answer.
#[cfg(feature = "wire")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing ever comes.
    Silent,
    /// It is reset.
    Reset,
    /// It is closed.
    Closed,
    /// It is closed in the middle of the answer.
    Half,
}

impl Fault {
    fn happens(self) -> bool {
        matches!(self, ReplyLost | TimedOutButDone | StaleRead | ResetButDone | ClosedButDone | HalfReply)
    }

    /// What becomes of the line on which the call came.
    #[cfg(feature = "wire")]
    pub(crate) fn breaks(self) -> Option<Broken> {
        match self {
            TimedOut | TimedOutButDone => Some(Broken::Silent),
            Reset | ResetButDone => Some(Broken::Reset),
            ClosedButDone => Some(Broken::Closed),
            HalfReply => Some(Broken::Half),
            Unavailable | ReplyLost | Throttled | StaleRead | Outage | OutageForEver => None,
        }
    }

    /// What the caller sees; nothing, where the answer arrives.
    fn seen_as(self, service: Name, operation: Name) -> Option<ServiceError> {
        match self {
            Unavailable | ReplyLost | Outage | OutageForEver | Reset | ResetButDone | ClosedButDone => {
                Some(ServiceError::Unavailable { service, operation })
            }
            Throttled => Some(ServiceError::Throttled { service, operation, retry_after: RETRY_AFTER }),
            TimedOut | TimedOutButDone => {
                Some(ServiceError::TimedOut { service, operation, after: CLIENT_TIMEOUT })
            }
            StaleRead | HalfReply => None,
        }
    }
}

/// What a test has set.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Settings {
    pub(crate) behave: Behave,
    pub(crate) stale_reads: bool,
    /// How long an outage lasts that ends, where there may be any.
    pub(crate) outages: Option<Duration>,
    pub(crate) search_lag: Duration,
    /// How long a request with a key runs on whose caller has no answer, where that makes a conflict.
    pub(crate) in_flight: Option<Duration>,
}

/// A service and what stands around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door<S> {
    pub(crate) service: S,
    pub(crate) settings: Settings,
    down_until: Duration,
    /// Requests with a key that may still be running: until when.
    in_flight: BTreeMap<String, Duration>,
}

/// How a call comes to the door.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Over a line, which can break.
    pub(crate) over_a_line: bool,
    /// The behaviour that the request itself asks for.
    pub(crate) behave: Option<Behave>,
}

/// What the door lets through to a call before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sight {
    /// It is known how it will go.
    Certain(Fault),
    /// Any of these.
    Open(Options),
}

/// What came of a call, as the caller will see it.
#[derive(Debug)]
pub(crate) struct Answer<R> {
    pub(crate) result: Result<R, ServiceError>,
    /// How long the answer takes.
    pub(crate) takes: Duration,
    /// The key whose request runs until the caller has the answer.
    pub(crate) running: Option<String>,
}

impl<S: Service> Door<S> {
    pub(crate) fn new(service: S) -> Self {
        Self {
            service,
            settings: Settings::default(),
            down_until: Duration::ZERO,
            in_flight: BTreeMap::new(),
        }
    }

    fn faults(&self, operation: Operation, over_a_line: bool) -> Faults {
        let (stale, outages) = (self.settings.stale_reads, self.settings.outages.is_some());
        if !operation.lasts {
            return if outages { PROVISIONAL_OUTAGES } else { PROVISIONAL };
        }
        if !operation.throttles {
            return match (operation.writes, stale, outages) {
                (true, _, false) => PLAIN_WRITE,
                (true, _, true) => PLAIN_WRITE_OUTAGES,
                (false, false, false) => PLAIN_READ,
                (false, true, false) => PLAIN_READ_STALE,
                (false, false, true) => PLAIN_READ_OUTAGES,
                (false, true, true) => PLAIN_READ_STALE_OUTAGES,
            };
        }
        match (operation.writes, stale, outages, over_a_line) {
            (true, _, false, false) => WRITE,
            (true, _, true, false) => WRITE_OUTAGES,
            (false, false, false, false) => READ,
            (false, true, false, false) => READ_STALE,
            (false, false, true, false) => READ_OUTAGES,
            (false, true, true, false) => READ_STALE_OUTAGES,
            (true, _, false, true) => WRITE_LINE,
            (true, _, true, true) => WRITE_OUTAGES_LINE,
            (false, false, false, true) => READ_LINE,
            (false, true, false, true) => READ_STALE_LINE,
            (false, false, true, true) => READ_OUTAGES_LINE,
            (false, true, true, true) => READ_STALE_OUTAGES_LINE,
        }
    }

    /// What may come of a call that begins now. A request can ask for a behaviour of its own.
    pub(crate) fn sight(&self, operation: Operation, now: Duration, manner: Manner) -> Sight {
        match manner.behave.unwrap_or(self.settings.behave) {
            _ if now < self.down_until => Sight::Certain(Unavailable),
            Behave::Crash if operation.done_before_crash => Sight::Certain(ReplyLost),
            Behave::Crash => Sight::Certain(Unavailable),
            Behave::Throttle => Sight::Certain(Throttled),
            Behave::Well | Behave::Slow(_) => {
                Sight::Open(Options::Named(self.faults(operation, manner.over_a_line).1))
            }
        }
    }

    /// The fault behind an option of that choice; none behind option 0.
    pub(crate) fn fault(&self, operation: Operation, option: usize, manner: Manner) -> Option<Fault> {
        option.checked_sub(1).map(|fault| self.faults(operation, manner.over_a_line).0[fault])
    }

    /// A call with a fault, or without.
    pub(crate) fn answer(
        &mut self,
        request: S::Request,
        operation: Name,
        fault: Option<Fault>,
        cx: &mut Cx<'_>,
    ) -> Answer<S::Reply> {
        match fault {
            Some(Outage) => {
                self.down_until = cx.now.saturating_add(self.settings.outages.unwrap_or_default())
            }
            Some(OutageForEver) => self.down_until = Duration::MAX,
            _ => {}
        }
        cx.tells = self.service.is_told_of_failures();
        cx.lag = if fault == Some(StaleRead) { STALE } else { self.settings.search_lag };
        let seen = fault.and_then(|fault| fault.seen_as(cx.service, operation));
        let mut running = None;
        let answered = if fault.is_none_or(Fault::happens) {
            Some(self.ask(request, operation, cx, &mut running))
        } else {
            None
        };
        let slow = match self.settings.behave {
            Behave::Slow(slow) => slow,
            _ => Duration::ZERO,
        };
        match (seen, answered) {
            (Some(error @ ServiceError::TimedOut { .. }), _) => {
                Answer { result: Err(error), takes: CLIENT_TIMEOUT, running: None }
            }
            (Some(error), _) => Answer { result: Err(error), takes: Duration::ZERO, running: None },
            (None, Some(result)) if slow < CLIENT_TIMEOUT => Answer { result, takes: slow, running },
            _ => {
                let (service, takes) = (cx.service, CLIENT_TIMEOUT);
                let result = Err(ServiceError::TimedOut { service, operation, after: takes });
                Answer { result, takes, running: None }
            }
        }
    }

    /// A call of the test body's own, or of a destructor: nothing can go wrong.
    pub(crate) fn given(
        &mut self,
        request: S::Request,
        operation: Name,
        cx: &mut Cx<'_>,
    ) -> Answer<S::Reply> {
        cx.tells = self.service.is_told_of_failures();
        let service = cx.service;
        let refused =
            |Refusal { status, reason }| ServiceError::Refused { service, operation, status, reason };
        let result = self.service.answer(request, cx).map_err(refused);
        Answer { result, takes: Duration::ZERO, running: None }
    }

    /// Asks the service itself, unless a request with the same key is still running.
    fn ask(
        &mut self,
        request: S::Request,
        operation: Name,
        cx: &mut Cx<'_>,
        running: &mut Option<String>,
    ) -> Result<S::Reply, ServiceError> {
        let service = cx.service;
        let refused = |status, reason| ServiceError::Refused { service, operation, status, reason };
        if let Some(time) = self.settings.in_flight {
            if let Some(key) = self.service.key(&request) {
                if self.in_flight.get(key).is_some_and(|until| cx.now < *until) {
                    let reason = format!("a request with the idempotency key {key:?} is still running");
                    return Err(refused(409, reason));
                }
                self.in_flight.insert(key.to_owned(), cx.now.saturating_add(time));
                *running = Some(key.to_owned());
            }
        }
        self.service.answer(request, cx).map_err(|refusal| refused(refusal.status, refusal.reason))
    }

    /// The caller has the answer: the request runs no longer.
    pub(crate) fn answered(&mut self, key: &str) {
        self.in_flight.remove(key);
    }

    /// Whether what it answers depends on when records were made.
    pub(crate) fn looks_at_the_clock(&self) -> bool {
        self.settings.stale_reads || !self.settings.search_lag.is_zero()
    }

    /// All that what it answers depends on, if the service tells.
    pub(crate) fn state(&self) -> Option<String> {
        let around = serde_json::to_string(&(self.settings, self.down_until, &self.in_flight)).ok()?;
        self.service.state().map(|state| state + &around)
    }
}
